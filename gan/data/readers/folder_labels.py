"""Labels of one's own pictures: from a CSV file, or from the folders that they lie in."""

import functools
import posixpath
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from gan.config import Data
from gan.data.readers.csv_labels import Table, column_names, read_table
from gan.data.readers.files import Files, Folder, Stamp
from gan.data.source import match_names
from gan.errors import ConfigError, DataError, first_few, nearest

SPLIT_FOLDERS = {
    "train": "train",
    **dict.fromkeys(("validation", "valid", "val"), "validation"),
    "test": "test",
}
SPLIT_VALUES = SPLIT_FOLDERS | {"0": "train", "1": "validation", "2": "test"}
SPLIT_COLUMNS, PERSON_COLUMNS = ("split", "partition"), ("identity", "person")


class Found(NamedTuple):
    """What lies at the path."""

    files: Files
    stamps: Mapping[str, Stamp]  # Of each picture.
    common: tuple[str, ...]  # The folders that all pictures lie in.
    others: Sequence[str]  # Files that are no pictures.


class Labels(NamedTuple):
    """Of all pictures that are used."""

    names: Sequence[str]
    attributes: np.ndarray  # uint8 [n a] of 0 | 1
    splits: Sequence[str] | None  # None: to be split by hash.
    people: Sequence[str]  # "" where unknown.
    left_out: Sequence[tuple[str, str, str]] = ()  # (split, picture, reason)


def read_labels(
    config: Data, found: Found
) -> tuple[tuple[str, ...], Callable[[], Labels], tuple[Files, str] | None, str]:
    """Names of the attributes, how to read the rest, the CSV if there is one, and a description."""
    labels = find_csv(config, found)
    if labels is None:
        names, splits, classes = read_folders(found)
        how = f"{len(names)} classes: {first_few(list(names))}" if names else "no labels"
        how += "; splits by folder" if splits else "; split by file"
        return names, functools.partial(of_folders, found, names, splits, classes), None, how
    where = labels[0].where(labels[1])
    columns = column_names(*labels)
    split, person = (
        special_column(where, columns, known) for known in (SPLIT_COLUMNS, PERSON_COLUMNS)
    )
    names = tuple(name for name in columns if name not in (split, person))
    how = f"{len(names)} attributes from {where}; " + (
        f"splits by its column {split!r}"
        if split
        else "split by identity"
        if person
        else "split by file"
    )
    load = functools.partial(of_table, found, labels, names, split, person, config.on_bad)
    return names, load, labels, f"{how}; {'with' if person else 'without'} identities"


def find_csv(config: Data, found: Found) -> tuple[Files, str] | None:
    """`config.labels`, or the only CSV file beside the pictures or above them."""
    if config.labels is not None:
        path = Path(config.labels).expanduser()
        if path.is_file():
            return Folder(path.parent), path.name
        if config.labels in found.others:
            return found.files, config.labels
        raise ConfigError(
            f"config.data.labels={config.labels!r} is no file, nor one within {found.files.path}."
            f"{nearest(config.labels, found.others)}"
        )
    for depth in range(len(found.common) + 1):
        files = [
            name
            for name in found.others
            if name.lower().endswith(".csv") and folders_of(name) == found.common[:depth]
        ]
        if len(files) > 1:
            raise ConfigError(
                f"config.data.labels is not given, and {found.files.path} holds {len(files)} CSV "
                f"files: {first_few(files)}. Name the one with the labels: "
                f"--config.data.labels={files[0]}."
            )
        if files:
            return found.files, files[0]
    return None


def special_column(where: str, columns: Sequence[str], known: Sequence[str]) -> str | None:
    """The one column with one of the known names, if there is one."""
    found = [name for name in columns if name.lower() in known]
    if len(found) > 1:
        raise DataError(f"{where}, line 1: {' and '.join(found)} mean the same. Remove one.")
    return found[0] if found else None


def of_table(
    found: Found,
    labels: tuple[Files, str],
    names: tuple[str, ...],
    split: str | None,
    person: str | None,
    on_bad: str,
) -> Labels:
    """Labels from a CSV file."""
    table = read_table(*labels)
    columns = [table.binary(name) for name in names]
    attributes = np.stack(columns, axis=1) if names else np.zeros((len(table.lines), 0), np.uint8)
    splits = [split_of(table, split, row) for row in range(len(table.lines))] if split else None
    people = [text.strip() for text in table.columns[person]] if person else [""] * len(table.lines)
    rows = resolve(table, found)
    if not rows.keys() & found.stamps.keys():
        raise DataError(
            f"{table.where}: not one of its {len(rows):,} names is that of a picture in "
            f"{found.files.path}: the CSV has {table.pictures[0][:80]!r}, the folder has "
            f"{min(found.stamps)!r}. The first column has to name pictures by their path in the "
            "folder, or by the end of it."
        )
    pictures, lost = match_names(table.where, rows, str(found.files.path), found.stamps, on_bad)
    chosen = [rows[name] for name in pictures]
    return Labels(
        names=pictures,
        attributes=attributes[chosen],
        splits=splits and [splits[row] for row in chosen],
        people=[people[row] for row in chosen],
        left_out=[
            (splits[rows[name]] if splits and name in rows else "train", name, reason)
            for name, reason in lost
        ],
    )


