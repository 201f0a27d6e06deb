"""A small source of labelled pictures, to be written as a TFDS data set and read back."""

import io

import numpy as np
from PIL import Image

from gan.data.readers.celeba_labels import ATTRIBUTES
from gan.data.source import Source, Split

FRAME = (109, 89)
NUMS = {"train": 9, "validation": 4, "test": 3}


def encoded(number, frame=FRAME, kind="JPEG"):
    pixels = np.random.default_rng(number).integers(0, 256, (*frame, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def make_split(first, num, streamed=False, known=True, attributes=40, picture=encoded):
    rows = range(first, first + num)
    stream = dict(stream=lambda: map(picture, rows))
    return Split(
        attributes=np.random.default_rng(first).integers(0, 2, (num, attributes), dtype=np.uint8),
        identity=np.array([100 + i if known else -1 for i in rows], np.int32),
        names=[f"some.zip: img/{i:06d}.jpg" for i in rows],
        **(stream if streamed else dict(read=lambda i: picture(rows[i]))),
    )


def make_source(**kwargs):
    splits, first = {}, 1
    for name, num in NUMS.items():
        split = make_split(first, num, **kwargs)
        splits[name] = lambda split=split: split
        first += num
    return Source("celeba", "found", "ab12", ATTRIBUTES, splits, ("JPEG",), FRAME)


def table(split):
    """Labels and identity of each picture, by its bytes."""
    pictures = split.stream() if split.stream else map(split.read, range(len(split.identity)))
    return {
        picture: (split.attributes[i].tolist(), int(split.identity[i]))
        for i, picture in enumerate(pictures)
    }
