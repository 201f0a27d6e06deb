"""Neighbour scores against brute force, against theory, and on sets made wrong on purpose."""

import tracemalloc

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from gan.metrics import distances
from gan.metrics.neighbours import (
    authenticity,
    density_coverage,
    find_nearest,
    nearest_others,
    nearest_ratio,
    neighbour_scores,
    precision_recall,
    squared_distances,
)


@pytest.fixture
def set_block(monkeypatch):
    """Sets how many rows are taken at a time."""
    return lambda rows: monkeypatch.setattr(distances, "BLOCK", rows)


def normal(seed: int, n: int, d: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d))


def modes(seed: int, n: int, which: list[int], apart: float = 100.0) -> np.ndarray:
    """Narrow clusters, far apart, in equal numbers."""
    centres = apart * np.random.default_rng(5).standard_normal((4, 8))
    return centres[np.resize(which, n)] + normal(seed, n)


def all_scores(
    reference: np.ndarray, generated: np.ndarray, k: int = 3, k_density: int = 5
) -> list[float]:
    return [
        *precision_recall(reference, generated, k),
        *density_coverage(reference, generated, k_density),
        authenticity(reference, generated),
    ]


def by_brute_force(
    reference: np.ndarray, generated: np.ndarray, k: int, k_density: int
) -> list[float]:
    """The definitions, read aloud."""
    across = cdist(reference, generated)
    # The first in order is the row itself, at 0.
    among_references, among_generated = (
        np.sort(cdist(x, x), axis=1) for x in (reference, generated)
    )
    closest = across.argmin(axis=0)
    return [
        (across <= among_references[:, k, None]).any(axis=0).mean(),
        (across <= among_generated[:, k]).any(axis=1).mean(),
        (across < among_references[:, k_density, None]).sum(axis=0).mean() / k_density,
        (across < among_references[:, k_density, None]).any(axis=1).mean(),
        (across.min(axis=0) > among_references[closest, 1]).mean(),
    ]


@pytest.mark.parametrize(("n", "m"), [(60, 60), (50, 83), (83, 50), (6, 6)])
@pytest.mark.parametrize("ks", [(3, 5), (1, 1), (5, 2)])
def test_neighbour_scores__agree_with_their_definitions(n, m, ks):
    reference, generated = normal(0, n), 0.8 * normal(1, m) + 0.3
    expected = by_brute_force(reference, generated, *ks)
    assert all_scores(reference, generated, *ks) == pytest.approx(expected, abs=1e-12)
    at_once = neighbour_scores(reference, generated, *ks)
    assert at_once[:5] == pytest.approx(expected, abs=1e-12)
    np.testing.assert_array_equal(at_once.nearest.index, cdist(reference, generated).argmin(axis=0))
    np.testing.assert_allclose(at_once.nearest.distance, cdist(reference, generated).min(axis=0))
    np.testing.assert_array_equal(at_once.nearest, find_nearest(reference, generated))


@pytest.mark.parametrize("block", [1, 7, 50])
def test_neighbour_scores__are_the_same_in_tiles_of_any_size_and_lose_no_rows(block, set_block):
    reference, generated = normal(0, 50), 0.8 * normal(1, 83) + 0.3
    whole, others = neighbour_scores(reference, generated), nearest_others(reference, 4)
    set_block(block)
    in_tiles = neighbour_scores(reference, generated)
    assert in_tiles[:5] == pytest.approx(whole[:5], abs=1e-12)
    np.testing.assert_array_equal(in_tiles.nearest.index, whole.nearest.index)
    np.testing.assert_allclose(nearest_others(reference, 4), others)


def test_squared_distances__hold_each_distance_once(set_block):
    set_block(7)
    x, y = normal(0, 20), normal(1, 24)
    found = np.full((20, 24), np.nan)
    for rows, columns, squared in squared_distances(x, y):
        assert np.isnan(found[rows, columns]).all()
        found[rows, columns] = squared
    np.testing.assert_allclose(found, cdist(x, y) ** 2, rtol=1e-10)


def test_nearest_others__hold_duplicates_of_a_row_but_not_itself():
    line = np.array([[0.0], [1.0], [3.0]])
    np.testing.assert_allclose(nearest_others(line, 2), [[1, 9], [1, 4], [4, 9]], atol=1e-12)
    twins = np.array([[0.0], [0.0], [5.0]])
    np.testing.assert_allclose(nearest_others(twins, 1), [[0], [0], [25]], atol=1e-12)


