"""The game, as pure functions: build, initialise, step, generate.

    (state, batch) --train_step--> (state, metrics)

All randomness is folded from `state.key`, `state.step`, the purpose and the example's index in the
global batch, so a step can be replayed, on any devices.
"""

import dataclasses
import functools
import importlib
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from clu import metrics
from jaxtyping import Array, Float, Integer, Key, UInt8

from gan.config import Config, Optimizer
from gan.data.batch import Batch
from gan.errors import ConfigError, nearest
from gan.model import augment, losses
from gan.model.state import NetState, Params, TrainState, Variables
from gan.runtime.parallel import example_keys, mean_over_devices

Images = Float[Array, "b h w 3"]  # In [-1, 1].
Condition = Float[Array, "b a"]
Outputs = dict[str, Array]
MAX_CONDITION = 4.0  # Standard deviations; Bald, at 2 %, would be at 6.6.
NAMES = (
    "g_loss",
    "d_loss",
    "d_penalty",
    "real_logit",
    "fake_logit",
    "d_real_accuracy",
    "d_fake_accuracy",
    "g_gradient",
    "d_gradient",
)
# Made by a call, not by a class statement: clu reads annotations as values, type checkers do not.
TrainMetrics = metrics.Collection.create(
    **{name: metrics.Average.from_output(name) for name in NAMES}
)


@dataclasses.dataclass(frozen=True)
class Gan:
    """All that a step needs and that is not an array."""

    generator: nn.Module
    discriminator: nn.Module
    g_optimizer: optax.GradientTransformation
    d_optimizer: optax.GradientTransformation
    loss: losses.Loss
    r1: float
    gradient_penalty: float
    flip: bool
    augment_real: augment.Augmentation | None
    augment_fake: augment.Augmentation | None
    image_size: int
    z_dim: int
    marginals: tuple[float, ...]  # Share of each attribute in the training set.
    conditional: bool
    d_steps: int
    ema_decay: float
    axis_name: str | None  # Set when the step runs under `pmap`.


def build(
    config: Config, marginals: "np.ndarray | tuple[float, ...]", axis_name: str | None = None
) -> Gan:
    """The game that `config` describes, for a training set with these attribute `marginals` [a]."""
    network, data = config.network, config.data
    if config.loss not in losses.LOSSES:
        hint = nearest(config.loss, losses.LOSSES)
        raise ConfigError(f"config.loss={config.loss!r} is not one of {[*losses.LOSSES]}.{hint}")
    module = importlib.import_module(f"gan.model.networks.{network.name}")
    shared = dict(image_size=data.image_size, dtype=jnp.dtype(config.dtype), axis_name=axis_name)
    warps = dataclasses.asdict(config.augment)
    names = ("flip", "probability", "probability_end", "real_only")
    flip, probability, _, real_only = (warps.pop(name) for name in names)
    images, half_life = data.batch_size * config.d_steps, config.average.half_life
    warp = augment.compose(warps, probability)
    return Gan(
        generator=module.Generator(width=network.g_width, film=network.film, **shared),
        discriminator=module.Discriminator(width=network.d_width, norm=network.d_norm, **shared),
        g_optimizer=_adam(config.g_optimizer),
        d_optimizer=_adam(config.d_optimizer),
        loss=losses.LOSSES[config.loss],
        r1=config.r1,
        gradient_penalty=config.gradient_penalty,
        flip=flip,
        augment_real=warp,
        augment_fake=None if real_only else warp,
        image_size=data.image_size,
        z_dim=config.z_dim,
        marginals=tuple(float(p) for p in marginals),
        conditional=config.conditional,
        d_steps=config.d_steps,
        ema_decay=0.5 ** (images / half_life) if half_life else 0.0,
        axis_name=axis_name,
    )


def init_state(gan: Gan, key: Key[Array, ""]) -> TrainState:
    """The state before the first step."""
    root, g_key, d_key = jax.random.split(key, 3)
    condition = condition_on(gan, jnp.zeros((1, len(gan.marginals)), jnp.uint8))
    z, image = jnp.zeros((1, gan.z_dim)), jnp.zeros((1, gan.image_size, gan.image_size, 3))
    generator = _init(gan.generator, gan.g_optimizer, g_key, z, condition)
    discriminator = _init(gan.discriminator, gan.d_optimizer, d_key, image, condition)
    ema = jax.tree.map(jnp.copy, generator.params)  # The state is donated: no buffer twice in it.
    return TrainState(jnp.zeros((), jnp.int32), root, generator, discriminator, ema)


def abstract_state(gan: Gan, sharding: jax.sharding.Sharding) -> TrainState:
    """Its shapes and where they lie: what a checkpoint is restored to."""
    shapes = jax.eval_shape(lambda: init_state(gan, jax.random.key(0)))
    place = functools.partial(jax.ShapeDtypeStruct, sharding=sharding)
    return jax.tree.map(lambda x: place(x.shape, x.dtype), shapes)


