"""Scores of nearest neighbours among features [n d]: fidelity, variety, copies of training data.

Distances are Euclidean, and no neighbour of itself is a row. One pass over the distances, a tile
at a time, serves all scores: no array grows with n squared.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int

from gan.metrics.distances import Features, check_features, row_blocks

Squared = Float64[np.ndarray, "_ _"]  # Distances.
Radii = Float64[np.ndarray, " _"]  # Of a ball round each row, squared.


class PrecisionRecall(NamedTuple):
    """Fidelity and variety, both in [0, 1]."""

    precision: float
    recall: float


class DensityCoverage(NamedTuple):
    """Fidelity in [0, n / k], 1 for equal distributions; variety in [0, 1]."""

    density: float
    coverage: float


class Nearest(NamedTuple):
    """Of each fake, the nearest training row and the distance to it: exactly 0 for a copy."""

    index: Int[np.ndarray, " m"]
    distance: Float64[np.ndarray, " m"]


class NeighbourScores(NamedTuple):
    """All of them, each as by the function of its name."""

    precision: float
    recall: float
    density: float
    coverage: float
    authenticity: float
    nearest: Nearest


def precision_recall(real: Features, fake: Features, k: int = 3) -> PrecisionRecall:
    """Shares of fakes among the reals, and the reverse (Kynkaanniemi et al. 2019, equations 1, 2).

    A row is among a set where it lies in the ball, border included, round some row of the set up
    to that row's k-th neighbour in the set. Raises ValueError for k below 1, less than k + 1 rows,
    other widths, NaN or infinity.
    """
    _check(k, real=real, fake=fake)
    meeting = _meet(real, fake, [_closed(_radii(real, k))], [_closed(_radii(fake, k))])
    return PrecisionRecall(_share(meeting.reals_round[0] > 0), _share(meeting.fakes_round[0] > 0))


def density_coverage(real: Features, fake: Features, k: int = 5) -> DensityCoverage:
    """How many reals' balls hold a fake, over k; share of reals whose ball holds any fake.

    (Naeem et al. 2020, section 3.) A ball reaches up to its row's k-th neighbour, border
    excluded as in the authors' code. For equal distributions, whichever, density is 1 and
    coverage 1 - prod_{i=1..k} (n - i) / (n + m - i), about 1 - 2^-k. Raises ValueError for k
    below 1, less than k + 1 reals or 1 fake, other widths, NaN or infinity.
    """
    _check(k, real=real)
    check_features(1, real=real, fake=fake)
    radii = _radii(real, k)
    meeting = _meet(real, fake, [radii], [])
    return DensityCoverage(
        float(meeting.reals_round[0].mean() / k), _share(meeting.nearest_fake < radii)
    )


def authenticity(train: Features, fake: Features, near: Nearest | None = None) -> float:
    """Share of the fakes that are no copies (Alaa et al. 2022), in [0, 1].

    A fake counts as a copy unless its distance to its nearest training row is larger than that
    row's distance to its own nearest other training row. (The paper's definition; the authors'
    code starts from each real's nearest fake, and looks that fake's number up among the reals.)
    Without any copies it is not 1: of many fresh rows of the training distribution, 1/3 on a line,
    0.38 in a plane. Compare with held-out reals. Raises ValueError for less than 2 training rows,
    no fake, other widths, NaN or infinity.
    """
    _check(1, train=train)
    index, distance = near or find_nearest(train, fake)
    copied, which = np.unique(index, return_inverse=True)  # Of a large set, few rows are.
    return _share(distance > np.sqrt(_to_nearest_other(train, copied))[which])


def find_nearest(train: Features, fake: Features) -> Nearest:
    """The nearest training row of each fake, to look at. Raises ValueError as `check` does."""
    check_features(1, train=train, fake=fake)
    return _nearest(train, fake, _meet(train, fake, [], []))


def nearest_ratio(held_out: Nearest, fake: Nearest) -> float:
    """Mean distance from fakes to their nearest training row, over that from held-out reals.

    In [0, inf); well below 1, fakes are copies; above, they are far from all data. NaN where each
    held-out row is a training row too.
    """
    usual = held_out.distance.mean()
    return float(fake.distance.mean() / usual) if usual else float("nan")


def neighbour_scores(
    real: Features, fake: Features, k: int = 3, k_density: int = 5
) -> NeighbourScores:
    """`precision_recall` by `k`, `density_coverage` by `k_density`, `authenticity`, `nearest`.

    In one pass. For the last two `real` must be the training set, or they say nothing of copies.
    Raises ValueError as each of them does.
    """
    _check(k, real=real, fake=fake)
    _check(k_density, real=real)
    others = nearest_others(real, max(k, k_density))
    radii, dense_radii = others[:, k - 1], others[:, k_density - 1]
    meeting = _meet(real, fake, [_closed(radii), dense_radii], [_closed(_radii(fake, k))])
    copied = _nearest(real, fake, meeting)
    return NeighbourScores(
        precision=_share(meeting.reals_round[0] > 0),
        recall=_share(meeting.fakes_round[0] > 0),
        density=float(meeting.reals_round[1].mean() / k_density),
        coverage=_share(meeting.nearest_fake < dense_radii),
        authenticity=_authentic(copied.distance, copied.index, others[:, 0]),
        nearest=copied,
    )


def nearest_others(features: Features, k: int) -> Squared:
    """Squared distances [n k] from each row to its k nearest other rows, ascending.

    Raises ValueError for k below 1, less than k + 1 rows, NaN or infinity.
    """
    _check(k, features=features)
    found = np.full((len(features), k), np.inf)

    def see(rows: slice, squared: Squared) -> None:
        both = np.hstack([found[rows], squared])
        found[rows] = np.partition(both, k - 1, axis=1)[:, :k]

    for rows, columns, squared in squared_distances(features):
        if rows == columns:
            np.fill_diagonal(squared, np.inf)  # A duplicate is a neighbour, the row itself not.
        else:
            see(columns, squared.T)
        see(rows, squared)
    return np.sort(found, axis=1)


def squared_distances(
    x: Features, y: Features | None = None
) -> Iterator[tuple[slice, slice, Squared]]:
    """Tiles (rows of x, rows of y, their squared distances); without y, x's upper triangle."""
    other = x if y is None else y
    # From their common centre, or |a|^2 + |b|^2 - 2 a.b would cancel. In float64 the rest loses
    # nothing that a comparison could see, even where few modes are narrow and far apart.
    centre = (x.mean(axis=0, dtype=np.float64) + other.mean(axis=0, dtype=np.float64)) / 2
    for rows in row_blocks(len(x)):
        a = x[rows] - centre
        a_squared = np.einsum("ij,ij->i", a, a)[:, None]
        a *= -2
        for columns in row_blocks(len(other)):
            if y is None and columns.start < rows.start:
                continue
            b = other[columns] - centre
            squared = a @ b.T
            squared += a_squared
            squared += np.einsum("ij,ij->i", b, b)
            yield rows, columns, np.maximum(squared, 0, out=squared)


