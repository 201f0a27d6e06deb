"""What a data set is before preparation. A reader of a new layout returns a `Source`."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Int32, UInt8


@dataclasses.dataclass(frozen=True)
class Split:
    """Labels in memory, and one of two ways to the pictures: `read` encoded ones or `draw` them."""

    attributes: UInt8[np.ndarray, "n a"]  # 0 | 1
    identity: Int32[np.ndarray, "n"]  # Who it is; -1 where unknown.
    read: Callable[[int], bytes] | None = None  # JPEG file i, from any thread; DataError if bad.
    names: Sequence[str] = ()  # Of the files, for messages.
    draw: Callable[[np.ndarray, int], np.ndarray] | None = None  # (i [b], size) -> [b size size 3]


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set as it lies on the user's disk, or as it is drawn.

    Made at every start, so it does only what the fingerprint needs; the rest waits in `splits`.
    """

    name: str
    fingerprint: str  # Hexadecimal; another one whenever any input is another.
    attribute_names: tuple[str, ...]
    splits: Mapping[str, Callable[[], Split]]  # Called for what is not prepared yet.
    frame: tuple[int, int] | None = None  # Height, width of encoded pictures; None if drawn.
