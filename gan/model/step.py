"""The training step, as pure functions: initialise, update the two players, measure.

    (state, batch) --train_step--> (state, metrics)

All randomness is folded from `state.key`, `state.step`, the purpose and the example's index in the
global batch, so a step can be replayed, on any devices.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from clu.metrics import Average
from jaxtyping import Array, Float, Int, Key

from gan.config import Config, Optimizer
from gan.data.batch import Batch
from gan.errors import ConfigError
from gan.model import augment, averages, losses, schedules
from gan.model.generate import Images, Model, build_model, condition_on, to_float
from gan.model.losses import See, Verdict
from gan.model.schedules import Dials, ImagesSeen
from gan.model.state import Adaptive, NetState, Params, TrainState, Variables
from gan.runtime.parallel import example_keys, mean_over_devices

Condition = Float[Array, "b a"]
Outputs = dict[str, Array]
Metrics = dict[str, Average]  # Whatever a loss and the step return, by its name.
SIGNAL_IMAGES = 10_000  # Images over which the signal of overfitting is averaged.


@dataclasses.dataclass(frozen=True)
class Rules:
    """How the players learn: all of a step that is neither array nor network."""

    loss: losses.Loss
    penalties: tuple[str, ...]  # Names in `losses.PENALTIES` whose weight is not always 0,
    penalty: str  # computed how: "exact" | "finite",
    penalty_every: int  # in each so many-th update of the discriminator.
    dials: Callable[[ImagesSeen], Dials]
    g_optimizer: Callable[[Dials], optax.GradientTransformation]
    d_optimizer: Callable[[Dials], optax.GradientTransformation]
    flip: bool
    augment_real: augment.Augmentation | None
    augment_fake: augment.Augmentation | None
    d_steps: int  # Updates of the discriminator for each of the generator.
    images: int  # Real images that a step sees, over all devices.
    averages: tuple[str, ...]  # Names in `gan.model.averages`.
    axis_name: str | None  # Set when the step runs under `pmap`.


def build_rules(config: Config, model: Model, axis_name: str | None = None) -> Rules:
    """Returns the rules that `config` describes. Raises ConfigError where `model` forbids them."""
    penalties = tuple(name for name in losses.PENALTIES if schedules.is_used(config, name))
    if model.networks.mixes_examples and "gradient_penalty" in penalties:
        raise ConfigError(
            f"config.gradient_penalty={config.gradient_penalty} needs a discriminator that judges "
            f"each image alone, and {model.networks.mixes_examples}."
        )
    if losses.LOSSES[config.loss].needs_penalty and not penalties:
        raise ConfigError(
            f"config.loss={config.loss!r}: needs a penalty, or its critic grows without bound; "
            "config.gradient_penalty=10 is usual."
        )
    warp = augment.compose(config.augment)
    return Rules(
        loss=losses.LOSSES[config.loss],
        penalties=penalties,
        penalty=config.penalty,
        penalty_every=config.penalty_every,
        dials=schedules.at(config),
        g_optimizer=functools.partial(_adam, config.g_optimizer, "g_optimizer"),
        d_optimizer=functools.partial(_adam, config.d_optimizer, "d_optimizer"),
        flip=config.augment.flip,
        augment_real=warp,
        augment_fake=None if config.augment.real_only else warp,
        d_steps=config.d_steps,
        images=config.data.batch_size * config.d_steps,
        averages=averages.names(second=config.average.second_half_life > 0),
        axis_name=axis_name,
    )


def build(
    config: Config, marginals: "np.ndarray | tuple[float, ...]", axis_name: str | None = None
) -> tuple[Model, Rules]:
    """Returns the model and the rules that `config` describes. Raises ConfigError."""
    model = build_model(config, marginals, axis_name)
    return model, build_rules(config, model, axis_name)


def _adam(optimizer: Optimizer, name: str, dials: Dials) -> optax.GradientTransformation:
    rate, b2 = (getattr(dials, f"{name}_{dial}") for dial in ("learning_rate", "b2"))
    return optax.adam(rate, b1=optimizer.b1, b2=b2)


def init_state(model: Model, rules: Rules, key: Key[Array, ""]) -> TrainState:
    """The state before the first step."""
    root, g_key, d_key = jax.random.split(key, 3)
    condition = condition_on(model, jnp.zeros((1, len(model.marginals)), jnp.uint8))
    z = jnp.zeros((1, model.z_dim))
    image = jnp.zeros((1, model.image_size, model.image_size, 3))
    dials = rules.dials(jnp.zeros(()))
    networks = model.networks
    g = _init(networks.generator, rules.g_optimizer(dials), g_key, z, condition)
    d = _init(networks.discriminator, rules.d_optimizer(dials), d_key, image, condition)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        key=root,
        generator=g,
        discriminator=d,
        averages=averages.init_averages(g.params, rules.averages),
        adaptive=Adaptive(jnp.zeros(()), jnp.zeros(())),
    )


def _init(net: nn.Module, optimizer: Any, key: Key[Array, ""], *inputs: Array) -> NetState:
    variables = net.init(key, *inputs, train=False)
    params = variables.pop("params")
    return NetState(params, variables, optimizer.init(params))


def abstract_state(model: Model, rules: Rules, sharding: jax.sharding.Sharding) -> TrainState:
    """The state's shapes and where they lie: what a checkpoint is restored to."""
    shapes = jax.eval_shape(lambda: init_state(model, rules, jax.random.key(0)))
    place = functools.partial(jax.ShapeDtypeStruct, sharding=sharding)
    return jax.tree.map(lambda x: place(x.shape, x.dtype), shapes)


