"""Losses: their values, which way they push, where they are smallest; and the penalties."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan.model.losses import LOSSES, one_centred_penalty, zero_centred_penalty

REAL, FAKE = (2.0, -1.0, 0.25, 0.0), (0.5, -3.0, 1.0, 4.0)


def softplus(x: float) -> float:
    return math.log(1 + math.exp(x))


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values)


# Written out from the papers' equations, in plain Python.
BY_HAND = {
    "non_saturating": (
        mean(softplus(-x) for x in REAL) + mean(softplus(x) for x in FAKE),
        mean(softplus(-x) for x in FAKE),
    ),
    "hinge": ((0 + 2 + 0.75 + 1) / 4 + (1.5 + 0 + 2 + 5) / 4, -2.5 / 4),
    "least_squares": (
        (1 + 4 + 0.5625 + 1) / 4 / 2 + (0.25 + 9 + 1 + 16) / 4 / 2,
        (0.25 + 16 + 0 + 9) / 4 / 2,
    ),
    "wasserstein": (2.5 / 4 - 1.25 / 4, -2.5 / 4),
}


def logits(*values: float) -> jax.Array:
    return jnp.array(values, jnp.float32)


@pytest.mark.parametrize("name", LOSSES)
def test_values_are_those_of_the_equations(name):
    discriminator, generator = BY_HAND[name]
    actual = LOSSES[name].discriminator(logits(*REAL), logits(*FAKE))
    np.testing.assert_allclose(actual, discriminator, rtol=1e-6)
    np.testing.assert_allclose(LOSSES[name].generator(logits(*FAKE)), generator, rtol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_generator_pushes_every_fake_logit_up(name):
    fake = logits(-5.0, -1.0, 0.0, 0.9)
    assert (jax.grad(LOSSES[name].generator)(fake) < -1e-3).all()


@pytest.mark.parametrize("name", LOSSES)
def test_discriminator_pushes_real_up_and_fake_down(name):
    real, fake = logits(-3.0, -0.5, 0.0, 0.9), logits(0.1, 0.5, 1.0, 3.0)
    up, down = jax.grad(LOSSES[name].discriminator, argnums=(0, 1))(real, fake)
    assert (up < -1e-3).all()
    assert (down > 1e-3).all()


@pytest.mark.parametrize(
    ("name", "best"),
    [("non_saturating", math.log(3)), ("hinge", 1.0), ("least_squares", 0.75)],
)
def test_discriminators_optimum_is_that_of_the_theory(name, best):
    # Two places, a and b: of four real images three lie at a, of four fakes one.
    other = 0.25 if name == "least_squares" else -best

    def loss(a: float, b: float) -> float:
        real, fake = logits(a, a, a, b), logits(a, b, b, b)
        return float(LOSSES[name].discriminator(real, fake))

    smallest = loss(best, other)
    for step in (-0.3, -0.1, 0.1, 0.3):
        assert loss(best + step, other) > smallest + 1e-4
        assert loss(best, other + step) > smallest + 1e-4


def test_wasserstein_sees_only_the_difference():
    real, fake = logits(*REAL), logits(*FAKE)
    discriminator = LOSSES["wasserstein"].discriminator
    np.testing.assert_allclose(
        discriminator(real + 7, fake + 7), discriminator(real, fake), rtol=1e-5
    )


def test_hinge_has_no_gradient_beyond_the_margin():
    real, fake = logits(1.5, 0.5, 3.0, -2.0), logits(-1.5, -0.5, -3.0, 2.0)
    up, down = jax.grad(LOSSES["hinge"].discriminator, argnums=(0, 1))(real, fake)
    np.testing.assert_array_equal(up, [0, -0.25, 0, -0.25])
    np.testing.assert_array_equal(down, [0, 0.25, 0, 0.25])


@pytest.mark.parametrize("name", LOSSES)
def test_certain_logits_give_finite_losses_and_gradients(name):
    far = logits(-1e4, 1e4, -100.0, 100.0)
    for loss, arguments in (
        (LOSSES[name].discriminator, (far, far)),
        (LOSSES[name].generator, (far,)),
    ):
        value, gradient = jax.value_and_grad(loss)(*arguments)
        assert jnp.isfinite(value)
        assert jnp.isfinite(gradient).all()


def slopes_of_linear_critics(*lengths: float) -> jax.Array:
    """The image gradient of critics x -> <w, x>, an example each, with |w| as given."""
    w = np.random.default_rng(0).standard_normal((len(lengths), 4, 6, 3))
    w *= (np.array(lengths) / np.linalg.norm(w.reshape(len(w), -1), axis=1))[:, None, None, None]
    return jax.grad(lambda x: jnp.sum(w * x))(jnp.ones(w.shape))


def test_r1_of_linear_critics_is_half_the_mean_squared_slope():
    penalty = zero_centred_penalty(slopes_of_linear_critics(3.0, 1.0))
    np.testing.assert_allclose(penalty, 0.5 * (9 + 1) / 2, rtol=1e-5)


def test_one_centred_penalty_is_0_for_critics_of_unit_slope():
    assert one_centred_penalty(slopes_of_linear_critics(1.0, 1.0)) < 1e-10


def test_one_centred_penalty_is_the_mean_squared_distance_from_slope_1():
    penalty = one_centred_penalty(slopes_of_linear_critics(3.0, 0.5))
    np.testing.assert_allclose(penalty, (2**2 + 0.5**2) / 2, rtol=1e-5)


@pytest.mark.parametrize("penalty", [zero_centred_penalty, one_centred_penalty])
def test_penalties_have_a_finite_gradient_where_the_critic_is_flat(penalty):
    assert jnp.isfinite(jax.grad(penalty)(jnp.zeros((2, 4, 6, 3)))).all()
