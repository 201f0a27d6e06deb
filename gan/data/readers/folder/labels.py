"""Finds the labels of one's own pictures: in files, or in the names of their folders.

`find_labels` reads the files, as the values of a column tell the names of its attributes; a second
reading is spared, because `FoundLabels.load` returns what was read.
"""

import functools
import itertools
import json
from collections.abc import Mapping, Sequence

from gan.config import Data
from gan.data.readers.csv_labels import CsvTable
from gan.data.readers.folder.columns import Encoded, encode_columns, is_binary
from gan.data.readers.folder.contents import FolderContents, FolderLabels, FoundLabels, LabelFile
from gan.data.readers.folder.folder_names import (
    OLD_SPLITS,
    ParsedFolders,
    check_classes,
    doubt_classes,
    label_classes,
    parse_folders,
    parse_split,
)
from gan.data.readers.folder.label_files import (
    CLASS,
    HOW_TO_SETTLE,
    STYLEGAN,
    choose_metadata_column,
    find_label_files,
    read_label_file,
)
from gan.data.readers.folder.table_rows import Find, make_finder, match_rows
from gan.data.source import match_names
from gan.errors import DataError, first_few, nearest

SPLIT_NUMBERS = {"0": "train", "1": "validation", "2": "test"}
SPLIT_COLUMNS, PERSON_COLUMNS = ("split", "partition"), ("identity", "person")
TRIED = 100  # Rows that tell whether a column names pictures.


def find_labels(config: Data, found: FolderContents) -> FoundLabels:
    """Finds the labels of these pictures.

    ConfigError if `config.labels` is missing or unclear, DataError for wrong files of labels, and
    for folders of which the splits or classes are unclear.
    """
    parsed = parse_folders(found, strict=config.labels == "auto")
    if config.labels == "none":
        without = parsed._replace(names=())
        return found_in_folders(found, without, "none", "no labels, as --config.data.labels=none")
    files = [] if config.labels == "folders" else find_label_files(config, found)
    if files:
        return find_in_files(config, found, parsed, files)
    check_classes(found, parsed)
    doubts = doubt_classes(found, parsed) if config.labels == "auto" else ()
    num = len(parsed.names)
    how = f"{num} classes: {first_few(list(parsed.names))}" if num else "no labels"
    return found_in_folders(found, parsed, "", how)._replace(doubts=doubts)


def found_in_folders(
    found: FolderContents, parsed: ParsedFolders, key: str, how: str
) -> FoundLabels:
    """Returns the labels and splits that folders tell."""
    return FoundLabels(
        parsed.names,
        (parsed.names,) if parsed.names else (),
        functools.partial(label_classes, found, parsed),
        (),
        how + ("; splits by folder" if parsed.splits else "; split by file"),
        key if parsed.is_old else f"{key} folders",
    )


def find_in_files(
    config: Data, found: FolderContents, parsed: ParsedFolders, files: Sequence[LabelFile]
) -> FoundLabels:
    """Returns the labels that files tell."""
    tables = []
    for file in files:
        part = choose_pictures(found, parsed, file, len(files))
        find = make_finder(part, file.folder)
        table = read_label_file(file, functools.partial(choose_column, file, find))
        rows = match_rows(table, find)
        if not rows.keys() & part.stamps.keys() and table.pictures:
            raise DataError(
                f"{table.where}: not one of its {len(rows):,} names is that of a picture in "
                f"{found.files.path}: the {file.kind} has {table.pictures[0][:80]!r}, the folder "
                f"has {min(part.stamps, default='none')!r}. The first column has to name pictures "
                "by their path in the folder, or by the end of it. If these are no labels of the "
                f"pictures: {HOW_TO_SETTLE}"
            )
        order = sorted(rows, key=rows.get)
        tables.append((file, table, order))
    if not any(table.columns for _, table, _ in tables) and files[0].kind == STYLEGAN:
        how = f"{files[0].where} says that there are no labels"
        return found_in_folders(found, parsed._replace(names=()), "none", how)
    whole = join_tables([(table, order) for _, table, order in tables])
    split, person = find_special(whole)
    names = [name for name in whole.columns if name not in (split, person)]
    encoded = encode_columns(
        whole, names, config.attributes, (CLASS,) * (files[0].kind == STYLEGAN)
    )
    told = [file.split for file, _, order in tables for _ in order]
    splits, by = choose_splits(found, parsed, whole, split, told)
    how = f"{len(encoded.names)} attributes from {whole.where}; "
    if by:
        how += f"splits by {by}"
    else:
        how += "split by identity" if person else "split by file"
    how += f"; {'with' if person else 'without'} identities"
    how += f"; columns left aside: {', '.join(encoded.aside)}" * bool(encoded.aside)
    return FoundLabels(
        encoded.names,
        encoded.groups,
        functools.partial(match_pictures, whole, encoded, splits, person, found, config.on_bad),
        files,
        how,
        make_key(files, whole, encoded, by, split),
        encoded.doubts,
    )


def make_key(
    files: Sequence[LabelFile], table: CsvTable, encoded: Encoded, by: str, split: str | None
) -> str:
    """Returns how labels are read, for the fingerprint; "" if older editions read them so."""
    is_old = len(files) == 1 and files[0].kind == "CSV" and not encoded.groups
    if is_old and not encoded.aside and (not by or split):
        return ""
    return json.dumps([sorted(file.name for file in files), encoded.names, by, table.unit])


