"""Scores by nearest neighbours among features [n d]: fidelity, variety, copies of training data.

Distances are Euclidean, and a row is no neighbour of itself. One pass over the distances, a tile
at a time, serves all scores: no array grows with n squared.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int

from gan.metrics.distances import Features, check_features, row_blocks

Squared = Float64[np.ndarray, "_ _"]  # Squared distances.
Radii = Float64[np.ndarray, " _"]  # Squared radius of a ball round each row.


class PrecisionRecall(NamedTuple):
    """Fidelity and variety, both in [0, 1]."""

    precision: float  # Share of the generated rows that lie among the reference rows.
    recall: float  # Share of the reference rows that lie among the generated rows.


class DensityCoverage(NamedTuple):
    """Fidelity and variety, by balls round the reference rows alone."""

    density: float  # In [0, n / k], 1 for equal distributions.
    coverage: float  # In [0, 1].


class Nearest(NamedTuple):
    """The training row nearest to each of m rows."""

    index: Int[np.ndarray, " m"]
    distance: Float64[np.ndarray, " m"]  # Exactly 0 for a copy.


class NeighbourScores(NamedTuple):
    """Every score of this module, as the function of its name gives it."""

    precision: float
    recall: float
    density: float
    coverage: float
    authenticity: float
    nearest: Nearest


def precision_recall(reference: Features, generated: Features, k: int = 3) -> PrecisionRecall:
    """Share of the generated rows that lie among the reference rows, and the reverse.

    (Kynkaanniemi et al. 2019, arXiv 1904.06991, equations 1 and 2.) A row lies among a set if it is
    in a ball round some row of the set, whose radius is the distance to that row's k-th neighbour
    in the set; the border counts. Raises ValueError for k below 1, fewer than k + 1 rows, different
    d, NaN or infinity.
    """
    _check(k, reference=reference, generated=generated)
    meeting = _meet(
        reference, generated, [_closed(_radii(reference, k))], [_closed(_radii(generated, k))]
    )
    return PrecisionRecall(
        _share(meeting.references_round[0] > 0), _share(meeting.generated_round[0] > 0)
    )


def density_coverage(reference: Features, generated: Features, k: int = 5) -> DensityCoverage:
    """Mean number of reference balls that hold a generated row, over k; share that hold any.

    (Naeem et al. 2020, arXiv 2002.09797, section 3.) The radius of a ball round a reference row is
    the distance to its k-th neighbour; as in the authors' code the border does not count. For any
    two equal distributions density is 1, and coverage 1 - prod_{i=1..k} (n - i) / (n + m - i),
    about 1 - 2^-k. Raises ValueError for k below 1, fewer than k + 1 reference rows, no generated
    row, different d, NaN or infinity.
    """
    _check(k, reference=reference)
    check_features(1, reference=reference, generated=generated)
    radii = _radii(reference, k)
    meeting = _meet(reference, generated, [radii], [])
    return DensityCoverage(
        float(meeting.references_round[0].mean() / k), _share(meeting.nearest_generated < radii)
    )


def authenticity(train: Features, generated: Features, near: Nearest | None = None) -> float:
    """Share of the generated rows that are not copies of training rows, in [0, 1].

    (Alaa et al. 2022, arXiv 2102.08921.) A generated row is a copy unless its distance to its
    nearest training row exceeds the distance from that training row to its own nearest other
    training row. That is the paper's definition; the authors' code starts from the generated row
    nearest to each training row, and uses that row's number as one of a training row. Without
    copies it is below 1: for many new rows of the training distribution it is 1/3 on a line and
    0.38 in a plane. So compare it with the value for held-out rows. `near` is what `find_nearest`
    returns, if that is known. Raises ValueError for fewer than 2 training rows, no generated row,
    different d, NaN or infinity.
    """
    _check(1, train=train)
    index, distance = near or find_nearest(train, generated)
    copied, which = np.unique(index, return_inverse=True)  # Few rows of a large set are.
    return _share(distance > np.sqrt(_to_nearest_other(train, copied))[which])


def find_nearest(train: Features, generated: Features) -> Nearest:
    """Finds the nearest training row of each generated row.

    Raises ValueError for an empty set, different d, NaN or infinity.
    """
    check_features(1, train=train, generated=generated)
    return _nearest(train, generated, _meet(train, generated, [], []))


def nearest_ratio(held_out: Nearest, generated: Nearest) -> float:
    """Mean distance from generated rows to their nearest training rows, over that of held-out rows.

    It is in [0, inf): well below 1 for copies, above 1 for rows far from all data. NaN if every
    held-out row is a training row too.
    """
    usual = held_out.distance.mean()
    return float(generated.distance.mean() / usual) if usual else float("nan")


def neighbour_scores(
    reference: Features, generated: Features, k: int = 3, k_density: int = 5
) -> NeighbourScores:
    """Computes every score in one pass over the distances.

    `k` is that of `precision_recall`, `k_density` that of `density_coverage`. The last two say
    something about copies only if `reference` is the training set. Raises ValueError as each of
    them does.
    """
    _check(k, reference=reference, generated=generated)
    _check(k_density, reference=reference)
    others = nearest_others(reference, max(k, k_density))
    radii, dense_radii = others[:, k - 1], others[:, k_density - 1]
    meeting = _meet(
        reference, generated, [_closed(radii), dense_radii], [_closed(_radii(generated, k))]
    )
    copied = _nearest(reference, generated, meeting)
    return NeighbourScores(
        precision=_share(meeting.references_round[0] > 0),
        recall=_share(meeting.generated_round[0] > 0),
        density=float(meeting.references_round[1].mean() / k_density),
        coverage=_share(meeting.nearest_generated < dense_radii),
        authenticity=_authentic(copied.distance, copied.index, others[:, 0]),
        nearest=copied,
    )


def nearest_others(features: Features, k: int) -> Squared:
    """Squared distances [n k] from each row to its k nearest other rows, in ascending order.

    Raises ValueError for k below 1, fewer than k + 1 rows, NaN or infinity.
    """
    _check(k, features=features)
    found = np.full((len(features), k), np.inf)

    def see(rows: slice, squared: Squared) -> None:
        both = np.hstack([found[rows], squared])
        found[rows] = np.partition(both, k - 1, axis=1)[:, :k]

    for rows, columns, squared in squared_distances(features):
        if rows == columns:
            np.fill_diagonal(squared, np.inf)  # A duplicate is a neighbour, the row itself is not.
        else:
            see(columns, squared.T)
        see(rows, squared)
    return np.sort(found, axis=1)


def squared_distances(
    x: Features, y: Features | None = None
) -> Iterator[tuple[slice, slice, Squared]]:
    """Yields tiles (rows of x, rows of y, their squared distances).

    Without y the tiles are those of the upper triangle of x with itself.
    """
    other = x if y is None else y
    # Rows are taken from their common centre, or |a|^2 + |b|^2 - 2 a.b would cancel digits. In
    # float64 what is left loses none that a comparison could see, even for narrow modes far apart.
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
    """What a pass over the distances between n reference and m generated rows finds."""

    # How many reference balls hold each generated row, for each set of radii.
    references_round: list[Int[np.ndarray, " m"]]
    # How many generated balls hold each reference row, for each set of radii.
    generated_round: list[Int[np.ndarray, " n"]]
    # Squared distance from each reference row to the nearest generated row.
    nearest_generated: Radii
    # Index of the reference row nearest to each generated row.
    nearest_reference: Int[np.ndarray, " m"]


def _meet(
    reference: Features,
    generated: Features,
    reference_radii: Sequence[Radii],
    generated_radii: Sequence[Radii],
) -> _Meeting:
    n, m = len(reference), len(generated)
    references_round = [np.zeros(m, int) for _ in reference_radii]
    generated_round = [np.zeros(n, int) for _ in generated_radii]
    nearest_generated, to_reference = np.full(n, np.inf), np.full(m, np.inf)
    nearest_reference = np.zeros(m, int)
    for rows, columns, squared in squared_distances(reference, generated):
        for count, radii in zip(references_round, reference_radii, strict=True):
            count[columns] += np.count_nonzero(squared < radii[rows, None], axis=0)
        for count, radii in zip(generated_round, generated_radii, strict=True):
            count[rows] += np.count_nonzero(squared < radii[columns], axis=1)
        nearest_generated[rows] = np.minimum(nearest_generated[rows], squared.min(axis=1))
        index = squared.argmin(axis=0)
        least = squared[index, np.arange(len(index))]
        nearer = least < to_reference[columns]
        nearest_reference[columns] = np.where(
            nearer, rows.start + index, nearest_reference[columns]
        )
        to_reference[columns] = np.where(nearer, least, to_reference[columns])
    return _Meeting(references_round, generated_round, nearest_generated, nearest_reference)


def _nearest(train: Features, generated: Features, meeting: _Meeting) -> Nearest:
    index, distance = meeting.nearest_reference, np.empty(len(generated))
    for rows in row_blocks(len(generated)):
        # By the difference, because rounding of the squares would part a copy from its original.
        difference = train[index[rows]].astype(np.float64) - generated[rows]
        distance[rows] = np.linalg.norm(difference, axis=1)
    return Nearest(index, distance)


def _authentic(distance: Radii, index: Int[np.ndarray, " m"], to_other: Radii) -> float:
    return _share(distance > np.sqrt(to_other[index]))


def _to_nearest_other(features: Features, rows: Int[np.ndarray, " r"]) -> Radii:
    """Squared distance from each of some rows to the nearest other row."""
    found = np.full(len(rows), np.inf)
    for some, others, squared in squared_distances(features[rows], features):
        squared[rows[some, None] == np.arange(others.start, others.stop)] = np.inf
        found[some] = np.minimum(found[some], squared.min(axis=1))
    return found


def _radii(features: Features, k: int) -> Radii:
    return nearest_others(features, k)[:, k - 1]


def _closed(radii: Radii) -> Radii:
    """Radii r' such that `x < r'` means `x <= r`."""
    return np.nextafter(radii, np.inf)


def _share(true: np.ndarray) -> float:
    return float(true.mean())


def _check(k: int, **sets: Features) -> None:
    if k < 1:
        raise ValueError(f"k is {k}: 1 or more")
    check_features(k + 1, **sets)
