"""From any source to stores: read, decode, crop, resize. Done once; later runs find the stores."""

import functools
import hashlib
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from gan.config import Data
from gan.data import celeba
from gan.data.source import Source, Split
from gan.data.store import Meta, Store, lock, open_store, write_store
from gan.errors import ConfigError, DataError, nearest
from gan.lazy import tensorflow

log = logging.getLogger("gan")

RESIZE = "bicubic-antialias"
CHUNK = 256  # Pictures at a time; drawn ones in chunks of one size, so that it compiles once.
FACES_SEED = 0  # Of the rendered set: one set for all runs, whatever their own seed.


class Crop(NamedTuple):
    """A box on CelebA's frame of 218 rows and 178 columns; `bottom` and `right` are outside."""

    top: int
    left: int
    bottom: int
    right: int

    def on(self, frame: tuple[int, int]) -> "Crop":
        """The same box on a frame of another height and width, its edges rounded down."""
        height, width = frame
        return Crop(
            self.top * height // 218,
            self.left * width // 178,
            self.bottom * height // 218,
            self.right * width // 178,
        )


def center(side: int) -> Crop:
    """The square of `side` pixels in the middle of the frame."""
    top, left = (218 - side) // 2, (178 - side) // 2
    return Crop(top, left, top + side, left + side)


def prepare(config: Data, verify: bool = False) -> dict[str, Store]:
    """All splits of the configured source; prepares what the cache does not hold yet.

    `verify` reads each byte of the cache once and compares its checksum. Raises ConfigError,
    DataError.
    """
    for field, known in (("source", SOURCES), ("crop", CROPS)):
        name = getattr(config, field)
        if name not in known:
            raise ConfigError(
                f"config.data.{field}={name!r} is not one of {', '.join(known)}."
                f"{nearest(name, known)}"
            )
    source = SOURCES[config.source](config)
    drawn = source.frame is None
    made = {
        "source": source.name,
        "fingerprint": source.fingerprint,
        "crop": "none" if drawn else config.crop,
        "resize": "none" if drawn else RESIZE,
        "attribute_names": source.attribute_names,
        "image_size": config.image_size,
    }
    key = f"{source.name}-{source.fingerprint[:12]}-{made['crop']}-{config.image_size}"
    folder = Path(config.cache_dir).expanduser() / key
    if not all((folder / name).exists() for name in source.splits):
        with lock(folder):
            for name, load in source.splits.items():
                if not (folder / name).exists():  # Another process may have made it meanwhile.
                    split = load()
                    meta = Meta(split=name, num=len(split.attributes), **made)
                    build(folder / name, meta, split, source.frame)
    stores = {name: open_store(folder / name, verify) for name in source.splits}
    for name, store in stores.items():
        for field, value in (made | {"split": name}).items():
            if getattr(store, field) != value:
                raise DataError(
                    f"{store.path}: {field} is {getattr(store, field)!r}, not {value!r}. Delete "
                    "the folder, and it will be prepared again."
                )
    return stores


def build(path: Path, meta: Meta, split: Split, frame: tuple[int, int] | None) -> None:
    """Prepares one split and writes it."""
    if split.draw is not None:
        images = draw_all(split, meta.image_size)
    else:
        images = decode_all(split, CROPS[meta.crop].on(frame), meta.image_size)
    images = progress(images, f"{meta.source} {meta.split}", meta.num)
    write_store(path, meta, images, split.attributes, split.identity)
    log.info("%s", path)


def draw_all(split: Split, image_size: int) -> Iterator[np.ndarray]:
    """Its pictures, as uint8 [CHUNK s s 3] and a shorter last one."""
    num = len(split.attributes)
    for first in range(0, num, CHUNK):
        indices = np.minimum(np.arange(first, first + CHUNK), num - 1)
        yield split.draw(indices, image_size)[: num - first]


