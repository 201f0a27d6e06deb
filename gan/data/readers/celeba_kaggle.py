"""Reads CelebA as Kaggle ships it, in the data set "celeba-dataset".

    list_attr_celeba.csv                        image_id,5_o_Clock_Shadow,...  (-1 | 1 or 0 | 1)
    list_eval_partition.csv                     image_id,partition             (may be missing)
    img_align_celeba/img_align_celeba/*.jpg     or one level less

These lie in a folder, or in a zip (Kaggle's archive.zip), which may itself lie in the folder. There
are no identities, unless someone put `identity_CelebA.txt`, or `.csv`, beside them.

The source has CelebA's 40 attributes in the order of the file, and JPEG files of one frame.
"""

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gan.config import Data
from gan.data.files import (
    WHOLE_END,
    Files,
    Zip,
    find_top_folder,
    join_names,
    open_data,
    open_files,
    require_file,
)
from gan.data.readers.celeba_files import (
    LabelReaders,
    make_celeba_source,
)
from gan.data.readers.celeba_labels import LabelTable, check_attribute_names, read_text_numbers
from gan.data.readers.celeba_places import (
    PICTURE_NAME,
    find_home,
    find_official,
    find_pictures,
)
from gan.data.readers.csv_labels import read_column_names, read_csv
from gan.data.source import SPLITS, Source
from gan.errors import DataError, first_few

PICTURE_FOLDER = "img_align_celeba"
ATTRIBUTE_FILE = "list_attr_celeba.csv"
PARTITION_FILE = "list_eval_partition.csv"
IDENTITY_FILES = ("identity_CelebA.txt", "identity_CelebA.csv")
HOW_TO_GET = (
    "On Kaggle the data set is called 'celeba-dataset', and its archive.zip is read as it is; "
    "nothing is downloaded here."
)


def open_source(config: Data) -> Source:
    """Opens the data set in the folder or zip `config.path`.

    ConfigError without a path; DataError names the file that is missing or damaged.
    """
    files = open_data(
        config,
        "celeba_kaggle",
        f"{PICTURE_FOLDER}, {ATTRIBUTE_FILE} and {PARTITION_FILE}",
        HOW_TO_GET,
    )
    files = _find_zip_within(files) or files
    folders = [find_home(files, ATTRIBUTE_FILE)]
    attributes, partition, *identities = (
        find_official(files, name, folders)
        for name in (ATTRIBUTE_FILE, PARTITION_FILE, *IDENTITY_FILES)
    )
    attributes = attributes or require_file(files, ATTRIBUTE_FILE, folders)
    identity = next(filter(None, identities), None)
    names = check_attribute_names(
        f"{files.where(attributes)}, line 1", read_column_names(files, attributes)
    )
    if not names:
        raise DataError(
            f"{files.where(attributes)}, line 1 names no attribute, only the column of pictures. "
            "Fetch the file again."
        )
    prefix = join_names(folders[0], PICTURE_FOLDER)
    pictures = find_pictures(files, [join_names(prefix, PICTURE_FOLDER), prefix])
    return make_celeba_source(
        config,
        "celeba_kaggle",
        f"CelebA's Kaggle files in {files.path}",
        names,
        LabelReaders(
            functools.partial(read_csv_attributes, files, attributes),
            partition and functools.partial(read_csv_numbers, files, partition, len(SPLITS)),
            identity and _choose_identity_reader(files, identity),
        ),
        files,
        (attributes, partition, identity),
        pictures,
    )


def recognise(path: Path) -> bool:
    """Tells whether Kaggle's files lie at `path`, or a zip of them does."""
    try:
        files = open_files(path)
        files = _find_zip_within(files) or files
        return files.has(join_names(find_top_folder(files), ATTRIBUTE_FILE))
    except (OSError, ValueError):  # DataError is a ValueError.
        return False


def read_csv_attributes(files: Files, name: str) -> LabelTable:
    """Reads the attributes in a CSV file, as uint8 [n a] of 0 | 1. DataError if it is bad."""
    table = read_csv(files, name)
    columns = [table.binary(column) for column in table.columns]
    return LabelTable(table.where, _number(table.pictures), np.stack(columns, axis=1))


def read_csv_numbers(files: Files, name: str, end: int = WHOLE_END) -> LabelTable:
    """Reads the only column of a CSV file, whole numbers from 0 to `end` - 1, as int32 [n].

    DataError if there are more columns or other values.
    """
    table = read_csv(files, name)
    if len(table.columns) != 1:
        raise DataError(
            f"{table.where}, line 1: one column besides the pictures' is needed, not "
            f"{len(table.columns)}: {first_few(list(table.columns))}. Remove the others."
        )
    numbers = table.whole(next(iter(table.columns)), end).astype(np.int32)
    return LabelTable(table.where, _number(table.pictures), numbers)


def _choose_identity_reader(files: Files, name: str) -> Callable[[], LabelTable]:
    if name.endswith(".csv"):
        return functools.partial(read_csv_numbers, files, name)
    return functools.partial(read_text_numbers, files, name, PICTURE_NAME)


def _number(pictures: list[str]) -> dict[str, int]:
    """Returns the row of each picture."""
    return {picture: row for row, picture in enumerate(pictures)}


def _find_zip_within(files: Files) -> Zip | None:
    """Returns the zip of everything, if a folder has that instead of the files."""
    if isinstance(files, Zip) or files.has(ATTRIBUTE_FILE):
        return None
    found = []
    for name in files.list():
        if name.lower().endswith(".zip"):
            try:
                archive = Zip(files.path / name)
            except DataError:
                continue  # Perhaps the zip of the pictures: `find_pictures` reports its damage.
            if archive.has(join_names(find_top_folder(archive), ATTRIBUTE_FILE)):
                found.append(archive)
    if len(found) > 1:
        names = [archive.path.name for archive in found]
        raise DataError(
            f"{files.path}: {first_few(names)} each hold {ATTRIBUTE_FILE}. Name the one to use: "
            f"--config.data.path={found[0].path}."
        )
    return found[0] if found else None
