"""The `Source` that CelebA's pictures on disk and tables of labels make.

All readers of CelebA as files share this: each finds its own files of labels, says how to read them
by a `LabelReaders`, and lets `make_celeba_source` match them with the pictures.
"""

import functools
import hashlib
import io
import logging
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image

from gan.config import Data
from gan.data.files import (
    MAX_TEXT,
    Files,
    Folder,
    find_file,
    open_files,
    read_nth,
)
from gan.data.readers.celeba_labels import LabelTable
from gan.data.readers.celeba_places import Pictures
from gan.data.source import SPLITS, Picture, Source, Split, hash_splits, match_names, share_splits
from gan.errors import DataError, first_few

log = logging.getLogger("gan")

FRAME = (218, 178)  # Height, width of the official pictures.
MAX_SCALE = 4  # Larger frames are refused: one picture of 20,000 x 20,000 would fill the memory.
ALIGNED_RULE = (
    "aligned pictures are 178 x 218, or smaller or larger in proportion (at most "
    f"{MAX_SCALE} times)."
)
MOST_TRIED = 100  # With on_bad=skip, so many pictures may be bad before the first good one.
T = TypeVar("T")


class LabelReaders(NamedTuple):
    """One function for each file of labels, which reads it; None for a file that is missing."""

    attributes: Callable[[], LabelTable]
    partition: Callable[[], LabelTable] | None  # 0 train, 1 validation, 2 test.
    identity: Callable[[], LabelTable] | None


def has_layout(
    path: Path, find_folders: Callable[[Files], list[str]], labels: str, pictures: str
) -> bool:
    """Tells whether the file `labels`, and the folder or zip `pictures`, lie in known folders.

    `find_folders` lists these. Never raises: where nothing can be opened, there is no layout.
    """
    try:
        files = open_files(path)
        folders = find_folders(files)
        return find_file(files, labels, folders) is not None and any(
            find_file(files, name, folders) for name in (pictures, f"{pictures}.zip")
        )
    except (OSError, ValueError):  # DataError is a ValueError.
        return False


def is_aligned(height: int, width: int) -> bool:
    """Tells whether this is the frame of the official pictures, or one in proportion to it."""
    return abs(height - width * FRAME[0] / FRAME[1]) < 1 and height <= MAX_SCALE * FRAME[0]


def open_header(picture: Picture | DataError, name: str, formats: tuple[str, ...]) -> Image.Image:
    """Opens an encoded picture without decoding it: its format and size are known then.

    Raises `picture` if that is a DataError, and a DataError if it has none of the `formats`.
    """
    if isinstance(picture, DataError):
        raise picture
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large sizes.
            return Image.open(io.BytesIO(picture), formats=formats)
    except Exception:  # Decoders fail in any way.
        raise DataError(
            f"{name} is not a {' or '.join(formats)} file with a whole header: {len(picture):,} "
            f"bytes, beginning with {picture[:8]!r}."
        ) from None


def measure_jpeg(picture: Picture | DataError, name: str, kind: str = "JPEG") -> tuple[int, int]:
    """Returns height and width of a JPEG, or of another `kind`. DataError if it is none."""
    width, height = open_header(picture, name, (kind,)).size
    return height, width


def measure_aligned(picture: Picture | DataError, name: str, kind: str = "JPEG") -> tuple[int, int]:
    """Returns height and width of a JPEG, or of another `kind`.

    DataError if it is none, or is no aligned picture.
    """
    height, width = measure_jpeg(picture, name, kind)
    if not is_aligned(height, width):
        raise DataError(f"{name} is {width} x {height}; {ALIGNED_RULE}")
    return height, width


def take_first_good(looks: Iterable[Callable[[], T]], on_bad: str, if_none: str) -> T:
    """Returns what the first of the functions returns that raises no DataError.

    Unless `on_bad` is "skip", only the first is called. If all raise, the first DataError is
    raised; if there are none, a DataError that says `if_none`.
    """
    first_error = None
    for look in looks:
        try:
            return look()
        except DataError as error:
            first_error = first_error or error
        if on_bad != "skip":
            break
    raise first_error or DataError(if_none)


