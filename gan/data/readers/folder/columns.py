"""Columns of labels become attributes, and groups of attributes that exclude each other.

    Smiling   1, 0, 1               the attribute Smiling
    age       0-2, 20-29, 0-2       the attributes age=0-2 and age=20-29: a picture has one of them

This is the one place where that is decided, whatever file the columns come from.
"""

import logging
import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from gan.data.attributes import Groups, split_names, tidy_name
from gan.data.readers.csv_labels import VALUES, CsvTable
from gan.data.source import Doubt
from gan.errors import DataError, first_few

log = logging.getLogger("gan")

MAX_VALUES = 1_000  # Each is a column of the labels and an input of the networks.
FEW_NUMBERS = 20  # More different numbers in a column are measured, not classes.
LEAST_PICTURES = 2  # On average, a value of a column nobody asked for has so many.
NUMBER = re.compile(r"[-+]?[0-9]*[.,]?[0-9]+(e[-+]?[0-9]+)?", re.IGNORECASE)
MONTH = r"(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
DATE = re.compile(rf"[0-9]{{1,2}}-{MONTH}|{MONTH}-[0-9]{{1,2}}")


class Encoded(NamedTuple):
    """The attributes that columns became."""

    names: tuple[str, ...]
    attributes: UInt8[np.ndarray, "n a"]  # 0 | 1
    groups: Groups
    aside: tuple[str, ...]  # Columns that were left aside, as others were asked for.
    settled: tuple[str, ...]  # Columns that are attributes only because they were asked for.
    doubts: tuple[Doubt, ...]


def encode_columns(
    table: CsvTable, columns: Sequence[str], attributes: str | None, classes: Collection[str] = ()
) -> Encoded:
    """Makes attributes of the `columns` of a table: all of them, or those that fit.

    `attributes` is what the user asks for (`config.data.attributes`): a column that is not among it
    and cannot be read is left aside, one that is among it may hold numbers. Columns in `classes`
    are known to be classes. DataError for a column that cannot be read.
    """
    asked = split_names(attributes or "", map(tidy_name, columns), "config.data.attributes")
    names, parts, groups, aside, settled, numbers = [], [], [], [], [], []
    for column in columns:
        wanted = any(f"{name}=".startswith(f"{tidy_name(column)}=") for name in asked)
        if column not in classes and is_binary(table.columns[column]):
            names.append(column)
            parts.append(table.binary(column)[:, None])
            continue
        values = [value.strip() for value in table.columns[column]]
        lack = find_lack(table, column, values)
        if lack and column not in classes:
            if asked and not wanted:
                aside.append(column)
                continue
            if not lack.may_be_classes or (not wanted and not lack.is_doubtful):
                raise explain_lack(table, column, lack, columns)
            (settled if wanted else numbers).append(column)
        known = sort_values(set(values))
        place = {value: code for code, value in enumerate(known)}
        codes = [place[value] for value in values]
        group = tuple(f"{column}={value}" for value in known)
        names += group
        groups += [group] * (len(group) > 1)
        parts.append(np.eye(len(known), dtype=np.uint8)[codes])
        warn_of_dates(table, column, known)
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{table.where}: two columns make {first_few(repeated)}. Rename one.")
    empty = np.zeros((len(table.pictures), 0), np.uint8)
    return Encoded(
        tuple(names),
        np.concatenate([empty, *parts], axis=1),
        tuple(groups),
        tuple(aside),
        tuple(settled),
        tuple(doubt_numbers(table, column, columns) for column in numbers),
    )


def is_binary(values: Collection[str]) -> bool:
    """Tells whether all values are words for 0 and 1, if perhaps of several pairs."""
    return {value.strip().lower() for value in {*values}} <= VALUES


class Lack(NamedTuple):
    """Why a column is no column of categories, or may be none."""

    row: int  # Where it shows.
    rule: str  # What is needed, for the message.
    may_be_classes: bool = False  # Whether it can be learnt, if that is what is meant.
    is_doubtful: bool = False  # Whether the user is shown what it would become.


