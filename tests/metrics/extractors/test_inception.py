"""FID's network against torch-fidelity's, under random weights; its two ways of resizing."""

import importlib.util

import jax
import numpy as np
import pytest
from helpers.inception_golden import DATA, EVERY, IMAGES, RESIZED, random_images, random_state
from PIL import Image

from gan.errors import ConfigError
from gan.metrics.extractors import inception
from gan.metrics.extractors.inception import RESIZES, SIDE, Features, extract, look
from gan.metrics.extractors.inception_weights import to_variables, torch_shapes

PICTURES = random_images("images", IMAGES)
OTHERS = random_images("others", IMAGES)


@pytest.fixture(scope="module")
def golden():
    with np.load(DATA / "inception.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def variables():
    return jax.device_put(to_variables(random_state(torch_shapes())))


@pytest.fixture(scope="module")
def see(variables):
    """Features of two pictures."""
    return lambda pictures: look(variables, RESIZES["legacy"](pictures))


@pytest.fixture(scope="module")
def seen(see):
    return see(PICTURES)


def error(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


def test_features_and_logits_are_those_of_torch_fidelity(seen, golden):
    # Of the classic mistakes the smallest, 2 x / 255 - 1 instead of x / 128 - 1, is off by 2e-3.
    assert error(seen.pool, golden["pool"]) < 1e-5
    assert error(seen.logits, golden["logits"]) < 1e-5
    assert (seen.pool.shape, seen.pool.dtype) == ((2, 2048), np.float32)
    assert golden["pool"].std() > 0.1  # It is no comparison of nothing.


def test_probabilities_are_the_softmax_of_the_logits(seen):
    probabilities = np.asarray(seen.probabilities, np.float64)
    exp = np.exp(np.asarray(seen.logits, np.float64))
    np.testing.assert_allclose(probabilities, exp / exp.sum(axis=1, keepdims=True), rtol=1e-5)


def test_neighbours_in_the_batch_change_nothing(see, seen):
    other = see(np.stack([OTHERS[0], PICTURES[0]]))
    assert error(other.pool[1], seen.pool[0]) < 1e-6
    assert error(other.pool[0], seen.pool[1]) > 1e-3


def test_all_pictures_are_seen_and_none_of_the_filling(variables, see, seen):
    features = extract(variables, np.concatenate([PICTURES, OTHERS[:1]]), batch_size=2)
    assert (features.pool.shape, features.logits.shape) == ((3, 2048), (3, 1008))
    for part in range(2):
        np.testing.assert_array_equal(features[part][:2], seen[part])
        assert error(features[part][2], see(OTHERS)[part][0]) < 1e-6


@pytest.mark.parametrize("resize", RESIZES)
def test_the_network_gets_pictures_in_0_to_255_resized_as_asked(monkeypatch, resize):
    def look(_, x):
        assert x.shape == (2, SIDE, SIDE, 3)
        assert x.dtype == np.float32
        return Features(np.tile(x.mean((1, 2)), 683)[:, :2048], np.zeros((2, 1008), np.float32))

    monkeypatch.setattr(inception, "look", look)
    pictures = np.tile(np.arange(5, dtype=np.uint8)[:, None, None, None] * 60, (1, 20, 30, 3))
    means = extract({}, pictures, resize, batch_size=2).pool[:, 0]
    np.testing.assert_allclose(means, [0, 60, 120, 180, 240], rtol=1e-5)


@pytest.mark.parametrize("resize", RESIZES)
def test_flat_pictures_stay_flat_and_no_value_leaves_the_range(resize):
    flat = np.full((1, 40, 40, 3), (0, 77, 255), np.uint8)
    wanted = np.broadcast_to(np.array([0.0, 77.0, 255.0]), (1, SIDE, SIDE, 3))
    np.testing.assert_allclose(RESIZES[resize](flat), wanted, atol=1e-4)
    noise = np.asarray(RESIZES[resize](PICTURES // 128 * 255))
    assert (noise.min(), noise.max()) == (0, 255)


@pytest.mark.parametrize("resize", RESIZES)
def test_a_picture_of_the_right_size_stays_as_it_is(resize):
    picture = random_images("same", (1, SIDE, SIDE, 3))
    np.testing.assert_array_equal(RESIZES[resize](picture), picture)


@pytest.mark.parametrize("name", RESIZED)
def test_legacy_is_the_resizing_of_torch_fidelity(name, golden):
    resized = RESIZES["legacy"](random_images(name, RESIZED[name]))
    np.testing.assert_allclose(resized[:, ::EVERY, ::EVERY], golden[name], atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 32, 48, 3), (1, 320, 410, 3), (1, 1, 2, 3)])
def test_legacy_is_the_formula_of_tensorflow_1(shape):
    picture = random_images("formula", shape)
    resized = np.asarray(RESIZES["legacy"](picture))[0]
    source = picture[0].astype(float)
    rng = np.random.default_rng(0)
    for row, column in [(0, 0), (298, 298), *rng.integers(0, SIDE, (100, 2))]:
        # tensorflow/core/kernels/image/resize_bilinear_op.cc with neither of its two options.
        y, x = (
            float(np.float32(at) * np.float32(old / SIDE))
            for at, old in zip((row, column), shape[1:3], strict=True)
        )
        top, left = int(y), int(x)
        bottom, right = min(top + 1, shape[1] - 1), min(left + 1, shape[2] - 1)
        above = source[top, left] + (source[top, right] - source[top, left]) * (x - left)
        below = source[bottom, left] + (source[bottom, right] - source[bottom, left]) * (x - left)
        np.testing.assert_allclose(
            resized[row, column], above + (below - above) * (y - top), atol=1e-4
        )


@pytest.mark.parametrize("shape", [(2, 32, 48, 3), (2, 320, 410, 3)])
def test_clean_is_bicubic_as_pillow_has_it(shape):
    pictures = random_images("clean", shape)
    resized = RESIZES["clean"](pictures)
    assert resized.dtype == np.float32
    for picture, ours in zip(pictures, resized, strict=True):
        for channel in range(3):
            plane = Image.fromarray(picture[..., channel].astype(np.float32))
            theirs = np.asarray(plane.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
            np.testing.assert_array_equal(ours[..., channel], theirs.clip(0, 255))


@pytest.mark.parametrize("shape", [(1, 32, 48, 3), (1, 320, 410, 3)])
def test_clean_is_what_pillow_rounds_for_uint8(shape):
    # Of little contrast: there nothing overshoots the range, which Pillow clips on its way too.
    pictures = random_images("clean", shape) // 2 + 64
    rounded = Image.fromarray(pictures[0]).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    assert np.abs(RESIZES["clean"](pictures) - np.asarray(rounded, np.float32)).max() < 1.5


def test_another_resizing_is_refused():
    with pytest.raises(ConfigError, match=r"resize='cleen' is none of .* Did you mean 'clean'"):
        extract({}, PICTURES, "cleen")


@pytest.mark.parametrize(
    "images", [PICTURES / np.float32(255), PICTURES[0], PICTURES[:0], PICTURES[..., :1]]
)
def test_what_is_not_uint8_pictures_is_refused(images):
    # As users run it: the shapes in the signature are checked in tests alone.
    spec = importlib.util.spec_from_file_location("unchecked_inception", inception.__file__)
    unchecked = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(unchecked)
    with pytest.raises(ValueError, match=r"images as uint8 \[n h w 3\]: got"):
        unchecked.extract({}, images)
