"""A data set before its preparation.

A reader's `open_source` returns a `Source`, whatever the layout on disk.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, Int64, UInt8

from gan.errors import DataError, first_few

SPLITS = ("train", "validation", "test")
HELD_OUT = 0.1  # Share of validation and of test, where a data set has no splits of its own.
Picture = bytes | np.ndarray  # An encoded file, or uint8 [h w c].


class Doubt(NamedTuple):
    """What a layout would become, if a guess about it is right."""

    guess: str  # A sentence, with counts.
    settings: Mapping[str, str]  # For each way to settle it: the setting, and what it says.


@dataclasses.dataclass(frozen=True)
class Split:
    """Labels in memory, and one of three ways to the n pictures: `read`, `stream` or `draw`."""

    attributes: UInt8[np.ndarray, "n a"]  # 0 | 1
    identity: Int32[np.ndarray, "n"]  # A number for each person; -1 where unknown.
    names: Sequence[str] = ()  # The pictures' names in messages.
    # Returns one picture by its row, in any thread; raises DataError if it is bad.
    read: Callable[[int], Picture] | None = None
    # Yields all pictures in the order of the rows, a bad one as its error.
    stream: Callable[[], Iterator[Picture | DataError]] | None = None
    # Draws rows [b] at a size: uint8 [b size size 3].
    draw: Callable[[np.ndarray, int], np.ndarray] | None = None
    left_out: Sequence[tuple[str, str]] = ()  # Inputs that are no rows: (name, reason).


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set as it lies on the user's disk, or as it is drawn.

    Every start opens one, so a reader does no more than the fingerprint needs: `splits` does the
    rest, for what is not prepared yet.
    """

    name: str  # Key of `gan.data.registry.SOURCES`.
    found: str  # One line for the log: the layout, the place, the number of pictures.
    fingerprint: str  # Hexadecimal; changes whenever any input changes.
    attribute_names: tuple[str, ...]
    splits: Mapping[str, Callable[[], Split]]  # Loads the labels of a split.
    formats: tuple[str, ...] = ()  # Pillow's names of the files' formats; () without files.
    frame: tuple[int, int] | None = None  # (height, width) of aligned CelebA; else None.
    drawn: bool = False  # Drawn at any size: nothing is cropped or resized.
    # Attributes that exclude each other, by name: the values of one column, or the classes.
    groups: tuple[tuple[str, ...], ...] = ()
    doubts: tuple[Doubt, ...] = ()  # What was guessed, for the user to confirm.


def match_names(
    labels: str, labelled: Collection[str], pictures: str, there: Collection[str], on_bad: str
) -> tuple[list[str], list[tuple[str, str]]]:
    """Returns the names that have label and picture, in the labels' order; of the others, the lack.

    `labelled` are the names that have labels, from the place `labels`; `there` are the names of the
    pictures, which lie at `pictures`. The others come as (name, lack). Raises DataError if there
    are any, unless `on_bad` is "skip".
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
    """Splits rows by the hash of their keys: 80 % train, 10 % validation, 10 % test.

    A row's key is its identity, or its file where that is unknown. Rows of one key stay together,
    and a key stays in its split when others come or go. Returns the row numbers of each split.
    Raises DataError for fewer keys than splits.
    """
    unit = {
        key: int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()[:8])
        / 2**64
        for key in set(keys)
    }
    if len(unit) < len(SPLITS):
        raise DataError(
            f"{len(unit)} different pictures or people cannot be split into {', '.join(SPLITS)}."
        )
    bounds = [1 - 2 * HELD_OUT, 1 - HELD_OUT]
    counts = np.bincount(np.digitize(list(unit.values()), bounds), minlength=len(SPLITS))
    if not counts.all():  # With few keys, their ranks decide: no split stays empty.
        ranked = sorted(unit, key=unit.get)
        held_out = max(1, round(HELD_OUT * len(ranked)))
        bounds = [unit[ranked[-2 * held_out]], unit[ranked[-held_out]]]
    which = np.digitize([unit[key] for key in keys], bounds)
    return {name: np.flatnonzero(which == i) for i, name in enumerate(SPLITS)}


def share_splits(
    load_all: Callable[[], Mapping[str, Split]],
) -> dict[str, Callable[[], Split]]:
    """Returns `Source.splits` for a function that loads all splits at once.

    It is called once, when the first split is loaded.
    """
    load_once = functools.cache(load_all)
    return {name: lambda name=name: load_once()[name] for name in SPLITS}


def narrow_identity(
    people: Int64[np.ndarray, "n"], key: str, names: Sequence[str]
) -> Int32[np.ndarray, "n"]:
    """Converts identities to int32. Raises DataError, with `key` and row, for one too large."""
    largest = np.iinfo(np.int32).max
    for row in np.flatnonzero((people > largest) | (people < -largest)).tolist():
        raise DataError(f"{names[row]}: {key!r} is {people[row]}, too large.")
    return people.astype(np.int32)
