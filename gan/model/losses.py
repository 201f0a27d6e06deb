"""Adversarial losses: from logits to a scalar to minimise; and gradient penalties."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Logits = Float[Array, " b"]
Scalar = Float[Array, ""]


class Loss(NamedTuple):
    """What each player minimises."""

    discriminator: Callable[[Logits, Logits], Scalar]  # (real, fake)
    generator: Callable[[Logits], Scalar]  # (fake)
    boundary: float = 0.0  # Logits above it say "real". (A critic's are relative: no meaning.)


def non_saturating_d(real: Logits, fake: Logits) -> Scalar:
    """-log D(x) - log(1 - D(G(z))), with D = sigmoid(logit) (Goodfellow et al. 2014)."""
    return jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake))


def non_saturating_g(fake: Logits) -> Scalar:
    """-log D(G(z))."""
    return jnp.mean(jax.nn.softplus(-fake))


def hinge_d(real: Logits, fake: Logits) -> Scalar:
    """max(0, 1 - D(x)) + max(0, 1 + D(G(z))) (Lim & Ye 2017)."""
    return jnp.mean(jax.nn.relu(1 - real)) + jnp.mean(jax.nn.relu(1 + fake))


def least_squares_d(real: Logits, fake: Logits) -> Scalar:
    """Half of (D(x) - 1)^2 + D(G(z))^2 (Mao et al. 2017, equation 9)."""
    return 0.5 * jnp.mean((real - 1) ** 2) + 0.5 * jnp.mean(fake**2)


def least_squares_g(fake: Logits) -> Scalar:
    """Half of (D(G(z)) - 1)^2."""
    return 0.5 * jnp.mean((fake - 1) ** 2)


def wasserstein_d(real: Logits, fake: Logits) -> Scalar:
    """D(G(z)) - D(x) (Arjovsky et al. 2017)."""
    return jnp.mean(fake) - jnp.mean(real)


def wasserstein_g(fake: Logits) -> Scalar:
    """-D(G(z))."""
    return -jnp.mean(fake)


def zero_centred_penalty(image_gradient: Float[Array, "b h w c"]) -> Scalar:
    """R1: half the mean of |grad D(x)|^2 on real images (Mescheder et al. 2018, equation 9).

    Under batch norm the logits of a batch depend on each other, and the gradient is that of their
    sum.
    """
    return 0.5 * jnp.mean(jnp.sum(image_gradient**2, axis=(1, 2, 3)))


def one_centred_penalty(image_gradient: Float[Array, "b h w c"]) -> Scalar:
    """The mean of (|grad D| - 1)^2 on interpolates (Gulrajani et al. 2017, equation 3)."""
    square = jnp.sum(image_gradient**2, axis=(1, 2, 3))
    return jnp.mean((jnp.sqrt(square + 1e-12) - 1) ** 2)  # The root has no gradient at 0.


LOSSES = {
    "non_saturating": Loss(non_saturating_d, non_saturating_g),
    "hinge": Loss(hinge_d, wasserstein_g),
    "least_squares": Loss(least_squares_d, least_squares_g, boundary=0.5),
    "wasserstein": Loss(wasserstein_d, wasserstein_g),
}
