"""Reads CelebA, or what is labelled like it, from parquet files named as on Hugging Face.

    train-00000-of-00019.parquet ...  valid-...  test-...      in the folder or in a sub-folder

On Hugging Face, CelebA is called `flwrlabs/celeba`. The columns are `image` (encoded files),
`celeb_id` (identity; may be missing) and one of booleans, of 0 | 1 or of -1 | 1 for each attribute.

The source has CelebA's 40 attributes in its order, or other columns in theirs; JPEG or PNG files,
of one frame if they are CelebA's; and splits by hash if only train is there.
"""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gan.config import Data
from gan.data.files import open_data
from gan.data.readers.celeba_files import is_aligned, open_header, take_first_good
from gan.data.readers.celeba_labels import ATTRIBUTES, check_attribute_names
from gan.data.readers.parquet_files import (
    ParquetShard,
    find_folder,
    find_shards,
    list_folders,
    list_shards,
    name_rows,
    open_shard,
    read_columns,
    read_footer,
    stream_column,
)
from gan.data.source import (
    SPLITS,
    Picture,
    Source,
    Split,
    hash_splits,
    narrow_identity,
    share_splits,
)
from gan.errors import DataError, first_few, nearest

IMAGE_COLUMN, IDENTITY_COLUMN = "image", "celeb_id"


class Columns(NamedTuple):
    """What the columns hold; they are the same in all shards."""

    names: tuple[str, ...]  # The columns of attributes.
    identity: bool  # Whether there is a column of identities.
    image: str  # The column, or the field of it, that holds the encoded files.
    ignored: tuple[str, ...]  # Columns that are not read.


def open_source(config: Data) -> Source:
    """Opens the shards in the folder `config.path`.

    ConfigError without a path; DataError names the shard that is missing or damaged.
    """
    files = open_data(
        config,
        "celeba_parquet",
        "the files train-00000-of-00019.parquet and so on",
        "On Hugging Face CelebA is called flwrlabs/celeba; nothing is downloaded here.",
    )
    folder = find_folder(files.path)
    digest = hashlib.sha256()
    schemas, shards = {}, {}
    for split, paths in find_shards(folder).items():
        shards[split] = []
        for path in paths:
            stat = path.stat()
            digest.update(repr((path.name, stat.st_size, stat.st_mtime_ns)).encode())
            digest.update(read_footer(path))
            with open_shard(path) as file:
                schemas[path] = file.schema_arrow.remove_metadata()
                shards[split].append(ParquetShard(path, file.metadata.num_rows))
    columns = read_schema(schemas)
    formats, frame = inspect_first(shards["train"], columns, config.on_bad)
    num = sum(shard.num for split in shards.values() for shard in split)
    by_hash = "identity" if columns.identity else "row"
    return Source(
        name="celeba_parquet",
        found=f"parquet files in {folder}: {num:,} pictures in {len(schemas)} files; "
        + ("official splits" if len(shards) > 1 else f"only train is there, split by {by_hash}")
        + f"; {'with' if columns.identity else 'without'} identities"
        + f"; columns left alone: {', '.join(columns.ignored)}" * bool(columns.ignored),
        fingerprint=digest.hexdigest(),
        attribute_names=columns.names,
        splits=share_splits(functools.partial(read_splits, shards, columns)),
        formats=formats,
        frame=frame,
    )


def recognise(path: Path) -> bool:
    """Tells whether shards lie in the folder `path`, or in a folder right in it."""
    try:
        return any(map(list_shards, list_folders(path)))
    except (OSError, ValueError):
        return False