def choose_pictures(
    found: FolderContents, parsed: ParsedFolders, file: LabelFile, num: int
) -> FolderContents:
    """Returns the pictures that one of `num` files of labels may name.

    They are those beside and below it, or of the split that it is named for; all of a single one.
    """
    stamps = found.stamps
    if num > 1 and file.split and parsed.splits:
        of_split = {n for n, x in zip(stamps, parsed.splits, strict=True) if x == file.split}
        stamps = {name: stamp for name, stamp in stamps.items() if name in of_split}
    elif num > 1 and file.folder and not file.split:
        start = f"{file.folder}/"
        stamps = {name: stamp for name, stamp in stamps.items() if name.startswith(start)}
    return found._replace(stamps=stamps)


def choose_column(file: LabelFile, find: Find, columns: Mapping[str, Sequence[str]]) -> str:
    """Returns the column that names pictures.

    That is Hugging Face's `file_name` in its files, else the first whose first rows name any; only
    paths and files with extensions count beyond the first column. By default it is the first.
    """
    if file.is_metadata and (name := choose_metadata_column(columns)):
        return name
    first, *others = columns
    for name in (first, *others):
        some = [value.strip() for value in itertools.islice(columns[name], TRIED)]
        if name != first:
            some = [value for value in some if "." in value or "/" in value]
        if any(map(find, some)):
            return name
    return first


def join_tables(tables: Sequence[tuple[CsvTable, Sequence[str]]]) -> CsvTable:
    """Returns one table of several; `tables` come with the pictures that their rows mean.

    DataError if their columns are not the same.
    """
    (first, _), *others = tables
    for table, _ in others:
        if table.columns.keys() != first.columns.keys():
            lack = sorted(table.columns.keys() ^ first.columns.keys())
            raise DataError(
                f"{table.where}: its columns are others than those of {first.where}: "
                f"{first_few(lack)}. Write the same columns into both. {HOW_TO_SETTLE}"
            )
    return CsvTable(
        " and ".join(table.where for table, _ in tables[:2])
        + f" and {len(tables) - 2} more" * (len(tables) > 2),
        [line for table, _ in tables for line in table.lines],
        [name for _, order in tables for name in order],
        {
            column: [value for table, _ in tables for value in table.columns[column]]
            for column in first.columns
        },
        [table.where for table, _ in tables for _ in table.lines],
        first.unit,
    )


def find_special(table: CsvTable) -> tuple[str | None, str | None]:
    """Returns the columns that tell split and identity, or None. DataError if there are several.

    A column "person" of 0 and 1 is an attribute: whether there is one.
    """
    people = [
        name
        for name in table.columns
        if name.lower() != "person" or not is_binary({x.strip() for x in table.columns[name]})
    ]
    split = find_column(table.where, [*table.columns], SPLIT_COLUMNS)
    return split, find_column(table.where, people, PERSON_COLUMNS)


def find_column(where: str, columns: Sequence[str], known: Sequence[str]) -> str | None:
    """Returns the column with one of the known names, or None. DataError if there are several."""
    found = [name for name in columns if name.lower() in known]
    if len(found) > 1:
        raise DataError(f"{where}, line 1: {' and '.join(found)} mean the same. Remove one.")
    return found[0] if found else None


def choose_splits(
    found: FolderContents,
    parsed: ParsedFolders,
    table: CsvTable,
    column: str | None,
    told: Sequence[str | None],
) -> tuple[Sequence[str] | None, str]:
    """Returns the split of each row, and what tells it: a column, the file, the folder, or nothing.

    `told` is the split that the file of each row is named for.
    """
    if column:
        return [read_split(table, column, row) for row in range(len(table.lines))], (
            f"its column {column!r}"
        )
    if told and None not in told:
        return told, "file"
    if parsed.splits:
        by_picture = dict(zip(found.stamps, parsed.splits, strict=True))
        return [by_picture.get(name, "train") for name in table.pictures], "folder"
    return None, ""


def read_split(table: CsvTable, column: str, row: int) -> str:
    """Returns the split that a row names. DataError if it names none."""
    value = table.columns[column][row].strip()
    split = SPLIT_NUMBERS.get(value) or parse_split(value)
    if split is None:
        known = (*OLD_SPLITS, *SPLIT_NUMBERS)
        raise DataError(
            f"{table.line(row)}, column {column!r}: {value[:80]!r} is none of "
            f"{', '.join(known)}.{nearest(value, known)}"
        )
    return split


def match_pictures(
    table: CsvTable,
    encoded: Encoded,
    splits: Sequence[str] | None,
    person: str | None,
    found: FolderContents,
    on_bad: str,
) -> FolderLabels:
    """Returns the labels of the pictures that have some; `table.pictures` are names of pictures.

    DataError if labels and folder name different pictures, unless `on_bad` is "skip".
    """
    rows = {name: row for row, name in enumerate(table.pictures)}
    pictures, lost = match_names(table.where, rows, str(found.files.path), found.stamps, on_bad)
    chosen = [rows[name] for name in pictures]
    people = [text.strip() for text in table.columns[person]] if person else [""] * len(rows)
    return FolderLabels(
        names=pictures,
        attributes=encoded.attributes[chosen],
        splits=splits and [splits[row] for row in chosen],
        people=[people[row] for row in chosen],
        left_out=[
            (splits[rows[name]] if splits and name in rows else "train", name, reason)
            for name, reason in lost
        ],
    )
