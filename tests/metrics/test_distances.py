"""Distances of feature sets: known closed forms, invariances, and the field's usual mistakes."""

import tracemalloc

import numpy as np
import pytest
import scipy.linalg

from gan.metrics import distances
from gan.metrics.distances import (
    Gaussian,
    fit_gaussian,
    frechet_distance,
    gaussian_distance,
    inception_score,
    kernel_distance,
    sliced_wasserstein_features,
)

ALL = [frechet_distance, kernel_distance, sliced_wasserstein_features]
each = pytest.mark.parametrize("distance", ALL, ids=lambda function: function.__name__)


def normal(seed: int, n: int, d: int) -> np.ndarray:
    """Correlated features around 0."""
    mixing = np.random.default_rng(99).standard_normal((d, d)) / np.sqrt(d)
    return np.random.default_rng(seed).standard_normal((n, d)) @ mixing


def rotation(d: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(7).standard_normal((d, d)))[0]


def spread(x: np.ndarray) -> float:
    return float(x.var(axis=0).sum())


@pytest.mark.parametrize("distance", [frechet_distance, sliced_wasserstein_features])
def test_distances__are_0_from_a_set_to_itself(distance):
    x = normal(0, 300, 8)
    assert distance(x, x) < 1e-12


@each
def test_distances__are_symmetric(distance):
    x, y = normal(0, 300, 8), normal(1, 250, 8) + 0.3
    size = {"size": 250} if distance is kernel_distance else {}
    there, back = distance(x[:250], y, **size), distance(y, x[:250], **size)
    assert there == pytest.approx(back, rel=1e-10)
    if not size:
        assert distance(x, y) == pytest.approx(distance(y, x), rel=1e-10)


@each
def test_distances__grow_with_the_shift_and_with_the_spread(distance):
    x, y = normal(0, 300, 8), normal(1, 300, 8)
    assert (np.diff([distance(x, y + shift) for shift in (0, 0.3, 0.6, 1.2)]) > 0).all()
    assert (np.diff([distance(x, y * factor) for factor in (1, 1.5, 2, 3)]) > 0).all()


@each
def test_distances__do_not_depend_on_the_order_of_rows(distance):
    x, y = normal(0, 200, 8), normal(1, 200, 8) + 0.3
    assert distance(x[::-1], y) == pytest.approx(distance(x, y), rel=1e-9)


@pytest.fixture
def set_blocks(monkeypatch):
    """Sets how many rows and directions are taken at a time."""

    def set_blocks(rows: int, directions: int) -> None:
        monkeypatch.setattr(distances, "BLOCK", rows)
        monkeypatch.setattr(distances, "DIRECTIONS", directions)

    return set_blocks


@each
def test_distances__are_the_same_in_blocks_of_any_size_and_lose_no_rows(distance, set_blocks):
    x, y = normal(0, 200, 8), normal(1, 203, 8) + 0.3
    whole = distance(x, y)
    set_blocks(7, 3)
    assert distance(x, y) == pytest.approx(whole, rel=1e-9)


@each
def test_distances__of_float32_features_are_summed_in_float64(distance):
    x = normal(0, 300, 8).astype(np.float32)
    y = (normal(1, 300, 8) + 0.1).astype(np.float32)
    wide = distance(x.astype(np.float64), y.astype(np.float64))
    assert distance(x, y) == pytest.approx(wide, rel=1e-12)


@each
def test_distances__need_no_memory_that_grows_with_the_square_of_the_rows(distance, set_blocks):
    set_blocks(50, 10)
    x, y = normal(0, 3000, 4), normal(1, 3000, 4)
    size = {"size": 3000} if distance is kernel_distance else {}
    tracemalloc.start()
    distance(x, y, **size)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3000**2 * 8 / 10


@each
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_distances__refuse_what_is_not_finite_by_its_row(distance, bad):
    x, y = normal(0, 20, 4), normal(1, 20, 4)
    y[13, 2] = bad
    with pytest.raises(ValueError, match="generated holds NaN or infinity in row 13"):
        distance(x, y)


