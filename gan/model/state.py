"""The data that flows through training. Nothing in this file computes."""

from typing import Any

import optax
from flax import struct
from jaxtyping import Array, Int, Key

Params = Any  # A pytree of float32 arrays.
Variables = dict[str, Any]  # The other Linen collections: batch statistics.


class NetState(struct.PyTreeNode):
    """One of the two players."""

    params: Params
    variables: Variables
    opt_state: optax.OptState


class TrainState(struct.PyTreeNode):
    """All that training changes, and so all that a checkpoint holds."""

    step: Int[Array, ""]  # Generator updates done.
    key: Key[Array, ""]  # Root of all randomness. Never replaced: `step` is folded in.
    generator: NetState
    discriminator: NetState
    ema: Params  # Moving average of the generator's parameters, float32.
