"""Losses and penalties against plain float64 references, and what each of them is for."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan.model.losses import (
    LOSSES,
    PENALTIES,
    SIGMA,
    See,
    Verdict,
    gradient_penalty,
    penalise,
    r1,
    r2,
)
from gan.model.schedules import Dials

NUM, SIDE, HIDDEN, LATENT = 4, 2, 3, 5
PIXELS = SIDE * SIDE * 3
WEIGHTS = {"r1": 0.7, "r2": 1.3, "gradient_penalty": 2.1}
SUBSETS = [some for num in range(4) for some in itertools.combinations(PENALTIES, num)]
UNUSED = See(None, None, None)
DIALS = Dials(**dict.fromkeys(Dials._fields, 0.0))._replace(**WEIGHTS)


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def numbers(*shape):
    """Numbers that are the same in each call, of a standard normal distribution."""
    return np.random.default_rng(math.prod(shape)).standard_normal(shape)


# The reference: a critic D(x) = tanh(x w) v and a generator G(z) = z u, in plain NumPy.


def reference_logits(d, x):
    return np.tanh(x @ d["w"]) @ d["v"]


def reference_slope(d, x):
    return ((1 - np.tanh(x @ d["w"]) ** 2) * d["v"]) @ d["w"].T


def softplus(x):
    return np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0)


REFERENCE = {  # (discriminator, generator), from the papers' equations.
    "non_saturating": (
        lambda r, f: softplus(-r).mean() + softplus(f).mean(),
        lambda r, f: softplus(-f).mean(),
    ),
    "hinge": (
        lambda r, f: np.maximum(0, 1 - r).mean() + np.maximum(0, 1 + f).mean(),
        lambda r, f: -f.mean(),
    ),
    "least_squares": (
        lambda r, f: ((r - 1) ** 2).mean() / 2 + (f**2).mean() / 2,
        lambda r, f: ((f - 1) ** 2).mean() / 2,
    ),
    "wasserstein": (lambda r, f: f.mean() - r.mean(), lambda r, f: -f.mean()),
    "relativistic": (lambda r, f: softplus(f - r).mean(), lambda r, f: softplus(r - f).mean()),
}


def reference_penalties(d, real, fake, names, method, share, direction):
    total = 0.0
    for name, x in (("r1", real), ("r2", fake)):
        if name in names and method == "exact":
            total += WEIGHTS[name] * 0.5 * (reference_slope(d, x) ** 2).sum(axis=1).mean()
        elif name in names:
            moved = reference_logits(d, x + SIGMA * direction)
            change = (moved - reference_logits(d, x)) / SIGMA
            total += WEIGHTS[name] * 0.5 * (change**2).mean()
    if "gradient_penalty" in names:
        mixtures = share[:, None] * real + (1 - share[:, None]) * fake
        norms = np.sqrt((reference_slope(d, mixtures) ** 2).sum(axis=1))
        total += WEIGHTS["gradient_penalty"] * ((norms - 1) ** 2).mean()
    return total


def derivative(function, params):
    """Central differences in float64, accurate to about 1e-10."""
    found = {}
    for name, value in params.items():
        found[name] = np.zeros_like(value)
        for index in np.ndindex(value.shape):
            step = np.zeros_like(value)
            step[index] = 1e-5
            up, down = ({**params, name: value + sign * step} for sign in (1, -1))
            found[name][index] = (function(up) - function(down)) / 2e-5
    return found


# What is tested, on the same critic.

REAL, Z = numbers(NUM, PIXELS), numbers(NUM, LATENT)
CRITIC = {"w": numbers(PIXELS, HIDDEN), "v": numbers(HIDDEN)}
GENERATOR = {"u": numbers(LATENT, PIXELS)}


def make_see(params, keys):
    def see(images):
        def logits(x):
            return jnp.tanh(x.reshape(NUM, PIXELS) @ params["w"]) @ params["v"]

        found, pull_back = jax.vjp(logits, images)
        return Verdict(images, found, lambda: pull_back(jnp.ones_like(found))[0])

    return See(see, see, lambda function, *arrays: jax.vmap(function)(keys, *arrays))


def to_images(x):
    return jnp.asarray(x).reshape(NUM, SIDE, SIDE, 3)


def assert_close(actual, expected):
    for name, value in expected.items():
        np.testing.assert_allclose(actual[name], value, rtol=1e-6, atol=1e-8, err_msg=name)


@pytest.mark.parametrize("method", ["exact", "finite"])
@pytest.mark.parametrize("names", SUBSETS, ids="+".join)
@pytest.mark.parametrize("name", LOSSES)
def test_discriminator__loss_and_gradients_are_those_of_the_equations(float64, name, names, method):
    keys = jax.random.split(jax.random.key(0), NUM)
    share = np.asarray(jax.vmap(jax.random.uniform)(keys))
    draw = lambda key: jax.random.normal(jax.random.fold_in(key, 1), (SIDE, SIDE, 3))  # noqa: E731
    direction = np.asarray(jax.vmap(draw)(keys)).reshape(NUM, PIXELS)
    fake = Z @ GENERATOR["u"]

    def reference(d):
        loss = REFERENCE[name][0](reference_logits(d, REAL), reference_logits(d, fake))
        return loss + reference_penalties(d, REAL, fake, names, method, share, direction)

    def actual(params):
        see = make_see(params, keys)
        real, generated = see.real(to_images(REAL)), see.fake(to_images(fake))
        loss, _ = LOSSES[name].discriminator(real, generated, see, DIALS)
        return loss + penalise(names, real, generated, see, DIALS, method)

    value, gradients = jax.value_and_grad(actual)(jax.tree.map(jnp.asarray, CRITIC))
    np.testing.assert_allclose(value, reference(CRITIC), rtol=1e-9)
    assert_close(gradients, derivative(reference, CRITIC))


@pytest.mark.parametrize("name", LOSSES)
def test_generator__loss_and_gradients_are_those_of_the_equations(float64, name):
    def reference(g):
        fake = reference_logits(CRITIC, Z @ g["u"])
        return REFERENCE[name][1](reference_logits(CRITIC, REAL), fake)

    def actual(params):
        see = make_see(CRITIC, None)
        fake = see.fake((Z @ params["u"]).reshape(NUM, SIDE, SIDE, 3))
        return LOSSES[name].generator(see.real(to_images(REAL)), fake, see, DIALS)[0]

    value, gradients = jax.value_and_grad(actual)(jax.tree.map(jnp.asarray, GENERATOR))
    np.testing.assert_allclose(value, reference(GENERATOR), rtol=1e-9)
    assert_close(gradients, derivative(reference, GENERATOR))


@pytest.mark.parametrize("penalty", [r1, r2])
def test_finite_difference__agrees_with_the_gradient_in_the_mean(float64, penalty):
    see = make_see(CRITIC, None)
    real, fake = see.real(to_images(REAL)), see.fake(to_images(REAL))
    exact = penalty(real, fake, see, "exact")
    keys = jax.random.split(jax.random.key(1), (4000, NUM))
    found = jax.vmap(lambda k: penalty(real, fake, make_see(CRITIC, k), "finite"))(keys)
    error = 4 * np.std(found) / len(found) ** 0.5
    assert abs(np.mean(found) - exact) < error + 0.01 * exact
    assert np.std(found) > 0.1 * exact  # It is an estimate, along directions drawn at random.


# Of logits alone.


def verdict(*values):
    return Verdict(jnp.zeros((len(values), 2, 2, 3)), jnp.array(values, jnp.float32), lambda: None)


def discriminator_loss(name, real, fake):
    return LOSSES[name].discriminator(real, fake, UNUSED, DIALS)[0]


def generator_loss(name, real, fake):
    return LOSSES[name].generator(real, fake, UNUSED, DIALS)[0]


def gradients_in_logits(loss, name, real, fake):
    function = lambda r, f: loss(name, real._replace(logits=r), fake._replace(logits=f))  # noqa: E731
    return jax.grad(function, argnums=(0, 1))(real.logits, fake.logits)


@pytest.mark.parametrize("name", LOSSES)
def test_generator__pushes_every_generated_logit_up(name):
    real, fake = verdict(0.0, 1.0, -2.0, 0.5), verdict(-5.0, -1.0, 0.0, 0.9)
    assert (gradients_in_logits(generator_loss, name, real, fake)[1] < -1e-3).all()


@pytest.mark.parametrize("name", LOSSES)
def test_discriminator__pushes_real_up_and_generated_down(name):
    real, fake = verdict(-3.0, -0.5, 0.0, 0.9), verdict(0.1, 0.5, 1.0, 3.0)
    up, down = gradients_in_logits(discriminator_loss, name, real, fake)
    assert (up < -1e-3).all()
    assert (down > 1e-3).all()


@pytest.mark.parametrize(
    ("name", "best"),
    [("non_saturating", math.log(3)), ("hinge", 1.0), ("least_squares", 0.75)],
)
def test_discriminator__optimum_is_that_of_the_theory(name, best):
    # Two places, a and b: of four real images three lie at a, of four generated ones one.
    other = 0.25 if name == "least_squares" else -best

    def loss(a: float, b: float) -> float:
        return float(discriminator_loss(name, verdict(a, a, a, b), verdict(a, b, b, b)))

    smallest = loss(best, other)
    for step in (-0.3, -0.1, 0.1, 0.3):
        assert loss(best + step, other) > smallest + 1e-4
        assert loss(best, other + step) > smallest + 1e-4


@pytest.mark.parametrize("name", ["wasserstein", "relativistic"])
def test_losses_of_critics__see_only_differences(name):
    real, fake = (2.0, -1.0, 0.25, 0.0), (0.5, -3.0, 1.0, 4.0)
    expected = discriminator_loss(name, verdict(*real), verdict(*fake))
    shifted = (verdict(*(x + 7 for x in values)) for values in (real, fake))
    np.testing.assert_allclose(discriminator_loss(name, *shifted), expected, rtol=1e-5)


def test_relativistic__pairs_examples_with_each_other():
    real, fake = verdict(2.0, -1.0), verdict(-1.0, 2.0)
    loss, outputs = LOSSES["relativistic"].discriminator(real, fake, UNUSED, DIALS)
    assert outputs["pair_accuracy"] == 0.5
    assert loss > discriminator_loss("relativistic", real, verdict(2.0, -1.0)) + 0.5


def test_hinge__has_no_gradient_beyond_the_margin():
    real, fake = verdict(1.5, 0.5, 3.0, -2.0), verdict(-1.5, -0.5, -3.0, 2.0)
    up, down = gradients_in_logits(discriminator_loss, "hinge", real, fake)
    np.testing.assert_array_equal(up, [0, -0.25, 0, -0.25])
    np.testing.assert_array_equal(down, [0, 0.25, 0, 0.25])


@pytest.mark.parametrize("loss", [discriminator_loss, generator_loss])
@pytest.mark.parametrize("name", LOSSES)
def test_losses__are_finite_where_logits_are_certain(name, loss):
    far = verdict(-1e4, 1e4, -100.0, 100.0)
    assert jnp.isfinite(loss(name, far, far))
    gradients = gradients_in_logits(loss, name, far, verdict(1e4, -1e4, 100.0, -100.0))
    assert jnp.isfinite(jnp.stack(gradients)).all()


@pytest.mark.parametrize("name", LOSSES)
def test_status__can_be_told_from_the_outputs(name):
    _, outputs = LOSSES[name].discriminator(verdict(1.0, 2.0), verdict(-1.0, 3.0), UNUSED, DIALS)
    told = LOSSES[name].status.format(**{key: float(value) for key, value in outputs.items()})
    assert told.startswith("D right on ")
    assert "50%" in told


def linear_verdict(*lengths):
    """Verdict of critics x -> <w, x>, one for each example, with |w| as given."""
    w = numbers(len(lengths), 4, 6, 3)
    w *= (np.array(lengths) / np.linalg.norm(w.reshape(len(w), -1), axis=1))[:, None, None, None]
    images = jnp.ones(w.shape)
    return Verdict(images, (w * images).sum((1, 2, 3)), lambda: jnp.asarray(w, jnp.float32))


def linear_see(found):
    share = jnp.full((len(found.images),), 0.5)
    return See(None, lambda images: found, lambda function, *arrays: share)


def test_r1__of_linear_critics_is_half_the_mean_squared_slope():
    penalty = r1(linear_verdict(3.0, 1.0), linear_verdict(1.0, 1.0), UNUSED, "exact")
    np.testing.assert_allclose(penalty, 0.5 * (9 + 1) / 2, rtol=1e-5)


@pytest.mark.parametrize(
    ("lengths", "expected"), [((1.0, 1.0), 0.0), ((3.0, 0.5), (2**2 + 0.5**2) / 2)]
)
def test_gradient_penalty__is_the_mean_squared_distance_from_slope_1(lengths, expected):
    found = linear_verdict(*lengths)
    penalty = gradient_penalty(found, found, linear_see(found), "exact")
    np.testing.assert_allclose(penalty, expected, rtol=1e-5, atol=1e-10)


def test_penalties__have_a_finite_gradient_where_the_critic_is_flat():
    def total(slope):
        found = Verdict(jnp.zeros(slope.shape), jnp.zeros(2), lambda: slope)
        return penalise([*PENALTIES], found, found, linear_see(found), DIALS, "exact")

    assert jnp.isfinite(jax.grad(total)(jnp.zeros((2, 4, 6, 3)))).all()


def test_penalise__weighs_each_by_its_dial():
    found = linear_verdict(2.0, 4.0)
    total = penalise(["r1", "r2"], found, found, UNUSED, DIALS, "exact")
    np.testing.assert_allclose(total, (0.7 + 1.3) * 0.5 * (4 + 16) / 2, rtol=1e-5)
