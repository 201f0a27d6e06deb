"""The strided and the transposed 4x4 convolution of DCGAN, and normalisation.

Both convolutions come from one trilinear form, T(x, w, g) = <down(x, w), g>: `down` is its gradient
in g, `up` in x and `filter_gradient` in w. Each is the derivative of the others, so these three,
each in a formulation that is fast, are all that training needs, to any order (R1 and the gradient
penalty differentiate twice). Left to itself, JAX writes the filter gradient of a transposed
convolution in a form that is hundreds of times slower on CPU.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Small = Float[Array, "b h w o"]
Large = Float[Array, "b H W c"]
Filter = Float[Array, "4 4 c o"]
LAYOUT = ("NHWC", "HWIO", "NHWC")
init_weights = nn.initializers.normal(0.02)  # Radford et al. 2015, section 4.


@jax.custom_vjp
def down(x: Large, w: Filter) -> Float[Array, "b H//2 W//2 o"]:
    """4x4 convolution of stride 2: halves the side. Reverse-mode differentiable to any order."""
    return lax.conv_general_dilated(x, w, (2, 2), ((1, 1), (1, 1)), dimension_numbers=LAYOUT)


@jax.custom_vjp
def up(g: Small, w: Filter) -> Float[Array, "b 2*h 2*w c"]:
    """The adjoint of `down` in x, a transposed convolution: doubles the side."""
    if jax.default_backend() != "cpu":
        flipped = jnp.flip(w, (0, 1)).swapaxes(2, 3)
        padding = ((2, 2), (2, 2))
        return lax.conv_general_dilated(
            g, flipped, (1, 1), padding, lhs_dilation=(2, 2), dimension_numbers=LAYOUT
        )
    # XLA multiplies by the dilation's zeros on CPU. Instead, one 2x2 convolution yields the four
    # pixels of each 2x2 block as channels (Shi et al. 2016, "sub-pixel"), shifted by one.
    c, o = w.shape[2:]
    blocks = w.reshape(2, 2, 2, 2, c, o)[::-1, :, ::-1].transpose(0, 2, 5, 1, 3, 4)
    blocks = blocks.reshape(2, 2, o, 4 * c)
    padding = ((1, 1), (1, 1))
    y = lax.conv_general_dilated(g, blocks, (1, 1), padding, dimension_numbers=LAYOUT)
    b, h, v, _ = y.shape
    y = y.reshape(b, h, v, 2, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, 2 * h, 2 * v, c)
    return y[:, 1:-1, 1:-1]


@jax.custom_vjp
def filter_gradient(x: Large, g: Small) -> Filter:
    """The adjoint of `down` in w."""
    w = jax.ShapeDtypeStruct((4, 4, x.shape[-1], g.shape[-1]), x.dtype)

    def convolve(w: Filter) -> Array:
        return lax.conv_general_dilated(x, w, (2, 2), ((1, 1), (1, 1)), dimension_numbers=LAYOUT)

    return jax.linear_transpose(convolve, w)(g)[0]


down.defvjp(
    lambda x, w: (down(x, w), (x, w)),
    lambda saved, g: (up(g, saved[1]), filter_gradient(saved[0], g)),
)
up.defvjp(
    lambda g, w: (up(g, w), (g, w)),
    lambda saved, x: (down(x, saved[1]), filter_gradient(x, saved[0])),
)
filter_gradient.defvjp(
    lambda x, g: (filter_gradient(x, g), (x, g)),
    lambda saved, w: (up(saved[1], w), down(saved[0], w)),
)


class Down(nn.Module):
    """Halves the side."""

    features: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h//2 w//2 {self.features}"]:
        w = self.param("kernel", init_weights, (4, 4, x.shape[-1], self.features))
        return down(x.astype(self.dtype), w.astype(self.dtype))


class Up(nn.Module):
    """Doubles the side."""

    features: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b 2*h 2*w {self.features}"]:
        w = self.param("kernel", init_weights, (4, 4, self.features, x.shape[-1]))
        return up(x.astype(self.dtype), w.astype(self.dtype))


class Norm(nn.Module):
    """Normalisation with a learned scale and bias: "batch", "layer", or "none" (bias only)."""

    kind: str
    dtype: Any
    axis_name: str | None = None  # Batch statistics are those of all devices.
    momentum: float = 0.9

    @nn.compact
    def __call__(self, x: Float[Array, "b *d c"], *, train: bool) -> Float[Array, "b *d c"]:
        if self.kind == "batch":
            return nn.BatchNorm(
                use_running_average=not train,
                momentum=self.momentum,
                epsilon=1e-5,
                axis_name=self.axis_name if train else None,
                use_fast_variance=False,  # E[x^2] - E[x]^2 cancels where the mean is large.
                dtype=self.dtype,
                name="batch",
            )(x)
        if self.kind == "layer":
            return nn.LayerNorm(
                reduction_axes=(-3, -2, -1),
                use_fast_variance=False,
                dtype=self.dtype,
                name="layer",
            )(x)
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        return x + jnp.expand_dims(bias.astype(self.dtype), range(x.ndim - 1))


NORMS = ("batch", "layer", "none")
