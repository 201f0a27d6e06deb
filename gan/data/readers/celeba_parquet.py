"""CelebA, or what is labelled alike, as Hugging Face keeps it (`flwrlabs/celeba`): parquet files.

    train-00000-of-00019.parquet ...  valid-...  test-...      right there or in a sub-folder

with the columns `image` (encoded files), `celeb_id` (identity; may be missing) and one of booleans,
of 0 | 1 or of -1 | 1 for each attribute.
"""

import functools
import hashlib
import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from gan.config import Data
from gan.data.readers.celeba_files import aligned, open_data
from gan.data.readers.celeba_official import ATTRIBUTES, check_names
from gan.data.readers.parquet_files import (
    Shard,
    candidates,
    find_folder,
    find_shards,
    footer,
    names_of,
    open_shard,
    read_columns,
    shards_in,
    stream,
)
from gan.data.source import SPLITS, Picture, Source, Split, hash_splits
from gan.errors import DataError, first_few, nearest

IMAGE, IDENTITY = "image", "celeb_id"


class Layout(NamedTuple):
    """What all shards share."""

    names: tuple[str, ...]  # Columns of attributes.
    identity: bool
    image: str  # The column, or the field of it, that holds the encoded files.
    ignored: tuple[str, ...]  # Other columns.


def open_source(config: Data) -> Source:
    """The shards in the folder `config.path`; DataError names what is wrong and where."""
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
            digest.update(footer(path))
            with open_shard(path) as file:
                schemas[path] = file.schema_arrow.remove_metadata()
                shards[split].append(Shard(path, file.metadata.num_rows))
    layout = read_schema(schemas)
    formats, frame = look_at_first(shards["train"], layout, config.on_bad)
    splits = functools.cache(functools.partial(read_splits, shards, layout))
    num = sum(shard.num for split in shards.values() for shard in split)
    by_hash = "identity" if layout.identity else "row"
    return Source(
        name="celeba_parquet",
        found=f"parquet files in {folder}: {num:,} pictures in {len(schemas)} files; "
        + ("official splits" if len(shards) > 1 else f"only train is there, split by {by_hash}")
        + f"; {'with' if layout.identity else 'without'} identities"
        + f"; columns left alone: {', '.join(layout.ignored)}" * bool(layout.ignored),
        fingerprint=digest.hexdigest(),
        attribute_names=layout.names,
        splits={split: lambda split=split: splits()[split] for split in SPLITS},
        formats=formats,
        frame=frame,
    )


def recognise(path: Path) -> bool:
    """Whether shards lie there, or in a folder right in it."""
    try:
        return any(map(shards_in, candidates(path)))
    except (OSError, ValueError):
        return False


def read_schema(schemas: Mapping[Path, Any]) -> Layout:
    """Which column is what. DataError if the shards differ, or have no pictures."""
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
    if IMAGE in schema.names:
        kind = schema.field(IMAGE).type
        if binary(kind):
            image = IMAGE
        elif types.is_struct(kind) and any(f.name == "bytes" and binary(f.type) for f in kind):
            image = f"{IMAGE}.bytes"
    if image is None:
        raise DataError(
            f"{first}: it has no column {IMAGE!r} of encoded pictures (bytes)."
            f"{nearest(IMAGE, schema.names)} It has: {', '.join(str(field) for field in schema)}."
        )
    usable = [f.name for f in schema if types.is_boolean(f.type) or types.is_integer(f.type)]
    names = check_names(f"{first}, columns", tuple(name for name in usable if name != IDENTITY))
    names = ATTRIBUTES if set(names) == set(ATTRIBUTES) else names
    ignored = tuple(name for name in schema.names if name not in (*usable, IMAGE))
    return Layout(names, IDENTITY in usable, image, ignored)


def look_at_first(
    shards: Sequence[Shard], layout: Layout, on_bad: str
) -> tuple[tuple[str, ...], tuple[int, int] | None]:
    """Formats and, if it is CelebA's, the frame, from the first picture that is good.

    That is the very first unless `on_bad` is "skip".
    """
    tried = stream(shards, layout.image)
    bad = None
    for picture, name in zip(tried, names_of(shards), strict=False):
        try:
            return look_at(picture, name, layout)
        except DataError as error:
            bad = bad or error
        if on_bad != "skip":
            break
    raise bad or DataError(f"{shards[0].path}: no picture of train is there.")


def look_at(
    picture: Picture | DataError, name: str, layout: Layout
) -> tuple[tuple[str, ...], tuple[int, int] | None]:
    """Formats, and the frame or None, from one picture."""
    if isinstance(picture, DataError):
        raise picture
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of sizes.
            image = Image.open(io.BytesIO(picture), formats=("JPEG", "PNG"))
    except Exception:  # Decoders fail in any way.
        raise DataError(f"{name} is neither JPEG nor PNG: it begins {picture[:8]!r}.") from None
    width, height = image.size
    if layout.names == ATTRIBUTES and aligned(height, width):
        return (image.format,), (height, width)
    return ("JPEG", "PNG"), None


def read_splits(shards: Mapping[str, Sequence[Shard]], layout: Layout) -> dict[str, Split]:
    """All labels."""
    every = [shard for split in SPLITS for shard in shards.get(split, ())]
    names = names_of(every)
    columns = read_columns(every, [*layout.names, *[IDENTITY] * layout.identity])
    people = columns.get(IDENTITY, np.full(len(names), -1))
    largest = np.iinfo(np.int32).max
    if outside := np.flatnonzero((people > largest) | (people < -largest)).tolist():
        raise DataError(f"{names[outside[0]]}: {IDENTITY} is {people[outside[0]]}, too large.")
    attributes = np.zeros((len(names), len(layout.names)), np.uint8)
    for column, name in enumerate(layout.names):
        values = columns[name]
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
        rows = hash_splits(list(map(str, people)) if layout.identity else names)
    splits = {}
    for split, chosen in rows.items():
        if not len(chosen):
            raise DataError(f"{shards[split][0].path}: the files of {split} have no rows.")
        wanted = np.zeros(len(names), bool)
        wanted[chosen] = True
        splits[split] = Split(
            attributes=attributes[chosen],
            identity=people[chosen].astype(np.int32),
            names=[names[row] for row in chosen],
            stream=functools.partial(stream, every, layout.image, wanted),
        )
    return splits
