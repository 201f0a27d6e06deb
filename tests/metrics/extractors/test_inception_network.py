"""FID's network against torch-fidelity's, under random weights."""

import jax
import numpy as np
import pytest
from helpers.inception_golden import DATA, IMAGES, random_images, random_state

from gan.metrics.extractors.inception import RESIZES, apply_inception, extract_features
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
    """Features and logits of two pictures."""
    return lambda pictures: apply_inception(variables, RESIZES["legacy"](pictures))


@pytest.fixture(scope="module")
def seen(see):
    return see(PICTURES)


def error(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


def test_inception__features_and_logits_are_those_of_torch_fidelity(seen, golden):
    features, logits = seen
    # Of the classic mistakes the smallest, 2 x / 255 - 1 instead of x / 128 - 1, is off by 2e-3.
    assert error(features, golden["pool"]) < 1e-5
    assert error(logits, golden["logits"]) < 1e-5
    assert (features.shape, features.dtype) == ((2, 2048), np.float32)
    assert golden["pool"].std() > 0.1  # It is no comparison of nothing.


def test_inception__neighbours_in_the_batch_change_nothing(see, seen):
    other, _ = see(np.stack([OTHERS[0], PICTURES[0]]))
    assert error(other[1], seen[0][0]) < 1e-6
    assert error(other[0], seen[0][1]) > 1e-3


def test_extract_features__are_of_all_pictures_and_of_none_of_the_filling(variables, see, seen):
    found = extract_features(variables, np.concatenate([PICTURES, OTHERS[:1]]), batch_size=2)
    assert (found.features.shape, found.logits.shape) == ((3, 2048), (3, 1008))
    for part in range(2):
        np.testing.assert_array_equal(found[part][:2], seen[part])
        assert error(found[part][2], see(OTHERS)[part][0]) < 1e-6