class _Meeting(NamedTuple):
    """What a pass over the distances between n reals and m fakes found."""

    reals_round: list[Int[np.ndarray, " m"]]  # Of each fake, how many reals' balls hold it.
    fakes_round: list[Int[np.ndarray, " n"]]  # Of each real, how many fakes' balls hold it.
    nearest_fake: Radii  # Of each real, the squared distance.
    nearest_real: Int[np.ndarray, " m"]  # Of each fake, the index.


def _meet(
    real: Features, fake: Features, real_radii: Sequence[Radii], fake_radii: Sequence[Radii]
) -> _Meeting:
    n, m = len(real), len(fake)
    reals_round = [np.zeros(m, int) for _ in real_radii]
    fakes_round = [np.zeros(n, int) for _ in fake_radii]
    nearest_fake, to_real = np.full(n, np.inf), np.full(m, np.inf)
    nearest_real = np.zeros(m, int)
    for rows, columns, squared in squared_distances(real, fake):
        for count, radii in zip(reals_round, real_radii, strict=True):
            count[columns] += np.count_nonzero(squared < radii[rows, None], axis=0)
        for count, radii in zip(fakes_round, fake_radii, strict=True):
            count[rows] += np.count_nonzero(squared < radii[columns], axis=1)
        nearest_fake[rows] = np.minimum(nearest_fake[rows], squared.min(axis=1))
        index = squared.argmin(axis=0)
        least = squared[index, np.arange(len(index))]
        nearer = least < to_real[columns]
        nearest_real[columns] = np.where(nearer, rows.start + index, nearest_real[columns])
        to_real[columns] = np.where(nearer, least, to_real[columns])
    return _Meeting(reals_round, fakes_round, nearest_fake, nearest_real)


def _nearest(train: Features, fake: Features, meeting: _Meeting) -> Nearest:
    index, distance = meeting.nearest_real, np.empty(len(fake))
    for rows in row_blocks(len(fake)):
        # Anew, by the difference: the square's rounding would part a copy from its original.
        difference = train[index[rows]].astype(np.float64) - fake[rows]
        distance[rows] = np.linalg.norm(difference, axis=1)
    return Nearest(index, distance)


def _authentic(distance: Radii, index: Int[np.ndarray, " m"], to_other: Radii) -> float:
    return _share(distance > np.sqrt(to_other[index]))


def _to_nearest_other(features: Features, rows: Int[np.ndarray, " r"]) -> Radii:
    """Of some rows, the squared distance to the nearest row that is another one."""
    found = np.full(len(rows), np.inf)
    for some, others, squared in squared_distances(features[rows], features):
        squared[rows[some, None] == np.arange(others.start, others.stop)] = np.inf
        found[some] = np.minimum(found[some], squared.min(axis=1))
    return found


def _radii(features: Features, k: int) -> Radii:
    return nearest_others(features, k)[:, k - 1]


def _closed(radii: Radii) -> Radii:
    """Such that `< _closed(r)` is `<= r`."""
    return np.nextafter(radii, np.inf)


def _share(true: np.ndarray) -> float:
    return float(true.mean())


def _check(k: int, **sets: Features) -> None:
    if k < 1:
        raise ValueError(f"k is {k}: 1 or more")
    check_features(k + 1, **sets)
