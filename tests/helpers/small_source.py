"""A source that is made up for a test, and counts what is asked of it."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from gan.data.source import SPLITS, Source, Split
from gan.errors import DataError

FRAME = (109, 89)
Jpeg = Callable[[int, int, int], bytes]  # (number, height, width) -> file


@dataclasses.dataclass
class SmallSource:
    """Opens a source whose picture i of a split is filled with i, and counts what is read or drawn.

    With `jpeg` it has files of aligned CelebA's frame, which `read` (or `stream`) returns; without,
    its pictures are drawn.
    """

    jpeg: Jpeg | None = None
    nums: tuple[int, int, int] = (300, 5, 5)
    fingerprint: str = "f" * 64
    read: Callable[[int], bytes] | None = None
    stream: Callable[[], object] | None = None
    frame: tuple[int, int] | None = FRAME
    before_draw: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.read_indices, self.drawn_indices, self.loaded = [], [], 0

    def open(self) -> Source:
        return Source(
            name="fake",
            found="a fake",
            fingerprint=self.fingerprint,
            attribute_names=("Male", "Young"),
            splits={
                name: functools.partial(self.split, num)
                for name, num in zip(SPLITS, self.nums, strict=True)
            },
            frame=self.frame if self.jpeg else None,
            formats=("JPEG",),
            drawn=self.jpeg is None,
        )

    def split(self, num: int) -> Split:
        self.loaded += 1
        attributes = np.stack([np.arange(num) % 2, np.arange(num) % 3 == 0], axis=1)
        ways = dict(read=self.read or self.read_jpeg) if self.jpeg else dict(draw=self.draw)
        return Split(
            attributes=attributes.astype(np.uint8),
            identity=np.arange(num, dtype=np.int32),
            names=[f"{i}.jpg" for i in range(num)],
            **(dict(stream=self.stream) if self.stream else ways),
        )

    def read_jpeg(self, index: int) -> bytes:
        self.read_indices.append(index)
        return self.jpeg(index % 12, *FRAME)

    def draw(self, indices: np.ndarray, image_size: int) -> np.ndarray:
        self.before_draw()
        self.drawn_indices.append(indices)
        image = np.zeros((len(indices), image_size, image_size, 3), np.uint8)
        return image + (indices % 256).astype(np.uint8)[:, None, None, None]


def read_with_bad(jpeg: Jpeg, bad: set[int], how: str) -> Callable[[int], bytes]:
    """A `Split.read` whose pictures `bad` are "unreadable", "undecodable" or "cut"."""
    whole = jpeg(3, *FRAME)
    scan = whole.index(b"\xff\xda")

    def read(index: int) -> bytes:
        if index not in bad:
            return jpeg(index % 12, *FRAME)
        if how == "unreadable":
            raise DataError(f"{index}.jpg is not there")
        return whole[:scan] + b"\xff\xd9" if how == "undecodable" else whole[:-9]

    return read