def test_neighbour_scores__the_border_counts_for_precision_but_not_for_density():
    reference, generated = np.array([[0.0], [2.0]]), np.array([[4.0], [4.5]])
    assert precision_recall(reference, generated, k=1).precision == 0.5
    assert density_coverage(reference, generated, k=1) == (0, 0)


def test_neighbour_scores__equal_sets_are_precise_and_complete():
    x = normal(0, 200)
    assert precision_recall(x, x) == (1, 1)
    assert density_coverage(x, x).coverage == 1


def test_precision_recall__are_not_exchanged():
    tight, wide = 0.1 * normal(0, 300), normal(1, 300)
    precision, recall = precision_recall(reference=wide, generated=tight)
    assert precision > 0.8
    assert recall < 0.3
    assert precision_recall(reference=tight, generated=wide) == (recall, precision)


def test_neighbour_scores__dropped_modes_lower_recall_and_coverage_but_not_precision():
    reference = modes(0, 400, [0, 1, 2, 3])
    all_of_them = neighbour_scores(reference, modes(1, 400, [0, 1, 2, 3]))
    half_of_them = neighbour_scores(reference, modes(1, 400, [0, 1]))
    assert half_of_them.precision == pytest.approx(all_of_them.precision, abs=0.1)
    assert half_of_them.recall == pytest.approx(all_of_them.recall / 2, abs=0.1)
    assert half_of_them.coverage == pytest.approx(all_of_them.coverage / 2, abs=0.1)


def test_neighbour_scores__invented_modes_lower_precision_and_density_but_not_recall():
    reference, generated = modes(0, 400, [0, 1]), modes(1, 400, [0, 1])
    invented = np.concatenate([generated, modes(2, 400, [2, 3])])
    before, after = neighbour_scores(reference, generated), neighbour_scores(reference, invented)
    assert after.precision == pytest.approx(before.precision / 2, abs=0.1)
    assert after.density == pytest.approx(before.density / 2, abs=0.1)
    assert after.recall >= before.recall


def test_neighbour_scores__a_collapsed_generator_covers_nothing():
    reference = normal(0, 300)
    scores = neighbour_scores(reference, np.zeros((300, 8)) + 1e-3 * normal(1, 300))
    assert scores.precision == 1
    assert scores.recall < 0.05
    assert scores.coverage < 0.3


@pytest.mark.parametrize(("n", "m", "k"), [(300, 300, 5), (400, 200, 3), (200, 500, 1)])
def test_density_coverage__of_one_distribution_are_as_theory_says(n, m, k):
    sets = [(normal(2 * seed, n), normal(2 * seed + 1, m)) for seed in range(20)]
    found = np.mean([density_coverage(*pair, k) for pair in sets], axis=0)
    i = np.arange(1, k + 1)
    assert found == pytest.approx([1, 1 - np.prod((n - i) / (n + m - i))], abs=0.04)


@pytest.mark.parametrize(
    # Chance that a row is not the nearest of its nearest: one ball's part in two that share radii.
    ("d", "expected"),
    [(1, 1 / 3), (2, 1 - np.pi / (4 * np.pi / 3 + np.sqrt(3) / 2))],
)
def test_authenticity__of_new_rows_is_as_theory_says(d, expected):
    assert authenticity(normal(0, 4000, d), normal(1, 4000, d)) == pytest.approx(expected, abs=0.03)


def test_authenticity__finds_copies():
    train, fresh = normal(0, 400), normal(1, 400)
    index = np.random.default_rng(2).permutation(400)
    copies = train[index]
    found = find_nearest(train, copies)
    np.testing.assert_array_equal(found.index, index)
    np.testing.assert_array_equal(found.distance, 0)  # Exactly.
    assert authenticity(train, copies) == 0
    half = np.concatenate([copies[:200], fresh[:200]])
    assert authenticity(train, half) == pytest.approx(authenticity(train, fresh[:200]) / 2)
    assert authenticity(train, copies + 1e-3 * fresh) < 0.01
    assert authenticity(train, fresh + 3) > 0.9
    # Precision and recall are content with them.
    assert precision_recall(train, copies) == (1, 1)


