"""What a data set is before preparation. A reader of a new layout returns a `Source`."""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Int32, Int64, UInt8

from gan.errors import DataError, first_few

SPLITS = ("train", "validation", "test")
HELD_OUT = 0.1  # Share of each of the other two, where a data set has no splits of its own.
Picture = bytes | np.ndarray  # An encoded file, or uint8 [h w c].


@dataclasses.dataclass(frozen=True)
class Split:
    """Labels in memory, and one of three ways to the pictures: `read`, `stream` or `draw`."""

    attributes: UInt8[np.ndarray, "n a"]  # 0 | 1
    identity: Int32[np.ndarray, "n"]  # Who it is; -1 where unknown.
    names: Sequence[str] = ()  # Of the files, for messages.
    read: Callable[[int], Picture] | None = None  # Picture i, from any thread; DataError if bad.
    stream: Callable[[], Iterator[Picture | DataError]] | None = None  # All of them, in order.
    draw: Callable[[np.ndarray, int], np.ndarray] | None = None  # (i [b], size) -> [b size size 3]
    left_out: Sequence[tuple[str, str]] = ()  # (name, reason): known by the labels to be bad.


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set as it lies on the user's disk, or as it is drawn.

    Made at every start, so it does only what the fingerprint needs; the rest waits in `splits`.
    """

    name: str  # A key of `gan.data.registry.SOURCES`.
    found: str  # What lies there, in a line.
    fingerprint: str  # Hexadecimal; another one whenever any input is another.
    attribute_names: tuple[str, ...]
    splits: Mapping[str, Callable[[], Split]]  # Called for what is not prepared yet.
    formats: tuple[str, ...] = ()  # Of the files, by Pillow's names; none if there are no files.
    frame: tuple[int, int] | None = None  # Height, width of CelebA's aligned frame; else None.
    drawn: bool = False  # At any size, so nothing is cropped or resized.


def match_names(
    labels: str, labelled: Collection[str], pictures: str, there: Collection[str], on_bad: str
) -> tuple[list[str], list[tuple[str, str]]]:
    """The names that have a label and a picture, in the labels' order, and those left out, and why.

    `labels` and `pictures` say where they come from. DataError unless `on_bad` is "skip".
    """
    left_out = []
    for where, names, other, others, lack in (
        (labels, labelled, pictures, there, "no picture"),
        (pictures, there, labels, labelled, "no row of labels"),
    ):
        others = set(others)
        lost = [name for name in names if name not in others]
        if lost and on_bad != "skip":
            raise DataError(
                f"{other}: {len(lost):,} of the {len(names):,} pictures in {where} are not in it: "
                f"{first_few(lost)}. Both have to be of the same download; if only a part of it is "
                "meant to be there, --config.data.on_bad=skip takes what has both."
            )
        left_out += [(name, lack) for name in lost]
    both = set(there)
    return [name for name in labelled if name in both], left_out


def hash_splits(keys: Sequence[str]) -> dict[str, np.ndarray]:
    """Rows of each split by the hash of their key: an identity, or the file where it is unknown.

    Rows with one key stay together, and a key stays in its split when others come or go.
    """
    unit = {
        key: int.from_bytes(hashlib.sha256(os.fsencode(key)).digest()[:8]) / 2**64
        for key in set(keys)
    }
    if len(unit) < len(SPLITS):
        raise DataError(
            f"{len(unit)} different pictures or people cannot be split into {', '.join(SPLITS)}."
        )
    bounds = [1 - 2 * HELD_OUT, 1 - HELD_OUT]
    counts = np.bincount(np.digitize(list(unit.values()), bounds), minlength=len(SPLITS))
    if not counts.all():  # Few keys: by rank, so that each split gets some.
        ranked = sorted(unit, key=unit.get)
        held_out = max(1, round(HELD_OUT * len(ranked)))
        bounds = [unit[ranked[-2 * held_out]], unit[ranked[-held_out]]]
    which = np.digitize([unit[key] for key in keys], bounds)
    return {name: np.flatnonzero(which == i) for i, name in enumerate(SPLITS)}


def share_splits(
    load_all: Callable[[], Mapping[str, Split]],
) -> dict[str, Callable[[], Split]]:
    """Returns `Source.splits` for a function that reads all splits at once.

    It is called when the first of them is asked for, and only then.
    """
    load_once = functools.cache(load_all)
    return {name: lambda name=name: load_once()[name] for name in SPLITS}


def narrow_identity(
    people: Int64[np.ndarray, "n"], key: str, names: Sequence[str]
) -> Int32[np.ndarray, "n"]:
    """Returns identities as int32. DataError names `key` and row of one too large."""
    largest = np.iinfo(np.int32).max
    for row in np.flatnonzero((people > largest) | (people < -largest)).tolist():
        raise DataError(f"{names[row]}: {key!r} is {people[row]}, too large.")
    return people.astype(np.int32)
