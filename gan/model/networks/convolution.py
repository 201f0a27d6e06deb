"""The strided and the transposed 4x4 convolution of DCGAN.

Both come from one trilinear form, T(x, w, g) = <down(x, w), g>: `down` is its gradient in g, `up`
in x and `filter_gradient` in w. Each is the derivative of the others, so these three, each in a
formulation that is fast, are all that training needs, to any order (R1 and the gradient penalty
differentiate twice). Left to itself, JAX writes the filter gradient of a transposed convolution in
a form that is hundreds of times slower on CPU.

Which formulation runs is chosen here, when a program is lowered, by the platform that it is for.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from gan.model.networks import winograd

Small = Float[Array, "b h w o"]
Large = Float[Array, "b H W c"]
Filter = Float[Array, "4 4 c o"]
LAYOUT = ("NHWC", "HWIO", "NHWC")
# Below, Winograd's sums cost more than they save (measured at 24 to 256 channels).
MIN_CHANNELS = 64


@jax.custom_vjp
def down(x: Large, w: Filter) -> Float[Array, "b H//2 W//2 o"]:
    """Convolves 4x4 with stride 2, which halves the side. Has derivatives of any order."""
    return _down(x, w)


@jax.custom_vjp
def up(g: Small, w: Filter) -> Float[Array, "b 2*h 2*w c"]:
    """Applies the adjoint of `down` in x, a transposed convolution, which doubles the side."""
    return _up(g, w)


@jax.custom_vjp
def filter_gradient(x: Large, g: Small) -> Filter:
    """Applies the adjoint of `down` in w."""
    return _filter_gradient(x, g)


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


def plain_down(x: Large, w: Filter) -> Small:
    """Computes `down` by XLA's convolution."""
    return lax.conv_general_dilated(x, w, (2, 2), ((1, 1), (1, 1)), dimension_numbers=LAYOUT)


def plain_up(g: Small, w: Filter) -> Large:
    """Computes `up` by XLA's convolution."""
    flipped = jnp.flip(w, (0, 1)).swapaxes(2, 3)
    return lax.conv_general_dilated(
        g, flipped, (1, 1), ((2, 2), (2, 2)), lhs_dilation=(2, 2), dimension_numbers=LAYOUT
    )


def plain_filter_gradient(x: Large, g: Small) -> Filter:
    """Computes `filter_gradient` by XLA's convolution."""
    w = jax.ShapeDtypeStruct((4, 4, x.shape[-1], g.shape[-1]), x.dtype)
    return jax.linear_transpose(lambda w: plain_down(x, w), w)(g)[0]


def subpixel_up(g: Small, w: Filter) -> Large:
    """Computes `up` without the zeros between pixels, which XLA multiplies on CPU.

    One 2x2 convolution yields the four pixels of each 2x2 block as channels (Shi et al. 2016),
    shifted by one.
    """
    c, o = w.shape[2:]
    blocks = w.reshape(2, 2, 2, 2, c, o)[::-1, :, ::-1].transpose(0, 2, 5, 1, 3, 4)
    blocks = blocks.reshape(2, 2, o, 4 * c)
    padding = ((1, 1), (1, 1))
    y = lax.conv_general_dilated(g, blocks, (1, 1), padding, dimension_numbers=LAYOUT)
    b, h, v, _ = y.shape
    y = y.reshape(b, h, v, 2, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, 2 * h, 2 * v, c)
    return y[:, 1:-1, 1:-1]


def _pays(large: tuple[int, ...], dtype: jnp.dtype) -> bool:
    """Whether `winograd` fits the larger image and is fastest on CPU."""
    _, height, width, channels = large
    # In half precision its sums would lose digits.
    return channels >= MIN_CHANNELS and height % 4 == width % 4 == 0 and dtype.itemsize >= 4


def _down_on_cpu(x: Large, w: Filter) -> Small:
    return (winograd.down if _pays(x.shape, x.dtype) else plain_down)(x, w)


def _up_on_cpu(g: Small, w: Filter) -> Large:
    b, h, v, _ = g.shape
    large = (b, 2 * h, 2 * v, w.shape[2])
    return (winograd.up if _pays(large, g.dtype) else subpixel_up)(g, w)


def _filter_gradient_on_cpu(x: Large, g: Small) -> Filter:
    return (winograd.filter_gradient if _pays(x.shape, x.dtype) else plain_filter_gradient)(x, g)


def _by_platform(
    cpu: Callable[[Array, Array], Array], default: Callable[[Array, Array], Array]
) -> Callable[[Array, Array], Array]:
    """Wraps a choice so that it is traced once for each shape, not for each layer and pass."""

    def choose(a: Array, b: Array) -> Array:
        return lax.platform_dependent(a, b, cpu=cpu, default=default)

    choose.__name__ = default.__name__.removeprefix("plain_")  # The name that profiles show.
    return jax.jit(choose)


_down = _by_platform(_down_on_cpu, plain_down)
_up = _by_platform(_up_on_cpu, plain_up)
_filter_gradient = _by_platform(_filter_gradient_on_cpu, plain_filter_gradient)