@each
def test_distances__refuse_sets_of_other_widths_and_empty_ones(distance):
    x = normal(0, 20, 4)
    with pytest.raises(ValueError, match=r"reference \(20, 4\), generated \(20, 3\)"):
        distance(x, x[:, :3])
    with pytest.raises(ValueError, match=r"generated has the shape \(0, 4\): .* n at least [12]"):
        distance(x, x[:0])
    with pytest.raises(ValueError, match=r"reference has the shape \(20, 0\): .* d at least 1"):
        distance(x[:, :0], x)


def test_distances__refuse_one_row_where_covariances_or_pairs_are_needed():
    x = normal(0, 20, 4)
    for distance in (frechet_distance, kernel_distance):
        with pytest.raises(ValueError, match=r"reference has the shape \(1, 4\): .* n at least 2"):
            distance(x[:1], x)


# The Frechet distance.


def test_frechet_distance__has_unbiased_variances_in_one_dimension():
    # Means 1 and 2, variances 2 and 8: 1 + 2 + 8 - 2 sqrt(16). Biased ones would give 2.
    reference, generated = np.array([[0.0], [2.0]]), np.array([[0.0], [4.0]])
    assert frechet_distance(reference, generated) == pytest.approx(3, abs=1e-12)


def test_gaussian_distance__of_diagonal_gaussians_is_known():
    rng = np.random.default_rng(0)
    (m1, m2), (s1, s2) = rng.standard_normal((2, 16)), rng.uniform(0, 3, (2, 16))
    s1[:3] = 0  # Singular.
    distance = gaussian_distance(Gaussian(m1, np.diag(s1**2)), Gaussian(m2, np.diag(s2**2)))
    assert distance == pytest.approx(((m1 - m2) ** 2 + (s1 - s2) ** 2).sum(), rel=1e-12)


def test_frechet_distance__of_equal_covariances_is_the_shift_squared():
    x, shift = normal(0, 200, 16), np.arange(16.0)
    assert frechet_distance(x, x + shift) == pytest.approx((shift**2).sum(), rel=1e-12)


def test_frechet_distance__agrees_with_a_matrix_root():
    reference, generated = normal(0, 500, 32), 1.3 * normal(1, 400, 32) + 0.2
    c1, c2 = np.cov(reference, rowvar=False), np.cov(generated, rowvar=False)
    root = scipy.linalg.sqrtm(c1 @ c2).real
    shift = reference.mean(axis=0) - generated.mean(axis=0)
    expected = shift @ shift + np.trace(c1 + c2 - 2 * root)
    assert frechet_distance(reference, generated) == pytest.approx(expected, rel=1e-10)


def test_frechet_distance__of_fewer_rows_than_features_is_known():
    reference, generated = normal(0, 20, 64), 1.3 * normal(1, 30, 64) + 0.2
    # Tr (C1 C2)^(1/2) is the sum of the singular values of X1 X2^T: nothing singular in it.
    a, b = ((x - x.mean(axis=0)) / np.sqrt(len(x) - 1) for x in (reference, generated))
    shift = reference.mean(axis=0) - generated.mean(axis=0)
    expected = shift @ shift + (a**2).sum() + (b**2).sum()
    expected -= 2 * scipy.linalg.svdvals(a @ b.T).sum()
    assert frechet_distance(reference, generated) == pytest.approx(expected, rel=1e-12)
    assert frechet_distance(generated, reference) == pytest.approx(expected, rel=1e-12)
    assert frechet_distance(reference, reference) < 1e-12 * spread(reference)


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_frechet_distance__of_singular_covariances_is_a_number(n):
    # The root of C1 C2 comes out complex, and that of an eigenvalue of -1e-17 is NaN.
    for seed in range(20):
        x = normal(seed, n, 4)
        for y in (x, normal(seed + 100, n, 4), np.zeros_like(x), x[:, [0, 0, 0, 0]]):
            assert 0 <= frechet_distance(x, y) < np.inf
    assert frechet_distance(np.ones((3, 4)), np.ones((5, 4))) == 0


def test_frechet_distance__is_invariant_to_rotation_and_shift():
    x, y = normal(0, 300, 16), 1.3 * normal(1, 300, 16)
    turned = [z @ rotation(16) + 1e4 for z in (x, y)]
    assert frechet_distance(*turned) == pytest.approx(frechet_distance(x, y), rel=1e-8)


def test_frechet_distance__far_from_the_origin_keeps_its_digits():
    # As float32 sums of squares it would be off by far more than the distance itself.
    x, y = ((normal(seed, 2000, 4) + 1000).astype(np.float32) for seed in (0, 1))
    expected = frechet_distance(x.astype(np.float64) - 1000, y.astype(np.float64) - 1000)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-6)


