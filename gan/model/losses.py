"""Adversarial losses and gradient penalties, as functions of verdicts.

A loss is given what the discriminator says of real and of generated images, each a `Verdict`, and
the ways to ask it again, `See`. It returns a scalar to minimise and a dict of numbers to log; each
of these reaches the log, `metrics.jsonl` and TensorBoard under its key.

To add a loss, write its two functions and a line in `LOSSES`. To add a penalty, which goes with
any loss, write a function and a line in `PENALTIES`; its weight is the dial of the same name, a
setting of `gan/config.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from gan.model.schedules import Dials

Images = Float[Array, "b h w c"]  # In [-1, 1].
Logits = Float[Array, " b"]
Scalar = Float[Array, ""]
Outputs = Mapping[str, Array]
SIGMA = 0.01  # Step of a finite difference, for images in [-1, 1].


class Verdict(NamedTuple):
    """What the discriminator says of a batch of images."""

    images: Images  # Before augmentation.
    logits: Logits  # The larger, the more real.
    slope: Callable[[], Images]  # Gradient of the logits' sum in `images`; free unless called.


class See(NamedTuple):
    """Ways to ask the discriminator about other images, with its parameters and the condition."""

    real: Callable[[Images], Verdict]  # Augments as the real images were,
    fake: Callable[[Images], Verdict]  # or as the generated ones were.
    per_example: Callable[..., Array]  # Maps function(key, *example), a key for each example.


Player = Callable[[Verdict, Verdict, See, Dials], tuple[Scalar, Outputs]]


class Loss(NamedTuple):
    """What each player minimises, as a function of (real, fake, see, dials).

    A generator's loss that ignores `real` costs nothing for it: the compiler drops that pass.
    """

    discriminator: Player
    generator: Player
    status: str = ""  # What the status line says of its outputs: a format of their names.
    needs_penalty: bool = False  # Whether the discriminator's logits grow without bound otherwise.


def describe(real: Verdict, fake: Verdict, boundary: float) -> Outputs:
    """Mean logits, and the share of each kind that lies on its own side of `boundary`."""
    return {
        "real_logit": real.logits.mean(),
        "fake_logit": fake.logits.mean(),
        "d_real_accuracy": (real.logits > boundary).mean(),
        "d_fake_accuracy": (fake.logits < boundary).mean(),
    }


def non_saturating_d(
    real: Verdict, fake: Verdict, see: See, dials: Dials
) -> tuple[Scalar, Outputs]:
    """-log D(x) - log(1 - D(G(z))), with D = sigmoid(logit) (Goodfellow et al. 2014)."""
    loss = jnp.mean(jax.nn.softplus(-real.logits)) + jnp.mean(jax.nn.softplus(fake.logits))
    return loss, describe(real, fake, 0.0)


def non_saturating_g(
    real: Verdict, fake: Verdict, see: See, dials: Dials
) -> tuple[Scalar, Outputs]:
    """-log D(G(z)) (Goodfellow et al. 2014, section 3)."""
    return jnp.mean(jax.nn.softplus(-fake.logits)), {}


def hinge_d(real: Verdict, fake: Verdict, see: See, dials: Dials) -> tuple[Scalar, Outputs]:
    """max(0, 1 - D(x)) + max(0, 1 + D(G(z))) (Lim & Ye 2017, arXiv 1705.02894)."""
    loss = jnp.mean(jax.nn.relu(1 - real.logits)) + jnp.mean(jax.nn.relu(1 + fake.logits))
    return loss, describe(real, fake, 0.0)


def least_squares_d(real: Verdict, fake: Verdict, see: See, dials: Dials) -> tuple[Scalar, Outputs]:
    """Half of (D(x) - 1)^2 + D(G(z))^2 (Mao et al. 2017, arXiv 1611.04076, equation 9)."""
    loss = 0.5 * jnp.mean((real.logits - 1) ** 2) + 0.5 * jnp.mean(fake.logits**2)
    return loss, describe(real, fake, 0.5)


def least_squares_g(real: Verdict, fake: Verdict, see: See, dials: Dials) -> tuple[Scalar, Outputs]:
    """Half of (D(G(z)) - 1)^2 (Mao et al. 2017, equation 9)."""
    return 0.5 * jnp.mean((fake.logits - 1) ** 2), {}


def wasserstein_d(real: Verdict, fake: Verdict, see: See, dials: Dials) -> tuple[Scalar, Outputs]:
    """D(G(z)) - D(x) (Arjovsky et al. 2017, arXiv 1701.07875). It needs a penalty."""
    loss = jnp.mean(fake.logits) - jnp.mean(real.logits)
    return loss, describe(real, fake, 0.0)


def wasserstein_g(real: Verdict, fake: Verdict, see: See, dials: Dials) -> tuple[Scalar, Outputs]:
    """-D(G(z)) (Arjovsky et al. 2017)."""
    return -jnp.mean(fake.logits), {}


def relativistic_d(real: Verdict, fake: Verdict, see: See, dials: Dials) -> tuple[Scalar, Outputs]:
    """-log sigmoid(D(x) - D(G(z))), over pairs that share a condition.

    Jolicoeur-Martineau 2018 (arXiv 1807.00734, section 4.1); with R1 and R2 the loss of R3GAN
    (Huang et al. 2025, arXiv 2501.05441, equation 2). Adds "pair_accuracy", the share of pairs
    whose real image has the larger logit: only differences mean something here.
    """
    margin = real.logits - fake.logits
    outputs = {**describe(real, fake, 0.0), "pair_accuracy": (margin > 0).mean()}
    return jnp.mean(jax.nn.softplus(-margin)), outputs


def relativistic_g(real: Verdict, fake: Verdict, see: See, dials: Dials) -> tuple[Scalar, Outputs]:
    """-log sigmoid(D(G(z)) - D(x)), over the same pairs (arXiv 1807.00734, 2501.05441)."""
    return jnp.mean(jax.nn.softplus(real.logits - fake.logits)), {}


SIDES = "D right on real {d_real_accuracy:.0%}, fake {d_fake_accuracy:.0%}"
PAIRS = "D right on {pair_accuracy:.0%} of pairs"
LOSSES: dict[str, Loss] = {
    "non_saturating": Loss(non_saturating_d, non_saturating_g, SIDES),
    "hinge": Loss(hinge_d, wasserstein_g, SIDES),
    "least_squares": Loss(least_squares_d, least_squares_g, SIDES),
    "wasserstein": Loss(wasserstein_d, wasserstein_g, SIDES, needs_penalty=True),
    "relativistic": Loss(relativistic_d, relativistic_g, PAIRS),
}


def squared_norm(gradient: Images) -> Float[Array, " b"]:
    """Sum of squares over each image."""
    return jnp.sum(gradient**2, axis=(1, 2, 3))


def zero_centred(verdict: Verdict) -> Scalar:
    """Half the mean of |grad D|^2, by automatic differentiation.

    Where the logits of a batch depend on each other (batch norm), it is the gradient of their sum.
    """
    return 0.5 * jnp.mean(squared_norm(verdict.slope()))


def zero_centred_by_difference(
    verdict: Verdict, see_again: Callable[[Images], Verdict], see: See
) -> Scalar:
    """Half the mean of ((D(x + sigma e) - D(x)) / sigma)^2, with e ~ N(0, I) for each image.

    Its expectation is that of `zero_centred` up to O(sigma^2), without a second derivative. (Used
    for large models by Lin et al. 2025, arXiv 2501.08316, section 3.4.)
    """

    def direction(key: Key[Array, ""], image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
        return jax.random.normal(jax.random.fold_in(key, 1), image.shape)

    moved = verdict.images + SIGMA * see.per_example(direction, verdict.images)
    return 0.5 * jnp.mean(((see_again(moved).logits - verdict.logits) / SIGMA) ** 2)


def r1(real: Verdict, fake: Verdict, see: See, method: str) -> Scalar:
    """Penalty on real images (Mescheder et al. 2018, arXiv 1801.04406, equation 9)."""
    if method == "finite":
        return zero_centred_by_difference(real, see.real, see)
    return zero_centred(real)


def r2(real: Verdict, fake: Verdict, see: See, method: str) -> Scalar:
    """Penalty on generated images (Mescheder et al. 2018, equation 10)."""
    if method == "finite":
        return zero_centred_by_difference(fake, see.fake, see)
    return zero_centred(fake)


def gradient_penalty(real: Verdict, fake: Verdict, see: See, method: str) -> Scalar:
    """The mean of (|grad D| - 1)^2 on mixtures of a real and a generated image.

    Gulrajani et al. 2017 (arXiv 1704.00028, equation 3). A finite difference along one direction
    does not give the norm, so this one is always exact.
    """

    def mix(key: Key[Array, ""], a: Array, b: Array) -> Array:
        share = jax.random.uniform(key)
        return share * a + (1 - share) * b

    mixtures = see.per_example(mix, real.images, fake.images)
    square = squared_norm(see.fake(mixtures).slope())
    return jnp.mean((jnp.sqrt(square + 1e-12) - 1) ** 2)  # The root has no gradient at 0.


Penalty = Callable[[Verdict, Verdict, See, str], Scalar]  # (real, fake, see, "exact" | "finite")
PENALTIES: dict[str, Penalty] = {
    "r1": r1,
    "r2": r2,
    "gradient_penalty": gradient_penalty,
}


def penalise(
    names: Sequence[str], real: Verdict, fake: Verdict, see: See, dials: Dials, method: str
) -> Scalar:
    """The penalties of these names, each times its dial."""
    total = jnp.zeros(())
    for name in names:
        total += getattr(dials, name) * PENALTIES[name](real, fake, see, method)
    return total