def train_step(gan: Gan, state: TrainState, batch: Batch) -> tuple[TrainState, TrainMetrics]:
    """`d_steps` discriminator updates, each on its part of `batch`, then one of the generator.

    The generator learns from the images that the last of these discriminator updates saw: one
    forward pass serves both (as in the DCGAN examples of the peers).
    """
    step_key = jax.random.fold_in(state.key, state.step)
    num = batch.image.shape[0] // gan.d_steps
    parts = jax.tree.map(lambda x: x.reshape(num, gan.d_steps, *x.shape[1:]), batch)
    for i in range(gan.d_steps):  # Unrolled: a scan is many times slower on CPU.
        part = jax.tree.map(lambda x: x[:, i], parts)  # noqa: B023, used at once
        z_key, d_key, g_key = jax.random.split(jax.random.fold_in(step_key, i), 3)
        condition = condition_on(gan, part.attributes)
        z = _per_example(gan, z_key, lambda key, _: jax.random.normal(key, (gan.z_dim,)), condition)
        draw = functools.partial(_apply, gan.generator, state.generator.variables)
        fake, pull_back, variables = jax.vjp(
            lambda params: draw(params, z, condition),  # noqa: B023, used at once
            state.generator.params,
            has_aux=True,
        )
        state, d_outputs = update_discriminator(gan, state, part.image, fake, condition, d_key)
    state, g_outputs = update_generator(gan, state, fake, pull_back, variables, condition, g_key)
    outputs = mean_over_devices(d_outputs | g_outputs, gan.axis_name)
    update = TrainMetrics.single_from_model_output(**outputs)
    return state.replace(step=state.step + 1), update


def update_discriminator(
    gan: Gan,
    state: TrainState,
    image: UInt8[Array, "b h w 3"],
    fake: Images,
    condition: Condition,
    key: Key[Array, ""],
) -> tuple[TrainState, Outputs]:
    """One step of the discriminator on as many real images as fakes."""
    flip_key, real_key, fake_key, mix_key = jax.random.split(key, 4)
    d = state.discriminator
    real = to_float(image)
    if gan.flip:
        real = _per_example(gan, flip_key, augment.flip, real)

    def loss_of(params: Params) -> tuple[Array, tuple[Variables, Outputs]]:
        logits = functools.partial(_discriminate, gan, params, condition=condition)
        # Real and fake each have batch statistics of their own.
        augment_real = functools.partial(_augment, gan, gan.augment_real, real_key)
        see_real = lambda x: logits(d.variables, augment_real(x))  # noqa: E731
        real_logits, slope, variables = jax.vjp(see_real, real, has_aux=True)
        augmented = _augment(gan, gan.augment_fake, fake_key, fake)
        fake_logits, variables = logits(variables, augmented)
        penalty = jnp.zeros(())
        if gan.r1:
            (gradient,) = slope(jnp.ones_like(real_logits))
            penalty += gan.r1 * losses.zero_centred_penalty(gradient)
        if gan.gradient_penalty:
            mix = _per_example(gan, mix_key, _between, augment_real(real), augmented)
            gradient = jax.grad(lambda x: logits(d.variables, x)[0].sum())(mix)
            penalty += gan.gradient_penalty * losses.one_centred_penalty(gradient)
        loss = gan.loss.discriminator(real_logits, fake_logits)
        outputs = {
            "d_loss": loss,
            "d_penalty": penalty,
            "real_logit": real_logits.mean(),
            "fake_logit": fake_logits.mean(),
            "d_real_accuracy": (real_logits > gan.loss.boundary).mean(),
            "d_fake_accuracy": (fake_logits < gan.loss.boundary).mean(),
        }
        return loss + penalty, (variables, outputs)

    gradients, (variables, outputs) = jax.grad(loss_of, has_aux=True)(d.params)
    gradients = mean_over_devices(gradients, gan.axis_name)
    outputs["d_gradient"] = optax.tree.norm(gradients)
    return state.replace(discriminator=_update(gan.d_optimizer, d, gradients, variables)), outputs


