"""Reads labels from a CSV file: a line of names, then a row a picture.

    picture,Smiling,Glasses
    a.jpg,1,0

Values are separated by commas, semicolons or tabs; lines end in LF or CRLF; a byte order mark,
quotes and a last newline may be there or not; a first line `sep=;`, as Excel writes it, names the
separator. The first column names the picture, and a column before it that has no name may count the
rows, as pandas writes it.
"""

import csv
import dataclasses
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Int64, UInt8

from gan.data.files import WHOLE_END, Files, is_whole, read_lines
from gan.errors import DataError, first_few

STYLES = (  # Pairs of values that mean 0 and 1; a column keeps to one of them.
    {"-1": 0, "1": 1},
    {"0": 0, "1": 1},
    {"false": 0, "true": 1},
    {"no": 0, "yes": 1},
)
FLOATS = {"-1.0": "-1", "0.0": "0", "1.0": "1"}  # pandas writes 1.0 if a value is missing.
SEPARATOR = re.compile(r'"?sep=([,;\t|])"?')
VALUES = {value for style in (*STYLES, FLOATS) for value in style}


@dataclasses.dataclass(frozen=True)
class CsvTable:
    """A whole CSV file, as text."""

    where: str  # The file, for messages.
    lines: Sequence[int]  # Number of the line in which each row ends.
    pictures: Sequence[str]  # The column of pictures: no two are the same.
    columns: Mapping[str, Sequence[str]]  # The other columns, by their names.
    files: Sequence[str] = ()  # The file of each row, where the rows are those of several files.
    unit: str = "line"  # What `lines` counts.

    def binary(self, name: str) -> UInt8[np.ndarray, " n"]:
        """Returns a column as 0 | 1. DataError names line and value if it holds anything else."""
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

    def whole(self, name: str, end: int = WHOLE_END) -> Int64[np.ndarray, " n"]:
        """Returns a column as whole numbers from 0 to `end` - 1.

        DataError names line and value if it holds anything else.
        """
        column = self.columns[name]
        for value in column:
            if not is_whole(value, end):
                raise self._error(name, value, f"a whole number from 0 to {end - 1:,} is needed.")
        return np.array(column, np.int64)

    def check_pictures(self) -> "CsvTable":
        """Returns itself. DataError if a picture is not named, or stands there twice."""
        seen: dict[str, int] = {}
        for row, picture in enumerate(self.pictures):
            if not picture:
                raise DataError(f"{self.line(row)}: no picture is named.")
            if seen.setdefault(picture, row) != row:
                raise DataError(
                    f"{self.line(row)}: {picture[:80]!r} stands there a second time, after "
                    f"{self.unit} {self.lines[seen[picture]]}. A picture has one row."
                )
        return self

    def line(self, row: int) -> str:
        """Returns file and line of a row, for messages."""
        where = self.files[row] if self.files else self.where
        return f"{where}, {self.unit} {self.lines[row]}"

    def _error(self, name: str, value: str, rule: str) -> DataError:
        row = self.columns[name].index(value)
        return DataError(f"{self.line(row)}, column {name!r}: {value[:80]!r}, but {rule}")


def read_column_names(files: Files, name: str) -> tuple[str, ...]:
    """Reads the names of the columns besides the pictures'.

    Checks only the first two lines: DataError if they are wrong, or if the file is no text.
    """
    where = files.where(name)
    return _parse_header(where, _parse_rows(where, read_lines(files, name)))[0][1:]


def read_csv(
    files: Files,
    name: str,
    choose: Callable[[Mapping[str, Sequence[str]]], str] = lambda columns: next(iter(columns)),
) -> CsvTable:
    """Reads a CSV file. DataError names the file and the first line that is wrong.

    `choose` returns the column that names the pictures, of all columns by their names; the name of
    the first may be empty. By default that is the first.
    """
    where = files.where(name)
    rows = _parse_rows(where, read_lines(files, name))
    names, first, (line, row) = _parse_header(where, rows)
    lines, values = [], []
    width = first + len(names)
    while row is not None:
        if len(row) != width:
            raise DataError(
                f"{where}, line {line}: {len(row)} values, but line 1 names {width} columns. "
                "Quote values that hold the separator; if the file was cut, fetch it again."
            )
        lines.append(line)
        values.append(tuple(map(sys.intern, row)))  # Saves half a gigabyte of 202,599 x 41.
        line, row = next(rows, (0, None))
    columns = list(zip(*values, strict=True))
    if first:
        _check_count(where, lines, columns[0])
    named = dict(zip(names, columns[first:], strict=True))
    pictures = [value.strip() for value in named.pop(choose(named))]
    return CsvTable(where, lines, pictures, named).check_pictures()


def _parse_rows(where: str, lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Yields (number of the line in which the row ends, values). DataError if it is not CSV."""
    said = SEPARATOR.fullmatch(lines[0])
    lines = lines[1:] if said else lines
    unquoted = re.sub('"[^"]*"', "", lines[0]) if lines else ""
    # A comma if none is there.
    delimiter = said[1] if said else max(",;\t", key=unquoted.count)
    reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True)
    above = 1 if said else 0
    try:
        for row in reader:
            yield reader.line_num + above, row
    except csv.Error as error:
        line = reader.line_num + above
        raise DataError(f"{where}, line {line}: this is not CSV: {error}.") from None


def _parse_header(
    where: str, rows: Iterator[tuple[int, list[str]]]
) -> tuple[tuple[str, ...], int, tuple[int, list[str]]]:
    """Returns the names from the pictures' on, the number of the pictures' column, the first row.

    DataError if a name is missing or stands there twice.
    """
    _, names = next(rows, (1, []))
    names = [unicodedata.normalize("NFC", name.strip()) for name in names]
    first_row = next(rows, None)
    if not names or first_row is None or not first_row[1]:
        raise DataError(
            f"{where}: line 1 has to name the columns, and line 2 to be the first row; but line 1 "
            f"is {','.join(names)[:80]!r}, and one of them is empty."
        )
    unnamed = names[0] in ("", "Unnamed: 0")  # pandas writes "", then "Unnamed: 0".
    first = int(unnamed and is_whole(first_row[1][0]))
    if first == len(names):
        raise DataError(f"{where}, line 1: no column names the pictures.")
    pictures, *names = names[first:]
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
    if pictures in names:
        raise DataError(f"{where}, line 1: {pictures} stands there twice.")
    return (pictures, *names), first, first_row


def _check_count(where: str, lines: Sequence[int], column: Sequence[str]) -> None:
    """Raises DataError unless the column without a name counts the rows."""
    for line, value, count in zip(lines, column, range(int(column[0]), sys.maxsize), strict=False):
        if value != str(count):
            raise DataError(
                f"{where}, line {line}: {value[:80]!r} stands in the first column, which has no "
                f"name and would have to count the rows: {count}. Remove that column."
            )
