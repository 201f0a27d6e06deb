"""Your own pictures: a folder, or a zip that is never unpacked, with pictures at any depth.

Their labels are, what is found first,
    a CSV file        picture,Smiling,Glasses,...    and, if wanted, the columns split and identity
    sub-folders       cats/1.jpg  dogs/7.png         a class each
    none              training is unconditional
A CSV names pictures by their path in the folder, or by the end of it if that is unique, with or
without the extension. Folders train, validation, test at the top are the splits; what says nothing
of splits is split by hash.
"""

import collections
import functools
import hashlib
import logging
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from gan.config import Data
from gan.data.decode import ANY_FORMAT, SQUARE, Recipe, decode_picture
from gan.data.readers.celeba_files import open_data
from gan.data.readers.files import MAX_TEXT, Files, Folder, open_files
from gan.data.readers.folder_labels import Found, Labels, folders_of, read_labels
from gan.data.source import SPLITS, Source, Split, hash_splits
from gan.errors import DataError, first_few

log = logging.getLogger("gan")

EXTENSIONS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp")
NOT_READ = re.compile(  # Pictures too, but each decoder can have bugs.
    r"\.(gif|tiff?|hei[cf]|avif|svg|jp2|j2k|jxl|p[bgpn]m|tga|psd|ico|exr|raw|dng|cr[23]|nef|arw"
    r"|orf|rw2|raf)\Z",
    re.IGNORECASE,
)


def open_source(config: Data) -> Source:
    """The pictures at `config.path`. ConfigError for a wrong setting, DataError for wrong files."""
    found = find(open_data(config, "folder", "pictures", "They may lie at any depth in it."))
    names, load, labels, how = read_labels(config, found)
    digest = hashlib.sha256(repr(sorted(found.stamps.items())).encode())
    if labels:
        digest.update(labels[0].read(labels[1], MAX_TEXT))
    used = labels and labels[0].where(labels[1])
    if lost := [name for name in found.others if NOT_READ.search(name)]:
        log.warning(
            "%s: %s pictures of kinds that are not read (%s) were left out. Convert them to PNG or "
            "JPEG to use them.",
            *(found.files.path, f"{len(lost):,}", ", ".join(sorted(set(map(kind_of, lost))))),
        )
    others = [name for name in found.others if found.files.where(name) != used]
    others = [name for name in others if not NOT_READ.search(name)]
    kinds = sorted({kind_of(name) or "without extension" for name in others})
    kind = "folder" if isinstance(found.files, Folder) else "zip"
    splits = functools.cache(lambda: make_splits(found.files, load()))
    return Source(
        name="folder",
        found=f"{len(found.stamps):,} pictures in the {kind} {found.files.path}; {how}"
        + f"; {len(others):,} other files were left alone: {', '.join(kinds)}" * bool(others),
        fingerprint=digest.hexdigest(),
        attribute_names=names,
        splits={name: lambda name=name: splits()[name] for name in SPLITS},
        formats=ANY_FORMAT,
    )


class Given(NamedTuple):
    """All pictures of a folder in memory, by name, whatever their split."""

    images: UInt8[np.ndarray, "n s s 3"]
    attributes: UInt8[np.ndarray, "n a"]
    names: tuple[str, ...]  # Of the attributes.
    changes: dict[str, int]  # To how many was what done.


def read_all(config: Data) -> Given:
    """The pictures at `config.path`, cut to the largest square and brought to `image_size`.

    ConfigError for a wrong setting, DataError for wrong files: none is left out.
    """
    there = open_source(config)
    recipe = Recipe(config.image_size, SQUARE, config.resize, there.formats)
    rows = []
    for load in there.splits.values():
        split = load()
        read = lambda i, split=split: decode_picture(recipe, split.read(i), split.names[i])  # noqa: E731
        with ThreadPoolExecutor() as pool:
            done = pool.map(read, range(len(split.names)))
            rows += zip(split.names, done, split.attributes, strict=True)
    rows.sort(key=lambda row: row[0])
    changes = collections.Counter(change for _, done, _ in rows for change in done.changes)
    return Given(
        np.stack([done.image for _, done, _ in rows]),
        np.stack([attributes for *_, attributes in rows]),
        there.attribute_names,
        dict(changes),
    )


def recognise(path: Path) -> bool:
    """Whether any picture lies there."""
    try:
        return any(map(is_picture, open_files(path).list(deep=True)))
    except (OSError, ValueError):  # DataError is one.
        return False


def is_picture(name: str) -> bool:
    """By the extension."""
    return name.lower().endswith(EXTENSIONS)


def kind_of(name: str) -> str:
    """The extension, such as ".png"."""
    return PurePosixPath(name).suffix.lower()


def find(files: Files) -> Found:
    """All pictures; DataError if there are too few."""
    there = files.list(deep=True)
    stamps = {name: stamp for name, stamp in there.items() if is_picture(name)}
    others = [name for name in there if name not in stamps]
    if len(stamps) < len(SPLITS):
        raise DataError(
            f"{files.path}: {len(stamps)} pictures ({', '.join(EXTENSIONS)}) lie there, at least "
            f"{len(SPLITS)} are needed: one for each of {', '.join(SPLITS)}. Else there lies "
            f"{first_few(others)}."
            + (" Convert them to PNG or JPEG." if any(map(NOT_READ.search, others)) else "")
        )
    common = folders_of(min(stamps))
    for name in stamps:
        same = [a == b for a, b in zip(common, folders_of(name), strict=False)]
        common = common[: (*same, False).index(False)]
    return Found(files, stamps, common, others)


def make_splits(files: Files, labels: Labels) -> dict[str, Split]:
    """The three of them; what is missing of the last two is taken from the first by hash."""
    keys = [person or name for person, name in zip(labels.people, labels.names, strict=True)]
    if labels.splits is None:
        rows = hash_splits(keys)
    else:
        splits = np.array(labels.splits)
        rows = {split: np.flatnonzero(splits == split) for split in SPLITS}
        if not len(rows["train"]):
            raise DataError(f"{files.path}: no picture with its labels is of the split train.")
        missing = [split for split in SPLITS[1:] if not len(rows[split])]
        if missing:
            train = rows["train"]
            parts = hash_splits([keys[row] for row in train])
            rows |= {split: train[parts.pop(split)] for split in missing}
            rows["train"] = train[np.sort(np.concatenate(list(parts.values())))]
    numbers = {person: number for number, person in enumerate(sorted({*labels.people} - {""}))}
    people = np.array([numbers.get(person, -1) for person in labels.people], np.int32)
    left_out: dict[str, list[tuple[str, str]]] = {split: [] for split in SPLITS}
    for split, name, reason in labels.left_out:
        left_out[split].append((files.where(name), reason))
    return {
        split: Split(
            attributes=labels.attributes[chosen],
            identity=people[chosen],
            names=[files.where(labels.names[row]) for row in chosen],
            read=functools.partial(read_picture, files, [labels.names[row] for row in chosen]),
            left_out=left_out[split],
        )
        for split, chosen in rows.items()
    }


def read_picture(files: Files, names: Sequence[str], index: int) -> bytes:
    """`Split.read` of these pictures."""
    return files.read(names[index])
