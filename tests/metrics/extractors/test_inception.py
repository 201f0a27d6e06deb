"""FID's two ways of resizing, and what its network is given."""

import numpy as np
import pytest
from helpers.inception_golden import DATA, EVERY, IMAGES, RESIZED, random_images
from PIL import Image

from gan.errors import ConfigError
from gan.metrics.extractors.inception import RESIZES, extract_features
from gan.metrics.extractors.inception_network import SIDE

PICTURES = random_images("images", IMAGES)


@pytest.fixture(scope="module")
def golden():
    with np.load(DATA / "inception.npz") as file:
        return dict(file)


@pytest.mark.parametrize("resize", RESIZES)
def test_extract_features__gives_the_network_0_to_255_resized_as_asked(resize):
    def mean(_, x):
        assert x.shape == (2, SIDE, SIDE, 3)
        assert x.dtype == np.float32
        return x.mean((1, 2)), np.zeros((2, 1008), np.float32)

    pictures = np.tile(np.arange(5, dtype=np.uint8)[:, None, None, None] * 60, (1, 20, 30, 3))
    means = extract_features({}, pictures, resize, batch_size=2, apply=mean).features[:, 0]
    np.testing.assert_allclose(means, [0, 60, 120, 180, 240], rtol=1e-5)


@pytest.mark.parametrize("resize", RESIZES)
def test_resizes__flat_pictures_stay_flat_and_no_value_leaves_the_range(resize):
    flat = np.full((1, 40, 40, 3), (0, 77, 255), np.uint8)
    wanted = np.broadcast_to(np.array([0.0, 77.0, 255.0]), (1, SIDE, SIDE, 3))
    np.testing.assert_allclose(RESIZES[resize](flat), wanted, atol=1e-4)
    noise = np.asarray(RESIZES[resize](PICTURES // 128 * 255))
    assert (noise.min(), noise.max()) == (0, 255)


@pytest.mark.parametrize("resize", RESIZES)
def test_resizes__a_picture_of_the_right_size_stays_as_it_is(resize):
    picture = random_images("same", (1, SIDE, SIDE, 3))
    np.testing.assert_array_equal(RESIZES[resize](picture), picture)


@pytest.mark.parametrize("name", RESIZED)
def test_resize_legacy__is_that_of_torch_fidelity(name, golden):
    resized = RESIZES["legacy"](random_images(name, RESIZED[name]))
    np.testing.assert_allclose(resized[:, ::EVERY, ::EVERY], golden[name], atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 32, 48, 3), (1, 320, 410, 3), (1, 1, 2, 3)])
def test_resize_legacy__is_the_formula_of_tensorflow_1(shape):
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
def test_resize_clean__is_bicubic_as_pillow_has_it(shape):
    pictures = random_images("clean", shape)
    resized = RESIZES["clean"](pictures)
    assert resized.dtype == np.float32
    for picture, ours in zip(pictures, resized, strict=True):
        for channel in range(3):
            plane = Image.fromarray(picture[..., channel].astype(np.float32))
            theirs = np.asarray(plane.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
            np.testing.assert_array_equal(ours[..., channel], theirs.clip(0, 255))


@pytest.mark.parametrize("shape", [(1, 32, 48, 3), (1, 320, 410, 3)])
def test_resize_clean__is_what_pillow_rounds_for_uint8(shape):
    # Of little contrast: there nothing overshoots the range, which Pillow clips on its way too.
    pictures = random_images("clean", shape) // 2 + 64
    rounded = Image.fromarray(pictures[0]).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    assert np.abs(RESIZES["clean"](pictures) - np.asarray(rounded, np.float32)).max() < 1.5


def test_extract_features__refuses_another_resizing():
    with pytest.raises(ConfigError, match=r"resize='cleen' is none of .* Did you mean 'clean'"):
        extract_features({}, PICTURES, "cleen")
