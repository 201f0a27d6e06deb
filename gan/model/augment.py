"""Augmentations of one image, on the device and differentiable.

To add one that moves pixels, write a function `(key, amount, side) -> matrix` and a line in
`WARPS`: the matrix maps positions in the new image to positions in the old one, in pixels from the
centre, and all of them become one warp. To add one that changes colours, write a function
`(key, amount, image) -> image` and a line in `COLOURS`. The amount is the setting of the same name
in `Augment` of `gan/config.py`; 0 turns it off. The batch axis exists only in `vmap`.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float, Key

from gan.config import Augment

Image = Float[Array, "h w c"]
Matrix = Float[Array, "3 3"]
Probability = float | Float[Array, ""]
Augmentation = Callable[[Key[Array, ""], Image, Probability], Image]


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
    """Samples the image at positions mapped by `matrix`: bilinear, mirrored at the border."""
    height, width, _ = image.shape
    centre = jnp.array([height - 1, width - 1]) / 2
    rows, columns = jnp.mgrid[:height, :width]
    grid = jnp.stack([rows - centre[0], columns - centre[1], jnp.ones_like(centre[0] + rows)])
    # At full precision: TPUs and TF32 would move pixels by up to a tenth.
    source = jnp.einsum("ij,jhw->ihw", matrix, grid, precision="highest")
    source = source[:2] + centre[:, None, None]
    sample = lambda channel: map_coordinates(channel, list(source), order=1, mode="mirror")  # noqa: E731
    return jax.vmap(sample, in_axes=-1, out_axes=-1)(image)


def brightness(key: Key[Array, ""], largest: float, image: Image) -> Image:
    """Adds up to `largest` either way to all pixels, of images in [-1, 1]."""
    return image + largest * jax.random.uniform(key, minval=-1.0)


def contrast(key: Key[Array, ""], largest: float, image: Image) -> Image:
    """Multiplies all pixels of an image in [-1, 1] by 2^u, u uniform in [-largest, largest]."""
    return image * 2 ** (largest * jax.random.uniform(key, minval=-1.0))


WARPS: dict[str, Callable[[Key[Array, ""], float, int], Matrix]] = {
    "rotate": rotate,
    "scale": scale,
    "translate": translate,
}
COLOURS: dict[str, Callable[[Key[Array, ""], float, Image], Image]] = {
    "brightness": brightness,
    "contrast": contrast,
}


def compose(config: Augment) -> Augmentation | None:
    """Returns one warp of all matrices whose setting is not 0, then their changes of colour.

    Each happens with a probability that is given in the call. Applied to real and generated images
    alike with a probability below 1, it does not leak into what is generated (Karras et al. 2020,
    arXiv 2006.06676, section 2.2). None if there is nothing to do.
    """
    warps, colours = (
        {name: amount for name in table if (amount := getattr(config, name))}
        for table in (WARPS, COLOURS)
    )
    if not (warps or colours) or not (config.probability or config.probability_end):
        return None

    def augment(key: Key[Array, ""], image: Image, probability: Probability) -> Image:
        if warps:
            image = warp(image, draw_matrix(warps, key, image.shape[0], probability))
        for i, (name, amount) in enumerate(colours.items(), start=len(warps)):
            coin, draw = jax.random.split(jax.random.fold_in(key, i))
            changed = COLOURS[name](draw, amount, image)
            image = jnp.where(jax.random.bernoulli(coin, probability), changed, image)
        return image

    return augment


def draw_matrix(
    amounts: Mapping[str, float], key: Key[Array, ""], side: int, probability: Probability
) -> Matrix:
    """Draws each of the named warps with `probability`; the product of their matrices."""
    matrix = jnp.eye(3)
    for i, (name, amount) in enumerate(amounts.items()):
        coin, draw = jax.random.split(jax.random.fold_in(key, i))
        step = WARPS[name](draw, amount, side)
        step = jnp.where(jax.random.bernoulli(coin, probability), step, jnp.eye(3))
        matrix = jnp.matmul(matrix, step, precision="highest")
    return matrix