def read_schema(schemas: Mapping[Path, Any]) -> Columns:
    """Returns what the columns hold. DataError if the shards differ, or have no pictures."""
    from pyarrow import types

    (first, schema), *others = schemas.items()
    for path, other in others:
        if not other.equals(schema):
            ours, theirs = ({str(field) for field in fields} for fields in (schema, other))
            raise DataError(
                f"{path}: its columns are others than those of {first.name}: "
                f"{first_few(sorted(ours ^ theirs) or ['their order'])}. All files have to be of "
                "the same download."
            )

    def binary(kind: Any) -> bool:
        return types.is_binary(kind) or types.is_large_binary(kind)

    image = None
    if IMAGE_COLUMN in schema.names:
        kind = schema.field(IMAGE_COLUMN).type
        if binary(kind):
            image = IMAGE_COLUMN
        elif types.is_struct(kind) and any(f.name == "bytes" and binary(f.type) for f in kind):
            image = f"{IMAGE_COLUMN}.bytes"
    if image is None:
        raise DataError(
            f"{first}: it has no column {IMAGE_COLUMN!r} of encoded pictures (bytes)."
            f"{nearest(IMAGE_COLUMN, schema.names)} It has: {', '.join(map(str, schema))}."
        )
    kinds = (types.is_boolean, types.is_integer, types.is_floating, types.is_string)
    kinds += (types.is_large_string, types.is_dictionary)
    usable = [
        f.name
        for f in schema
        if any(kind(f.type) for kind in kinds[:2])
        # Words and floats are CelebA's attributes too, where pandas or a script wrote them.
        or (f.name in (*ATTRIBUTES, IDENTITY_COLUMN) and any(kind(f.type) for kind in kinds))
    ]
    names = tuple(name for name in usable if name != IDENTITY_COLUMN)
    names = check_attribute_names(f"{first}, columns", names)
    names = ATTRIBUTES if set(names) == set(ATTRIBUTES) else names
    ignored = tuple(name for name in schema.names if name not in (*usable, IMAGE_COLUMN))
    return Columns(names, IDENTITY_COLUMN in usable, image, ignored)


def inspect_first(
    shards: Sequence[ParquetShard], columns: Columns, on_bad: str
) -> tuple[tuple[str, ...], tuple[int, int] | None]:
    """Returns the formats and, if it is CelebA's, the frame of the first picture.

    With `on_bad` "skip", that is the first good one. DataError if it is bad, or if there is none.
    """
    pictures = zip(stream_column(shards, columns.image), name_rows(shards), strict=False)
    return take_first_good(
        (functools.partial(inspect_picture, *picture, columns) for picture in pictures),
        on_bad,
        f"{shards[0].path}: no picture of train is there.",
    )


def inspect_picture(
    picture: Picture | DataError, name: str, columns: Columns
) -> tuple[tuple[str, ...], tuple[int, int] | None]:
    """Returns the formats and the frame, or None, that all pictures should have, judged by one."""
    image = open_header(picture, name, ("JPEG", "PNG"))
    width, height = image.size
    if columns.names == ATTRIBUTES and is_aligned(height, width):
        return (image.format,), (height, width)
    return ("JPEG", "PNG"), None


def read_splits(shards: Mapping[str, Sequence[ParquetShard]], columns: Columns) -> dict[str, Split]:
    """Reads all labels and sorts them into splits; pictures are read in the order of the shards.

    DataError names the file and row of a value that is missing or wrong.
    """
    every = [shard for split in SPLITS for shard in shards.get(split, ())]
    names = name_rows(every)
    labels = read_columns(every, [*columns.names, *[IDENTITY_COLUMN] * columns.identity])
    people = narrow_identity(
        labels.get(IDENTITY_COLUMN, np.full(len(names), -1)), IDENTITY_COLUMN, names
    )
    attributes = np.zeros((len(names), len(columns.names)), np.uint8)
    for column, name in enumerate(columns.names):
        values = labels[name]
        low = -1 if values.min() == -1 else 0
        if wrong := np.flatnonzero((values != low) & (values != 1)).tolist():
            raise DataError(
                f"{names[wrong[0]]}, column {name!r}: {values[wrong[0]]}, but each value is {low} "
                "or 1 in that column. Write the files again without the columns that are no "
                "attributes."
            )
        attributes[:, column] = values == 1
    if len(shards) > 1:
        parts = np.repeat(SPLITS, [sum(s.num for s in shards[split]) for split in SPLITS])
        rows = {split: np.flatnonzero(parts == split) for split in SPLITS}
    else:
        rows = hash_splits(list(map(str, people)) if columns.identity else names)
    splits = {}
    for split, chosen in rows.items():
        if not len(chosen):
            raise DataError(f"{shards[split][0].path}: the files of {split} have no rows.")
        wanted = np.zeros(len(names), bool)
        wanted[chosen] = True
        splits[split] = Split(
            attributes=attributes[chosen],
            identity=people[chosen],
            names=[names[row] for row in chosen],
            stream=functools.partial(stream_column, every, columns.image, wanted),
        )
    return splits
