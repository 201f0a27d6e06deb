"""Finds the labels of one's own pictures: in a CSV file, or in the names of their folders.

`find_labels` decides which, and reads only the names of the attributes; `read_csv_labels` or
`label_classes` return the rest, as `FolderLabels`.
"""

import functools
import posixpath
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from gan.config import Data
from gan.data.files import Files, Folder, Stamp, to_text
from gan.data.readers.csv_labels import CsvTable, read_column_names, read_csv
from gan.data.source import match_names
from gan.errors import ConfigError, DataError, first_few, nearest

SPLIT_FOLDERS = {
    "train": "train",
    **dict.fromkeys(("validation", "valid", "val"), "validation"),
    "test": "test",
}
SPLIT_VALUES = SPLIT_FOLDERS | {"0": "train", "1": "validation", "2": "test"}
SPLIT_COLUMNS, PERSON_COLUMNS = ("split", "partition"), ("identity", "person")


class FolderContents(NamedTuple):
    """What lies in a folder or zip of one's own pictures."""

    files: Files
    stamps: Mapping[str, Stamp]  # The stamp of each picture, by its name.
    common: tuple[str, ...]  # The folders that all pictures lie in.
    others: Sequence[str]  # Names of the files that are no pictures.


class FolderLabels(NamedTuple):
    """The labels of all n pictures that are used."""

    names: Sequence[str]  # Names of the pictures.
    attributes: np.ndarray  # uint8 [n a] of 0 | 1.
    splits: Sequence[str] | None  # None if they are to be split by hash.
    people: Sequence[str]  # Who is on each picture; "" where unknown.
    left_out: Sequence[tuple[str, str, str]] = ()  # (split, picture, reason) of other pictures.


class FoundLabels(NamedTuple):
    """Where the labels are."""

    names: tuple[str, ...]  # Names of the attributes.
    load: Callable[[], FolderLabels]  # Reads the labels.
    csv: tuple[Files, str] | None  # The CSV file, if they are in one.
    how: str  # What they tell, for the log.


def find_labels(config: Data, found: FolderContents) -> FoundLabels:
    """Finds out where the labels of these pictures are, and reads the names of the attributes.

    ConfigError if `config.labels` is missing or unclear, DataError for a wrong first line of the
    CSV file, and for folders of which the splits or classes are unclear.
    """
    csv = find_csv(config, found)
    if csv is None:
        names, splits, classes = parse_folders(found)
        how = f"{len(names)} classes: {first_few(list(names))}" if names else "no labels"
        how += "; splits by folder" if splits else "; split by file"
        load = functools.partial(label_classes, found, names, splits, classes)
        return FoundLabels(names, load, None, how)
    where = csv[0].where(csv[1])
    columns = read_column_names(*csv)
    split, person = (
        find_column(where, columns, known) for known in (SPLIT_COLUMNS, PERSON_COLUMNS)
    )
    names = tuple(name for name in columns if name not in (split, person))
    how = f"{len(names)} attributes from {where}; " + (
        f"splits by its column {split!r}"
        if split
        else "split by identity"
        if person
        else "split by file"
    )
    load = functools.partial(read_csv_labels, found, csv, names, split, person, config.on_bad)
    how += f"; {'with' if person else 'without'} identities"
    return FoundLabels(names, load, csv, how)


def find_csv(config: Data, found: FolderContents) -> tuple[Files, str] | None:
    """Returns the CSV file `config.labels`, or the only one beside the pictures or above them.

    ConfigError if `config.labels` is not there, or if it has to choose between several.
    """
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
            if name.lower().endswith(".csv") and get_folders(name) == found.common[:depth]
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


def find_column(where: str, columns: Sequence[str], known: Sequence[str]) -> str | None:
    """Returns the column with one of the known names, or None. DataError if there are several."""
    found = [name for name in columns if name.lower() in known]
    if len(found) > 1:
        raise DataError(f"{where}, line 1: {' and '.join(found)} mean the same. Remove one.")
    return found[0] if found else None


def read_csv_labels(
    found: FolderContents,
    csv: tuple[Files, str],
    names: tuple[str, ...],
    split: str | None,
    person: str | None,
    on_bad: str,
) -> FolderLabels:
    """Reads the labels from a CSV file; `names`, `split` and `person` are columns of it.

    DataError if a value is wrong, or if the file and the folder name different pictures.
    """
    table = read_csv(*csv)
    columns = [table.binary(name) for name in names]
    attributes = np.stack(columns, axis=1) if names else np.zeros((len(table.lines), 0), np.uint8)
    splits = [read_split(table, split, row) for row in range(len(table.lines))] if split else None
    people = [text.strip() for text in table.columns[person]] if person else [""] * len(table.lines)
    rows = match_rows(table, found)
    if not rows.keys() & found.stamps.keys():
        raise DataError(
            f"{table.where}: not one of its {len(rows):,} names is that of a picture in "
            f"{found.files.path}: the CSV has {table.pictures[0][:80]!r}, the folder has "
            f"{min(found.stamps)!r}. The first column has to name pictures by their path in the "
            "folder, or by the end of it."
        )
    pictures, lost = match_names(table.where, rows, str(found.files.path), found.stamps, on_bad)
    chosen = [rows[name] for name in pictures]
    return FolderLabels(
        names=pictures,
        attributes=attributes[chosen],
        splits=splits and [splits[row] for row in chosen],
        people=[people[row] for row in chosen],
        left_out=[
            (splits[rows[name]] if splits and name in rows else "train", name, reason)
            for name, reason in lost
        ],
    )


