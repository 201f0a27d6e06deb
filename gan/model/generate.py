"""The model as drawing needs it: it maps latents and attributes to images."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer, UInt8

from gan.config import Config
from gan.model import networks
from gan.model.state import Params, Variables

Images = Float[Array, "b h w 3"]  # In [-1, 1].
MAX_CONDITION = 4.0  # Standard deviations; Bald, which 2 % are, would be at 6.6.


@dataclasses.dataclass(frozen=True)
class Model:
    """The two networks, and what they are given."""

    networks: networks.Networks
    image_size: int  # Pixels, square.
    z_dim: int  # Numbers in a latent.
    marginals: tuple[float, ...]  # Share of each attribute in the training set.
    conditional: bool


def build_model(
    config: Config, marginals: "np.ndarray | tuple[float, ...]", axis_name: str | None = None
) -> Model:
    """Returns the model that `config` describes, for a training set with `marginals` [a].

    `axis_name` names the devices' axis where the step sees only its own slice of a batch (`pmap`).
    Raises ConfigError for an architecture or a setting of one that cannot be.
    """
    return Model(
        networks=networks.make(config, len(marginals), axis_name),
        image_size=config.data.image_size,
        z_dim=config.z_dim,
        marginals=tuple(float(p) for p in marginals),
        conditional=config.conditional,
    )


def condition_on(model: Model, attributes: UInt8[Array, "b a"]) -> Float[Array, "b c"]:
    """Standardises attributes by the training set's marginals; no columns if unconditional.

    With 0 and 1 the condition would be several times weaker than the latent. An attribute that is
    constant in training becomes 0: it says nothing.
    """
    if not model.conditional:
        return jnp.zeros((attributes.shape[0], 0))
    p = np.asarray(model.marginals, np.float64)
    deviation = np.sqrt(p * (1 - p))
    scale = np.divide(1, deviation, out=np.zeros_like(p), where=deviation > 0)
    mean, scale = p.astype(np.float32), scale.astype(np.float32)
    standardise = jax.vmap(lambda row: (row - mean) * scale)
    return jnp.clip(standardise(attributes), -MAX_CONDITION, MAX_CONDITION)


def latents(model: Model, seeds: Integer[Array, " b"]) -> Float[Array, "b {model.z_dim}"]:
    """The latent of each seed, whatever other seeds are asked for."""
    return jax.vmap(lambda seed: jax.random.normal(jax.random.key(seed), (model.z_dim,)))(seeds)


def batch_statistics(model: Model, params: Params, attributes: UInt8[Array, "n a"]) -> Variables:
    """Batch statistics that belong to `params`, measured on requests for `attributes`.

    Running statistics belong to the raw weights; a moving average needs its own (Izmailov et al.
    2018, arXiv 1803.05407, section 3.1). Empty for architectures without batch norm.
    """
    if model.networks.statistics is None:
        return {}
    z = latents(model, jnp.arange(attributes.shape[0]))
    return model.networks.statistics(params, z, condition_on(model, attributes))


def generate(
    model: Model,
    params: Params,
    variables: Variables,
    z: Float[Array, "b z"],
    attributes: UInt8[Array, "b a"],
) -> Images:
    """Draws images in [-1, 1]; each depends on its own latent and attributes alone."""
    inputs = {"params": params, **variables}, z, condition_on(model, attributes)
    return model.networks.generator.apply(*inputs, train=False)


def to_float(image: UInt8[Array, "b h w 3"]) -> Images:
    """Maps 0..255 to [-1, 1]."""
    return image.astype(jnp.float32) / 127.5 - 1
