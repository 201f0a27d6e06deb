"""CelebA as TFDS prepares it: `celeb_a`, in tfrecord or array_record files.

    FOLDER/celeb_a/2.1.0/      dataset_info.json, features.json
                               celeb_a-train.tfrecord-00000-of-00016 ...

`config.path` is FOLDER (as for `tfds.load(..., data_dir=FOLDER)`), or one of the two in it.
"""

import functools
import io
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from gan.config import Data
from gan.data.celeba import ATTRIBUTES, FRAME
from gan.data.source import SPLITS, Source, Split
from gan.data.tfds_files import (
    AGAIN,
    INFO,
    Prepared,
    default_data_dir,
    fingerprint,
    open_prepared,
    parse,
    record_reader,
    records,
    unfinished,
    value,
    versions,
)
from gan.errors import DataError

NAME = "celeb_a"
IDENTITY = "identity/Identity_No"
MAX_SCALE = 4  # Of FRAME.


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


def source(config: Data) -> Source:
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
    names = tuple(sorted(features["attributes"]))  # In features.json they have no order.
    names = ATTRIBUTES if set(names) == set(ATTRIBUTES) else names
    known = "identity" in features
    frame = frame_of(prepared)
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


def frame_of(prepared: Prepared) -> tuple[int, int]:
    """Height and width: of the features, or where those leave it open, of the first picture."""
    height, width, _ = prepared.features["image"].shape
    if height is None or width is None:
        first = next(records(prepared, "train"))
        first = value(first, "image", lambda: prepared.name("train", 0))
        try:
            width, height = Image.open(io.BytesIO(first), formats=["JPEG"]).size
        except OSError as error:
            raise DataError(
                f"{prepared.name('train', 0)}: its picture is no JPEG ({error})."
            ) from error
    if abs(height - width * FRAME[0] / FRAME[1]) >= 1 or height > MAX_SCALE * FRAME[0]:
        raise DataError(
            f"{prepared.folder}: the pictures are {width} x {height}; aligned ones are 178 x 218, "
            f"or smaller or larger in proportion (at most {MAX_SCALE} times)."
        )
    return height, width


def _split(prepared: Prepared, attribute_names: tuple[str, ...], split: str) -> Split:
    """Its labels, without a look into its pictures."""
    num, names = prepared.num(split), prepared.names(split)
    attributes = np.empty((num, len(attribute_names)), np.uint8)
    identity = np.full(num, -1, np.int32)
    keys = [f"attributes/{name}" for name in attribute_names]
    for i, record in enumerate(records(prepared, split)):
        feature = parse(record, lambda i=i: names[i])
        try:
            attributes[i] = [feature[key].int64_list.value[0] for key in keys]
            if "identity" in prepared.features:
                identity[i] = feature[IDENTITY].int64_list.value[0]
        except IndexError:
            lost = next((key for key in keys if not feature[key].int64_list.value), IDENTITY)
            raise DataError(
                f"{names[i]} has no {lost!r}, which features.json promises. {AGAIN}."
            ) from None

    def picture(index: int, record: bytes) -> bytes:
        return value(record, "image", lambda: names[index])

    def stream() -> Iterator[bytes]:
        return itertools.starmap(picture, enumerate(records(prepared, split)))

    if prepared.file_format == "tfrecord":
        return Split(attributes, identity, names, stream=stream)
    read_record = record_reader(prepared, split)
    return Split(attributes, identity, names, read=lambda i: picture(i, read_record(i)))