def read_split(table: CsvTable, column: str, row: int) -> str:
    """Returns the split that a row names. DataError if it is none of `SPLIT_VALUES`."""
    value = table.columns[column][row]
    if value.strip().lower() not in SPLIT_VALUES:
        raise DataError(
            f"{table.line(row)}, column {column!r}: {value[:80]!r} is none of "
            f"{', '.join(SPLIT_VALUES)}.{nearest(value, SPLIT_VALUES)}"
        )
    return SPLIT_VALUES[value.strip().lower()]


def match_rows(table: CsvTable, found: FolderContents) -> dict[str, int]:
    """Returns the row of each picture that the table names.

    A row names a picture by its path or by the end of it; a name that fits none is kept as it is.
    DataError if a row fits several pictures, or a picture several rows.
    """
    ends = functools.cache(functools.partial(index_ends, found.stamps))
    place = found.files.path
    places = [path.as_posix().split("/") for path in {place.absolute(), place.resolve()}]
    rows: dict[str, int] = {}
    for row, name in enumerate(table.pictures):
        name = name.removeprefix("./")
        fits = [name] if name in found.stamps else find_spelled(name, ends, places) or [name]
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


def find_spelled(
    name: str,
    ends: Callable[[Callable[[str], str]], Mapping[str, Sequence[str]]],
    places: Sequence[Sequence[str]],
) -> Sequence[str]:
    """Returns the pictures that a row's name may mean, by the strictest spelling that fits any.

    `ends(spell)` is `index_ends` in that spelling; `places` are paths to the folder, in parts.
    """
    names = [name]
    if "\\" in name:
        names.append(name.replace("\\", "/").removeprefix("./"))
    parts = names[-1].split("/")
    for place in places:  # The name may lead to the folder, and on to the picture.
        for num in range(1, min(len(parts), len(place) + 1)):
            if list(place[-num:]) == parts[:num]:
                names.append("/".join(parts[num:]))
    for spell, written in ((str, str), (lower_extension, lower_extension), (drop_extension, str)):
        for name in names:
            if fits := ends(spell).get(written(name)):
                return fits
    return ()


def index_ends(pictures: Mapping[str, Stamp], spell: Callable[[str], str]) -> dict[str, list[str]]:
    """Returns the pictures by each end of their paths, spelled by `spell`: a/b.jpg and b.jpg.

    Where an end is also the whole path of a picture, only that picture is meant.
    """
    paths: dict[str, list[str]] = {}
    ends: dict[str, list[str]] = {}
    for picture in pictures:
        parts = spell(picture).split("/")
        paths.setdefault("/".join(parts), []).append(picture)
        for first in range(1, len(parts)):
            ends.setdefault("/".join(parts[first:]), []).append(picture)
    return ends | paths


def lower_extension(name: str) -> str:
    """Returns a/B.jpg for a/B.JPG."""
    stem, extension = posixpath.splitext(name)
    return stem + extension.lower()


def drop_extension(name: str) -> str:
    """Returns a/B for a/B.JPG."""
    return posixpath.splitext(name)[0]


def parse_folders(found: FolderContents) -> tuple[tuple[str, ...], list[str] | None, list[str]]:
    """Returns the names of the classes, the split of each picture, and the class of each picture.

    Splits are None unless all folders at the top are named as splits. DataError for pictures whose
    split or class is unclear.
    """
    below = [get_folders(name)[len(found.common) :] for name in found.stamps]
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
    classes = [to_text(folders[0]) if folders else "" for folders in below]
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


def label_classes(
    found: FolderContents, names: tuple[str, ...], splits: list[str] | None, classes: list[str]
) -> FolderLabels:
    """Returns the labels of pictures in a folder a class: one-hot, in the order of `names`."""
    attributes = np.zeros((len(classes), len(names)), np.uint8)
    if names:
        columns = {name: column for column, name in enumerate(names)}
        attributes[np.arange(len(classes)), [columns[kind] for kind in classes]] = 1
    return FolderLabels(list(found.stamps), attributes, splits, [""] * len(classes))


def get_folders(name: str) -> tuple[str, ...]:
    """Returns the folders in a path, from the top: ("a", "b") for a/b/1.jpg."""
    return PurePosixPath(name).parts[:-1]
