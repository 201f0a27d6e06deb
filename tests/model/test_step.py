"""The step: it replays, it is the same on any devices, and each player keeps to its own."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh

from gan.config import Augment, Config, Data
from gan.data.batch import Batch
from gan.model.networks import dcgan
from gan.model.step import (
    build,
    calibrate,
    condition_on,
    generate,
    init_state,
    latents,
    train_step,
    update_discriminator,
)
from gan.runtime.parallel import AXIS, Parallel, compile_for_one_call

MARGINALS = (0.5, 0.02, 0.0, 0.8)


def tiny(**changes) -> Config:
    network = dict(g_width=4, d_width=4, film=True) | changes.pop("network", {})
    base = Config(
        data=Data(image_size=32, batch_size=8),
        z_dim=8,
        network=dcgan.Settings(**network),
        augment=Augment(rotate=10.0, scale=0.2, translate=0.1, probability=0.7),
    )
    return dataclasses.replace(base, **changes)


def make_batch(seed: int, num: int = 8) -> Batch:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (num, 32, 32, 3), dtype=np.uint8)
    return Batch(image, (rng.random((num, 4)) < 0.5).astype(np.uint8))


def sgd(gan, rate):
    # Adam divides by tiny second moments, which blows rounding up; plain descent does not.
    return dataclasses.replace(gan, g_optimizer=optax.sgd(rate), d_optimizer=optax.sgd(rate))


@functools.cache
def run(mode: str, devices: int, variant: str, steps: int = 2):
    config = VARIANTS[variant]
    parallel = Parallel(mode, Mesh(np.array(jax.devices()[:devices]), (AXIS,)))
    gan = sgd(build(config, MARGINALS, parallel.axis_name), RATES[variant])
    init = functools.partial(init_state, gan)
    state = compile_for_one_call(init, out_shardings=parallel.replicated)(jax.random.key(0))
    step = parallel.compile(functools.partial(train_step, gan))
    for i in range(steps):
        state, metrics = step(state, parallel.put_batch(make_batch(i, 8 * config.d_steps)))
    return jax.device_get((state.generator, state.discriminator, state.ema, metrics.compute()))


VARIANTS = {
    "default": tiny(),
    "r1": tiny(r1=1.0, loss="hinge"),
    "penalty": tiny(
        loss="wasserstein", gradient_penalty=10.0, d_steps=2, network=dict(d_norm="layer")
    ),
}
RATES = {"default": 0.02, "r1": 0.02, "penalty": 1e-5}  # The penalty's gradients are steep.
SPREADS = [
    *(("default", mode, num) for mode, num in [("jit", 2), ("jit", 4), ("pmap", 2), ("pmap", 4)]),
    *((variant, "pmap", 4) for variant in ("r1", "penalty")),
]


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "mode", "devices"), SPREADS)
def test_same_numbers_on_any_devices(variant, mode, devices):
    expected, actual = run("jit", 1, variant), run(mode, devices, variant)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6, rtol=1e-5), expected, actual
    )


def test_training_moves_far_more_than_the_tolerance():
    gan = build(VARIANTS["default"], MARGINALS)
    start = compile_for_one_call(functools.partial(init_state, gan))(jax.random.key(0))
    trained, _, ema, _ = run("jit", 1, "default")
    for after in (trained.params, ema):
        moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), after, start.generator.params)
        assert max(jax.tree.leaves(moved)) > 1e-4


def test_new_state_does_not_depend_on_the_replica():
    gan = build(VARIANTS["r1"], MARGINALS, AXIS)
    state = jax.eval_shape(functools.partial(init_state, gan), jax.random.key(0))
    batch = jax.tree.map(lambda x: x.reshape(4, -1, *x.shape[1:]), make_batch(0))
    # `out_axes=None` raises at trace time if anything returned was not averaged.
    step = jax.vmap(functools.partial(train_step, gan), (None, 0), None, axis_name=AXIS)
    jax.eval_shape(step, state, batch)


@pytest.fixture(scope="module")
def gan():
    return build(tiny(), MARGINALS)


@pytest.fixture(scope="module")
def state(gan):
    return compile_for_one_call(functools.partial(init_state, gan))(jax.random.key(0))


def test_the_discriminators_update_leaves_the_generator_untouched(gan, state):
    batch = make_batch(0)
    condition = condition_on(gan, jnp.asarray(batch.attributes))
    fake = jnp.zeros((8, 32, 32, 3))
    after, _ = jax.jit(functools.partial(update_discriminator, gan))(
        state, jnp.asarray(batch.image), fake, condition, jax.random.key(1)
    )
    same = jax.tree.map(lambda a, b: bool((a == b).all()), after.generator, state.generator)
    assert all(jax.tree.leaves(same))
    same = jax.tree.map(
        lambda a, b: bool((a == b).all()), after.discriminator.params, state.discriminator.params
    )
    assert not any(jax.tree.leaves(same))


def test_the_average_has_batch_statistics_of_its_own(gan, state):
    attributes = jnp.asarray(make_batch(3, 16).attributes)
    params = jax.tree.map(lambda x: 1.5 * x, state.ema)
    variables = calibrate(gan, params, attributes)
    z = latents(gan, jnp.arange(16))
    drawn = generate(gan, params, variables, z, attributes)
    condition = condition_on(gan, attributes)
    in_training, _ = gan.generator.apply(
        {"params": params}, z, condition, train=True, mutable=["batch_stats"]
    )
    np.testing.assert_allclose(drawn, in_training, atol=1e-5)
    stale = generate(gan, params, state.generator.variables, z, attributes)
    assert np.abs(stale - in_training).max() > 1e-2


def test_condition_is_standardised(gan):
    rng = np.random.default_rng(0)
    rows = (rng.random((20_000, 4)) < np.array(MARGINALS)).astype(np.uint8)
    condition = np.asarray(condition_on(gan, jnp.asarray(rows)))
    np.testing.assert_allclose(condition[:, [0, 3]].mean(0), 0, atol=0.05)
    np.testing.assert_allclose(condition[:, [0, 3]].std(0), 1, atol=0.05)
    assert condition.max() == 4  # The rare one is clipped,
    assert not condition[:, 2].any()  # and the constant one says nothing.


def test_attributes_steer_a_conditional_generator_only():
    z, rows = jnp.ones((4, 8)), jnp.eye(4, dtype=jnp.uint8)
    for conditional in (True, False):
        gan = build(tiny(conditional=conditional), MARGINALS)
        params = compile_for_one_call(functools.partial(init_state, gan))(jax.random.key(0)).ema
        images = generate(gan, params, calibrate(gan, params, rows), z, rows)
        assert bool((images[0] != images[1]).any()) == conditional


def test_bfloat16_computes_in_it_and_keeps_float32():
    gan = build(tiny(dtype="bfloat16"), MARGINALS)
    state = jax.eval_shape(functools.partial(init_state, gan), jax.random.key(0))
    step = functools.partial(train_step, gan)
    after, _ = jax.eval_shape(step, state, make_batch(0))
    assert jax.tree.map(lambda x: x.dtype, after) == jax.tree.map(lambda x: x.dtype, state)
    kept = {
        x.dtype.name for x in jax.tree.leaves((after.generator, after.discriminator, after.ema))
    }
    assert kept <= {"float32", "int32"}
    assert "bf16[" in str(jax.make_jaxpr(step)(state, make_batch(0)))
