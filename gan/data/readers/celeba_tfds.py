"""Reads CelebA as TFDS prepares it: the data set `celeb_a`, in tfrecord or array_record files.

    FOLDER/celeb_a/2.1.0/      dataset_info.json, features.json
                               celeb_a-train.tfrecord-00000-of-00016 ...

`config.path` is FOLDER (as for `tfds.load(..., data_dir=FOLDER)`), or one of the two in it. People
get it by `tfds build celeb_a`, or by `--mode=export` here from CelebA in any other layout.

The source has CelebA's 40 attributes in its order (others sorted), JPEG files of one frame, and
identities if there are any.
"""

import functools
import itertools
from pathlib import Path

from gan.config import Data
from gan.data.readers.celeba_files import (
    ALIGNED_RULE,
    MOST_TRIED,
    is_aligned,
    measure_jpeg,
    take_first_good,
)
from gan.data.readers.tfds_files import (
    INFO,
    Prepared,
    compute_fingerprint,
    default_data_dir,
    find_versions,
    mention_unfinished,
    open_prepared,
    open_records,
    order_attributes,
    read_image,
    read_record_labels,
    stream_images,
)
from gan.data.source import SPLITS, Source, Split
from gan.errors import DataError

CELEB_A = "celeb_a"


def recognise(path: Path) -> bool:
    """Tells whether a prepared `celeb_a` lies at `path`."""
    try:
        folder = find_celeb_a(path)
        return folder is not None and any(folder.glob(f"{CELEB_A}-*"))
    except OSError:
        return False


def find_celeb_a(root: Path) -> Path | None:
    """Returns the folder of the newest version, or None."""
    if (root / INFO).is_file():
        return root
    found = find_versions(root / CELEB_A) or (find_versions(root) if root.name == CELEB_A else {})
    return list(found.values())[-1] if found else None


def open_source(config: Data) -> Source:
    """Opens the `celeb_a` prepared at `config.path`, or where TFDS puts its data sets.

    DataError if none is there, if it is damaged or if it is another data set.
    """
    root = default_data_dir() if config.path is None else Path(config.path).expanduser()
    folder = find_celeb_a(root)
    if folder is None:
        raise DataError(
            f"{root}: no prepared {CELEB_A} lies there (sought: {CELEB_A}/VERSION/{INFO})."
            f"{mention_unfinished(root / CELEB_A)}{mention_unfinished(root)} Give the folder that "
            f"`tfds.load({CELEB_A!r}, data_dir=FOLDER)` is given: --config.data.path=FOLDER. "
            "Nothing is downloaded or built here; CelebA in its other forms is read without TFDS."
        )
    prepared = open_prepared(folder)
    missing = [name for name in SPLITS if not prepared.shards.get(name)]
    if missing:
        there = ", ".join(prepared.shards) or "none"
        raise DataError(
            f"{folder}: it has no split {missing[0]!r}, but {', '.join(SPLITS)} are needed; it has "
            f"{there}. Build {CELEB_A} again, with all its splits."
        )
    features = prepared.features
    wrong = [name for name in ("image", "attributes") if name not in features]
    if prepared.builder.name != CELEB_A or wrong:
        raise DataError(
            f"{folder} holds the data set {prepared.builder.name!r} with the features "
            f"{', '.join(sorted(features))}, not {CELEB_A}. --config.data.source=tfds reads others."
        )
    names = order_attributes(features)
    known = "identity" in features
    height, width = find_frame(prepared, config.on_bad)
    total = sum(prepared.num(name) for name in SPLITS)
    return Source(
        name="celeba_tfds",
        found=f"{prepared.title}: {total:,} pictures of {width} x {height}, "
        f"{'with' if known else 'without'} identities",
        fingerprint=compute_fingerprint(prepared),
        attribute_names=names,
        splits={
            name: functools.cache(functools.partial(_read_split, prepared, names, name))
            for name in SPLITS
        },
        formats=("JPEG",),
        frame=(height, width),
    )


def find_frame(prepared: Prepared, on_bad: str) -> tuple[int, int]:
    """Returns height and width as the features say or, if they do not, of the first picture.

    With `on_bad` "skip", that is the first good one. DataError if they are not CelebA's.
    """
    height, width, _ = prepared.features["image"].shape
    if height is None or width is None:
        pictures = zip(stream_images(prepared, "train"), prepared.names("train"), strict=False)
        height, width = take_first_good(
            (
                functools.partial(measure_jpeg, *picture)
                for picture in itertools.islice(pictures, MOST_TRIED)
            ),
            on_bad,
            f"{prepared.folder}: the split 'train' has no records.",
        )
    if not is_aligned(height, width):
        raise DataError(f"{prepared.folder}: the pictures are {width} x {height}; {ALIGNED_RULE}")
    return height, width


def _read_split(prepared: Prepared, attribute_names: tuple[str, ...], split: str) -> Split:
    """Reads the labels of a split, and none of its pictures."""
    names = prepared.names(split)
    attributes, identity = read_record_labels(prepared, split, attribute_names)
    if prepared.file_format == "tfrecord":
        stream = functools.partial(stream_images, prepared, split)
        return Split(attributes, identity, names, stream=stream)
    read_record = open_records(prepared, split)

    def read(index: int) -> bytes:
        return read_image(read_record(index), names[index])

    return Split(attributes, identity, names, read=read)