def decode_all(split: Split, crop: Crop, image_size: int) -> Iterator[np.ndarray]:
    """Its JPEG files, cropped and resized, as uint8 [CHUNK s s 3] and a shorter last one."""
    tf = tensorflow()
    num = len(split.attributes)

    def decode(data: tf.Tensor) -> tf.Tensor:
        return tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")

    @tf.autograph.experimental.do_not_convert
    def picture(index: tf.Tensor) -> tf.Tensor:
        data = tf.numpy_function(lambda i: split.read(int(i)), [index], tf.string)
        image = decode(data)[crop.top : crop.bottom, crop.left : crop.right]
        image = tf.image.resize(image, (image_size, image_size), "bicubic", antialias=True)
        return tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8)

    images = tf.data.Dataset.range(num).map(picture, tf.data.AUTOTUNE, deterministic=True)
    done = 0
    try:
        for batch in images.batch(CHUNK).prefetch(2).as_numpy_iterator():
            yield batch
            done += len(batch)
    except tf.errors.OpError:
        # TensorFlow knows neither the file nor our exception: take the chunk again, one by one.
        for index in range(done, min(done + CHUNK, num)):
            data = split.read(index)
            try:
                decode(tf.constant(data))
            except tf.errors.OpError as reason:
                raise DataError(
                    f"{split.names[index]} is no picture that can be decoded ({reason.message})."
                ) from None
        raise  # Nothing is wrong with the pictures.


def progress(batches: Iterator[np.ndarray], name: str, num: int) -> Iterator[np.ndarray]:
    """Passes the batches on; shows a bar on a terminal and logs a line each tenth elsewhere."""
    start = time.monotonic()
    done = 0
    with tqdm(total=num, desc=name, unit="img", leave=False, disable=None) as bar:
        for batch in batches:
            yield batch
            tenth = 10 * done // num
            done += len(batch)
            bar.update(len(batch))
            if bar.disable and tenth < 10 * done // num < 10:
                rate = done / (time.monotonic() - start)
                left = (num - done) / rate
                log.info("%s: %.0f %%, %.0f img/s, %.0f s left", name, 100 * done / num, rate, left)
    seconds = time.monotonic() - start
    log.info("%s: %d pictures in %.1f s, %.0f img/s", name, num, seconds, num / seconds)


def rendered_faces(config: Data) -> Source:
    """Faces that are drawn (`gan.data.faces`), `config.num_faces` of them for training."""
    import jax.numpy as jnp

    from gan.data import faces

    parts = faces.split_indices(config.num_faces)

    @functools.cache  # All at once, so that it compiles once.
    def labels() -> faces.Labels:
        return faces.describe(FACES_SEED, jnp.arange(max(part.stop for part in parts.values())))

    def load(part: range) -> Split:
        def draw(index: np.ndarray, image_size: int) -> np.ndarray:
            index = part.start + jnp.asarray(index)
            return np.asarray(faces.draw(FACES_SEED, index, image_size).image)

        rows = slice(part.start, part.stop)
        return Split(
            attributes=np.asarray(labels().attributes)[rows],
            identity=np.asarray(labels().identity, np.int32)[rows],
            draw=draw,
        )

    inputs = f"{faces.VERSION} {FACES_SEED} {parts}"
    return Source(
        name="faces",
        fingerprint=hashlib.sha256(inputs.encode()).hexdigest(),
        attribute_names=tuple(faces.ATTRIBUTES),
        splits={name: functools.partial(load, part) for name, part in parts.items()},
    )


CROPS = {
    "center178": center(178),
    "center160": center(160),
    "center140": center(140),
    "center108": center(108),
    "ddim128": Crop(57, 25, 185, 153),
    "squash": Crop(0, 0, 218, 178),  # The whole picture, not in proportion.
}
SOURCES: dict[str, Callable[[Data], Source]] = {
    "faces": rendered_faces,
    "celeba": celeba.source,
}
