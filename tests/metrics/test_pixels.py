"""The sliced Wasserstein distance: small for equals, larger the worse the fakes."""

import functools
import importlib.util
import tracemalloc

import numpy as np
import pytest
from scipy import ndimage

from gan.metrics import pixels
from gan.metrics.pixels import laplacian_pyramid

NUM, SIDE = 32, 32
GOLDEN = {64: 56.48909730123375, 32: 61.25993169977484, 16: 118.34607260987795}  # Of 0.1.0.


# Instead of 512: enough to compare by.
sliced_wasserstein = functools.partial(pixels.sliced_wasserstein, directions=128)
sliced_wasserstein_levels = functools.partial(pixels.sliced_wasserstein_levels, directions=128)


def to_pictures(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


@functools.cache
def textured(seed: int, num: int = NUM, side: int = SIDE) -> np.ndarray:
    """Random pictures of one distribution, with coarse and fine structure."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((3, num, side, side, 3))
    layers = [2**s * blur(x, s) for x, s in zip(noise, (0.7, 1.5, 3.0), strict=True)]
    return to_pictures(128 + 30 * sum(layers))


def blur(images: np.ndarray, sigma: float) -> np.ndarray:
    return ndimage.gaussian_filter(images.astype(float), (0, sigma, sigma, 0))


@functools.cache
def flat(seed: int, num: int = NUM) -> np.ndarray:
    """Pictures of one colour each: a patch is the same wherever it is cut out."""
    colours = np.random.default_rng(seed).integers(0, 200, (num, 1, 1, 3), dtype=np.uint8)
    return np.tile(colours, (1, SIDE, SIDE, 1))


@functools.cache
def distance(change: str, strength: float) -> dict[int, float]:
    """Measures from real pictures to others of the same distribution, made worse."""
    generated = textured(1)
    if change == "blur":
        generated = to_pictures(blur(generated, strength))
    else:
        noise = np.random.default_rng(2).standard_normal(generated.shape)
        generated = to_pictures(generated + strength * noise)
    return sliced_wasserstein_levels(textured(0), generated)


def test_sliced_wasserstein__of_a_set_to_itself_is_0_where_patches_coincide():
    assert sliced_wasserstein(flat(0), flat(0)) < 1e-4


def test_sliced_wasserstein__does_not_depend_on_the_order_of_pictures():
    assert sliced_wasserstein(flat(0), flat(0)[::-1]) < 1e-4


def test_sliced_wasserstein__sees_other_colours():
    assert sliced_wasserstein(flat(0), to_pictures(flat(0).astype(float) ** 2 / 200)) > 10


def test_sliced_wasserstein__does_not_see_a_shift_of_all_colours_as_documented():
    assert sliced_wasserstein(flat(0), flat(0) + np.uint8(20)) < 1e-3


def test_sliced_wasserstein__of_pictures_without_structure_is_finite():
    grey = np.full((4, SIDE, SIDE, 3), 77, np.uint8)
    assert sliced_wasserstein(grey, grey) == 0
    assert np.isfinite(sliced_wasserstein(grey, textured(0)[:4]))


def test_sliced_wasserstein__is_least_to_itself_then_to_its_like_then_to_worse():
    itself = sliced_wasserstein(textured(0), textured(0))
    like = np.mean([*distance("noise", 0.0).values()])
    worse = np.mean([*distance("blur", 2.0).values()])
    assert itself < 0.7 * like
    assert like < 0.7 * worse


@pytest.mark.parametrize(
    ("change", "strengths"),
    [("blur", (0.0, 0.6, 0.8, 1.2, 2.0)), ("noise", (0.0, 15.0, 30.0, 60.0))],
)
def test_sliced_wasserstein_levels__the_finest_grows_with_the_damage(change, strengths):
    grown = [distance(change, strength)[SIDE] for strength in strengths]
    assert (np.diff(grown) > 0.05 * grown[0]).all(), grown


def test_sliced_wasserstein_levels__show_fine_noise_at_the_finest_only():
    clean, noisy = distance("noise", 0.0), distance("noise", 60.0)
    assert noisy[SIDE] > 1.4 * clean[SIDE]
    assert abs(noisy[SIDE // 2] - clean[SIDE // 2]) < 0.2 * clean[SIDE // 2]


def test_sliced_wasserstein_levels__are_symmetric_but_for_the_sampling():
    worse = to_pictures(blur(textured(1), 1.2))
    back = sliced_wasserstein_levels(worse, textured(0))
    for side, there in distance("blur", 1.2).items():
        assert abs(back[side] - there) < 0.15 * there


def test_sliced_wasserstein__of_the_same_pictures_is_the_same_number():
    first, second = (sliced_wasserstein(textured(0)[:4], textured(1)[:4]) for _ in range(2))
    assert first == second


def peak_memory(num: int, side: int) -> float:
    """Bytes for the distance of sets of pictures, besides these."""
    images = np.random.default_rng(0).integers(0, 256, (num, side, side, 3), np.uint8)
    tracemalloc.start()
    pixels.sliced_wasserstein(images, images[::-1], directions=32)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def test_sliced_wasserstein__needs_no_more_memory_for_more_pictures():
    few = pixels.MOST_PATCHES // pixels.PATCHES
    assert peak_memory(2 * few, 16) < 1.05 * peak_memory(few, 16) < 600e6


@pytest.mark.slow
def test_sliced_wasserstein__needs_bounded_memory_for_large_pictures():
    assert peak_memory(2560, 128) < 1e9


def test_sliced_wasserstein__of_few_pictures_is_the_number_it_has_always_been():
    first, second = textured(0, 8, 64), textured(1, 8, 64)
    assert sliced_wasserstein_levels(first, second) == pytest.approx(GOLDEN, rel=1e-5)


def test_sliced_wasserstein__draws_places_and_directions_by_its_seed():
    first, second = (sliced_wasserstein(textured(0), textured(1), seed=seed) for seed in (0, 1))
    assert first != second
    assert first == pytest.approx(second, rel=0.2)


@pytest.mark.parametrize("side", [16, 32, 64])
def test_sliced_wasserstein_levels__are_named_by_their_sides_and_the_score_is_their_mean(side):
    reference, generated = (textured(seed, 4, side) for seed in (0, 1))
    levels = sliced_wasserstein_levels(reference, generated)
    assert [*levels] == [x for x in (64, 32, 16) if x <= side]
    assert [level.shape[1] for level in laplacian_pyramid(reference)] == [*levels]
    assert sliced_wasserstein(reference, generated) == pytest.approx(np.mean([*levels.values()]))


@pytest.mark.parametrize("shape", [(3, SIDE, SIDE, 3), (4, 16, 16, 3)])
def test_sliced_wasserstein__refuses_sets_that_differ_in_number_or_size(shape):
    # As users run it: the shapes in the signature are checked in tests alone.
    spec = importlib.util.spec_from_file_location("unchecked_pixels", pixels.__file__)
    unchecked = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(unchecked)
    with pytest.raises(ValueError, match=r"one size: got \(\d+, .* and \(4, 32, 32, 3\)"):
        unchecked.sliced_wasserstein(textured(0)[:4], np.zeros(shape, np.uint8))


def enlarge(images: np.ndarray) -> np.ndarray:
    """To twice the side: zeros between the pixels, spread by the binomial filter."""
    n, h, w, c = images.shape
    larger = np.zeros((n, 2 * h, 2 * w, c))
    larger[:, ::2, ::2] = images
    kernel = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1])[None, :, :, None] / 64
    return ndimage.convolve(larger, kernel, mode="mirror")


def test_laplacian_pyramid__adds_up_to_its_picture():
    images = textured(0, 3, 64)
    *finer, restored = laplacian_pyramid(images)
    for level in reversed(finer):
        restored = level + enlarge(restored)
    np.testing.assert_allclose(restored, images, atol=1e-3)
    assert np.abs(finer[0]).max() > 10


def test_laplacian_pyramid__of_a_flat_picture_has_no_details_and_keeps_its_colour():
    images = np.full((1, 64, 64, 3), (10, 120, 250), np.uint8)
    *finer, coarsest = laplacian_pyramid(images)
    assert len(finer) == 2
    for level in finer:
        np.testing.assert_allclose(level, 0, atol=1e-3)
    np.testing.assert_allclose(coarsest, images[:, :16, :16], atol=1e-3)


def test_laplacian_pyramid__of_a_checkerboard_is_in_the_finest_level():
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    finest, *coarser = laplacian_pyramid(np.tile(board[None, :, :, None], (1, 1, 1, 3)))
    assert finest.std() > 100
    assert all(level.std() < 2 for level in coarser)
