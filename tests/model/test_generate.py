"""Drawing: what a model makes of latents and attributes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan.config import Config, Data
from gan.model.generate import (
    batch_statistics,
    build_model,
    condition_on,
    generate,
    latents,
    to_float,
)
from gan.model.networks import dcgan
from gan.runtime.parallel import compile_for_one_call

MARGINALS = (0.5, 0.02, 0.0, 0.8)


def make_model(**changes):
    settings = dcgan.Settings(g_width=4, d_width=4, film=True)
    config = Config(z_dim=8, data=Data(image_size=32), network=settings, **changes)
    return build_model(config, MARGINALS)


def initialised(model):
    init = functools.partial(model.networks.generator.init, train=False)
    inputs = jnp.zeros((1, 8)), condition_on(model, jnp.zeros((1, 4), jnp.uint8))
    return compile_for_one_call(init)(jax.random.key(0), *inputs)


def rows(num):
    rng = np.random.default_rng(0)
    return jnp.asarray((rng.random((num, 4)) < np.array(MARGINALS)).astype(np.uint8))


@pytest.mark.slow
def test_batch_statistics__belong_to_the_parameters():
    model = make_model()
    start = initialised(model)
    params, attributes = jax.tree.map(lambda x: 1.5 * x, start["params"]), rows(16)
    variables = batch_statistics(model, params, attributes)
    z = latents(model, jnp.arange(16))
    drawn = generate(model, params, variables, z, attributes)
    inputs = {"params": params}, z, condition_on(model, attributes)
    in_training, _ = model.networks.generator.apply(*inputs, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(drawn, in_training, atol=1e-5)
    stale = {"batch_stats": start["batch_stats"]}
    assert np.abs(generate(model, params, stale, z, attributes) - in_training).max() > 1e-2


def test_condition_on__standardises():
    condition = np.asarray(condition_on(make_model(), rows(20_000)))
    np.testing.assert_allclose(condition[:, [0, 3]].mean(0), 0, atol=0.05)
    np.testing.assert_allclose(condition[:, [0, 3]].std(0), 1, atol=0.05)
    assert condition.max() == 4  # The rare one is clipped,
    assert not condition[:, 2].any()  # and the constant one says nothing.


def test_generate__is_steered_by_attributes_if_conditional_only():
    z, attributes = jnp.ones((4, 8)), jnp.eye(4, dtype=jnp.uint8)
    for conditional in (True, False):
        model = make_model(conditional=conditional)
        params = initialised(model)["params"]
        variables = batch_statistics(model, params, attributes)
        images = generate(model, params, variables, z, attributes)
        assert bool((images[0] != images[1]).any()) == conditional


def test_latents__are_those_of_their_seed_whatever_else_is_asked_for():
    model = make_model()
    several = latents(model, jnp.array([7, 3, 7]))
    np.testing.assert_array_equal(several[0], several[2])
    np.testing.assert_array_equal(several[1:2], latents(model, jnp.array([3])))


def test_to_float__maps_bytes_to_minus_one_to_one():
    image = jnp.array([0, 255], jnp.uint8).reshape(1, 1, 2, 1).repeat(3, axis=3)
    np.testing.assert_allclose(to_float(image)[0, 0, :, 0], [-1, 1])