def test_authenticity__copies_of_duplicates_are_copies():
    train = np.repeat(normal(0, 50), 2, axis=0) + 100
    assert authenticity(train, train[:20]) == 0


def test_nearest_ratio__is_1_without_copies_and_falls_with_them():
    train, test, fresh = normal(0, 400), normal(1, 300), normal(2, 400)

    def ratio(held_out, generated):
        return nearest_ratio(find_nearest(train, held_out), find_nearest(train, generated))

    assert ratio(test, fresh) == pytest.approx(1, abs=0.05)
    assert ratio(test, np.concatenate([train[:200], fresh[:200]])) == pytest.approx(0.5, abs=0.05)
    assert ratio(test, train) == 0
    assert ratio(test, 2 * fresh) > 1.3
    expected = cdist(fresh, train).min(axis=1).mean() / cdist(test, train).min(axis=1).mean()
    assert ratio(test, fresh) == pytest.approx(expected)
    assert np.isnan(ratio(train[:50], fresh))


def test_neighbour_scores__do_not_depend_on_the_order_of_rows():
    reference, generated = normal(0, 90), normal(1, 70)
    shuffled = [np.random.default_rng(3).permutation(x) for x in (reference, generated)]
    assert neighbour_scores(*shuffled)[:5] == pytest.approx(
        neighbour_scores(reference, generated)[:5]
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_neighbour_scores__are_invariant_to_rotation_shift_and_scale(dtype):
    reference, generated = normal(0, 90), normal(1, 70)
    turn = np.linalg.qr(normal(3, 8))[0]
    moved = [(50 * x @ turn + 1e4).astype(dtype) for x in (reference, generated)]
    assert neighbour_scores(*moved)[:5] == pytest.approx(neighbour_scores(reference, generated)[:5])


def test_neighbour_scores__tell_narrow_modes_far_apart_exactly():
    # Wherever the centre is, |a|^2 + |b|^2 is 10^12 times the distances within a mode.
    reference, generated = modes(0, 80, [0, 1, 2, 3], 1e5), modes(1, 80, [0, 1, 2], 1e5)
    assert all_scores(reference, generated) == pytest.approx(
        by_brute_force(reference, generated, 3, 5), abs=1e-12
    )


def test_neighbour_scores__need_no_memory_that_grows_with_the_square_of_the_rows(set_block):
    set_block(100)
    reference, generated = normal(0, 3000, 4), normal(1, 3000, 4)
    tracemalloc.start()
    neighbour_scores(reference, generated)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3000**2 * 8 / 10


SCORES = [precision_recall, density_coverage, authenticity, find_nearest, neighbour_scores]


@pytest.mark.parametrize("score", SCORES, ids=lambda function: function.__name__)
def test_neighbour_scores__refuse_features_that_cannot_be_compared(score):
    x, y = normal(0, 20), normal(1, 20)
    with pytest.raises(ValueError, match=r"\(20, 8\), generated \(20, 3\)"):
        score(x, y[:, :3])
    with pytest.raises(ValueError, match=r"generated has the shape \(0, 8\): .* n at least"):
        score(x, y[:0])
    with pytest.raises(ValueError, match=r"has the shape \(0, 8\): .* n at least"):
        score(x[:0], y)
    y[4, 0] = np.nan
    with pytest.raises(ValueError, match="generated holds NaN or infinity in row 4"):
        score(x, y)
    with pytest.raises(ValueError, match="holds NaN or infinity in row 4"):
        score(y, x)


def test_neighbour_scores__need_more_than_k_rows():
    x = normal(0, 20)
    for score in (precision_recall, neighbour_scores):
        with pytest.raises(ValueError, match=r"generated has the shape \(3, 8\): .* n at least 4"):
            score(x, x[:3])
    for score in (density_coverage, neighbour_scores):
        with pytest.raises(ValueError, match=r"reference has the shape \(5, 8\): .* n at least 6"):
            score(x[:5], x)
        with pytest.raises(ValueError, match="k is 0: 1 or more"):
            score(x, x, 0)
    with pytest.raises(ValueError, match=r"train has the shape \(1, 8\): .* n at least 2"):
        authenticity(x[:1], x)
    assert density_coverage(x, x[:1] + 0.1).coverage > 0  # A single generated will do.