def find_lack(table: CsvTable, column: str, values: Sequence[str]) -> Lack | None:
    """Finds out why the values of a column are no words for groups of pictures; None if they are.

    Values that are words for 0 and 1 only are not looked at.
    """
    different = {*values}
    if "" in different:
        return Lack(values.index(""), "a value is needed (a word such as 'unknown' is one, too).")
    folded: dict[str, str] = {}
    for value in different:
        if (other := folded.setdefault(value.casefold(), value)) != value and not is_binary(values):
            row = max(values.index(value), values.index(other))
            other = min(value, other, key=values.index)
            return Lack(row, f"line {table.lines[values.index(other)]} has {other!r}: write one.")
    few = len(different) * LEAST_PICTURES <= len(values)
    numeric = all(map(NUMBER.fullmatch, different))
    odd = next((row for row, value in enumerate(values) if value.lower() not in VALUES), 0)
    if numeric:
        whole = all(value.lstrip("+-").isdecimal() for value in different)
        learnable = whole and len(different) <= MAX_VALUES
        rule = "each value is 0 or 1, or a word: write groups such as 20-29 in place of numbers."
        doubtful = learnable and few and len(different) <= FEW_NUMBERS
        return Lack(odd, rule, learnable, doubtful)
    if any(value.lower() in VALUES for value in different):
        pair = "each value is -1 or 1 (or 0 or 1, false or true, no or yes), or each is a word."
        return Lack(odd, pair, len(different) <= MAX_VALUES)
    if len(different) > MAX_VALUES or not few:
        rule = (
            f"{len(different):,} different values in {len(values):,} rows are no groups of "
            f"pictures: at most {MAX_VALUES:,} values can be learnt, with several pictures each."
        )
        return Lack(odd, rule, len(different) <= MAX_VALUES)
    return None


def explain_lack(table: CsvTable, column: str, lack: Lack, columns: Sequence[str]) -> DataError:
    """Returns the error for a column that cannot be read: where, why, and what to do."""
    others = ",".join(
        other
        for other in columns
        if is_binary(table.columns[other]) or find_lack(table, other, table.columns[other]) is None
    )
    remedy = f"name those to learn: --config.data.attributes={others}" if others else "learn none"
    named = f"{others},{column}" if others else column
    return DataError(
        f"{table.line(lack.row)}, column {column!r}: {table.columns[column][lack.row][:80]!r}, but "
        f"{lack.rule} Correct it, remove the column, or {remedy}. "
        + f"If they are classes, name the column too: --config.data.attributes={named}. "
        * lack.may_be_classes
        + "--config.data.labels=none goes on without any labels."
    )


def doubt_numbers(table: CsvTable, column: str, columns: Sequence[str]) -> Doubt:
    """Returns the doubt whether the few different numbers of a column are classes."""
    values = [value.strip() for value in table.columns[column]]
    known = sort_values(set(values))
    counts = [f"{column}={value} ({values.count(value):,})" for value in known]
    others = [other for other in columns if other != column]
    settings = {f"--config.data.attributes={','.join(columns)}": "they are"}
    if others:
        settings[f"--config.data.attributes={','.join(others)}"] = "leave the column aside"
    return Doubt(
        f"{table.where}: the column {column!r} holds {len(known)} different numbers, which would "
        f"become classes: {first_few(counts)}",
        settings,
    )


def warn_of_dates(table: CsvTable, column: str, known: Sequence[str]) -> None:
    """Warns of values that a spreadsheet has made dates of: "Oct-19" was 10-19."""
    dates = [value for value in known if DATE.fullmatch(value)]
    if dates and len(dates) < len(known):
        log.warning(
            "%s, column %r: %s looks like a date that a spreadsheet made of a range (Oct-19 of "
            "10-19). It is taken as it stands there.",
            *(table.where, column, " and ".join(dates)),
        )


def sort_values(values: Collection[str]) -> list[str]:
    """Sorts values by the numbers in them, then as text: 3-9 before 10-19."""
    numbers = re.compile(r"[0-9]{1,9}")

    def key(value: str) -> tuple:
        return (not value[:1].isdecimal(), [int(x) for x in numbers.findall(value)], value)

    if all(value[:1].isdecimal() for value in values):
        return sorted(values, key=key)
    return sorted(values)