def test_frechet_distance__is_biased_by_the_number_of_rows_as_documented():
    floors = [frechet_distance(normal(0, n, 16), normal(1, n, 16)) for n in (100, 1000, 10_000)]
    assert floors[0] > 5 * floors[1] > 25 * floors[2] > 0


def test_fit_gaussian__gives_what_the_distance_needs():
    x, y = normal(0, 100, 8).astype(np.float32), normal(1, 90, 8).astype(np.float32)
    stored = fit_gaussian(x)
    np.testing.assert_allclose(stored.covariance, np.cov(x.astype(float), rowvar=False), rtol=1e-12)
    np.testing.assert_allclose(stored.mean, x.astype(float).mean(axis=0), rtol=1e-12)
    assert gaussian_distance(stored, fit_gaussian(y)) == frechet_distance(x, y)


def test_gaussian_distance__refuses_other_widths_and_what_is_not_finite():
    x, y = fit_gaussian(normal(0, 20, 4)), fit_gaussian(normal(0, 20, 3))
    with pytest.raises(ValueError, match=r"reference\.mean \(1, 4\), generated\.mean \(1, 3\)"):
        gaussian_distance(x, y)
    with pytest.raises(ValueError, match=r"generated\.covariance holds NaN or infinity in row 0"):
        gaussian_distance(x, x._replace(covariance=x.covariance * np.nan))
    with pytest.raises(ValueError, match=r"reference\.mean holds NaN"):
        gaussian_distance(x._replace(mean=x.mean * np.nan), x)


# The kernel distance.


def kernel_by_pairs(x: np.ndarray, y: np.ndarray) -> float:
    kernel = lambda a, b: (a @ b / len(a) + 1) ** 3  # noqa: E731
    within = [
        np.mean([kernel(z[i], z[j]) for i in range(len(z)) for j in range(len(z)) if i != j])
        for z in (x, y)
    ]
    return float(sum(within) - 2 * np.mean([kernel(a, b) for a in x for b in y]))


def test_kernel_distance__agrees_with_its_definition():
    x, y = normal(0, 30, 5), normal(1, 30, 5) + 0.2
    assert kernel_distance(x, y) == pytest.approx(kernel_by_pairs(x, y), rel=1e-10)


def test_kernel_distance__of_one_distribution_is_0_on_average():
    values = [kernel_distance(normal(2 * i, 50, 8), normal(2 * i + 1, 50, 8)) for i in range(200)]
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 3 * error
    # Neither cut off at 0 nor with the pairs of a row and itself, that would add this:
    assert min(values) < 0
    x = normal(0, 50, 8)
    own = ((x**2).sum(axis=1) / 8 + 1) ** 3
    assert 2 * (own.mean() - 1) / 50 > 5 * error


def test_kernel_distance__of_a_set_to_itself_is_below_0_by_its_own_pairs():
    # Nothing else is left: across the sets a row meets itself, within them it does not.
    x = normal(0, 200, 8)
    kernel = (x @ x.T / 8 + 1) ** 3
    pairs = (kernel.sum() - kernel.trace()) / (200 * 199)
    expected = -2 / 200 * (kernel.trace() / 200 - pairs)
    assert kernel_distance(x, x) == pytest.approx(expected, rel=1e-9)


def test_kernel_distance__is_the_mean_of_subsets():
    x, y = normal(0, 600, 8), normal(1, 500, 8) + 0.3
    whole = kernel_distance(x[:500], y)
    parts = [kernel_distance(x, y, subsets=1, size=100, seed=seed) for seed in range(20)]
    assert np.std(parts) > 0
    mean = kernel_distance(x, y, subsets=100, size=100)
    assert abs(mean - whole) < np.std(parts)
    assert mean == kernel_distance(x, y, subsets=100, size=100)
    assert mean != kernel_distance(x, y, subsets=100, size=100, seed=1)
    with pytest.raises(ValueError, match="subsets is 0, size 1000"):
        kernel_distance(x, y, subsets=0)
    with pytest.raises(ValueError, match="subsets is 100, size 1: .* 2 rows"):
        kernel_distance(x, y, size=1)


