"""CelebA's 40 attributes, and its labels: tables by the name of the picture, read from text files.

    list_attr_celeba.txt       202599 / 5_o_Clock_Shadow Arched_Eyebrows ... / 000001.jpg -1 1 ...
    list_eval_partition.txt    000001.jpg 0
    identity_CelebA.txt        000001.jpg 2880

CelebAMask-HQ's text file of attributes looks the same. Errors name the file and the line.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from gan.data.files import WHOLE_END, Files, is_whole, read_lines
from gan.errors import DataError, first_few, nearest

# fmt: off
ATTRIBUTES = (
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs",
    "Big_Lips", "Big_Nose", "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows",
    "Chubby", "Double_Chin", "Eyeglasses", "Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones",
    "Male", "Mouth_Slightly_Open", "Mustache", "Narrow_Eyes", "No_Beard", "Oval_Face", "Pale_Skin",
    "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks", "Sideburns", "Smiling", "Straight_Hair",
    "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick", "Wearing_Necklace",
    "Wearing_Necktie", "Young",
)
# fmt: on


class LabelTable(NamedTuple):
    """What one file says of each picture: its attributes, its split or its identity."""

    where: str  # The file, for messages.
    rows: dict[str, int]  # Row of `values` by the name of the picture, in the file's order.
    values: np.ndarray  # Attributes: uint8 [n a] of 0 | 1. Splits or identities: int32 [n].

    def select(self, names: Sequence[str]) -> np.ndarray:
        """Returns the values of these pictures, in the order of `names`."""
        return self.values[[self.rows[name] for name in names]]


class Head(NamedTuple):
    """What stands before the rows of a text file of attributes."""

    names: tuple[str, ...]  # The attributes.
    count: int | None  # How many rows follow; None where that line was deleted.
    first: int  # Number of the first line after the head.


def read_attribute_names(files: Files, name: str) -> tuple[str, ...]:
    """Reads the attributes that a text file names. DataError where one is misspelt or missing."""
    head = parse_head(read_lines(files, name), files.where(name))
    return check_attribute_names(f"{files.where(name)}, line {head.first - 1}", head.names)


def check_attribute_names(where: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the names if they are all of CelebA's attributes, or if none of them is CelebA's.

    DataError, beginning with `where`, if one stands there twice, is misspelt or is missing.
    """
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise DataError(f"{where}: {first_few(sorted(repeated))} stands there twice.")
    missing = [name for name in ATTRIBUTES if name not in names]
    unknown = [name for name in names if name not in ATTRIBUTES]
    if len(missing) == len(ATTRIBUTES):
        return names
    if unknown:
        raise DataError(
            f"{where}: {unknown[0]!r} is not an attribute of CelebA.{nearest(unknown[0], missing)}"
        )
    if missing:
        raise DataError(f"{where}: {first_few(missing)} is missing of CelebA's attributes.")
    return names


def parse_head(lines: Sequence[str], where: str) -> Head:
    """Returns the number of pictures in line 1, which may be missing, and the names in line 2.

    DataError, beginning with `where`, if these lines are something else.
    """
    if len(lines) < 3:
        raise DataError(f"{where}: {len(lines)} lines, where count, names and rows should stand.")
    if is_whole(lines[0].strip()):
        return Head(tuple(lines[1].split()), int(lines[0]), 3)
    if len(lines[0].split()) == len(lines[1].split()) - 1:  # Names, then a row.
        return Head(tuple(lines[0].split()), None, 2)
    raise DataError(
        f"{where}, line 1: {lines[0][:80]!r} should be the number of pictures, or the names of the "
        f"attributes. If that line was deleted, put it back: {len(lines) - 1}, if all rows are "
        "there."
    )


def read_text_attributes(files: Files, name: str, pattern: re.Pattern[str]) -> LabelTable:
    """Reads the attributes of pictures whose names match `pattern`, as uint8 [n a] of 0 | 1.

    The file has -1 | 1 or 0 | 1 in each row. DataError names the first line that is wrong.
    """
    lines, where = read_lines(files, name), files.where(name)
    names, count, first = parse_head(lines, where)
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
    return LabelTable(where, rows, bits.reshape(len(rows), len(names)))


def read_text_numbers(
    files: Files, name: str, pattern: re.Pattern[str], end: int = WHOLE_END
) -> LabelTable:
    """Reads a whole number from 0 to `end` - 1 for each picture, as int32 [n].

    DataError names the first line that is wrong.
    """
    where = files.where(name)
    rows, numbers = {}, []
    for number, _, (value,) in parse_rows(where, read_lines(files, name), 1, 1, pattern, rows):
        if not is_whole(value, end):
            raise DataError(
                f"{where}, line {number}: {value[:80]!r} should be a whole number from 0 to "
                f"{end - 1:,}."
            )
        numbers.append(int(value))
    return LabelTable(where, rows, np.array(numbers, np.int32))


def parse_rows(
    where: str,
    lines: Sequence[str],
    first: int,
    columns: int,
    pattern: re.Pattern[str],
    rows: dict[str, int],
) -> Iterator[tuple[int, str, list[str]]]:
    """Yields (line number, picture, values) of each line from number `first` on; fills `rows`.

    DataError for a line without the name of a picture or without `columns` values, and for a
    picture that stands there twice.
    """
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