class Turn(NamedTuple):
    """What both players are given in one of the discriminator's updates."""

    real: Images  # Mirrored at random, not augmented yet.
    fake: Images
    condition: Condition
    dials: Dials
    number: Int[Array, ""]  # Counts the discriminator's updates, from 0.


def train_step(
    model: Model, rules: Rules, state: TrainState, batch: Batch
) -> tuple[TrainState, Metrics]:
    """Updates the discriminator `d_steps` times, each on its part of `batch`, then the generator.

    The generator learns from the images that the last of these discriminator updates saw: one
    forward pass serves both (as in the DCGAN examples of PyTorch and TensorFlow).
    """
    step_key = jax.random.fold_in(state.key, state.step)
    dials = rules.dials(state.step.astype(jnp.float32) * rules.images)
    num = batch.image.shape[0] // rules.d_steps
    parts = jax.tree.map(lambda x: x.reshape(num, rules.d_steps, *x.shape[1:]), batch)
    for i in range(rules.d_steps):  # Unrolled: a scan is many times slower on CPU.
        part = jax.tree.map(lambda x: x[:, i], parts)  # noqa: B023, used at once
        z_key, d_key, g_key = jax.random.split(jax.random.fold_in(step_key, i), 3)
        flip_key, *d_keys = jax.random.split(d_key, 4)
        condition = condition_on(model, part.attributes)
        draw_z = lambda key, _: jax.random.normal(key, (model.z_dim,))  # noqa: E731
        z = _per_example(rules, z_key, draw_z, condition)
        real = to_float(part.image)
        if rules.flip:
            real = _per_example(rules, flip_key, augment.flip, real)
        draw = functools.partial(_apply, model.networks.generator, state.generator.variables)
        fake, pull_back, variables = jax.vjp(
            lambda params: draw(params, z, condition),  # noqa: B023, used at once
            state.generator.params,
            has_aux=True,
        )
        turn = Turn(real, fake, condition, dials, state.step * rules.d_steps + i)
        state, d_outputs = update_discriminator(model, rules, state, turn, d_keys)
    state, g_outputs = update_generator(model, rules, state, turn, pull_back, variables, g_key)
    outputs = mean_over_devices(d_outputs | g_outputs, rules.axis_name)
    metrics = {name: Average.from_model_output(value) for name, value in outputs.items()}
    return state.replace(step=state.step + 1), metrics


def update_discriminator(
    model: Model, rules: Rules, state: TrainState, turn: Turn, keys: Sequence[Key[Array, ""]]
) -> tuple[TrainState, Outputs]:
    """Updates the discriminator on as many real images as generated ones.

    `keys` are for the augmentation of real and of generated images, and for what the loss draws.
    """
    real_key, fake_key, loss_key = keys
    d = state.discriminator

    def loss_of(params: Params) -> tuple[Array, tuple[Variables, Outputs]]:
        look = functools.partial(_look, model, rules, params, turn)
        look_real = lambda v, x: look(v, rules.augment_real, real_key, x)  # noqa: E731
        look_fake = lambda v, x: look(v, rules.augment_fake, fake_key, x)  # noqa: E731
        # Real and generated images each have batch statistics of their own.
        real, variables = _verdict(look_real, d.variables, turn.real)
        fake, variables = _verdict(look_fake, variables, turn.fake)
        see = See(
            real=lambda x: _verdict(look_real, d.variables, x)[0],
            fake=lambda x: _verdict(look_fake, d.variables, x)[0],
            per_example=functools.partial(_per_example, rules, loss_key),
        )
        penalty = _penalty(rules, turn, real, fake, see)
        loss, outputs = rules.loss.discriminator(real, fake, see, turn.dials)
        told = {"d_loss": loss, "d_penalty": penalty, "real_sign": jnp.sign(real.logits).mean()}
        return loss + penalty, (variables, told | outputs)

    gradients, (variables, outputs) = jax.grad(loss_of, has_aux=True)(d.params)
    gradients = mean_over_devices(gradients, rules.axis_name)
    outputs["d_gradient"] = optax.tree.norm(gradients)
    d = _update(rules.d_optimizer(turn.dials), d, gradients, variables)
    adaptive = _measure(rules, state.adaptive, turn.dials, outputs["real_sign"])
    return state.replace(discriminator=d, adaptive=adaptive), outputs


