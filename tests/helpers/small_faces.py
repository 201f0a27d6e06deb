"""The labels of many rendered faces, and how to read one of their attributes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, UInt8

from gan.data.faces import dataset
from gan.data.faces.traits import ATTRIBUTES, IMAGES_PER_IDENTITY

NUM = 20_000


@functools.cache
def labels_of_people() -> tuple[Int[np.ndarray, "n"], dataset.FaceLabels]:
    """Indices and labels of NUM faces, each of another person."""
    people = np.arange(NUM)
    index = people * IMAGES_PER_IDENTITY + people % IMAGES_PER_IDENTITY
    return index, jax.tree.map(np.asarray, dataset.describe_faces(0, jnp.asarray(index)))


def column(attributes: UInt8[np.ndarray, "n 40"], name: str) -> UInt8[np.ndarray, "n"]:
    """View of one attribute."""
    return attributes[:, ATTRIBUTES.index(name)]
