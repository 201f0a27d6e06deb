"""The conditional DCGAN: shapes, sizes, ranges, and what the condition can and cannot do."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from gan.errors import ConfigError
from gan.model.networks.dcgan import SIZES, Discriminator, Generator, widths

RNG = np.random.default_rng(0)
Z = jnp.asarray(RNG.standard_normal((4, 8)), jnp.float32)
CONDITION = jnp.asarray(RNG.standard_normal((4, 3)), jnp.float32)
IMAGES = jnp.asarray(RNG.uniform(-1, 1, (4, 32, 32, 3)), jnp.float32)


def shapes(net, *inputs: tuple[int, ...]):
    """The output's and all variables' shapes, by abstract evaluation."""
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in inputs]
    initialise = functools.partial(net.init_with_output, train=False)
    return jax.eval_shape(initialise, jax.random.key(0), *arrays)


def count(params) -> dict[str, int]:
    """Numbers by kind: "kernel", "scale", "bias"."""
    numbers = {}
    for path, leaf in flatten_dict(params).items():
        numbers[path[-1]] = numbers.get(path[-1], 0) + math.prod(leaf.shape)
    return numbers


@functools.cache
def start(net, seed: int = 0):
    """Variables of a net for 32 pixels, away from the start's tiny weights and zero biases."""
    inputs = (Z if isinstance(net, Generator) else IMAGES), CONDITION
    variables = jax.eval_shape(functools.partial(net.init, train=False), jax.random.key(0), *inputs)
    rng = np.random.default_rng(seed)

    def fill(path, leaf):
        noise = rng.standard_normal(leaf.shape) * (leaf.shape[-2] ** -0.5 if leaf.ndim > 1 else 0.3)
        return jnp.asarray(noise + (path[-1].key in ("scale", "var")), leaf.dtype)

    return jax.tree_util.tree_map_with_path(fill, variables)


@functools.partial(jax.jit, static_argnums=0)
def see(net, variables, *inputs):
    return net.apply(variables, *inputs, train=False)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("attributes", [0, 5])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_networks__have_their_shapes_and_give_float32(size, attributes, dtype):
    drawn, g = shapes(Generator(size, 4, dtype=dtype), (2, 10), (2, attributes))
    logits, d = shapes(Discriminator(size, 4, dtype=dtype), (2, size, size, 3), (2, attributes))
    assert (drawn.shape, drawn.dtype) == ((2, size, size, 3), jnp.float32)
    assert (logits.shape, logits.dtype) == ((2,), jnp.float32)
    assert {leaf.dtype.name for leaf in jax.tree.leaves((g, d))} == {"float32"}


@pytest.mark.parametrize("size", [0, 4, 16, 48, 65, 256])
def test_widths__refuse_other_sizes_and_name_the_possible_ones(size):
    with pytest.raises(ConfigError, match=rf"^config\.data\.image_size={size}: .*\(32, 64, 128\)"):
        widths(size, 64)
    with pytest.raises(ConfigError):
        shapes(Generator(size, 4), (2, 10), (2, 0))


def test_widths__double_down_to_4_pixels():
    assert widths(32, 64) == [256, 128, 64]
    assert widths(64, 64) == [512, 256, 128, 64]
    assert widths(128, 16) == [256, 128, 64, 32, 16]


def test_generator__unconditional_is_that_of_dcgan():
    _, variables = shapes(Generator(64, 64), (2, 100), (2, 0))
    layers = [100 * 512, 512 * 256, 256 * 128, 128 * 64, 64 * 3]
    normalised = 512 + 256 + 128 + 64
    assert count(variables["params"]) == {
        "kernel": 16 * sum(layers),
        "scale": normalised,
        "bias": normalised,
    }
    assert 16 * sum(layers) + 2 * normalised == 3_576_704  # That of the peers' examples.


def test_discriminator__unconditional_is_that_of_dcgan():
    _, variables = shapes(Discriminator(64, 64), (2, 64, 64, 3), (2, 0))
    layers = [3 * 64, 64 * 128, 128 * 256, 256 * 512, 512 * 1]
    normalised = 128 + 256 + 512  # Not the first layer.
    assert count(variables["params"]) == {
        "kernel": 16 * sum(layers),
        "scale": normalised,
        "bias": normalised,
    }
    assert 16 * sum(layers) + 2 * normalised == 2_765_568


