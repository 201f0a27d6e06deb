"""Scores that compare two sets of features [n d] as distributions; 0 for equals, else larger.

Sums are float64: float32 loses the digits in which two good sets differ. Rows are read a block at
a time, so that no array grows with n squared. A score is lower for more features (its bias falls
as 1/n): compare scores of one n, and each with its floor, the score of as many other reals.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.special
from jaxtyping import Float, Float64, Int

Features = Float[np.ndarray, "_ _"]
BLOCK = 1000  # Rows at a time.
DIRECTIONS = 250  # At a time.


class Gaussian(NamedTuple):
    """What the Frechet distance needs of a set: store it, and the set is not read again."""

    mean: Float64[np.ndarray, " d"]
    covariance: Float64[np.ndarray, "d d"]  # Unbiased.


def frechet_distance(real: Features, fake: Features) -> float:
    """Squared distance of two Gaussians fitted to the sets (Heusel et al. 2017, equation 6).

    The sets may differ in n, and n may be smaller than d. In [0, inf); the unit is a feature's,
    squared. Raises ValueError for less than 2 rows, other widths, NaN or infinity.
    """
    check_features(2, real=real, fake=fake)
    return gaussian_distance(fit_gaussian(real), fit_gaussian(fake))


def gaussian_distance(real: Gaussian, fake: Gaussian) -> float:
    """|m1 - m2|^2 + Tr(C1 + C2 - 2 (C1 C2)^(1/2)) (Dowson & Landau 1982).

    Raises ValueError where the two differ in width, or hold NaN or infinity.
    """
    named = {"real": real, "fake": fake}
    check_features(1, **{f"{name}.mean": x.mean[None] for name, x in named.items()})
    check_features(1, **{f"{name}.covariance": x.covariance for name, x in named.items()})
    # The trace is the sum of the singular values of A1^T A2, where A A^T = C. So none is complex or
    # negative, as in a root of C1 C2 itself; by the smaller side, none is mere rounding.
    roots = sorted((_root(x.covariance) for x in (real, fake)), key=lambda root: root.shape[1])
    product = roots[0].T @ roots[1]
    eigenvalues = np.linalg.eigvalsh(product @ product.T)
    trace_of_root = np.sqrt(np.maximum(eigenvalues, 0)).sum()
    shift = np.square(real.mean - fake.mean).sum()
    spread = np.trace(real.covariance) + np.trace(fake.covariance) - 2 * trace_of_root
    return max(float(shift + spread), 0.0)


def _root(covariance: Float64[np.ndarray, "d d"]) -> Float64[np.ndarray, "d rank"]:
    """A with A A^T = C, by a pivoted Cholesky: 20x faster than eigenvectors, and C may be singular.

    The null space is left out: in place of 0 it would add the square roots of rounding errors.
    """
    lower, pivots, rank, _ = scipy.linalg.lapack.dpstrf(covariance, lower=1)
    root = np.empty((len(covariance), rank))
    root[pivots - 1] = np.tril(lower)[:, :rank]
    return root


def fit_gaussian(features: Features) -> Gaussian:
    """Mean and unbiased covariance (n - 1). Raises ValueError as `frechet_distance` does."""
    check_features(2, features=features)
    mean = features.mean(axis=0, dtype=np.float64)
    covariance = np.zeros((features.shape[1],) * 2)
    for rows in row_blocks(len(features)):
        centred = features[rows] - mean  # First, or the squares would cancel.
        covariance += centred.T @ centred
    return Gaussian(mean, covariance / (len(features) - 1))


def kernel_distance(
    real: Features, fake: Features, subsets: int = 100, size: int = 1000, seed: int = 0
) -> float:
    """KID: unbiased squared MMD, mean over random subsets (Binkowski et al. 2018, section 4).

    The kernel is (x.y / d + 1)^3. `size` rows of either set, or as many as the smaller one has.
    Being unbiased, it falls below 0 for about half of the pairs of equal distributions. Raises
    ValueError for less than 2 rows, other widths, NaN, infinity, no subset, or a size below 2.
    """
    check_features(2, real=real, fake=fake)
    if subsets < 1 or size < 2:
        raise ValueError(f"subsets is {subsets}, size {size}: at least 1 subset, of 2 rows or more")
    size = min(size, len(real), len(fake))
    if size == len(real) == len(fake):
        subsets = 1  # All are the same.
    rng, root = np.random.default_rng(seed), np.sqrt(real.shape[1])
    total = 0.0
    for _ in range(subsets):
        x, y = (
            features[rng.choice(len(features), size, replace=False)].astype(np.float64) / root
            for features in (real, fake)
        )
        # A row is not compared with itself: that term would be the bias.
        pairs = sum(_kernels(z, z) - _kernels_with_itself(z) for z in (x, y))
        total += pairs / (size * (size - 1)) - 2 * _kernels(x, y) / size**2
    return total / subsets


def _kernels(x: Features, y: Features) -> float:
    """The sum of (x.y + 1)^3 over all pairs."""
    total = 0.0
    for rows in row_blocks(len(x)):
        base = x[rows] @ y.T
        base += 1
        total += float(np.vdot(base * base, base))
    return total


def _kernels_with_itself(x: Features) -> float:
    return float(((np.square(x).sum(axis=1) + 1) ** 3).sum())


def sliced_wasserstein_features(
    real: Features, fake: Features, directions: int = 1000, seed: int = 0
) -> float:
    """MIND: 3 d x the squared Wasserstein-2 distance on a line, mean over random directions.

    (Berthet et al., arXiv 2605.06797: no root, the scale is 3 d, 1000 directions.) Sets of
    different n are compared whole, where the authors draw as many of the larger one. In
    [0, inf). Raises ValueError for an empty set, other widths, NaN, infinity, or no direction.
    """
    check_features(1, real=real, fake=fake)
    if directions < 1:
        raise ValueError(f"directions is {directions}: 1 or more")
    (n, width), m = real.shape, len(fake)
    # The distance on a line compares quantiles. Those of n values are steps, 1/n wide: between two
    # edges of either set both stay the same. Edges are counted in 1 / (n m), to be exact.
    edges = np.union1d(np.arange(n + 1) * m, np.arange(m + 1) * n)
    weights, left = np.diff(edges) / (n * m), edges[:-1]
    rng = np.random.default_rng(seed)
    total = 0.0
    for chosen in row_blocks(directions, DIRECTIONS):
        axes = rng.standard_normal((chosen.stop - chosen.start, width))
        axes /= np.linalg.norm(axes, axis=1, keepdims=True)
        a, b = (np.sort(_project(features, axes), axis=1) for features in (real, fake))
        total += float((np.square(a[:, left // m] - b[:, left // n]) @ weights).sum())
    return 3 * width * total / directions


def _project(features: Features, axes: Float[np.ndarray, "c d"]) -> Float[np.ndarray, "c n"]:
    out = np.empty((len(axes), len(features)))
    for rows in row_blocks(len(features)):
        out[:, rows] = axes @ features[rows].astype(np.float64).T
    return out


def inception_score(
    probabilities: Float[np.ndarray, "_ _"], splits: int = 10, seed: int = 0
) -> float:
    """exp(mean KL(p(y|x) || p(y))), mean over random splits (Salimans et al. 2016, section 4).

    Of class probabilities [n k], in [1, k], the larger the better. It sees neither the real
    pictures nor variety within a class, and says nothing of data without classes, as faces.
    Raises ValueError for rows that are no probabilities, or fewer rows than splits.
    """
    check_features(1, probabilities=probabilities)
    if not 1 <= splits <= len(probabilities):
        raise ValueError(f"splits is {splits}: from 1 to the {len(probabilities)} rows")
    p = probabilities.astype(np.float64)
    lowest, error = p.min(), np.abs(p.sum(axis=1) - 1).max()
    if lowest < 0 or error > 1e-3:
        raise ValueError(
            f"probabilities go down to {lowest:.3g}, and rows sum to 1 within {error:.3g}: "
            "from 0, within 0.001 (logits need a softmax first)"
        )
    # Shuffled: generated class by class, each split would hold a class alone.
    parts = np.array_split(np.random.default_rng(seed).permutation(p), splits)
    divergences = [scipy.special.rel_entr(part, part.mean(axis=0)).sum(axis=1) for part in parts]
    return float(np.mean([np.exp(divergence.mean()) for divergence in divergences]))


def check_features(least: int, **sets: Features) -> None:
    """Raises ValueError unless all are finite [n d], n at least `least`, of one d."""
    for name, features in sets.items():
        if features.ndim != 2 or len(features) < least or not features.shape[1]:
            raise ValueError(
                f"{name} has the shape {features.shape}: "
                f"[n d] is needed, n at least {least}, d at least 1"
            )
        for rows in row_blocks(len(features)):
            finite = np.isfinite(features[rows]).all(axis=1)
            if not finite.all():
                row = rows.start + int(finite.argmin())
                raise ValueError(f"{name} holds NaN or infinity in row {row}: all must be finite")
    if len({features.shape[1] for features in sets.values()}) > 1:
        shapes = ", ".join(f"{name} {features.shape}" for name, features in sets.items())
        raise ValueError(f"as many features in all sets: got {shapes}")


def spread_rows(there: int, num: int) -> Int[np.ndarray, " n"]:
    """`num` different rows of `there`, evenly, or all of fewer: beginnings may be of one kind."""
    return np.linspace(0, there - 1, min(num, there)).astype(int)


def row_blocks(num: int, size: int | None = None) -> Iterator[slice]:
    """Slices that cover range(num), each of `size` (BLOCK) or, at the end, fewer."""
    size = size or BLOCK
    for start in range(0, num, size):
        yield slice(start, min(start + size, num))