def update_generator(
    model: Model,
    rules: Rules,
    state: TrainState,
    turn: Turn,
    pull_back: Callable[[Images], tuple[Params]],
    variables: Variables,
    key: Key[Array, ""],
) -> tuple[TrainState, Outputs]:
    """Updates the generator, from the gradient with respect to its images.

    `pull_back` maps that to the gradient of its parameters; `variables` are its new ones.
    """
    g, d = state.generator, state.discriminator
    real_key, loss_key = (jax.random.fold_in(key, i) for i in (1, 2))

    def loss_of(fake: Images) -> tuple[Array, Outputs]:
        look = functools.partial(_look, model, rules, d.params, turn)
        see = See(
            real=lambda x: _verdict(
                lambda v, y: look(v, rules.augment_real, real_key, y), d.variables, x
            )[0],
            fake=lambda x: _verdict(
                lambda v, y: look(v, rules.augment_fake, key, y), d.variables, x
            )[0],
            per_example=functools.partial(_per_example, rules, loss_key),
        )
        return rules.loss.generator(see.real(turn.real), see.fake(fake), see, turn.dials)

    (loss, outputs), image_gradient = jax.value_and_grad(loss_of, has_aux=True)(turn.fake)
    (gradients,) = pull_back(image_gradient)
    gradients = mean_over_devices(gradients, rules.axis_name)
    g = _update(rules.g_optimizer(turn.dials), g, gradients, variables)
    done = (state.step + 1).astype(jnp.float32)
    kept = averages.update_averages(state.averages, g.params, turn.dials, rules.images, done)
    told = {"g_loss": loss, "g_gradient": optax.tree.norm(gradients)}
    return state.replace(generator=g, averages=kept), told | outputs


def _look(
    model: Model,
    rules: Rules,
    params: Params,
    turn: Turn,
    variables: Variables,
    augmentation: augment.Augmentation | None,
    key: Key[Array, ""],
    images: Images,
) -> tuple[Float[Array, " b"], Variables]:
    """The discriminator's logits of augmented images, and its new variables."""
    if augmentation is not None:
        function = functools.partial(augmentation, probability=turn.dials.augment_probability)
        images = _per_example(rules, key, function, images)
    return _apply(model.networks.discriminator, variables, params, images, turn.condition)


def _verdict(
    look: Callable[[Variables, Images], tuple[Array, Variables]],
    variables: Variables,
    images: Images,
) -> tuple[Verdict, Variables]:
    see = functools.partial(look, variables)
    logits, pull_back, variables = jax.vjp(see, images, has_aux=True)
    return Verdict(images, logits, lambda: pull_back(jnp.ones_like(logits))[0]), variables


def _penalty(rules: Rules, turn: Turn, real: Verdict, fake: Verdict, see: See) -> Array:
    """The penalties' sum; in each `penalty_every`-th update only, and then so much larger.

    (Lazy regularisation, Karras et al. 2020, arXiv 1912.04958, section 3.1.)
    """
    total = functools.partial(
        losses.penalise, rules.penalties, real, fake, see, turn.dials, rules.penalty
    )
    if rules.penalty_every == 1 or not rules.penalties:
        return total()
    due = turn.number % rules.penalty_every == 0
    return jax.lax.cond(due, lambda: rules.penalty_every * total(), lambda: jnp.zeros(()))


def _measure(rules: Rules, adaptive: Adaptive, dials: Dials, real_sign: Array) -> Adaptive:
    """Follows the mean of sign(D(real)), a sign of overfitting (arXiv 2006.06676, equation 1)."""
    stays = 0.5 ** (rules.images / rules.d_steps / SIGNAL_IMAGES)
    signal = stays * adaptive.signal + (1 - stays) * mean_over_devices(real_sign, rules.axis_name)
    return Adaptive(jnp.asarray(dials.augment_probability, jnp.float32), signal)


def _per_example(rules: Rules, key: Key[Array, ""], function: Callable, *arrays: Array) -> Array:
    """Maps `function(key, *example)` over the examples, each with a key of its own."""
    keys = example_keys(key, arrays[0].shape[0], rules.axis_name)
    return jax.vmap(function)(keys, *arrays)


def _apply(
    net: nn.Module, variables: Variables, params: Params, *inputs: Array
) -> tuple[Array, Variables]:
    """The output in training mode, and the new variables."""
    return net.apply({"params": params, **variables}, *inputs, train=True, mutable=list(variables))


def _update(optimizer: Any, net: NetState, gradients: Params, variables: Variables) -> NetState:
    updates, opt_state = optimizer.update(gradients, net.opt_state, net.params)
    return NetState(optax.apply_updates(net.params, updates), variables, opt_state)
