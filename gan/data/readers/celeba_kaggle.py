"""CelebA as Kaggle ships it.

    list_attr_celeba.csv                        image_id,5_o_Clock_Shadow,...  (-1 | 1 or 0 | 1)
    list_eval_partition.csv                     image_id,partition             (may be missing)
    img_align_celeba/img_align_celeba/*.jpg     or one level less

in a folder, or in a zip that is never unpacked (`archive.zip`, which may lie in the folder). There
are no identities, unless someone put `identity_CelebA.txt`, or `.csv`, beside them.
"""

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gan.config import Data
from gan.data.readers import celeba_text
from gan.data.readers.celeba_files import (
    PICTURE,
    find_pictures,
    first_size,
    frame_of,
    join,
    locate,
    open_data,
    require,
    top_folder,
)
from gan.data.readers.celeba_official import Labels, check_names, make_source
from gan.data.readers.csv_labels import column_names, read_table
from gan.data.readers.files import MAX_TEXT, Files, Zip, open_files
from gan.data.source import SPLITS, Source
from gan.errors import DataError, first_few

PICTURES = "img_align_celeba"
ATTRIBUTE_FILE = "list_attr_celeba.csv"
PARTITION_FILE = "list_eval_partition.csv"
IDENTITY_FILES = ("identity_CelebA.txt", "identity_CelebA.csv")
HOW_TO_GET = (
    "On Kaggle the data set is called 'celeba-dataset', and its archive.zip is read as it is; "
    "nothing is downloaded here."
)


def open_source(config: Data) -> Source:
    """The data set in the folder or zip `config.path`; DataError names what is wrong and where."""
    files = open_data(
        config, "celeba_kaggle", f"{PICTURES}, {ATTRIBUTE_FILE} and {PARTITION_FILE}", HOW_TO_GET
    )
    files = _zip_within(files) or files
    folders = [top_folder(files)]
    attributes = require(files, ATTRIBUTE_FILE, folders)
    partition = locate(files, PARTITION_FILE, folders)
    identity = next(filter(None, (locate(files, name, folders) for name in IDENTITY_FILES)), None)
    names = check_names(f"{files.where(attributes)}, line 1", column_names(files, attributes))
    if not names:
        raise DataError(
            f"{files.where(attributes)}, line 1 names no attribute, only the column of pictures. "
            "Fetch the file again."
        )
    prefix = join(folders[0], PICTURES)
    pictures = find_pictures(files, [join(prefix, PICTURES), prefix])
    return make_source(
        "celeba_kaggle",
        f"CelebA's Kaggle files in {files.path}",
        names,
        Labels(
            functools.partial(parse_attributes, files, attributes),
            partition and functools.partial(parse_numbers, files, partition, len(SPLITS)),
            identity and _identity(files, identity),
        ),
        [files.read(name, MAX_TEXT) if name else b"" for name in (attributes, partition, identity)],
        pictures,
        first_size(pictures, frame_of, config.on_bad),
        config.on_bad,
    )


def recognise(path: Path) -> bool:
    """Whether Kaggle's files lie there, or a zip of them does."""
    try:
        files = open_files(path)
        files = _zip_within(files) or files
        return files.has(join(top_folder(files), ATTRIBUTE_FILE))
    except (OSError, ValueError):  # DataError is one.
        return False


def parse_attributes(files: Files, name: str) -> celeba_text.Table:
    """uint8 [n a] of 0 | 1."""
    table = read_table(files, name)
    columns = [table.binary(column) for column in table.columns]
    return celeba_text.Table(table.where, _rows(table.pictures), np.stack(columns, axis=1))


def parse_numbers(files: Files, name: str, below: int = 10**9) -> celeba_text.Table:
    """int32 [n]: one whole number from 0 to below `below` for each picture."""
    table = read_table(files, name)
    if len(table.columns) != 1:
        raise DataError(
            f"{table.where}, line 1: one column besides the pictures' is needed, not "
            f"{len(table.columns)}: {first_few(list(table.columns))}. Remove the others."
        )
    numbers = table.whole(next(iter(table.columns)), below).astype(np.int32)
    return celeba_text.Table(table.where, _rows(table.pictures), numbers)


def _identity(files: Files, name: str) -> Callable[[], celeba_text.Table]:
    if name.endswith(".csv"):
        return functools.partial(parse_numbers, files, name)
    return functools.partial(celeba_text.parse_numbers, files, name, PICTURE)


def _rows(pictures: list[str]) -> dict[str, int]:
    return {picture: row for row, picture in enumerate(pictures)}


def _zip_within(files: Files) -> Zip | None:
    """The zip of it all, where a folder has that instead of the files."""
    if isinstance(files, Zip) or files.has(ATTRIBUTE_FILE):
        return None
    found = []
    for name in files.list():
        if name.lower().endswith(".zip"):
            try:
                archive = Zip(files.path / name)
            except DataError:
                continue  # Of something else, or of the pictures alone: said by who needs it.
            if archive.has(join(top_folder(archive), ATTRIBUTE_FILE)):
                found.append(archive)
    if len(found) > 1:
        names = [archive.path.name for archive in found]
        raise DataError(
            f"{files.path}: {first_few(names)} each hold {ATTRIBUTE_FILE}. Name the one to use: "
            f"--config.data.path={found[0].path}."
        )
    return found[0] if found else None
