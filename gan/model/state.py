"""All that training changes. Nothing in this file computes."""

from typing import Any, NamedTuple

import optax
from flax import struct
from jaxtyping import Array, Float, Int, Key

Params = Any  # A pytree of float32 arrays.
Variables = dict[str, Any]  # Linen collections besides the parameters: batch statistics.


class NetState(struct.PyTreeNode):
    """One of the two players."""

    params: Params
    variables: Variables
    opt_state: optax.OptState


class Adaptive(NamedTuple):
    """What training measures of itself, for rules that adapt."""

    probability: Float[Array, ""]  # Probability of augmentation in the last step.
    signal: Float[Array, ""]  # Running mean of sign(D(real)): near 1, D knows the images by heart.


class TrainState(struct.PyTreeNode):
    """All that training changes, and so all that a checkpoint holds."""

    step: Int[Array, ""]  # Generator updates done.
    key: Key[Array, ""]  # Root of all randomness. Never replaced: `step` is folded in.
    generator: NetState
    discriminator: NetState
    averages: dict[str, Params]  # Moving averages of the generator's parameters, by name.
    adaptive: Adaptive