def test_networks__unconditional_have_neither_projection_nor_film():
    _, plain = shapes(Generator(32, 4), (2, 10), (2, 0))
    _, film = shapes(Generator(32, 4, film=True), (2, 10), (2, 0))
    assert jax.tree.map(jnp.shape, film) == jax.tree.map(jnp.shape, plain)
    _, without = shapes(Discriminator(32, 4), (2, 32, 32, 3), (2, 0))
    _, conditional = shapes(Discriminator(32, 4), (2, 32, 32, 3), (2, 5))
    added = flatten_dict(conditional["params"]).keys() - flatten_dict(without["params"]).keys()
    assert {path[0] for path in added} == {"projection"}


def test_generator__stays_within_its_range_whatever_the_weights():
    net = Generator(32, 4)
    variables = jax.tree.map(lambda x: 20 * x, start(net)["params"])
    images = see(net, start(net) | {"params": variables}, Z, CONDITION)
    assert jnp.abs(images).max() <= 1
    assert jnp.abs(images).max() > 0.99
    assert images.min() < -0.99


def test_film__starts_as_the_identity_and_can_leave_it():
    plain, film = Generator(32, 4), Generator(32, 4, film=True)
    shared = start(plain)

    @jax.jit
    def initial():
        params = film.init(jax.random.key(0), Z, CONDITION, train=False)["params"]
        return {name: params[name] for name in params.keys() - shared["params"].keys()}

    variables = shared | {"params": initial() | shared["params"]}
    expected = see(plain, shared, Z, CONDITION)
    np.testing.assert_array_equal(see(film, variables, Z, CONDITION), expected)
    moved = start(film)["params"] | shared["params"]
    assert jnp.abs(see(film, shared | {"params": moved}, Z, CONDITION) - expected).max() > 0.01


def test_generator__draws_each_image_from_its_own_latent_and_condition():
    net = Generator(32, 4, film=True)
    images = see(net, start(net), Z, CONDITION)
    other_z = see(net, start(net), Z.at[0].add(1.0), CONDITION)
    other_condition = see(net, start(net), Z, CONDITION.at[0].add(1.0))
    for other in (other_z, other_condition):
        assert jnp.abs(other[0] - images[0]).max() > 0.01
        np.testing.assert_array_equal(other[1:], images[1:])


def test_discriminator__is_affine_in_the_condition_as_a_projection_is():
    net = Discriminator(32, 4, norm="none")
    logit = functools.partial(see, net, start(net), IMAGES)
    at_0, at_c = logit(0 * CONDITION), logit(CONDITION)
    np.testing.assert_allclose(logit(2 * CONDITION) - at_c, at_c - at_0, rtol=1e-3, atol=1e-4)
    assert jnp.abs(at_c - at_0).min() > 0.01


def test_discriminator__projection_says_as_much_however_many_attributes_there_are():
    # The same attribute said three times over, by equal directions, weighs 3 / sqrt(3) as much.
    net = Discriminator(32, 4, norm="none")
    params = start(net)["params"]
    one = jax.tree.map(lambda x: x[..., :1], params["projection"])
    three = jax.tree.map(lambda x: jnp.repeat(x, 3, axis=-1), one)
    effects = []
    for directions, condition in ((one, CONDITION[:, :1]), (three, CONDITION[:, [0, 0, 0]])):
        variables = {"params": params | {"projection": directions}}
        logit = functools.partial(see, net, variables, IMAGES)
        effects.append(logit(condition) - logit(0 * condition))
    np.testing.assert_allclose(effects[1], 3**0.5 * effects[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("norm", "alone"), [("batch", False), ("layer", True), ("none", True)])
def test_discriminator__in_training_batch_norm_alone_mixes_images(norm, alone):
    net = Discriminator(32, 4, norm=norm)
    apply = jax.jit(lambda x: net.apply(start(net), x, CONDITION, train=True, mutable=True)[0])
    change = jnp.abs(apply(IMAGES.at[0].multiply(-0.5)) - apply(IMAGES))
    assert change[0] > 0.01
    assert (change[1:].max() < 1e-5) == alone


def test_networks__agree_on_how_many_times_they_halve():
    for size in SIZES:
        _, g = shapes(Generator(size, 4), (2, 10), (2, 0))
        _, d = shapes(Discriminator(size, 4), (2, size, size, 3), (2, 0))
        ups = sum(path[0].startswith("Up_") for path in flatten_dict(g["params"]))
        downs = sum(path[0].startswith("Down_") for path in flatten_dict(d["params"]))
        assert 4 * 2**ups == size == 4 * 2**downs
