"""Rendered faces: a data set without a download, labelled like CelebA, and without errors.

Face `index` of the data set `seed` is a pure function of both, so faces can be drawn in any number,
size and order. Attributes and identities are the same on every device. Between devices, ages,
angles and tones may differ in the last bit, and a few pixels by a level or two.
"""

import functools
import hashlib
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from gan.config import Data
from gan.data.faces.render import render
from gan.data.faces.traits import ATTRIBUTES, IMAGES_PER_IDENTITY, Traits, sample_traits
from gan.data.source import Source, Split

VERSION: int = 1  # To be raised whenever a label or a pixel changes.
SEED = 0  # Seed of the data set that runs train on, whatever their own seed.


class FaceLabels(NamedTuple):
    """The labels of a face, or with a leading axis of several."""

    attributes: UInt8[Array, "*n 40"]  # 0 | 1, in the order of ATTRIBUTES.
    identity: Int[Array, "*n"]  # Number of the person: 0, 1, ...
    age: Float[Array, "*n"]  # Years, 18..80; Young is below YOUNG_BELOW.
    yaw: Float[Array, "*n"]  # Radians, -0.6..0.6; positive: the face looks to the picture's right.
    tone: Float[Array, "*n"]  # Tone of the skin: 0 light, 1 dark.


class Face(NamedTuple):
    """A picture and its `FaceLabels`, or with a leading axis several."""

    image: UInt8[Array, "*n h w 3"]  # RGB, 0..255.
    attributes: UInt8[Array, "*n 40"]
    identity: Int[Array, "*n"]
    age: Float[Array, "*n"]
    yaw: Float[Array, "*n"]
    tone: Float[Array, "*n"]


def face_traits(seed: int | Int[Array, ""], index: Int[Array, " n"]) -> Traits:
    """Samples the traits of the faces `index` [n], to be rendered under `jax.vmap`."""
    key = jax.random.key(seed, impl="threefry2x32")
    return jax.vmap(partial(sample_traits, key))(index)


@jax.jit
def describe_faces(seed: int | Int[Array, ""], index: Int[Array, " n"]) -> FaceLabels:
    """Returns the labels of the faces `index` [n] without drawing them."""
    t = face_traits(seed, index)
    return FaceLabels(t.attributes, t.identity, t.age, t.yaw, t.tone)


@partial(jax.jit, static_argnames="image_size")
def draw_faces(seed: int | Int[Array, ""], index: Int[Array, " n"], image_size: int) -> Face:
    """Draws the faces `index` [n], `image_size` pixels square; each n and size compiles once."""
    t = face_traits(seed, index)
    image = jax.vmap(partial(render, image_size=image_size))(t)
    return Face(image, t.attributes, t.identity, t.age, t.yaw, t.tone)


def split_indices(num_train: int) -> dict[str, range]:
    """Indices of the faces of each split; no person is in two of them.

    Validation and test have a sixteenth of `num_train` each, and at least 256 faces.
    """
    held_out = max(256, num_train // 16)
    splits, start = {}, 0
    for name, size in (("train", num_train), ("validation", held_out), ("test", held_out)):
        splits[name] = range(start, start + size)
        start += -(-size // IMAGES_PER_IDENTITY) * IMAGES_PER_IDENTITY
    return splits


def open_source(config: Data) -> Source:
    """Opens a set of `config.num_faces` faces to train on; other people are held out."""
    parts = split_indices(config.num_faces)

    @functools.cache  # For all splits at once, which compiles once.
    def labels() -> FaceLabels:
        return describe_faces(SEED, jnp.arange(max(part.stop for part in parts.values())))

    def load(part: range) -> Split:
        def draw_part(index: np.ndarray, image_size: int) -> np.ndarray:
            return np.asarray(draw_faces(SEED, part.start + jnp.asarray(index), image_size).image)

        rows = slice(part.start, part.stop)
        return Split(
            attributes=np.asarray(labels().attributes)[rows],
            identity=np.asarray(labels().identity, np.int32)[rows],
            draw=draw_part,
        )

    inputs = f"{VERSION} {SEED} {parts}"
    return Source(
        name="faces",
        found=f"{len(parts['train']):,} rendered faces to train with.",
        fingerprint=hashlib.sha256(inputs.encode()).hexdigest(),
        attribute_names=tuple(ATTRIBUTES),
        splits={name: partial(load, part) for name, part in parts.items()},
        drawn=True,
    )
