"""The contract of `gan.model.networks`, for every architecture there and a made-up one."""

import dataclasses
import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import minimal_network

from gan import config
from gan.errors import ConfigError

ARCHITECTURES = {
    name: importlib.import_module(f"gan.model.networks.{name}") for name in config.network_names()
} | {"minimal": minimal_network}
NUM, SIZE, Z_DIM = 4, 32, 8
RNG = np.random.default_rng(0)
Z = jnp.asarray(RNG.standard_normal((NUM, Z_DIM)), jnp.float32)
IMAGES = jnp.asarray(RNG.uniform(-1, 1, (NUM, SIZE, SIZE, 3)), jnp.float32)


def condition(num_attributes):
    return jnp.asarray(RNG.standard_normal((NUM, num_attributes)), jnp.float32)


@functools.cache
def make(name, num_attributes=3, dtype="float32", image_size=SIZE):
    module = ARCHITECTURES[name]
    return module.make(
        module.Settings(),
        image_size=image_size,
        num_attributes=num_attributes,
        dtype=jnp.dtype(dtype),
        axis_name=None,
    )


@functools.cache
def initialised(name):
    networks, key, c = make(name), jax.random.key(0), condition(3)
    init = lambda net, x: net.init(key, x, c, train=False)  # noqa: E731
    return (
        jax.jit(functools.partial(init, networks.generator))(Z),
        jax.jit(functools.partial(init, networks.discriminator))(IMAGES),
    )


@pytest.fixture(params=ARCHITECTURES)
def name(request):
    return request.param


def test_settings__are_a_dataclass_that_starts_with_its_own_name(name):
    first, *others = dataclasses.fields(ARCHITECTURES[name].Settings)
    assert (first.name, first.default) == ("name", name)
    for field in (first, *others):
        assert field.metadata["meaning"], field.name


@pytest.mark.parametrize("num_attributes", [0, 3])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_networks__take_and_give_float32_and_keep_float32_parameters(name, num_attributes, dtype):
    networks, c = make(name, num_attributes, dtype), condition(num_attributes)
    for net, x, shape in (
        (networks.generator, Z, (NUM, SIZE, SIZE, 3)),
        (networks.discriminator, IMAGES, (NUM,)),
    ):
        for train in (False, True):
            start = functools.partial(net.init_with_output, train=train)
            output, variables = jax.eval_shape(start, jax.random.key(0), x, c)
            assert (output.shape, output.dtype) == (shape, jnp.float32)
            assert {leaf.dtype.name for leaf in jax.tree.leaves(variables)} == {"float32"}


def test_generator__draws_each_image_from_its_own_latent_and_condition(name):
    networks, (variables, _) = make(name), initialised(name)
    noise = np.random.default_rng(1)  # Off a start that may be constant.
    moved = lambda x: x + 0.02 * noise.standard_normal(x.shape).astype(np.float32)  # noqa: E731
    variables = jax.tree.map(moved, variables)
    draw = jax.jit(lambda z, c: networks.generator.apply(variables, z, c, train=False))
    c = condition(3)
    images = draw(Z, c)
    for other in (draw(Z.at[0].add(1.0), c), draw(Z, c.at[0].add(1.0))):
        assert jnp.abs(other[0] - images[0]).max() > 0
        np.testing.assert_array_equal(other[1:], images[1:])


def test_statistics__are_all_that_drawing_needs_beside_the_parameters(name):
    networks, (variables, _) = make(name), initialised(name)
    others = {key: value for key, value in variables.items() if key != "params"}
    if networks.statistics is None:
        assert not others
        return
    c = condition(3)
    found = jax.jit(networks.statistics)(variables["params"], Z, c)
    assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, others)
    drawn = networks.generator.apply({"params": variables["params"], **found}, Z, c, train=False)
    trained, _ = networks.generator.apply(variables, Z, c, train=True, mutable=list(others))
    np.testing.assert_allclose(drawn, trained, atol=1e-5)


def test_mixes_examples__says_whether_a_logit_depends_on_the_other_images(name):
    networks, (_, variables) = make(name), initialised(name)
    apply = jax.jit(
        lambda x: networks.discriminator.apply(variables, x, c, train=True, mutable=True)[0]
    )
    c = condition(3)
    change = jnp.abs(apply(IMAGES.at[0].multiply(-0.5)) - apply(IMAGES))
    assert (change[1:].max() > 1e-6) == bool(networks.mixes_examples)


def test_make__refuses_sizes_that_it_cannot_draw(name):
    with pytest.raises(ConfigError, match=r"^config\.data\.image_size=1: "):
        make(name, image_size=1)
