"""The smallest architecture that keeps the contract of `gan.model.networks`: no norm, one layer."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from gan.config import setting
from gan.errors import ConfigError
from gan.model.networks import Networks


@dataclasses.dataclass(kw_only=True)
class Settings:
    """Its only setting is a scale, which no other architecture has."""

    name: str = setting("minimal", "Module of gan/model/networks/.")
    gain: float = setting(1.0, "Factor of the images.", above=0)


class Generator(nn.Module):
    """Maps a latent and a condition linearly to an image."""

    image_size: int
    gain: float
    dtype: Any

    @nn.compact
    def __call__(self, z, condition, *, train):
        x = jnp.concatenate([z, condition], axis=-1).astype(self.dtype)
        x = nn.Dense(self.image_size**2 * 3, dtype=self.dtype)(x).astype(jnp.float32)
        return self.gain * x.reshape(-1, self.image_size, self.image_size, 3)


class Discriminator(nn.Module):
    """Maps an image and a condition to a logit, with one hidden layer."""

    dtype: Any

    @nn.compact
    def __call__(self, image, condition, *, train):
        x = image.reshape(image.shape[0], -1)
        x = jnp.concatenate([x, condition], axis=-1).astype(self.dtype)
        x = nn.tanh(nn.Dense(4, dtype=self.dtype)(x))
        return nn.Dense(1, dtype=self.dtype)(x)[:, 0].astype(jnp.float32)


def make(settings, *, image_size, num_attributes, dtype, axis_name):
    """Returns the networks; any size from 2 pixels on."""
    if image_size < 2:
        raise ConfigError(f"config.data.image_size={image_size}: minimal draws from 2 pixels on.")
    return Networks(Generator(image_size, settings.gain, dtype), Discriminator(dtype))
