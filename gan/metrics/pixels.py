"""The sliced Wasserstein distance between sets of pictures, which needs no extractor."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Float, UInt8
from scipy import ndimage

from gan.metrics.distances import row_blocks, spread_rows

Pictures = UInt8[np.ndarray, "_ _ _ 3"]  # [n h w 3], 0..255.
BINOMIAL = np.array([1, 4, 6, 4, 1], np.float32) / 16
SMALLEST = 16  # Side of the coarsest level, in pixels.
PATCH = 7  # Side of a patch, in pixels.
PATCHES = 128  # Patches cut out of each picture of a level, unless that would be more than
MOST_PATCHES = 2**18  # of a set: those of one level are in memory.
DIRECTIONS = 512  # Random directions that patches are projected on.
AT_A_TIME = 32  # Directions that one thread projects on at a time.
THREADS = 4  # More would need more memory.
PIXELS = 2**22  # Pixels whose pyramid is in memory at a time.
MOST = 16_384  # Pictures at most, as in the paper.


def sliced_wasserstein(
    reference: Pictures, generated: Pictures, directions: int = DIRECTIONS, seed: int = 0
) -> float:
    """1000 x the sliced Wasserstein distance of Laplacian patches, mean over the levels.

    (Karras et al. 2018, arXiv 1710.10196, section 5.) Both sets are uint8 [n h h 3] of one n and
    h = 16 x 2^k. It is in [0, inf). As in the paper's code, each set of patches is normalised by
    its own mean and deviation: a global shift of colour or contrast goes unnoticed. `seed` draws
    places and directions. It needs at most about 1 GB, however many pictures there are. Raises
    ValueError for sets of different number or size.
    """
    levels = sliced_wasserstein_levels(reference, generated, directions, seed)
    return float(np.mean([*levels.values()]))


def sliced_wasserstein_levels(
    reference: Pictures, generated: Pictures, directions: int = DIRECTIONS, seed: int = 0
) -> dict[int, float]:
    """The distance at each level, by the level's side in pixels, the finest first.

    `directions` is a multiple of `AT_A_TIME`.
    """
    if reference.shape != generated.shape:
        raise ValueError(
            "as many generated pictures as real ones, of one size: got "
            f"{generated.shape} and {reference.shape}"
        )
    rng = np.random.default_rng(seed)
    scores = {}
    with ThreadPoolExecutor(THREADS) as pool:
        for level, side in enumerate(_sides(reference.shape[1])):
            a, b = (_patches(images, level, side, rng) for images in (reference, generated))
            axes = rng.standard_normal((a.shape[1], directions), dtype=np.float32)
            axes /= np.linalg.norm(axes, axis=0)
            parts = np.split(axes, directions // AT_A_TIME, axis=1)
            distances = pool.map(lambda part, a=a, b=b: _distance(a @ part, b @ part), parts)
            scores[side] = 1000 * float(np.mean([*distances]))
    return scores


def _sides(side: int) -> list[int]:
    """Sides of the levels of a pyramid, the finest first."""
    return [side] if side < 2 * SMALLEST else [side, *_sides(-(-side // 2))]


def _distance(a: Float[np.ndarray, "m c"], b: Float[np.ndarray, "m c"]) -> float:
    """Mean over the columns of the Wasserstein-1 distance, which compares sorted values."""
    a, b = (np.sort(np.ascontiguousarray(x.T), axis=1) for x in (a, b))
    return float(np.abs(np.subtract(a, b, out=a), out=a).mean(dtype=np.float64))


def laplacian_pyramid(
    images: Pictures, num: int | None = None
) -> list[Float[np.ndarray, "n _ _ 3"]]:
    """Builds band-pass images, the finest first, down to a side of 16 pixels.

    (Burt & Adelson 1983.) Each level enlarged and added to the one before restores the images.
    With `num`, only so many levels are built.
    """
    levels, current = [], images.astype(np.float32)
    while current.shape[1] >= 2 * SMALLEST and len(levels) != num:
        smaller = _blur(current)[:, ::2, ::2]
        larger = np.zeros_like(current)
        larger[:, ::2, ::2] = 4 * smaller
        levels.append(current - _blur(larger))
        current = smaller
    return [*levels, current][:num]


def _blur(images: np.ndarray) -> np.ndarray:
    for axis in (1, 2):
        images = ndimage.convolve1d(images, BINOMIAL, axis=axis, mode="mirror")
    return images


def _patches(
    images: Pictures, level: int, side: int, rng: np.random.Generator
) -> Float[np.ndarray, "m d"]:
    """Cuts normalised patches out of one level, whose pyramids are built a few at a time."""
    rows = spread_rows(len(images), MOST)
    each = min(PATCHES, MOST_PATCHES // len(rows))
    shape = (len(rows), each)
    top, left = (rng.integers(0, side - PATCH + 1, shape) for _ in range(2))
    patches = np.empty((*shape, PATCH, PATCH, 3), np.float32)
    for part in row_blocks(len(rows), max(1, PIXELS // images[0, ..., 0].size)):
        pictures = laplacian_pyramid(images[rows[part]], level + 1)[level]
        windows = np.lib.stride_tricks.sliding_window_view(pictures, (PATCH, PATCH), axis=(1, 2))
        number = np.arange(len(pictures))[:, None]
        patches[part] = windows[number, top[part], left[part]].transpose(0, 1, 3, 4, 2)
    return _normalise(patches.reshape(-1, PATCH * PATCH, 3))


def _normalise(patches: Float[np.ndarray, "m p 3"]) -> Float[np.ndarray, "m d"]:
    """Normalises the colours of all patches, in place, and makes a row of each."""
    patches -= patches.mean(axis=(0, 1), dtype=np.float64).astype(np.float32)
    square = np.einsum("mpc,mpc->c", patches, patches, dtype=np.float64)
    deviation = np.sqrt(square / (len(patches) * patches.shape[1])).astype(np.float32)
    patches /= np.maximum(deviation, 1e-8)
    return patches.reshape(len(patches), -1)
