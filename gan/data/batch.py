"""The real examples that a feed brings to one step."""

from typing import NamedTuple

from jaxtyping import Array, UInt8


class Batch(NamedTuple):
    """Real examples and their labels: a pytree for JAX and for tf.data."""

    image: UInt8[Array, "b h w 3"]  # RGB in 0..255.
    attributes: UInt8[Array, "b a"]  # 0 | 1, in the order of the store's `attribute_names`.
