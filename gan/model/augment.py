"""Augmentations of one image, on the device: composed to one differentiable warp.

A transformation is a matrix that maps positions in the new image to positions in the old one, in
pixels from the centre. The batch axis exists only in `vmap`.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float, Key

Image = Float[Array, "h w c"]
Matrix = Float[Array, "3 3"]
Augmentation = Callable[[Key[Array, ""], Image], Image]


def flip(key: Key[Array, ""], image: Image) -> Image:
    """Mirrors left and right with probability one half. Changes none of CelebA's attributes."""
    return jnp.where(jax.random.bernoulli(key), image[:, ::-1], image)


def rotate(key: Key[Array, ""], largest: float, side: int) -> Matrix:
    """Turns by up to `largest` degrees either way."""
    angle = jnp.deg2rad(largest) * jax.random.uniform(key, minval=-1.0)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.eye(3).at[:2, :2].set(jnp.array([[cos, -sin], [sin, cos]]))


def scale(key: Key[Array, ""], largest: float, side: int) -> Matrix:
    """Magnifies by 2^u, u uniform in [-largest, largest]."""
    factor = 2 ** (largest * jax.random.uniform(key, minval=-1.0))
    return jnp.diag(jnp.array([1 / factor, 1 / factor, 1.0]))


def translate(key: Key[Array, ""], largest: float, side: int) -> Matrix:
    """Shifts by up to `largest` of the side along each axis."""
    shift = largest * side * jax.random.uniform(key, (2,), minval=-1.0)
    return jnp.eye(3).at[:2, 2].set(shift)


def warp(image: Image, matrix: Matrix) -> Image:
    """The image seen through `matrix`: bilinear, mirrored beyond its border."""
    height, width, _ = image.shape
    centre = jnp.array([height - 1, width - 1]) / 2
    rows, columns = jnp.mgrid[:height, :width]
    grid = jnp.stack([rows - centre[0], columns - centre[1], jnp.ones_like(centre[0] + rows)])
    # At full precision: TPUs and TF32 would move pixels by up to a tenth.
    source = jnp.einsum("ij,jhw->ihw", matrix, grid, precision="highest")
    source = source[:2] + centre[:, None, None]
    sample = lambda channel: map_coordinates(channel, list(source), order=1, mode="mirror")  # noqa: E731
    return jax.vmap(sample, in_axes=-1, out_axes=-1)(image)


def compose(amounts: Mapping[str, float], probability: float) -> Augmentation | None:
    """One warp of the transformations whose amount is not 0, each with `probability`.

    Applied to real and fake images alike with a probability below 1, it does not leak into what is
    generated (Karras et al. 2020, arXiv 2006.06676, section 2.2). None if idle.
    """
    active = {name: amount for name, amount in amounts.items() if amount}
    if not active or not probability:
        return None

    def augment(key: Key[Array, ""], image: Image) -> Image:
        matrix = jnp.eye(3)
        for i, (name, amount) in enumerate(active.items()):
            coin, draw = jax.random.split(jax.random.fold_in(key, i))
            step = WARPS[name](draw, amount, image.shape[0])
            step = jnp.where(jax.random.bernoulli(coin, probability), step, jnp.eye(3))
            matrix = jnp.matmul(matrix, step, precision="highest")
        return warp(image, matrix)

    return augment


WARPS: dict[str, Callable[[Key[Array, ""], float, int], Matrix]] = {
    "rotate": rotate,
    "scale": scale,
    "translate": translate,
}
