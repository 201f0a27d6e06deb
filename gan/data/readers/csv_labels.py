"""Labels in a CSV file: one line of names, then one row a picture.

Comma, semicolon or tab; LF or CRLF; with or without a byte order mark, quotes, a last newline.
"""

import csv
import dataclasses
import re
import sys
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Int64, UInt8

from gan.data.readers.files import Files, read_lines
from gan.errors import DataError, first_few

STYLES = ({"-1": 0, "1": 1}, {"0": 0, "1": 1}, {"false": 0, "true": 1}, {"no": 0, "yes": 1})
FLOATS = {"-1.0": "-1", "0.0": "0", "1.0": "1"}  # As pandas writes them where one was missing.
VALUES = {value for style in (*STYLES, FLOATS) for value in style}
NUMBER = re.compile(r"[0-9]{1,9}")


@dataclasses.dataclass(frozen=True)
class Table:
    """A whole CSV file, as text."""

    where: str  # The file, for messages.
    lines: Sequence[int]  # In which line of the file each row ends.
    pictures: Sequence[str]  # The first column: no two are the same.
    columns: Mapping[str, Sequence[str]]  # All others.

    def binary(self, name: str) -> UInt8[np.ndarray, " n"]:
        """The column as 0 | 1. DataError, with line and value, if it holds anything else."""
        column = self.columns[name]
        text = {value: value.strip().lower() for value in set(column)}
        text = {value: FLOATS.get(plain, plain) for value, plain in text.items()}
        for style in STYLES:
            if style.keys() >= set(text.values()):
                codes = {value: style[plain] for value, plain in text.items()}
                return np.fromiter(map(codes.__getitem__, column), np.uint8, len(column))
        styles = [style for style in STYLES if text[column[0]] in style]
        wrong = next(
            value
            for value in column  # The first that no pair allows together with those before it.
            if not (styles := [style for style in styles if text[value] in style])
        )
        raise self._error(
            name,
            wrong,
            "each value is -1 or 1 (or 0 or 1, false or true, no or yes; only one of these pairs "
            "in a column). Correct it, or remove the column.",
        )

    def whole(self, name: str, below: int = 10**9) -> Int64[np.ndarray, " n"]:
        """The column as whole numbers from 0 to below `below`. DataError with line and value."""
        column = self.columns[name]
        for value in column:
            if not NUMBER.fullmatch(value) or int(value) >= below:
                raise self._error(name, value, f"a whole number from 0 to {below - 1:,} is needed.")
        return np.array(column, np.int64)

    def line(self, row: int) -> str:
        """Where a row stands, for messages."""
        return f"{self.where}, line {self.lines[row]}"

    def _error(self, name: str, value: str, rule: str) -> DataError:
        row = self.columns[name].index(value)
        return DataError(f"{self.line(row)}, column {name!r}: {value[:80]!r}, but {rule}")


def column_names(files: Files, name: str) -> tuple[str, ...]:
    """Names of the columns besides the pictures', from the first lines alone. DataError."""
    where = files.where(name)
    return _header(where, _rows(where, read_lines(files, name)))[0]


def read_table(files: Files, name: str) -> Table:
    """All of a file. DataError, with its name and line, for anything that is not as it should be.

    A first column without a name, as pandas writes it, may count the rows or be the pictures'.
    """
    where = files.where(name)
    rows = _rows(where, read_lines(files, name))
    names, first, (line, row) = _header(where, rows)
    lines, values = [], []
    width = first + 1 + len(names)
    while row is not None:
        if len(row) != width:
            raise DataError(
                f"{where}, line {line}: {len(row)} values, but line 1 names {width} columns. "
                "Quote values that hold the separator; if the file was cut, fetch it again."
            )
        lines.append(line)
        values.append(tuple(map(sys.intern, row)))  # Half a gigabyte less for 202,599 x 41.
        line, row = next(rows, (0, None))
    columns = list(zip(*values, strict=True))
    if first:
        _check_count(where, lines, columns[0])
    pictures = [value.strip() for value in columns[first]]
    seen: dict[str, int] = {}
    for line, picture in zip(lines, pictures, strict=True):
        if not picture:
            raise DataError(f"{where}, line {line}: the column of pictures is empty.")
        if seen.setdefault(picture, line) != line:
            raise DataError(
                f"{where}, line {line}: {picture[:80]!r} stands there a second time, after line "
                f"{seen[picture]}. The first column names a picture, with one row each."
            )
    return Table(where, lines, pictures, dict(zip(names, columns[first + 1 :], strict=True)))


def _rows(where: str, lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Yields (line number, values)."""
    unquoted = re.sub('"[^"]*"', "", lines[0])
    delimiter = max(",;\t", key=unquoted.count)  # The first of them where there is none.
    reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise DataError(f"{where}, line {reader.line_num}: this is not CSV: {error}.") from None


def _header(
    where: str, rows: Iterator[tuple[int, list[str]]]
) -> tuple[tuple[str, ...], int, tuple[int, list[str]]]:
    """Names besides the pictures', the pictures' column, and the first row."""
    _, names = next(rows)
    names = [name.strip() for name in names]
    first_row = next(rows, None)
    if not names or first_row is None or not first_row[1]:
        raise DataError(
            f"{where}: line 1 has to name the columns, and line 2 to be the first row; but line 1 "
            f"is {','.join(names)[:80]!r}, and one of them is empty."
        )
    unnamed = names[0] in ("", "Unnamed: 0")  # As pandas writes it and names it.
    first = int(unnamed and NUMBER.fullmatch(first_row[1][0]) is not None)
    if first == len(names):
        raise DataError(f"{where}, line 1: no column names the pictures.")
    names = tuple(names[first + 1 :])
    for column, name in enumerate(names, start=first + 2):
        if not name:
            raise DataError(f"{where}, line 1: column {column} has no name. Name or remove it.")
        if name.lower() in VALUES:
            raise DataError(
                f"{where}, line 1: {name!r} is a value, not the name of a column. Write a first "
                "line with the names of all columns."
            )
    if repeated := [name for i, name in enumerate(names) if name in names[:i]]:
        raise DataError(f"{where}, line 1: {first_few(repeated)} stands there twice.")
    return names, first, first_row


def _check_count(where: str, lines: Sequence[int], column: Sequence[str]) -> None:
    """DataError unless the column without a name counts the rows."""
    for line, value, count in zip(lines, column, range(int(column[0]), sys.maxsize), strict=False):
        if value != str(count):
            raise DataError(
                f"{where}, line {line}: {value[:80]!r} stands in the first column, which has no "
                f"name and would have to count the rows: {count}. Remove that column."
            )
