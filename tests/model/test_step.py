"""The step: it replays, it is the same on any devices, and each player keeps to its own."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import minimal_network
from jax.sharding import Mesh

from gan.config import Augment, Average, Config, Data, Optimizer
from gan.data.batch import Batch
from gan.errors import ConfigError
from gan.model.averages import EMA
from gan.model.generate import Model, condition_on, to_float
from gan.model.losses import PENALTIES
from gan.model.networks import dcgan
from gan.model.step import (
    Turn,
    abstract_state,
    build,
    build_rules,
    init_state,
    train_step,
    update_discriminator,
)
from gan.runtime.parallel import AXIS, Parallel, compile_for_one_call

MARGINALS = (0.5, 0.02, 0.0, 0.8)


def tiny(**changes) -> Config:
    network = dict(g_width=4, d_width=4, film=True) | changes.pop("network", {})
    base = Config(
        z_dim=8,
        data=Data(image_size=32, batch_size=8),
        network=dcgan.Settings(**network),
        augment=Augment(rotate=10.0, scale=0.2, translate=0.1, probability=0.7),
    )
    return dataclasses.replace(base, **changes)


def make_batch(seed: int, num: int = 8) -> Batch:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (num, 32, 32, 3), dtype=np.uint8)
    return Batch(image, (rng.random((num, 4)) < 0.5).astype(np.uint8))


def with_sgd(rules, rate):
    # Adam divides by tiny second moments, which blows rounding up; plain descent does not.
    descend = lambda dials: optax.sgd(rate)  # noqa: E731
    return dataclasses.replace(rules, g_optimizer=descend, d_optimizer=descend)


def compute(metrics):
    return {name: float(average.compute()) for name, average in metrics.items()}


@functools.cache
def run(mode: str, devices: int, variant: str, steps: int = 2):
    config = VARIANTS[variant]
    parallel = Parallel(mode, Mesh(np.array(jax.devices()[:devices]), (AXIS,)))
    model, rules = build(config, MARGINALS, parallel.axis_name)
    rules = with_sgd(rules, RATES[variant])
    init = functools.partial(init_state, model, rules)
    state = compile_for_one_call(init, out_shardings=parallel.replicated)(jax.random.key(0))
    step = parallel.compile(functools.partial(train_step, model, rules))
    for i in range(steps):
        state, metrics = step(state, parallel.put_batch(make_batch(i, 8 * config.d_steps)))
    kept = (state.generator, state.discriminator, state.averages, state.adaptive)
    return jax.device_get((*kept, compute(metrics)))


VARIANTS = {
    "default": tiny(),
    "r1": tiny(r1=1.0, loss="hinge"),
    "penalty": tiny(
        loss="wasserstein", gradient_penalty=10.0, d_steps=2, network=dict(d_norm="layer")
    ),
    "pairs": tiny(
        loss="relativistic",
        r1=1.0,
        r2=1.0,
        r2_end=0.5,
        burn_in=100.0,
        penalty="finite",
        penalty_every=2,
        average=Average(second_half_life=8.0),
        network=dict(d_norm="none"),
    ),
}
RATES = {"default": 0.02, "r1": 0.02, "penalty": 1e-5, "pairs": 1e-3}  # Penalties are steep.
SPREADS = [
    *(("default", mode, num) for mode, num in [("jit", 2), ("jit", 4), ("pmap", 2), ("pmap", 4)]),
    *((variant, "pmap", 4) for variant in ("r1", "penalty", "pairs")),
]


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "mode", "devices"), SPREADS)
def test_train_step__gives_the_same_numbers_on_any_devices(variant, mode, devices):
    expected, actual = run("jit", 1, variant), run(mode, devices, variant)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6, rtol=1e-5), expected, actual
    )


@pytest.mark.slow
def test_train_step__moves_far_more_than_that_tolerance():
    start = compile_for_one_call(
        functools.partial(init_state, *build(VARIANTS["default"], MARGINALS))
    )(jax.random.key(0))
    trained, _, averages, *_ = run("jit", 1, "default")
    for after in (trained.params, averages[EMA]):
        moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), after, start.generator.params)
        assert max(jax.tree.leaves(moved)) > 1e-4


def test_train_step__averages_all_that_it_returns_over_the_devices():
    built = build(VARIANTS["r1"], MARGINALS, AXIS)
    state = jax.eval_shape(functools.partial(init_state, *built), jax.random.key(0))
    batch = jax.tree.map(lambda x: x.reshape(4, -1, *x.shape[1:]), make_batch(0))
    # `out_axes=None` raises at trace time if anything returned was not averaged.
    step = jax.vmap(functools.partial(train_step, *built), (None, 0), None, axis_name=AXIS)
    jax.eval_shape(step, state, batch)


@pytest.mark.slow
def test_update_discriminator__leaves_the_generator_untouched():
    model, rules = build(tiny(), MARGINALS)
    state = compile_for_one_call(functools.partial(init_state, model, rules))(jax.random.key(0))
    batch = jax.tree.map(jnp.asarray, make_batch(0))
    turn = Turn(
        real=to_float(batch.image),
        fake=jnp.zeros((8, 32, 32, 3)),
        condition=condition_on(model, batch.attributes),
        dials=rules.dials(jnp.zeros(())),
        number=jnp.int32(0),
    )
    update = jax.jit(lambda state, keys: update_discriminator(model, rules, state, turn, keys))
    after, _ = update(state, list(jax.random.split(jax.random.key(1), 3)))
    same = jax.tree.map(lambda a, b: bool((a == b).all()), after.generator, state.generator)
    assert all(jax.tree.leaves(same))
    same = jax.tree.map(
        lambda a, b: bool((a == b).all()), after.discriminator.params, state.discriminator.params
    )
    assert not any(jax.tree.leaves(same))


def test_bfloat16__is_computed_in_and_float32_is_kept():
    built = build(tiny(dtype="bfloat16"), MARGINALS)
    state = jax.eval_shape(functools.partial(init_state, *built), jax.random.key(0))
    step = functools.partial(train_step, *built)
    after, _ = jax.eval_shape(step, state, make_batch(0))
    assert jax.tree.map(lambda x: x.dtype, after) == jax.tree.map(lambda x: x.dtype, state)
    trees = (after.generator, after.discriminator, after.averages, after.adaptive)
    kept = {leaf.dtype.name for leaf in jax.tree.leaves(trees)}
    assert kept <= {"float32", "int32"}
    assert "bf16[" in str(jax.make_jaxpr(step)(state, make_batch(0)))


def minimal(**changes):
    """Model and rules of a made-up architecture without norm, at 2 pixels."""
    config = tiny(augment=Augment(flip=False), data=Data(image_size=2, batch_size=8), **changes)
    networks = minimal_network.make(
        minimal_network.Settings(),
        image_size=2,
        num_attributes=4,
        dtype=jnp.float32,
        axis_name=None,
    )
    model = Model(networks, image_size=2, z_dim=8, marginals=MARGINALS, conditional=True)
    return model, build_rules(config, model)


def steps(num, **changes):
    """States after each of `num` steps, and their metrics."""
    model, rules = minimal(**changes)
    rules = with_sgd(rules, 0.1)
    state = jax.jit(functools.partial(init_state, model, rules))(jax.random.key(0))
    step = jax.jit(functools.partial(train_step, model, rules))
    found = []
    for i in range(num):
        rng = np.random.default_rng(i)
        image = rng.integers(0, 256, (8, 2, 2, 3), dtype=np.uint8)
        state, metrics = step(state, Batch(image, rng.integers(0, 2, (8, 4), dtype=np.uint8)))
        found.append((state, compute(metrics)))
    return found


def test_penalty_every__computes_it_in_each_third_update_three_times_as_large():
    often, seldom = (steps(4, r1=1.0, penalty_every=every) for every in (1, 3))
    assert all(metrics["d_penalty"] > 0 for _, metrics in often)
    penalties = [metrics["d_penalty"] for _, metrics in seldom]
    assert penalties[0] == pytest.approx(3 * often[0][1]["d_penalty"])
    assert penalties[1:3] == [0, 0]
    assert penalties[3] > 0


@pytest.mark.parametrize("names", [("r1",), ("r2",), ("gradient_penalty",), ("r1", "r2")])
@pytest.mark.parametrize("loss", ["hinge", "relativistic"])
def test_penalties__go_with_any_loss_alone_or_together(loss, names):
    _, free = steps(1, loss=loss)[-1]
    _, metrics = steps(1, loss=loss, **dict.fromkeys(names, 1.0))[-1]
    assert free["d_penalty"] == 0
    assert metrics["d_penalty"] > 0
    assert metrics["d_loss"] == pytest.approx(free["d_loss"])  # Told apart from it.
    assert metrics["d_gradient"] != free["d_gradient"]


def test_learning_rate__follows_its_dial():
    falls = Optimizer(learning_rate=1e-2, learning_rate_end=1e-4, b1=0.0, b2=0.0)
    model, rules = minimal(d_optimizer=falls, burn_in=16.0)
    state = jax.jit(functools.partial(init_state, model, rules))(jax.random.key(0))
    step = jax.jit(functools.partial(train_step, model, rules))
    batch = Batch(np.zeros((8, 2, 2, 3), np.uint8), np.zeros((8, 4), np.uint8))
    moved = []
    for _ in range(3):
        before = state.discriminator.params
        state, _ = step(state, batch)
        change = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), before, state.discriminator.params)
        moved.append(float(max(jax.tree.leaves(change))))
    # Adam without memory moves each weight by the rate: at 0, 8 and 16 images seen.
    np.testing.assert_allclose(moved, [1e-2, 0.5 * (1e-2 + 1e-4), 1e-4], rtol=0.01)


def test_adaptive__follows_the_sign_of_real_logits():
    (first, metrics), (second, _) = steps(2)
    assert -1 <= metrics["real_sign"] <= 1
    share = 1 - 0.5 ** (8 / 10_000)
    np.testing.assert_allclose(first.adaptive.signal, share * metrics["real_sign"], atol=1e-7)
    assert second.adaptive.probability == 0.5


def test_metrics__are_what_the_loss_returns_and_no_list():
    model, rules = minimal()
    discriminator = rules.loss.discriminator

    def with_own_metric(real, fake, see, dials):
        loss, outputs = discriminator(real, fake, see, dials)
        return loss, outputs | {"widest_logit": jnp.abs(real.logits).max()}

    rules = dataclasses.replace(rules, loss=rules.loss._replace(discriminator=with_own_metric))
    state = jax.eval_shape(functools.partial(init_state, model, rules), jax.random.key(0))
    batch = Batch(np.zeros((8, 2, 2, 3), np.uint8), np.zeros((8, 4), np.uint8))
    _, metrics = jax.eval_shape(functools.partial(train_step, model, rules), state, batch)
    assert "widest_logit" in metrics


def test_gradient_penalty__is_refused_where_batch_norm_mixes_images():
    with pytest.raises(ConfigError, match="gradient_penalty=10.0 .*set it to layer or none"):
        build(tiny(loss="wasserstein", gradient_penalty=10.0), MARGINALS)


def test_build_rules__takes_the_wasserstein_loss_with_a_penalty_only():
    with pytest.raises(ConfigError, match="config.loss='wasserstein': needs a penalty"):
        minimal(loss="wasserstein")
    for name in PENALTIES:
        minimal(loss="wasserstein", **{name: 1.0})
        minimal(loss="wasserstein", **{f"{name}_end": 1.0}, burn_in=10.0)


def test_abstract_state__has_the_layout_of_a_state():
    built = minimal(average=Average(second_half_life=5.0))
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    like = abstract_state(*built, here)
    state = jax.jit(functools.partial(init_state, *built))(jax.random.key(0))
    assert jax.tree.map(jnp.shape, like) == jax.tree.map(jnp.shape, state)
    assert {*state.averages} == {"ema", "ema2"}
