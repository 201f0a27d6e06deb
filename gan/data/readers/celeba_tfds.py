"""CelebA as TFDS prepares it: `celeb_a`, in tfrecord or array_record files.

    FOLDER/celeb_a/2.1.0/      dataset_info.json, features.json
                               celeb_a-train.tfrecord-00000-of-00016 ...

`config.path` is FOLDER (as for `tfds.load(..., data_dir=FOLDER)`), or one of the two in it.
"""

import functools
import io
import itertools
import warnings
from pathlib import Path
from typing import Any

from PIL import Image

from gan.config import Data
from gan.data.readers.celeba_files import ALIGNED, TRIED, aligned
from gan.data.readers.celeba_official import ATTRIBUTES
from gan.data.readers.tfds_files import (
    INFO,
    Prepared,
    attributes_of,
    default_data_dir,
    fingerprint,
    open_prepared,
    pictures,
    record_reader,
    unfinished,
    value,
    versions,
)
from gan.data.source import SPLITS, Source, Split
from gan.errors import DataError

NAME = "celeb_a"


def recognise(path: Path) -> bool:
    """Whether a prepared `celeb_a` lies there."""
    try:
        folder = locate(path)
        return folder is not None and any(folder.glob(f"{NAME}-*"))
    except OSError:
        return False


def locate(root: Path) -> Path | None:
    """The folder of its newest version, if there is one."""
    if (root / INFO).is_file():
        return root
    found = versions(root / NAME) or (versions(root) if root.name == NAME else {})
    return list(found.values())[-1] if found else None


def open_source(config: Data) -> Source:
    """The prepared `celeb_a` at `config.path`, or where TFDS puts its data sets. DataError."""
    root = default_data_dir() if config.path is None else Path(config.path).expanduser()
    folder = locate(root)
    if folder is None:
        raise DataError(
            f"{root}: no prepared {NAME} lies there (sought: {NAME}/VERSION/{INFO})."
            f"{unfinished(root / NAME)}{unfinished(root)} Give the folder that `tfds.load("
            f"{NAME!r}, data_dir=FOLDER)` is given: --config.data.path=FOLDER. Nothing is "
            "downloaded or built here; CelebA in its other forms is read without TFDS."
        )
    prepared = open_prepared(folder)
    missing = [name for name in SPLITS if not prepared.shards.get(name)]
    if missing:
        there = ", ".join(prepared.shards) or "none"
        raise DataError(
            f"{folder}: it has no split {missing[0]!r}, but {', '.join(SPLITS)} are needed; it has "
            f"{there}. Build {NAME} again, with all its splits."
        )
    features = prepared.features
    wrong = [name for name in ("image", "attributes") if name not in features]
    if prepared.builder.name != NAME or wrong:
        raise DataError(
            f"{folder} holds the data set {prepared.builder.name!r} with the features "
            f"{', '.join(sorted(features))}, not {NAME}. --config.data.source=tfds reads others."
        )
    names = names_of(features)
    known = "identity" in features
    frame = frame_of(prepared, config.on_bad)
    splits = {
        name: functools.cache(functools.partial(_split, prepared, names, name)) for name in SPLITS
    }
    total = sum(prepared.num(name) for name in SPLITS)
    return Source(
        name="celeba_tfds",
        found=f"{prepared.title}: {total:,} pictures of {frame[1]} x {frame[0]}, "
        f"{'with' if known else 'without'} identities",
        fingerprint=fingerprint(prepared),
        attribute_names=names,
        splits=splits,
        formats=("JPEG",),
        frame=frame,
    )


def names_of(features: Any) -> tuple[str, ...]:
    """The attributes: CelebA's in their order, others sorted, for features.json keeps none."""
    names = tuple(sorted(features["attributes"]))
    return ATTRIBUTES if set(names) == set(ATTRIBUTES) else names


def frame_of(prepared: Prepared, on_bad: str) -> tuple[int, int]:
    """Height and width: of the features, or where those leave it open, of the first picture.

    That is the first good one if `on_bad` is "skip".
    """
    height, width, _ = prepared.features["image"].shape
    if height is None or width is None:
        height, width = first_size(prepared, TRIED if on_bad == "skip" else 1)
    if not aligned(height, width):
        raise DataError(f"{prepared.folder}: the pictures are {width} x {height}; {ALIGNED}")
    return height, width


def first_size(prepared: Prepared, tried: int) -> tuple[int, int]:
    """Height and width of the first good picture; DataError if there is none among so many."""
    bad = DataError(f"{prepared.folder}: the split 'train' has no records.")
    for i, picture in enumerate(itertools.islice(pictures(prepared, "train"), tried)):
        try:
            if isinstance(picture, DataError):
                raise picture
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Of sizes.
                width, height = Image.open(io.BytesIO(picture), formats=["JPEG"]).size
            return height, width
        except DataError as error:
            bad = error
        except Exception as error:  # Decoders fail in any way.
            bad = DataError(f"{prepared.name('train', i)}: its picture is no JPEG ({error}).")
    raise bad


def _split(prepared: Prepared, attribute_names: tuple[str, ...], split: str) -> Split:
    """Its labels, without a look into its pictures."""
    names = prepared.names(split)
    attributes, identity = attributes_of(prepared, split, attribute_names)
    if prepared.file_format == "tfrecord":
        stream = functools.partial(pictures, prepared, split)
        return Split(attributes, identity, names, stream=stream)
    read_record = record_reader(prepared, split)

    def read(index: int) -> bytes:
        return value(read_record(index), "image", lambda: names[index])

    return Split(attributes, identity, names, read=read)
