"""The conditional DCGAN (Radford, Metz & Chintala 2015, arXiv 1511.06434).

A condition is a vector of standardised attributes; with none (a = 0) the networks are the
unconditional ones.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from gan.config import setting
from gan.errors import ConfigError
from gan.model.networks import Networks
from gan.model.networks.layers import Down, Norm, Up, init_weights

SIZES = (32, 64, 128)
MIXES = "config.network.d_norm=batch mixes them; set it to layer or none"


@dataclasses.dataclass(kw_only=True)
class Settings:
    """Settings of both networks."""

    name: str = setting(
        "dcgan",
        "architecture: a module of gan/model/networks with settings of its own",
        choices_in="gan.config.network_names",
    )
    g_width: int = setting(64, 'channels of the generator\'s last hidden layer ("ngf")', above=0)
    d_width: int = setting(64, 'channels of the discriminator\'s first layer ("ndf")', above=0)
    d_norm: str = setting(
        "batch", "normalisation of the discriminator", choices=("batch", "layer", "none")
    )
    film: bool = setting(False, "attributes also scale and shift every generator layer (FiLM)")


def make(
    settings: Settings, *, image_size: int, num_attributes: int, dtype: Any, axis_name: str | None
) -> Networks:
    """Returns the networks of `settings`; see `gan.model.networks` for the contract."""
    widths(image_size, settings.g_width)  # Raises for a size that cannot be.
    shared = dict(image_size=image_size, dtype=dtype, axis_name=axis_name)
    generator = Generator(width=settings.g_width, film=settings.film, **shared)

    def statistics(
        params: Any, z: Float[Array, "n z"], condition: Float[Array, "n a"]
    ) -> dict[str, Any]:
        # Without momentum the running statistics are those of this one batch.
        network = generator.clone(momentum=0.0, axis_name=None)
        inputs = {"params": params}, z, condition
        return network.apply(*inputs, train=True, mutable=["batch_stats"])[1]

    return Networks(
        generator=generator,
        discriminator=Discriminator(width=settings.d_width, norm=settings.d_norm, **shared),
        statistics=statistics,
        mixes_examples=MIXES if settings.d_norm == "batch" else "",
    )


def widths(image_size: int, width: int) -> list[int]:
    """Channels at 4x4, 8x8, ... half the image's side; they halve as the side doubles.

    Raises ConfigError for an image size that is not in `SIZES`.
    """
    if image_size not in SIZES:
        raise ConfigError(f"config.data.image_size={image_size}: dcgan draws at one of {SIZES}.")
    stages = (image_size // 4).bit_length() - 1
    return [width * 2**i for i in reversed(range(stages))]


class Generator(nn.Module):
    """Maps latents and conditions to images in [-1, 1]."""

    image_size: int
    width: int
    film: bool = False
    dtype: Any = jnp.float32
    axis_name: str | None = None
    momentum: float = 0.9  # Decay of the running batch statistics.

    @nn.compact
    def __call__(
        self, z: Float[Array, "b z"], condition: Float[Array, "b a"], *, train: bool
    ) -> Float[Array, "b {self.image_size} {self.image_size} 3"]:
        first, *rest = widths(self.image_size, self.width)
        x = jnp.concatenate([z, condition], axis=-1)
        # The transposed convolution from 1x1 to 4x4 is a matrix product.
        x = nn.Dense(16 * first, use_bias=False, kernel_init=init_weights, dtype=self.dtype)(x)
        x = self._activate(x.reshape(-1, 4, 4, first), condition, train)
        for features in rest:
            x = self._activate(Up(features, self.dtype)(x), condition, train)
        return jnp.tanh(Up(3, self.dtype)(x).astype(jnp.float32))

    def _activate(self, x: Array, condition: Array, train: bool) -> Array:
        film = self.film and condition.shape[-1] > 0
        x = Norm("batch", self.dtype, self.axis_name, self.momentum)(x, train=train)
        if film:  # Perez et al. 2018; starts as the identity.
            zeros = nn.initializers.zeros
            modulation = nn.Dense(2 * x.shape[-1], kernel_init=zeros, dtype=self.dtype)(condition)
            scale, shift = jnp.split(modulation[:, None, None], 2, axis=-1)
            x = x * (1 + scale) + shift
        return nn.relu(x)


class Discriminator(nn.Module):
    """Maps images and conditions to logits; their sigmoid is the probability of "real"."""

    image_size: int
    width: int
    norm: str = "batch"
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "b {self.image_size} {self.image_size} 3"],
        condition: Float[Array, "b a"],
        *,
        train: bool,
    ) -> Float[Array, " b"]:
        last, *rest = widths(self.image_size, self.width)
        x = nn.leaky_relu(Down(rest.pop(), self.dtype)(image), 0.2)
        for features in [*reversed(rest), last]:
            x = Norm(self.norm, self.dtype, self.axis_name)(
                Down(features, self.dtype)(x), train=train
            )
            x = nn.leaky_relu(x, 0.2)
        x = x.reshape(x.shape[0], -1).astype(jnp.float32)
        logit = nn.Dense(1, use_bias=False, kernel_init=init_weights, name="head")(x)[:, 0]
        num_attributes = condition.shape[-1]
        if num_attributes:  # Projection, Miyato & Koyama 2018 (arXiv 1802.05637), equation 3.
            directions = nn.Dense(num_attributes, kernel_init=init_weights, name="projection")(x)
            logit += jnp.sum(directions * condition, axis=-1) / num_attributes**0.5
        return logit