def make_celeba_source(
    config: Data,
    name: str,
    layout: str,
    attribute_names: tuple[str, ...],
    labels: LabelReaders,
    files: Files,
    label_files: Sequence[str | None],
    pictures: Pictures,
    aligned: bool = True,
) -> Source:
    """Makes the `Source` of JPEG (or PNG) files that are labelled by tables.

    The fingerprint is of the stamps of the pictures and the contents of `label_files` in `files`:
    all that labels are read from, in a fixed order, None for what is missing. `layout` begins the
    line `Source.found`. `aligned` says that all pictures have the frame of the first. DataError if
    the first picture is bad, or with on_bad=skip the first `MOST_TRIED`.
    """
    digest = hashlib.sha256(repr(sorted(pictures.stamps.items())).encode())
    for label_file in label_files:
        content = files.read(label_file, MAX_TEXT) if label_file else b""
        digest.update(hashlib.sha256(content).digest())
    measure = measure_aligned if aligned else measure_jpeg
    height, width = take_first_good(
        (
            functools.partial(measure_member, measure, pictures, member)
            for member in sorted(pictures.stamps)[:MOST_TRIED]
        ),
        config.on_bad,
        f"{pictures.place()} has no pictures.",
    )
    kind = "the folder" if isinstance(pictures.files, Folder) else "the zip"
    if labels.partition:
        how = "official splits"
    elif labels.identity:
        how = "no official splits, so split by identity"
    else:
        how = "no official splits, so split by file (one person may be in several splits)"
    return Source(
        name=name,
        found=f"{layout}: {len(pictures.stamps):,} pictures of {width} x {height} in {kind} "
        f"{pictures.place()}; {how}; {'with' if labels.identity else 'without'} identities",
        fingerprint=digest.hexdigest(),
        attribute_names=attribute_names,
        splits=share_splits(functools.partial(make_celeba_splits, labels, pictures, config.on_bad)),
        formats=(pictures.format,),
        frame=(height, width) if aligned else None,
    )


def measure_member(
    measure: Callable[[bytes, str, str], tuple[int, int]], pictures: Pictures, member: str
) -> tuple[int, int]:
    """Reads a picture and measures it. DataError if it cannot be read or is bad."""
    data = pictures.files.read(pictures.path(member))
    return measure(data, pictures.where(member), pictures.format)


def make_celeba_splits(labels: LabelReaders, pictures: Pictures, on_bad: str) -> dict[str, Split]:
    """Reads all labels, matches them with the pictures and sorts both into splits.

    Without a partition the splits are by the hash of the identity, or of the file. DataError where
    labels and pictures do not match (see `match_names`) and where a split is empty.
    """
    attributes = labels.attributes()
    partition = labels.partition and labels.partition()
    identity = labels.identity and labels.identity()
    names, left_out = match_tables(attributes, [partition, identity], pictures, on_bad)
    people = identity.select(names) if identity else np.full(len(names), -1)
    rows = {}
    if partition:
        numbers = partition.select(names)
        rows = {split: np.flatnonzero(numbers == i) for i, split in enumerate(SPLITS)}
    if left_out and not all(map(len, rows.values())):  # The first few thousand are all of train.
        log.warning(
            "%s: no picture that is there is of split %s, so they are split anew by %s.",
            partition.where,
            " or ".join(split for split, members in rows.items() if not len(members)),
            "identity" if identity else "file",
        )
        partition = None
    if not partition:
        rows = hash_splits([str(person) for person in people] if identity else names)
    bad = {split: [] for split in SPLITS}
    for name, reason in left_out.items():
        number = int(partition.select([name])[0]) if partition and name in partition.rows else 0
        bad[SPLITS[number]].append((pictures.where(name), reason))
    splits = {}
    for number, split in enumerate(SPLITS):
        members = [names[row] for row in rows[split]]
        if not members:
            raise DataError(
                f"{partition.where}: no picture has the number {number} ({split}), but each of "
                "0 (train), 1 (validation) and 2 (test) needs some. Without that file they are "
                "split by identity, or by picture."
            )
        splits[split] = Split(
            attributes=attributes.select(members),
            identity=people[rows[split]].astype(np.int32),
            names=[pictures.where(member) for member in members],
            read=functools.partial(
                read_nth, pictures.files, [pictures.path(member) for member in members]
            ),
            left_out=bad[split],
        )
    return splits


def match_tables(
    attributes: LabelTable,
    others: Sequence[LabelTable | None],
    pictures: Pictures,
    on_bad: str,
) -> tuple[list[str], dict[str, str]]:
    """Returns the pictures that are there and in each table, and for all others the reason why not.

    The order is that of `attributes`. DataError if `on_bad` is not "skip" and something is missing,
    or if nothing is left.
    """
    names, left_out = list(attributes.rows), {}
    for table in others:
        if table is not None:
            names, lost = match_names(attributes.where, names, table.where, table.rows, on_bad)
            reasons = {n: f"not in {table.where}" for n, _ in lost if n in attributes.rows}
            left_out = reasons | left_out  # The first reason stays.
    names, lost = match_names(attributes.where, names, pictures.place(), pictures.stamps, on_bad)
    left_out = dict(lost) | left_out
    if not names:
        raise DataError(
            f"{pictures.place()}: not one of its {len(pictures.stamps):,} pictures has a row in "
            f"each file of labels; {attributes.where} has {first_few(list(attributes.rows))}. All "
            "have to be of the same download."
        )
    return names, left_out
