"""What a feed brings to a step."""

from typing import NamedTuple

from jaxtyping import Array, UInt8


class Batch(NamedTuple):
    """Real examples. A pytree for JAX and for tf.data."""

    image: UInt8[Array, "b h w 3"]  # RGB, 0..255.
    attributes: UInt8[Array, "b a"]  # 0 | 1, in the order of the store's names.