def split_of(table: Table, column: str, row: int) -> str:
    """The split of a row."""
    value = table.columns[column][row]
    if value.strip().lower() not in SPLIT_VALUES:
        raise DataError(
            f"{table.line(row)}, column {column!r}: {value[:80]!r} is none of "
            f"{', '.join(SPLIT_VALUES)}.{nearest(value, SPLIT_VALUES)}"
        )
    return SPLIT_VALUES[value.strip().lower()]


def resolve(table: Table, found: Found) -> dict[str, int]:
    """Picture -> row. A row's name is a path, or an end of one; else it is kept as it is."""
    ends = functools.cache(functools.partial(ends_of, found.stamps))
    place = found.files.path
    places = [path.as_posix().split("/") for path in {place.absolute(), place.resolve()}]
    rows: dict[str, int] = {}
    for row, name in enumerate(table.pictures):
        name = name.removeprefix("./")
        fits = [name] if name in found.stamps else candidates(name, ends, places) or [name]
        if len(fits) > 1:
            raise DataError(
                f"{table.line(row)}: {name!r} is each of {first_few(fits)}. Write it with folder "
                "and extension."
            )
        if rows.setdefault(fits[0], row) != row:
            raise DataError(
                f"{table.line(row)}: {name!r} stands there a second time, after line "
                f"{table.lines[rows[fits[0]]]}."
            )
    return rows


def candidates(
    name: str,
    ends: Callable[[Callable[[str], str]], Mapping[str, Sequence[str]]],
    places: Sequence[Sequence[str]],
) -> Sequence[str]:
    """The pictures that a row may mean, by the strictest spelling that any fits."""
    names = [name]
    if "\\" in name:
        names.append(name.replace("\\", "/").removeprefix("./"))
    parts = names[-1].split("/")
    for place in places:  # A path to the folder, and on to the picture.
        for num in range(1, min(len(parts), len(place) + 1)):
            if list(place[-num:]) == parts[:num]:
                names.append("/".join(parts[num:]))
    for spell, written in ((str, str), (small_extension, small_extension), (no_extension, str)):
        for name in names:
            if fits := ends(spell).get(written(name)):
                return fits
    return ()


def ends_of(pictures: Mapping[str, Stamp], spell: Callable[[str], str]) -> dict[str, list[str]]:
    """Each path, spelled so, and each end of one that is no path itself -> the pictures."""
    paths: dict[str, list[str]] = {}
    ends: dict[str, list[str]] = {}
    for picture in pictures:
        parts = spell(picture).split("/")
        paths.setdefault("/".join(parts), []).append(picture)
        for first in range(1, len(parts)):
            ends.setdefault("/".join(parts[first:]), []).append(picture)
    return ends | paths


def small_extension(name: str) -> str:
    """a/B.JPG -> a/B.jpg"""
    stem, extension = posixpath.splitext(name)
    return stem + extension.lower()


def no_extension(name: str) -> str:
    """a/B.JPG -> a/B"""
    return posixpath.splitext(name)[0]


def read_folders(found: Found) -> tuple[tuple[str, ...], list[str] | None, list[str]]:
    """Names of the classes; split, where folders say it, and class of each picture."""
    below = [folders_of(name)[len(found.common) :] for name in found.stamps]
    tops = {folders[0] if folders else "" for folders in below}
    others = sorted(top for top in tops if top.lower() not in SPLIT_FOLDERS)
    splits = None
    if not others:
        splits = [SPLIT_FOLDERS[folders[0].lower()] for folders in below]
        below = [folders[1:] for folders in below]
    elif "train" in map(str.lower, tops):
        raise DataError(
            f"{found.files.path}: the folder train looks like a split, but pictures lie in "
            f"{first_few([top or 'no folder' for top in others])} too. Put all of them into "
            "train, validation and test, or none."
        )
    classes = [folders[0] if folders else "" for folders in below]
    names = sorted(set(classes))
    if len(names) > 1 and not names[0]:
        loose = next(name for name, kind in zip(found.stamps, classes, strict=True) if not kind)
        raise DataError(
            f"{found.files.where(loose)} lies beside the folders {first_few(names[1:])}, so its "
            "class is unknown. Move all such pictures into folders too, or give a CSV of labels: "
            "--config.data.labels=FILE."
        )
    if splits and "train" in splits:
        learnt = {kind for kind, split in zip(classes, splits, strict=True) if split == "train"}
        for name, kind in zip(found.stamps, classes, strict=True):
            if kind not in learnt:
                raise DataError(
                    f"{found.files.where(name)}: there is no folder {kind!r} in train."
                    f"{nearest(kind, learnt)}"
                )
    return tuple(names) if len(names) > 1 else (), splits, classes


def of_folders(
    found: Found, names: tuple[str, ...], splits: list[str] | None, classes: list[str]
) -> Labels:
    """Labels from sub-folders: one-hot."""
    attributes = np.zeros((len(classes), len(names)), np.uint8)
    if names:
        columns = {name: column for column, name in enumerate(names)}
        attributes[np.arange(len(classes)), [columns[kind] for kind in classes]] = 1
    return Labels(list(found.stamps), attributes, splits, [""] * len(classes))


def folders_of(name: str) -> tuple[str, ...]:
    """The folders in a path."""
    return PurePosixPath(name).parts[:-1]
