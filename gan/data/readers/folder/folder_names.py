"""What the names of folders tell: splits, at any depth and in any spelling, and classes.

train/cat/1.png    seg_train/cat/1.png    cat/Training/1.png    the class cat, for training
"""

import collections
import re
import unicodedata
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np

from gan.data.files import to_text
from gan.data.readers.folder.contents import FolderContents, FolderLabels
from gan.data.source import Doubt
from gan.errors import DataError, first_few, nearest

SPLIT_WORDS = {
    "train": re.compile(r"(train|training|trn)(set|data)?"),
    "validation": re.compile(r"(validation|validate|valid|val|dev|develop)(set|data)?"),
    "test": re.compile(r"(test|testing|tst)(set|data)?"),
}
# Words beside that of the split, as in "seg_train", "train_images" or "PublicTest".
BESIDE = re.compile(
    r"set|split|data|dataset|images?|imgs?|pictures?|pics|photos?|faces?|seg|public|private|folder"
)
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
OLD_SPLITS = ("train", "validation", "valid", "val", "test")
COUNTED = re.compile(r"[0-9]+")
HASHED = re.compile(r"[0-9a-f]{1,3}")  # The first digits of a hash share files among folders.


class ParsedFolders(NamedTuple):
    """What the folders of n pictures tell."""

    splits: Sequence[str] | None  # None unless all pictures lie in folders named as splits.
    classes: Sequence[str]  # The folder of each picture that may be a class; "" for none.
    names: tuple[str, ...]  # The classes, sorted; () for fewer than two.
    is_old: bool  # Whether older editions read them so.


def parse_split(name: str) -> str | None:
    """Returns the split that a folder or file is named for, or None: "Training" is "train"."""
    words = [word.lower() for word in WORD.findall(name)]
    found = {
        split for word in words for split, pattern in SPLIT_WORDS.items() if pattern.fullmatch(word)
    }
    others = [
        word
        for word in words
        if not BESIDE.fullmatch(word)
        and not any(pattern.fullmatch(word) for pattern in SPLIT_WORDS.values())
    ]
    return found.pop() if len(found) == 1 and not others else None


def get_folders(name: str) -> tuple[str, ...]:
    """Returns the folders in a path, from the top: ("a", "b") for a/b/1.jpg."""
    return PurePosixPath(name).parts[:-1]


def parse_folders(found: FolderContents, strict: bool = True) -> ParsedFolders:
    """Returns what the folders of the pictures tell.

    A level at which all folders are named as splits tells the splits; of the others, the first at
    which folders differ tells the classes. DataError for pictures whose split is unclear; unless
    `strict`, a level at which only some folders are named as splits tells none.
    """
    below = [
        tuple(unicodedata.normalize("NFC", part) for part in get_folders(name))
        for name in found.stamps
    ]
    below = [folders[len(found.common) :] for folders in below]
    splits, levels, depth = None, [], 0
    deepest = min(map(len, below), default=0)
    while depth < deepest:
        here = {folders[depth]: parse_split(folders[depth]) for folders in below}
        if all(here.values()):
            now = [here[folders[depth]] for folders in below]
            if splits is not None and splits != now:
                i = next(
                    i for i, pair in enumerate(zip(splits, now, strict=True)) if pair[0] != pair[1]
                )
                raise DataError(
                    f"{found.files.where([*found.stamps][i])} lies in a folder of {splits[i]} and "
                    f"in one of {now[i]}. Rename one of them."
                )
            splits, levels = now, [*levels, depth]
        elif strict:
            refuse_some_splits(found, here)
        depth += 1
    if strict and not levels and below:
        tops = {folders[0] if folders else "": None for folders in below}
        refuse_some_splits(found, {top: parse_split(top) for top in tops})
    rest = [
        tuple(part for level, part in enumerate(folders) if level not in levels)
        for folders in below
    ]
    common = 0
    while all(len(folders) > common for folders in rest) and levels:
        if len({folders[common] for folders in rest}) > 1:
            break
        common += 1
    classes = [to_text(folders[common]) if len(folders) > common else "" for folders in rest]
    names = sorted(set(classes))
    tops = {folders[0].lower() for folders in below if folders}
    is_old = not levels or (levels == [0] and common == 0 and tops <= {*OLD_SPLITS})
    return ParsedFolders(splits, classes, tuple(names) if len(names) > 1 else (), is_old)


def refuse_some_splits(found: FolderContents, here: dict[str, str | None]) -> None:
    """Raises DataError where one of the folders is named for training, and others for no split."""
    train = next((name for name, split in here.items() if split == "train"), None)
    others = sorted(name for name, split in here.items() if split is None)
    if train is not None and others:
        raise DataError(
            f"{found.files.path}: the folder {train} looks like a split, but pictures lie in "
            f"{first_few([name or 'no folder' for name in others])} too. Put all of them into "
            "train, validation and test, or none. If each of these folders is a class: "
            "--config.data.labels=folders."
        )


def check_classes(found: FolderContents, parsed: ParsedFolders) -> None:
    """Raises DataError for a picture whose class is unclear, or is in no training picture."""
    names, classes = parsed.names, parsed.classes
    if names and not names[0]:
        loose = next(name for name, kind in zip(found.stamps, classes, strict=True) if not kind)
        raise DataError(
            f"{found.files.where(loose)} lies beside the folders {first_few(list(names[1:]))}, so "
            "its class is unknown. Move all such pictures into folders too, or give a CSV of "
            "labels: --config.data.labels=FILE. --config.data.labels=none goes on without labels."
        )
    if parsed.splits and "train" in parsed.splits and names:
        learnt = {
            kind for kind, split in zip(classes, parsed.splits, strict=True) if split == "train"
        }
        for name, kind in zip(found.stamps, classes, strict=True):
            if kind not in learnt:
                raise DataError(
                    f"{found.files.where(name)}: there is no folder {kind!r} in train."
                    f"{nearest(kind, learnt)}"
                )


def doubt_classes(found: FolderContents, parsed: ParsedFolders) -> tuple[Doubt, ...]:
    """Returns the doubt whether folders are classes, where all their names are numbers or hashes.

    Such folders are made where a single one would hold too many files.
    """
    names = parsed.names
    counted = all(map(COUNTED.fullmatch, names))
    hashed = len(set(map(len, names))) == 1 and all(map(HASHED.fullmatch, names))
    digits = any(char.isdecimal() for char in "".join(names))
    if not names or not (counted or (hashed and digits)):
        return ()
    counts = collections.Counter(parsed.classes)
    shown = [f"{name} ({counts[name]:,} pictures)" for name in names]
    return (
        Doubt(
            f"{found.files.path}: the folders of its pictures have only numbers as names, and "
            f"would become {len(names):,} classes: {first_few(shown)}",
            {
                "--config.data.labels=folders": "they are classes",
                "--config.data.labels=none": "they are not",
            },
        ),
    )


def label_classes(found: FolderContents, parsed: ParsedFolders) -> FolderLabels:
    """Returns the labels of pictures in a folder a class: one-hot, in the order of the names."""
    attributes = np.zeros((len(parsed.classes), len(parsed.names)), np.uint8)
    if parsed.names:
        columns = {name: column for column, name in enumerate(parsed.names)}
        kinds = [columns[kind] for kind in parsed.classes]
        attributes[np.arange(len(kinds)), kinds] = 1
    return FolderLabels(list(found.stamps), attributes, parsed.splits, [""] * len(parsed.classes))
