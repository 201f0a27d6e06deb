"""The sliced Wasserstein distance of pictures (uint8 [n h w 3]), which needs no network."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Float, UInt8
from scipy import ndimage

from gan.metrics.distances import spread_rows

Pictures = UInt8[np.ndarray, "_ _ _ 3"]
BINOMIAL = np.array([1, 4, 6, 4, 1], np.float32) / 16
SMALLEST = 16  # Pixels, side of the coarsest level.
PATCH, PATCHES = 7, 128  # Pixels, side of a patch; patches an image.
DIRECTIONS, AT_A_TIME = 512, 32
MOST = 16_384  # Images, as in the paper: all patches are in memory.


def sliced_wasserstein(real: Pictures, fake: Pictures) -> float:
    """Distance of Laplacian patches, mean over the levels, x 1000 (Karras et al. 2018, section 5).

    As in the paper's code each set of patches is normalised by its own mean and deviation, so a
    global shift of colour or contrast goes unnoticed: look at the pictures too. Needs no weights.
    Raises ValueError where the two sets differ in number or size.
    """
    return float(np.mean(list(sliced_wasserstein_levels(real, fake).values())))


def sliced_wasserstein_levels(real: Pictures, fake: Pictures) -> dict[int, float]:
    """The same for each level, by its side in pixels: finest detail first."""
    if real.shape != fake.shape:
        raise ValueError(f"as many fakes as reals, of one size: got {real.shape} and {fake.shape}")
    rng = np.random.default_rng(0)
    scores = {}
    with ThreadPoolExecutor() as pool:
        rows = spread_rows(len(real), MOST)
        pyramids = pool.map(laplacian_pyramid, (real[rows], fake[rows]))
        for a, b in zip(*pyramids, strict=True):
            a, b = pool.map(_normalise, [_patches(level, rng) for level in (a, b)])
            directions = rng.standard_normal((a.shape[1], DIRECTIONS), dtype=np.float32)
            directions /= np.linalg.norm(directions, axis=0)
            parts = np.split(directions, DIRECTIONS // AT_A_TIME, axis=1)
            distances = pool.map(lambda part, a=a, b=b: _distance(a @ part, b @ part), parts)
            scores[real.shape[1] >> len(scores)] = 1000 * float(np.mean([*distances]))
    return scores


def _distance(a: Float[np.ndarray, "m c"], b: Float[np.ndarray, "m c"]) -> float:
    """Wasserstein-1 of each column, mean over them: sort both, compare rank by rank."""
    a, b = (np.sort(np.ascontiguousarray(x.T), axis=1) for x in (a, b))
    return float(np.abs(np.subtract(a, b, out=a), out=a).mean(dtype=np.float64))


def laplacian_pyramid(images: Pictures) -> list[Float[np.ndarray, "n _ _ 3"]]:
    """Band-pass images, finest first, down to 16 pixels (Burt & Adelson 1983)."""
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