def update_generator(
    gan: Gan,
    state: TrainState,
    fake: Images,
    pull_back: Callable[[Images], tuple[Params]],
    variables: Variables,
    condition: Condition,
    key: Key[Array, ""],
) -> tuple[TrainState, Outputs]:
    """One step of the generator, from the gradient with respect to its images."""
    g, d = state.generator, state.discriminator

    def loss_of(fake: Images) -> Array:
        augmented = _augment(gan, gan.augment_fake, key, fake)
        logits, _ = _discriminate(gan, d.params, d.variables, augmented, condition)
        return gan.loss.generator(logits)

    loss, image_gradient = jax.value_and_grad(loss_of)(fake)
    (gradients,) = pull_back(image_gradient)
    gradients = mean_over_devices(gradients, gan.axis_name)
    g = _update(gan.g_optimizer, g, gradients, variables)
    # Early on the average is over the few steps there are, or it would long show the start.
    done = (state.step + 1).astype(jnp.float32)
    rate = 1 - jnp.minimum(gan.ema_decay, done / (done + 9))
    ema = optax.incremental_update(g.params, state.ema, rate)
    outputs = {"g_loss": loss, "g_gradient": optax.tree.norm(gradients)}
    return state.replace(generator=g, ema=ema), outputs


def condition_on(gan: Gan, attributes: UInt8[Array, "b a"]) -> Float[Array, "b c"]:
    """Attributes standardised by the training set's marginals; no columns where unconditional.

    With 0 and 1 the condition would be several times weaker than the latent. An attribute that is
    constant in training is 0: it says nothing.
    """
    if not gan.conditional:
        return jnp.zeros((attributes.shape[0], 0))
    p = np.asarray(gan.marginals, np.float64)
    deviation = np.sqrt(p * (1 - p))
    scale = np.divide(1, deviation, out=np.zeros_like(p), where=deviation > 0)
    mean, scale = p.astype(np.float32), scale.astype(np.float32)
    standardise = jax.vmap(lambda row: (row - mean) * scale)
    return jnp.clip(standardise(attributes), -MAX_CONDITION, MAX_CONDITION)


def latents(gan: Gan, seeds: Integer[Array, " b"]) -> Float[Array, "b {gan.z_dim}"]:
    """The latent of each seed, whatever others are asked for."""
    return jax.vmap(lambda seed: jax.random.normal(jax.random.key(seed), (gan.z_dim,)))(seeds)


def calibrate(gan: Gan, params: Params, attributes: UInt8[Array, "n a"]) -> Variables:
    """Batch statistics that belong to `params`, recomputed on the training set's `attributes`.

    Running statistics belong to the raw weights; the moving average needs its own (Izmailov et al.
    2018, section 3.1).
    """
    generator = gan.generator.clone(momentum=0.0, axis_name=None)
    z = latents(gan, jnp.arange(attributes.shape[0]))
    condition = condition_on(gan, attributes)
    inputs = {"params": params}, z, condition
    return generator.apply(*inputs, train=True, mutable=["batch_stats"])[1]


def generate(
    gan: Gan,
    params: Params,
    variables: Variables,
    z: Float[Array, "b z"],
    attributes: UInt8[Array, "b a"],
) -> Images:
    """Images in [-1, 1]; each depends on its own latent and attributes alone."""
    condition = condition_on(gan, attributes)
    return gan.generator.apply({"params": params, **variables}, z, condition, train=False)


def to_float(image: UInt8[Array, "b h w 3"]) -> Images:
    """From 0..255 to [-1, 1]."""
    return image.astype(jnp.float32) / 127.5 - 1


def _between(key: Key[Array, ""], a: Array, b: Array) -> Array:
    share = jax.random.uniform(key)
    return share * a + (1 - share) * b


def _per_example(gan: Gan, key: Key[Array, ""], function: Callable, *arrays: Array) -> Array:
    """Maps `function(key, *example)` over the examples, each with a key of its own."""
    keys = example_keys(key, arrays[0].shape[0], gan.axis_name)
    return jax.vmap(function)(keys, *arrays)


def _augment(
    gan: Gan, augmentation: augment.Augmentation | None, key: Key[Array, ""], images: Images
) -> Images:
    return images if augmentation is None else _per_example(gan, key, augmentation, images)


def _discriminate(
    gan: Gan, params: Params, variables: Variables, images: Images, condition: Condition
) -> tuple[Float[Array, " b"], Variables]:
    return _apply(gan.discriminator, variables, params, images, condition)


def _init(net: nn.Module, optimizer: Any, key: Key[Array, ""], *inputs: Array) -> NetState:
    variables = net.init(key, *inputs, train=False)
    params = variables.pop("params")
    return NetState(params, variables, optimizer.init(params))


def _apply(
    net: nn.Module, variables: Variables, params: Params, *inputs: Array
) -> tuple[Array, Variables]:
    """The output in training mode, and the new variables."""
    return net.apply({"params": params, **variables}, *inputs, train=True, mutable=list(variables))


def _adam(settings: Optimizer) -> optax.GradientTransformation:
    return optax.adam(settings.learning_rate, b1=settings.b1, b2=settings.b2)


def _update(optimizer: Any, net: NetState, gradients: Params, variables: Variables) -> NetState:
    updates, opt_state = optimizer.update(gradients, net.opt_state, net.params)
    return NetState(optax.apply_updates(net.params, updates), variables, opt_state)
