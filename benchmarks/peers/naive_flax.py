"""The peer in JAX: the 64-pixel DCGAN as a newcomer to Flax writes it from the paper.

It uses Flax's own layers, optax's Adam, and one `jax.jit` with its defaults. The generator runs
forward twice a step: once for the discriminator's update, once inside its own loss.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax.training import train_state
from jaxtyping import Array, Float

from gan.runtime.parallel import compile_for_one_call

Images = Float[Array, "b 64 64 3"]
init_weights = nn.initializers.normal(0.02)  # Radford et al. 2015, section 4.
KERNEL = dict(kernel_size=(4, 4), use_bias=False, kernel_init=init_weights)


class TrainState(train_state.TrainState):
    """Flax's training state, with batch statistics."""

    batch_stats: Any


class Generator(nn.Module):
    """Maps latents to images in [-1, 1]."""

    width: int

    @nn.compact
    def __call__(self, z: Float[Array, "b z"]) -> Images:
        """Draws images [b, 64, 64, 3], in training mode."""
        x = nn.ConvTranspose(8 * self.width, padding="VALID", **KERNEL)(z[:, None, None])
        x = nn.relu(nn.BatchNorm(use_running_average=False)(x))
        for features in (4 * self.width, 2 * self.width, self.width):
            x = nn.ConvTranspose(features, strides=(2, 2), **KERNEL)(x)
            x = nn.relu(nn.BatchNorm(use_running_average=False)(x))
        return jnp.tanh(nn.ConvTranspose(3, strides=(2, 2), **KERNEL)(x))


class Discriminator(nn.Module):
    """Maps images to logits."""

    width: int

    @nn.compact
    def __call__(self, image: Images) -> Float[Array, " b"]:
        """Judges images [b, 64, 64, 3], in training mode."""
        x = nn.leaky_relu(nn.Conv(self.width, strides=2, **KERNEL)(image), 0.2)
        for features in (2 * self.width, 4 * self.width, 8 * self.width):
            x = nn.Conv(features, strides=2, **KERNEL)(x)
            x = nn.leaky_relu(nn.BatchNorm(use_running_average=False)(x), 0.2)
        return nn.Conv(1, padding="VALID", **KERNEL)(x)[:, 0, 0, 0]


def init_players(z_dim: int, width: int) -> tuple[TrainState, TrainState]:
    """Returns the generator and the discriminator before the first step."""
    g_key, d_key = jax.random.split(jax.random.key(0))
    players = (
        (Generator(width), g_key, jnp.zeros((1, z_dim))),
        (Discriminator(width), d_key, jnp.zeros((1, 64, 64, 3))),
    )
    adam = optax.adam(2e-4, b1=0.5)
    states = []
    for net, key, example in players:
        variables = net.init(key, example)
        states.append(TrainState.create(apply_fn=net.apply, tx=adam, **variables))
    return states[0], states[1]


def forward(state: TrainState, params: Any, x: Array) -> tuple[Array, Any]:
    """Returns the output and the new batch statistics."""
    variables = {"params": params, "batch_stats": state.batch_stats}
    output, updates = state.apply_fn(variables, x, mutable=["batch_stats"])
    return output, updates["batch_stats"]


def train_step(
    g: TrainState, d: TrainState, real: Images, z: Float[Array, "2 b z"]
) -> tuple[TrainState, TrainState, dict[str, Array]]:
    """Updates each player once, each with fakes of its own; to be compiled by `jax.jit`."""
    cross_entropy = optax.sigmoid_binary_cross_entropy

    def d_loss_of(params: Any) -> tuple[Array, Any]:
        fake, _ = forward(g, g.params, z[0])
        real_logit, stats = forward(d, params, real)
        fake_logit, stats = forward(d.replace(batch_stats=stats), params, fake)
        loss = cross_entropy(real_logit, jnp.ones_like(real_logit)).mean()
        return loss + cross_entropy(fake_logit, jnp.zeros_like(fake_logit)).mean(), stats

    (d_loss, stats), gradients = jax.value_and_grad(d_loss_of, has_aux=True)(d.params)
    d = d.apply_gradients(grads=gradients, batch_stats=stats)

    def g_loss_of(params: Any) -> tuple[Array, Any]:
        fake, stats = forward(g, params, z[1])
        logit, _ = forward(d, d.params, fake)
        return cross_entropy(logit, jnp.ones_like(logit)).mean(), stats

    (g_loss, stats), gradients = jax.value_and_grad(g_loss_of, has_aux=True)(g.params)
    g = g.apply_gradients(grads=gradients, batch_stats=stats)
    return g, d, {"d_loss": d_loss, "g_loss": g_loss}


class Game:
    """Both players and their step."""

    def __init__(self, real: Images, z_dim: int, width: int):
        """Compiles the step for these `real` images."""
        # Not timed, so it may be in a hurry: without this it compiles for half a minute.
        self.generator, self.discriminator = compile_for_one_call(
            lambda: init_players(z_dim, width)
        )()
        self.real = jnp.asarray(real)
        self.key = jax.random.key(1)
        self.z_shape = (2, len(real), z_dim)
        z = jax.random.normal(self.key, self.z_shape)
        step = jax.jit(train_step).lower(self.generator, self.discriminator, self.real, z)
        self.step = step.compile()

    def run(self, steps: int) -> int:
        """Does so many steps, waits for the last one, and returns their number."""
        for _ in range(steps):
            self.key, key = jax.random.split(self.key)
            z = jax.random.normal(key, self.z_shape)
            self.generator, self.discriminator, metrics = self.step(
                self.generator, self.discriminator, self.real, z
            )
        jax.block_until_ready((self.generator, self.discriminator, metrics))
        return steps
