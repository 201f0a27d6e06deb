"""Distances between two sets of features [n d], as distributions: 0 for equal ones, else larger.

Sums are float64, because two good sets differ in digits that float32 loses. Rows are read a block
at a time, so that no array grows with n squared. A distance falls as n grows (its bias is of order
1/n): only distances of one n compare, and each with its baseline, that of as many real pictures.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.special
from jaxtyping import Float, Float64, Int

Features = Float[np.ndarray, "_ _"]
BLOCK = 1000  # Rows that are read at a time.
DIRECTIONS = 250  # Directions that are projected on at a time.


class Gaussian(NamedTuple):
    """Mean and covariance of a set: all that the Frechet distance needs of it."""

    mean: Float64[np.ndarray, " d"]
    covariance: Float64[np.ndarray, "d d"]  # Unbiased: divided by n - 1.


def frechet_distance(reference: Features, generated: Features) -> float:
    """Squared Frechet distance between Gaussians that are fitted to both sets.

    (Heusel et al. 2017, arXiv 1706.08500, equation 6.) It is in [0, inf), in squared units of the
    features [n d]. The sets may differ in n, and n may be less than d. Raises ValueError for fewer
    than 2 rows, different d, NaN or infinity.
    """
    check_features(2, reference=reference, generated=generated)
    return gaussian_distance(fit_gaussian(reference), fit_gaussian(generated))


def gaussian_distance(reference: Gaussian, generated: Gaussian) -> float:
    """|m1 - m2|^2 + Tr(C1 + C2 - 2 (C1 C2)^(1/2)) (Dowson & Landau 1982).

    Raises ValueError for different d, NaN or infinity.
    """
    named = {"reference": reference, "generated": generated}
    check_features(1, **{f"{name}.mean": x.mean[None] for name, x in named.items()})
    check_features(1, **{f"{name}.covariance": x.covariance for name, x in named.items()})
    # Tr (C1 C2)^(1/2) is the sum of the singular values of A1^T A2, where A A^T = C. These are real
    # and not negative, while rounding can make the root of C1 C2 itself complex. The product is
    # formed on its smaller side: the larger one adds eigenvalues that are 0 but for rounding.
    roots = sorted(
        (_root(x.covariance) for x in (reference, generated)), key=lambda root: root.shape[1]
    )
    product = roots[0].T @ roots[1]
    eigenvalues = np.linalg.eigvalsh(product @ product.T)
    trace_of_root = np.sqrt(np.maximum(eigenvalues, 0)).sum()
    shift = np.square(reference.mean - generated.mean).sum()
    spread = np.trace(reference.covariance) + np.trace(generated.covariance) - 2 * trace_of_root
    return max(float(shift + spread), 0.0)


def _root(covariance: Float64[np.ndarray, "d d"]) -> Float64[np.ndarray, "d rank"]:
    """Finds A with A A^T = C by a pivoted Cholesky decomposition, also for a singular C.

    It is 20 times faster than eigenvectors. A leaves out the null space of C, which would add the
    square roots of rounding errors.
    """
    lower, pivots, rank, _ = scipy.linalg.lapack.dpstrf(covariance, lower=1)
    root = np.empty((len(covariance), rank))
    root[pivots - 1] = np.tril(lower)[:, :rank]
    return root


def fit_gaussian(features: Features) -> Gaussian:
    """Fits mean and unbiased covariance. Raises ValueError as `frechet_distance` does."""
    check_features(2, features=features)
    mean = features.mean(axis=0, dtype=np.float64)
    covariance = np.zeros((features.shape[1],) * 2)
    for rows in row_blocks(len(features)):
        centred = features[rows] - mean  # Before squaring, or digits cancel.
        covariance += centred.T @ centred
    return Gaussian(mean, covariance / (len(features) - 1))


def kernel_distance(
    reference: Features, generated: Features, subsets: int = 100, size: int = 1000, seed: int = 0
) -> float:
    """Unbiased squared MMD with the kernel (x.y / d + 1)^3, mean over `subsets` random subsets.

    (KID; Binkowski et al. 2018, arXiv 1801.01401, section 4.) A subset has `size` rows of each
    set, or as many as the smaller set has. The value has no bias: it is below 0 for about half of
    all pairs of sets of one distribution. Raises ValueError for fewer than 2 rows, different d,
    NaN, infinity, no subset, or a size below 2.
    """
    check_features(2, reference=reference, generated=generated)
    if subsets < 1 or size < 2:
        raise ValueError(f"subsets is {subsets}, size {size}: at least 1 subset, of 2 rows or more")
    size = min(size, len(reference), len(generated))
    if size == len(reference) == len(generated):
        subsets = 1  # All would be the same.
    rng, root = np.random.default_rng(seed), np.sqrt(reference.shape[1])
    total = 0.0
    for _ in range(subsets):
        x, y = (
            features[rng.choice(len(features), size, replace=False)].astype(np.float64) / root
            for features in (reference, generated)
        )
        # Pairs of a row with itself would be the bias.
        pairs = sum(_kernels(z, z) - _kernels_with_itself(z) for z in (x, y))
        total += pairs / (size * (size - 1)) - 2 * _kernels(x, y) / size**2
    return total / subsets


def _kernels(x: Features, y: Features) -> float:
    """Sum of (x.y + 1)^3 over all pairs of a row of x and a row of y."""
    total = 0.0
    for rows in row_blocks(len(x)):
        base = x[rows] @ y.T
        base += 1
        total += float(np.vdot(base * base, base))
    return total


def _kernels_with_itself(x: Features) -> float:
    return float(((np.square(x).sum(axis=1) + 1) ** 3).sum())


def sliced_wasserstein_features(
    reference: Features, generated: Features, directions: int = 1000, seed: int = 0
) -> float:
    """3 d times the squared Wasserstein-2 distance of projections, mean over random directions.

    (MIND; Berthet et al., arXiv 2605.06797: no root, the factor 3 d, 1000 directions.) Sets of
    different n are compared whole, whereas the authors draw as many rows of the larger one. It is
    in [0, inf). Raises ValueError for an empty set, different d, NaN, infinity, or no direction.
    """
    check_features(1, reference=reference, generated=generated)
    if directions < 1:
        raise ValueError(f"directions is {directions}: 1 or more")
    (n, width), m = reference.shape, len(generated)
    # The distance on a line is that of the quantile functions, which are steps of width 1/n and
    # 1/m: both are constant between neighbouring edges. Edges are counted in units of 1 / (n m),
    # in which they are integers.
    edges = np.union1d(np.arange(n + 1) * m, np.arange(m + 1) * n)
    weights, left = np.diff(edges) / (n * m), edges[:-1]
    rng = np.random.default_rng(seed)
    total = 0.0
    for chosen in row_blocks(directions, DIRECTIONS):
        axes = rng.standard_normal((chosen.stop - chosen.start, width))
        axes /= np.linalg.norm(axes, axis=1, keepdims=True)
        a, b = (np.sort(_project(features, axes), axis=1) for features in (reference, generated))
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
    """exp(mean KL(p(y|x) || p(y))) of class probabilities [n k], mean over random splits.

    (Salimans et al. 2016, arXiv 1606.03498, section 4.) It is in [1, k], and higher is better. It
    sees neither real pictures nor variety within a class, and says nothing about data without
    classes, such as faces. Raises ValueError for rows that are no probabilities, or fewer rows than
    splits.
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
    # Pictures may come class by class: without shuffling each split would hold one class.
    parts = np.array_split(np.random.default_rng(seed).permutation(p), splits)
    divergences = [scipy.special.rel_entr(part, part.mean(axis=0)).sum(axis=1) for part in parts]
    return float(np.mean([np.exp(divergence.mean()) for divergence in divergences]))


def check_features(least: int, **sets: Features) -> None:
    """Raises ValueError unless all sets are finite [n d] of one d, with n at least `least`."""
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
    """Picks `num` of `there` rows, evenly spread, or all of fewer.

    The first rows may be of one kind.
    """
    return np.linspace(0, there - 1, min(num, there)).astype(int)


def row_blocks(num: int, size: int | None = None) -> Iterator[slice]:
    """Yields slices of `size` rows (by default `BLOCK`), the last one shorter, that cover `num`."""
    size = size or BLOCK
    for start in range(0, num, size):
        yield slice(start, min(start + size, num))
