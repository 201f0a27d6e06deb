"""The data that flows through training. Nothing in this file computes."""

from typing import Any, NamedTuple

import optax
from flax import struct
from jaxtyping import Array, Int, Key, UInt8

Params = Any  # A pytree of float32 arrays.
Variables = dict[str, Any]  # The other Linen collections: batch statistics.


class Batch(NamedTuple):
    """Real examples. A pytree for JAX and for tf.data."""

    image: UInt8[Array, "b h w 3"]  # RGB, 0..255.
    attributes: UInt8[Array, "b a"]  # 0 | 1, in the order of the store's names.


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
