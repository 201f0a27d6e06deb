"""Moving averages of the generator's parameters: what pictures are drawn with.

The average forgets by half-life in images: after so many, what was in it counts half (Karras et
al. 2020, arXiv 1912.04958, appendix B). Early in a run it is over the few steps that there are, or
it would long show the start.
"""

import functools

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from gan.model.generate import Model, condition_on
from gan.model.schedules import Dial, Dials
from gan.model.state import Params

EMA = "ema"  # The average that is drawn with.
DIALS = {EMA: "average_half_life", "ema2": "average_second_half_life"}


def names(second: bool) -> tuple[str, ...]:
    """The averages that a state holds; two with `second`."""
    return tuple(DIALS) if second else (EMA,)


def init_averages(params: Params, kept: tuple[str, ...]) -> dict[str, Params]:
    """Copies `params` for each name; a state is donated, so no buffer may be in it twice."""
    return {name: jax.tree.map(jnp.copy, params) for name in kept}


def abstract(
    model: Model, kept: tuple[str, ...], sharding: jax.sharding.Sharding
) -> dict[str, Params]:
    """The averages' shapes and where they lie: what they are restored to."""
    condition = condition_on(model, jnp.zeros((1, len(model.marginals)), jnp.uint8))
    init = functools.partial(model.networks.generator.init, train=False)
    z = jnp.zeros((1, model.z_dim))
    shapes = jax.eval_shape(init, jax.random.key(0), z, condition)["params"]
    place = functools.partial(jax.ShapeDtypeStruct, sharding=sharding)
    return {name: jax.tree.map(lambda x: place(x.shape, x.dtype), shapes) for name in kept}


def decay(half_life: Dial, images: int) -> Dial:
    """Share of the old average that stays when an update has seen `images` more."""
    if isinstance(half_life, float):
        return 0.5 ** (images / half_life) if half_life else 0.0
    return 0.5 ** (images / jnp.maximum(half_life, 1e-8))


def update_averages(
    averages: dict[str, Params],
    params: Params,
    dials: Dials,
    images: int,
    updates: Float[Array, ""],
) -> dict[str, Params]:
    """The averages after `updates` updates of `images` images each, the last one to `params`."""
    warm_up = updates / (updates + 9)
    return {
        name: optax.incremental_update(
            params,
            average,
            1 - jnp.minimum(decay(getattr(dials, DIALS[name]), images), warm_up),
        )
        for name, average in averages.items()
    }
