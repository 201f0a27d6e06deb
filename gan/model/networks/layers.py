"""The layers of DCGAN: strided and transposed 4x4 convolutions, and normalisation."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from gan.model.networks.convolution import down, up

init_weights = nn.initializers.normal(0.02)  # Radford et al. 2015, section 4.


class Down(nn.Module):
    """A 4x4 convolution of stride 2; halves the side."""

    features: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h//2 w//2 {self.features}"]:
        w = self.param("kernel", init_weights, (4, 4, x.shape[-1], self.features))
        return down(x.astype(self.dtype), w.astype(self.dtype))


class Up(nn.Module):
    """A transposed 4x4 convolution of stride 2; doubles the side."""

    features: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b 2*h 2*w {self.features}"]:
        w = self.param("kernel", init_weights, (4, 4, self.features, x.shape[-1]))
        return up(x.astype(self.dtype), w.astype(self.dtype))


class Norm(nn.Module):
    """Normalises with a learned scale and bias: "batch", "layer", or "none" (bias only)."""

    kind: str
    dtype: Any
    axis_name: str | None = None  # Axis over whose devices batch statistics are averaged.
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
