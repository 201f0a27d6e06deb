"""Reads your own pictures, at any depth of a folder or of a zip.

Their labels are the first of these that is found:

    files of labels   labels.csv, metadata.csv, metadata.jsonl, dataset.json: see `label_files`
    sub-folders       cats/1.jpg  dogs/7.png         a class each
    nothing           training is unconditional

`config.labels` names the file, or says which of these: "auto" (any), "folders", "none". Folders
named as splits are the splits; where nothing tells splits, they are by the hash of the identity, or
of the file.

The source has an attribute for each column of 0 and 1, one for each value of a column of words, and
one for each class; and JPEG, PNG, WebP and BMP files of any size.
"""

import collections
import functools
import hashlib
import logging
import re
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from gan.config import Data
from gan.data.decode import ANY_FORMAT, SQUARE, Recipe, decode_picture
from gan.data.files import MAX_TEXT, Files, Folder, explain_inner, open_data, open_files, read_nth
from gan.data.readers.folder.contents import FolderContents, FolderLabels
from gan.data.readers.folder.folder_names import get_folders
from gan.data.readers.folder.labels import find_labels
from gan.data.source import SPLITS, Source, Split, hash_splits, share_splits
from gan.errors import DataError, first_few

log = logging.getLogger("gan")

EXTENSIONS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp")
NOT_READ = re.compile(  # Pictures that are not read, since each decoder can have bugs.
    r"\.(gif|tiff?|hei[cf]|avif|svg|jp2|j2k|jxl|p[bgpn]m|tga|psd|ico|exr|raw|dng|cr[23]|nef|arw"
    r"|orf|rw2|raf)\Z",
    re.IGNORECASE,
)


def open_source(config: Data) -> Source:
    """Opens the pictures in the folder or zip `config.path`, with the labels that belong to them.

    ConfigError without a path or with a wrong `config.labels`; DataError for wrong files.
    """
    found = scan_pictures(
        open_data(config, "folder", "pictures", "They may lie at any depth in it.")
    )
    labels = find_labels(config, found)
    digest = hashlib.sha256(repr(sorted(found.stamps.items())).encode())
    for file in labels.files:
        digest.update(file.files.read(file.name, MAX_TEXT))
    digest.update(labels.key.encode())
    read = {file.where for file in labels.files}
    if lost := [name for name in found.others if NOT_READ.search(name)]:
        log.warning(
            "%s: %s pictures of kinds that are not read (%s) were left out. Convert them to PNG or "
            "JPEG to use them.",
            *(found.files.path, f"{len(lost):,}", ", ".join(sorted(set(map(get_extension, lost))))),
        )
    others = [name for name in found.others if found.files.where(name) not in read]
    others = [name for name in others if not NOT_READ.search(name)]
    kinds = sorted({get_extension(name) or "without extension" for name in others})
    kind = "folder" if isinstance(found.files, Folder) else "zip"
    return Source(
        name="folder",
        found=f"{len(found.stamps):,} pictures in the {kind} {found.files.path}; {labels.how}"
        + f"; {len(others):,} other files were left alone: {', '.join(kinds)}" * bool(others),
        fingerprint=digest.hexdigest(),
        attribute_names=labels.names,
        splits=share_splits(lambda: split_pictures(found, labels.load())),
        formats=ANY_FORMAT,
        groups=labels.groups,
        doubts=labels.doubts,
    )


class FolderPictures(NamedTuple):
    """All pictures of a folder in memory, sorted by name, whatever their split."""

    images: UInt8[np.ndarray, "n s s 3"]
    attributes: UInt8[np.ndarray, "n a"]  # 0 | 1.
    names: tuple[str, ...]  # The attributes.
    changes: dict[str, int]  # How many pictures were changed, by what was done to them.


def load_pictures(config: Data) -> FolderPictures:
    """Loads the pictures at `config.path`, cut to the largest square and resized to `image_size`.

    ConfigError for a wrong setting, DataError for wrong files: no picture is left out.
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
    return FolderPictures(
        np.stack([done.image for _, done, _ in rows]),
        np.stack([attributes for *_, attributes in rows]),
        there.attribute_names,
        dict(changes),
    )


def recognise(path: Path) -> bool:
    """Tells whether any picture lies at `path`."""
    try:
        return any(map(is_picture, open_files(path).list(deep=True)))
    except (OSError, ValueError):  # DataError is a ValueError.
        return False


def is_picture(name: str) -> bool:
    """Tells by the extension whether a file is a picture that can be read."""
    return name.lower().endswith(EXTENSIONS)


def get_extension(name: str) -> str:
    """Returns the extension in small letters, such as ".png"."""
    return PurePosixPath(name).suffix.lower()


def scan_pictures(files: Files) -> FolderContents:
    """Finds all pictures. DataError if there are fewer than three: one for each split."""
    there = files.list(deep=True)
    stamps = {name: stamp for name, stamp in there.items() if is_picture(name)}
    others = [name for name in there if name not in stamps]
    if len(stamps) < len(SPLITS):
        raise DataError(
            f"{files.path}: {len(stamps)} pictures ({', '.join(EXTENSIONS)}) lie there, at least "
            f"{len(SPLITS)} are needed: one for each of {', '.join(SPLITS)}. Else there lies "
            f"{first_few(others)}."
            + (" Convert them to PNG or JPEG." if any(map(NOT_READ.search, others)) else "")
            + explain_inner(files)
        )
    common = get_folders(min(stamps))
    for name in stamps:
        same = [a == b for a, b in zip(common, get_folders(name), strict=False)]
        common = common[: (*same, False).index(False)]
    return FolderContents(files, stamps, common, others)


def split_pictures(found: FolderContents, labels: FolderLabels) -> dict[str, Split]:
    """Sorts labelled pictures into splits.

    A validation or test split that is missing is taken from train by hash. DataError if train is
    missing, or if there are too few pictures or people.
    """
    files, common = found.files, "".join(f"{folder}/" for folder in found.common)
    # A zip and its folder have one split: wherever the pictures lie, and however macOS spells.
    names = [unicodedata.normalize("NFC", name.removeprefix(common)) for name in labels.names]
    keys = [person or name for person, name in zip(labels.people, names, strict=True)]
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
            read=functools.partial(read_nth, files, [labels.names[row] for row in chosen]),
            left_out=left_out[split],
        )
        for split, chosen in rows.items()
    }
