"""The sliced Wasserstein distance between sets of pictures, which needs no extractor."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Float, UInt8
from scipy import ndimage

from gan.metrics.distances import spread_rows

Pictures = UInt8[np.ndarray, "_ _ _ 3"]  # [n h w 3], 0..255.
BINOMIAL = np.array([1, 4, 6, 4, 1], np.float32) / 16
SMALLEST = 16  # Side of the coarsest level, in pixels.
PATCH = 7  # Side of a patch, in pixels.
PATCHES = 128  # Patches cut out of each picture of a level.
DIRECTIONS = 512  # Random directions that patches are projected on.
AT_A_TIME = 32  # Directions that one thread projects on at a time.
MOST = 16_384  # Pictures at most, as in the paper: all their patches are in memory.


def sliced_wasserstein(
    reference: Pictures, generated: Pictures, directions: int = DIRECTIONS
) -> float:
    """1000 x the sliced Wasserstein distance of Laplacian patches, mean over the levels.

    (Karras et al. 2018, arXiv 1710.10196, section 5.) Both sets are uint8 [n h h 3] of one n and
    h = 16 x 2^k. It is in [0, inf). As in the paper's code, each set of patches is normalised by
    its own mean and deviation: a global shift of colour or contrast goes unnoticed. Raises
    ValueError for sets of different number or size.
    """
    levels = sliced_wasserstein_levels(reference, generated, directions)
    return float(np.mean([*levels.values()]))


def sliced_wasserstein_levels(
    reference: Pictures, generated: Pictures, directions: int = DIRECTIONS
) -> dict[int, float]:
    """The distance at each level, by the level's side in pixels, the finest first.

    `directions` is a multiple of `AT_A_TIME`.
    """
    if reference.shape != generated.shape:
        raise ValueError(
            "as many generated pictures as real ones, of one size: got "
            f"{generated.shape} and {reference.shape}"
        )
    rng = np.random.default_rng(0)
    scores = {}
    with ThreadPoolExecutor() as pool:
        rows = spread_rows(len(reference), MOST)
        pyramids = pool.map(laplacian_pyramid, (reference[rows], generated[rows]))
        for a, b in zip(*pyramids, strict=True):
            a, b = pool.map(_normalise, [_patches(level, rng) for level in (a, b)])
            axes = rng.standard_normal((a.shape[1], directions), dtype=np.float32)
            axes /= np.linalg.norm(axes, axis=0)
            parts = np.split(axes, directions // AT_A_TIME, axis=1)
            distances = pool.map(lambda part, a=a, b=b: _distance(a @ part, b @ part), parts)
            scores[reference.shape[1] >> len(scores)] = 1000 * float(np.mean([*distances]))
    return scores


def _distance(a: Float[np.ndarray, "m c"], b: Float[np.ndarray, "m c"]) -> float:
    """Mean over the columns of the Wasserstein-1 distance, which compares sorted values."""
    a, b = (np.sort(np.ascontiguousarray(x.T), axis=1) for x in (a, b))
    return float(np.abs(np.subtract(a, b, out=a), out=a).mean(dtype=np.float64))


def laplacian_pyramid(images: Pictures) -> list[Float[np.ndarray, "n _ _ 3"]]:
    """Builds band-pass images, the finest first, down to a side of 16 pixels.

    (Burt & Adelson 1983.) Each level enlarged and added to the one before restores the images.
    """
    levels, current = [], images.astype(np.float32)
    while current.shape[1] >= 2 * SMALLEST:
        smaller = _blur(current)[:, ::2, ::2]
        larger = np.zeros_like(current)
        larger[:, ::2, ::2] = 4 * smaller
        levels.append(current - _blur(larger))
        current = smaller
    return [*levels, current]


def _blur(images: np.ndarray) -> np.ndarray:
    for axis in (1, 2):
        images = ndimage.convolve1d(images, BINOMIAL, axis=axis, mode="mirror")
    return images


def _patches(
    level: Float[np.ndarray, "n h w 3"], rng: np.random.Generator
) -> Float[np.ndarray, "m 7 7 3"]:
    windows = np.lib.stride_tricks.sliding_window_view(level, (PATCH, PATCH), axis=(1, 2))
    num, height, width = windows.shape[:3]
    image = np.repeat(np.arange(num), PATCHES)
    row, column = rng.integers(0, height, image.size), rng.integers(0, width, image.size)
    return windows[image, row, column].transpose(0, 2, 3, 1)


def _normalise(patches: Float[np.ndarray, "m 7 7 3"]) -> Float[np.ndarray, "m d"]:
    patches = patches - patches.mean(axis=(0, 1, 2), dtype=np.float64).astype(np.float32)
    deviation = patches.std(axis=(0, 1, 2), dtype=np.float64).astype(np.float32)
    return (patches / np.maximum(deviation, 1e-8)).reshape(len(patches), -1)
