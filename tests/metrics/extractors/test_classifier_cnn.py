"""The attribute classifier's network and its training, on a few pictures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.bright_pictures import draw_pictures

from gan.metrics.extractors import classifier_cnn
from gan.metrics.extractors.attribute_classifier import hash_variables
from gan.metrics.extractors.classifier_cnn import train_classifier


@pytest.mark.slow
def test_train_classifier__gives_the_same_bits_for_the_same_pictures(learnt):
    images, attributes = draw_pictures(0, 96)
    assert hash_variables(train_classifier(images, attributes)) == hash_variables(learnt)
    attributes[0, 0] ^= 1
    assert hash_variables(train_classifier(images, attributes)) != hash_variables(learnt)


@pytest.mark.parametrize("with_it", [(1, 9, 90), (0, 3, 1)])
def test_balanced_loss__is_least_where_a_logit_above_0_means_likelier_than_on_average(with_it):
    """Has three kinds of pictures, 1,000 each; the best logit for each kind is known."""
    kinds = np.repeat(np.arange(3), 1000)
    labels = (np.arange(3000) % 1000 < np.array(with_it)[kinds])[:, None].astype(np.uint8)
    balance, share = classifier_cnn.Balance.of(labels), labels.mean(axis=0)
    chance = np.clip(np.array(with_it) / 1000, 1e-9, 1)
    best = np.log(chance / (1 - chance)) - np.log(share / (1 - share))

    def loss(logits):
        each = logits[kinds][:, None]
        return classifier_cnn.balanced_loss(each, jnp.asarray(labels), balance)

    gradient = jax.grad(loss)
    np.testing.assert_allclose(gradient(jnp.asarray(best, jnp.float32)), 0, atol=1e-6)
    for kind in range(3):
        away = best + 0.5 * (np.arange(3) == kind)
        if with_it[kind]:
            assert gradient(jnp.asarray(away, jnp.float32))[kind] > 1e-5


def test_balanced_loss__of_an_attribute_that_does_not_vary_has_no_gradient():
    labels = jnp.asarray([[1, 0, 1], [1, 0, 0]], jnp.uint8)
    balance = classifier_cnn.Balance.of(np.asarray(labels))
    loss = lambda x: classifier_cnn.balanced_loss(x, labels, balance)  # noqa: E731
    gradient = jax.grad(loss)(jnp.ones((2, 3)))
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[:, :2], 0)
    assert (gradient[:, 2] != 0).all()


def test_mirror_and_shift__keeps_the_pixels_and_mirrors_half():
    row = jnp.arange(16, dtype=jnp.uint8) * 10
    images = jnp.broadcast_to(row[None, None, :, None], (200, 16, 16, 3))
    moved = np.asarray(classifier_cnn.mirror_and_shift(jax.random.key(0), images))
    assert moved.shape == (200, 16, 16, 3)
    assert set(np.unique(moved)) <= {*range(0, 160, 10)}
    rising = moved[:, 8, 12, 0] > moved[:, 8, 4, 0]
    assert 70 < rising.sum() < 130
    centres = np.where(rising, moved[:, 8, 8, 0], moved[:, 8, 7, 0])
    assert set(centres) == {60, 70, 80, 90, 100}