def test_kernel_distance__of_unequal_sets_takes_as_many_of_both():
    x, y = normal(0, 300, 8), normal(1, 40, 8)
    assert np.isfinite(kernel_distance(x, y))
    assert abs(kernel_distance(x, y)) < kernel_distance(x, y + 0.5)


def test_kernel_distance__is_invariant_to_rotation_but_not_to_shift():
    x, y = normal(0, 100, 8), 1.3 * normal(1, 100, 8)
    turned = kernel_distance(x @ rotation(8), y @ rotation(8))
    assert turned == pytest.approx(kernel_distance(x, y), rel=1e-10)
    assert kernel_distance(x + 1, y + 1) != pytest.approx(turned, rel=0.01)


# The sliced Wasserstein distance.


def test_sliced_wasserstein_features__of_unequal_sets_is_known_in_one_dimension():
    # Quantiles: 0 from 0 to 1/2, then 1; 0 from 0 to 2/3, then 3. So 3 (1/6 1 + 1/3 4).
    reference, generated = np.array([[1.0], [0.0]]), np.array([[0.0], [3.0], [0.0]])
    assert sliced_wasserstein_features(reference, generated) == pytest.approx(4.5, rel=1e-12)
    assert sliced_wasserstein_features(generated, reference) == pytest.approx(4.5, rel=1e-12)


def test_sliced_wasserstein_features__of_a_shift_is_3_times_its_square():
    x, shift = normal(0, 100, 16), np.full(16, 2.0)
    found = sliced_wasserstein_features(x, x + shift, directions=4000)
    assert found == pytest.approx(3 * shift @ shift, rel=0.1)


def test_sliced_wasserstein_features__sees_no_difference_in_repeated_rows():
    x = normal(0, 50, 8)
    assert sliced_wasserstein_features(x, np.repeat(x, 3, axis=0)) < 1e-12


def test_sliced_wasserstein_features__is_invariant_to_shift_and_nearly_to_rotation():
    x, y = normal(0, 200, 8), 1.5 * normal(1, 150, 8)
    found = sliced_wasserstein_features(x, y)
    assert sliced_wasserstein_features(x + 100, y + 100) == pytest.approx(found, rel=1e-8)
    turned = sliced_wasserstein_features(x @ rotation(8), y @ rotation(8))
    assert turned == pytest.approx(found, rel=0.1)


def test_sliced_wasserstein_features__is_drawn_by_its_seed():
    x, y = normal(0, 50, 8), normal(1, 50, 8)
    first, second, other = (sliced_wasserstein_features(x, y, seed=s) for s in (0, 0, 1))
    assert first == second != other
    with pytest.raises(ValueError, match="directions is 0"):
        sliced_wasserstein_features(x, y, directions=0)


# The inception score.


def test_inception_score__of_known_predictions_is_known():
    assert inception_score(np.full((100, 10), 0.1)) == pytest.approx(1)  # Unsure.
    assert inception_score(np.eye(10)[np.zeros(100, int)]) == pytest.approx(1)  # One class.
    assert inception_score(np.eye(10)[np.arange(100) % 10], splits=1) == pytest.approx(10)
    p = np.array([[1.0, 0.0], [0.5, 0.5]])  # Of 3/4 and 1/4.
    divergence = (np.log(4 / 3) + 0.5 * np.log(2 / 3) + 0.5 * np.log(2)) / 2
    assert inception_score(p, splits=1) == pytest.approx(np.exp(divergence))


def test_inception_score__does_not_depend_on_the_order_of_classes():
    p = np.eye(4)[np.repeat(np.arange(4), 500)].astype(np.float32)
    assert inception_score(p) > 3.9  # Class by class in splits it would be 1.
    assert inception_score(p[::4], splits=1) == inception_score(p[::-4], splits=1)


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        (np.array([[2.0, -1.0]] * 10), "go down to -1, "),
        (np.ones((10, 4)), "sum to 1 within 3: "),
        (np.full((9, 2), 0.5), "splits is 10: from 1 to the 9 rows"),
        (np.full((10, 2), np.nan), "probabilities holds NaN"),
        (np.ones((0, 2)), r"probabilities has the shape \(0, 2\)"),
    ],
)
def test_inception_score__refuses_what_are_no_probabilities(probabilities, message):
    with pytest.raises(ValueError, match=message):
        inception_score(probabilities)
