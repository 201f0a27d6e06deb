"""Architectures: a module each, chosen by its name (`--config.network.name=dcgan`).

A module of this folder is an architecture if it has these two public names, and nothing else has
to know of it:

    Settings
        A dataclass of `gan.config.setting`s, `@dataclasses.dataclass(kw_only=True)`; the first is
        `name`, the module's own. It is the configuration's `network`.
    make(settings, *, image_size, num_attributes, dtype, axis_name) -> Networks
        The two networks for images of `image_size` pixels and conditions of `num_attributes`
        numbers, 0 if unconditional. They compute in `dtype`, keep float32 parameters, and take
        float32 and give float32. Under `pmap`, `axis_name` names the axis over which statistics of
        a batch are averaged. Raises ConfigError, naming the setting, for what cannot be.

Both networks are Linen modules:

    generator(z [b z], condition [b a], *, train) -> images [b h w 3] in about [-1, 1]
    discriminator(image [b h w 3], condition [b a], *, train) -> logits [b]

With `train=True` they may update collections other than "params". With `train=False` an image
depends on its own latent and condition alone.
"""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from gan.config import Config


class Networks(NamedTuple):
    """The two players of an architecture."""

    generator: Any  # Linen modules: see above.
    discriminator: Any
    # (generator's params, z [n z], condition [n a]) -> the other collections that belong to these
    # parameters; None where the generator has none.
    statistics: Callable[[Any, Any, Any], dict[str, Any]] | None = None
    # Where a discriminator's logits depend on the whole batch: by which setting, and the remedy.
    mixes_examples: str = ""


def make(config: Config, num_attributes: int, axis_name: str | None = None) -> Networks:
    """The networks that `config.network` describes. Raises ConfigError."""
    module = importlib.import_module(f"{__name__}.{config.network.name}")
    return module.make(
        config.network,
        image_size=config.data.image_size,
        num_attributes=num_attributes if config.conditional else 0,
        dtype=jnp.dtype(config.dtype),
        axis_name=axis_name,
    )
