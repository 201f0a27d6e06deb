"""The text files of CelebA and CelebAMask-HQ. Each fault is named by file and line."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from gan.data.readers.files import Files, read_lines
from gan.errors import DataError

NUMBER = re.compile(r"[0-9]{1,9}")  # Fits int32.


class Table(NamedTuple):
    """Labels of pictures: a row of attributes each, or a number."""

    where: str  # The file, for messages.
    rows: dict[str, int]  # Picture -> its row of `values`, in the file's order.
    values: np.ndarray  # uint8 [n a] of 0 | 1, or int32 [n].

    def of(self, names: Sequence[str]) -> np.ndarray:
        """The values of these pictures, in their order."""
        return self.values[[self.rows[name] for name in names]]


class Head(NamedTuple):
    """What stands before the rows of a file of attributes."""

    names: tuple[str, ...]
    count: int | None  # Of rows; None in those copies whose first line somebody deleted.
    first: int  # Number of the first line after it.


def read_head(files: Files, name: str) -> Head:
    """The number of pictures in line 1 (which may be missing) and the attributes in line 2."""
    return head_of(read_lines(files, name), files.where(name))


def head_of(lines: Sequence[str], where: str) -> Head:
    """`read_head` of the lines of a file."""
    if len(lines) < 3:
        raise DataError(f"{where}: {len(lines)} lines, where count, names and rows should stand.")
    if NUMBER.fullmatch(lines[0].strip()):
        return Head(tuple(lines[1].split()), int(lines[0]), 3)
    if len(lines[0].split()) == len(lines[1].split()) - 1:  # Names, then a row.
        return Head(tuple(lines[0].split()), None, 2)
    raise DataError(
        f"{where}, line 1: {lines[0][:80]!r} should be the number of pictures, or the names of the "
        f"attributes. If that line was deleted, put it back: {len(lines) - 1}, if all rows are "
        "there."
    )


def parse_attributes(files: Files, name: str, pattern: re.Pattern[str]) -> Table:
    """uint8 [n a] of 0 | 1, from -1 | 1 or 0 | 1, for pictures whose names match `pattern`."""
    lines, where = read_lines(files, name), files.where(name)
    names, count, first = head_of(lines, where)
    rows, digits = {}, []
    for number, member, values in parse_rows(where, lines, first, len(names), pattern, rows):
        used = set(values)
        if used <= {"-1", "1"}:
            digits.append("".join(values).replace("-1", "0"))
        elif used <= {"0", "1"}:
            digits.append("".join(values))
        else:
            wrong = next((v for v in values if v not in ("-1", "0", "1")), None)
            what = f"the value {wrong[:80]!r}" if wrong else "-1 and 0 in one row"
            raise DataError(
                f"{where}, line {number}: {member} has {what}; each is -1 or 1 (or 0 or 1)."
            )
    if count not in (None, len(rows)):
        raise DataError(
            f"{where}, line 1: says {count} pictures, but {len(rows)} rows follow. "
            "The file was cut or put together; fetch it again, or correct line 1 if it was meant."
        )
    bits = np.frombuffer("".join(digits).encode(), np.uint8) - ord("0")
    return Table(where, rows, bits.reshape(len(rows), len(names)))


def parse_numbers(files: Files, name: str, pattern: re.Pattern[str], below: int = 10**9) -> Table:
    """int32 [n]: one whole number from 0 to below `below` for each picture."""
    where = files.where(name)
    rows, numbers = {}, []
    for number, _, (value,) in parse_rows(where, read_lines(files, name), 1, 1, pattern, rows):
        if not NUMBER.fullmatch(value) or int(value) >= below:
            raise DataError(
                f"{where}, line {number}: {value[:80]!r} should be a whole number from 0 to "
                f"{below - 1:,}."
            )
        numbers.append(int(value))
    return Table(where, rows, np.array(numbers, np.int32))


def parse_rows(
    where: str,
    lines: Sequence[str],
    first: int,
    columns: int,
    pattern: re.Pattern[str],
    rows: dict[str, int],
) -> Iterator[tuple[int, str, list[str]]]:
    """Yields (line number, picture, values) from line number `first` on; fills `rows`."""
    for number, line in enumerate(lines[first - 1 :], start=first):
        member, *values = line.split() or [""]
        if not pattern.fullmatch(member):
            raise DataError(
                f"{where}, line {number}: {member[:80]!r} should be the name of a picture, like "
                "'000001.jpg' (in CelebAMask-HQ '0.jpg')."
            )
        if len(values) != columns:
            raise DataError(
                f"{where}, line {number}: {len(values)} values follow {member}, not {columns}."
            )
        if member in rows:
            raise DataError(
                f"{where}, line {number}: {member} stands there a second time, after line "
                f"{rows[member] + first}."
            )
        rows[member] = number - first
        yield number, member, values
