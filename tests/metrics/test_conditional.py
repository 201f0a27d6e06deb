"""Conditional scores: cases by hand; generators that obey, ignore or entangle requests."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gan.data.readers.celeba_labels import ATTRIBUTES
from gan.metrics.conditional import (
    RANDOM_IN_CELEBA,
    accuracy_ratio,
    assign_tiers,
    attribute_rates,
    comparable_attributes,
    compare_swaps,
    control,
    intra_attribute_distances,
    joint_distance,
    same_group,
)
from gan.metrics.distances import frechet_distance

NAMES = ("Male", "Smiling", "High_Cheekbones")
SHARES = np.array([0.5, 0.2, 0.05])


def labels(seed: int, n: int, shares: np.ndarray = SHARES) -> np.ndarray:
    return (np.random.default_rng(seed).random((n, len(shares))) < shares).astype(np.uint8)


def logits_of(attributes: np.ndarray) -> np.ndarray:
    """Logits of a classifier that finds what is there."""
    return np.where(attributes == 1, 2.0, -2.0)


def flipped(attributes: np.ndarray) -> np.ndarray:
    """Requests [a n a], in each of which another attribute is the other one."""
    return attributes ^ np.eye(attributes.shape[1], dtype=np.uint8)[:, None]


def same(a, b) -> None:
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-12)


drawn = st.integers(0, 2**32 - 1).map(np.random.default_rng)


# Rates.


def test_attribute_rates__by_hand():
    asked = np.array([[1], [1], [1], [1], [0], [0]], np.uint8)
    seen = np.array([[0.1], [3.0], [5.0], [-1.0], [2.0], [-0.1]])
    found = attribute_rates(seen, asked)
    expected = (3 / 4, 1 / 2, 5 / 8, 3 / 4, 3 / 4, 4)  # TP 3, FN 1, FP 1, TN 1.
    assert [float(value[0]) for value in found] == pytest.approx(list(expected))


def test_attribute_rates__f1_is_the_harmonic_mean():
    attributes = labels(0, 200)
    found = attribute_rates(
        np.random.default_rng(1).standard_normal((200, 3)) + attributes, attributes
    )
    mean = 2 / (1 / found.precision + 1 / found.true_positive)
    np.testing.assert_allclose(found.f1, mean, rtol=1e-12)


def test_attribute_rates__are_1_for_what_is_found_perfectly():
    attributes = labels(0, 1000)
    found = attribute_rates(logits_of(attributes).astype(np.float32), attributes)
    for shares in found[:5]:
        assert (shares == 1).all()
    assert (found.positives == attributes.sum(axis=0)).all()


@pytest.mark.parametrize("answer", [-1.0, 1.0])
def test_attribute_rates__balanced_accuracy_of_always_the_same_answer_is_one_half(answer):
    attributes = labels(0, 1000)
    found = attribute_rates(np.full(attributes.shape, answer), attributes)
    assert (found.balanced_accuracy == 0.5).all()
    if answer < 0:  # Though it is right in 75 % of all.
        assert (attributes == 0).mean() > 0.7
        assert (found.f1 == 0).all()
        assert np.isnan(found.precision).all()  # It never said yes.


def test_attribute_rates__a_logit_of_0_is_a_no():
    assert attribute_rates(np.zeros((2, 1)), np.array([[1], [0]], np.uint8)).true_negative == 1


def test_attribute_rates__are_nan_without_positives_or_negatives():
    attributes = np.array([[0, 1], [0, 1]], np.uint8)
    found = attribute_rates(np.ones((2, 2)), attributes)
    np.testing.assert_array_equal(found.true_positive, [np.nan, 1])
    np.testing.assert_array_equal(found.true_negative, [0, np.nan])
    np.testing.assert_array_equal(found.balanced_accuracy, [np.nan, np.nan])
    np.testing.assert_array_equal(found.f1, [np.nan, 1])
    np.testing.assert_array_equal(found.precision, [0, 1])
    np.testing.assert_array_equal(found.positives, [0, 2])


@given(drawn)
@settings(max_examples=30, deadline=None)
def test_attribute_rates__do_not_depend_on_the_order_of_faces(rng):
    attributes, logits = labels(0, 40), rng.standard_normal((40, 3))
    order = rng.permutation(40)
    same(attribute_rates(logits, attributes), attribute_rates(logits[order], attributes[order]))


@given(drawn)
@settings(max_examples=30, deadline=None)
def test_attribute_rates__lacking_is_as_good_as_having(rng):
    attributes, logits = labels(0, 40), rng.standard_normal((40, 3))
    having, lacking = attribute_rates(logits, attributes), attribute_rates(-logits, 1 - attributes)
    np.testing.assert_array_equal(having.true_positive, lacking.true_negative)
    np.testing.assert_array_equal(having.true_negative, lacking.true_positive)
    np.testing.assert_array_equal(having.balanced_accuracy, lacking.balanced_accuracy)


# Ratios.


def noisy_logits(attributes: np.ndarray, errors: np.ndarray, seed: int = 0) -> np.ndarray:
    """Logits of a classifier that takes so large a share of each attribute for its contrary."""
    wrong = np.random.default_rng([7, seed]).random(attributes.shape) < errors
    return logits_of(attributes ^ wrong)


def test_accuracy_ratio__is_1_for_a_generator_as_clear_as_reality():
    attributes = labels(0, 20_000)
    reference = attribute_rates(noisy_logits(attributes, np.array([0.01, 0.1, 0.2])), attributes)
    assert accuracy_ratio(reference, reference) == control(reference, reference) == 1
    again = attribute_rates(
        noisy_logits(attributes, np.array([0.01, 0.1, 0.2]), seed=1), attributes
    )
    assert accuracy_ratio(again, reference) == pytest.approx(1, abs=0.01)


def test_accuracy_ratio__by_hand():
    reference = attribute_rates(logits_of(labels(0, 1000)), labels(0, 1000))
    half = reference._replace(balanced_accuracy=np.array([0.5, 0.7, 0.9]))
    assert accuracy_ratio(half, reference) == pytest.approx(0.7)
    assert control(half, reference) == pytest.approx(0.4)
    where = np.array([False, True, True])
    assert accuracy_ratio(half, reference, where) == pytest.approx(0.8)
    assert control(half, reference, where) == pytest.approx(0.6)


@pytest.mark.parametrize("obeyed", [0.0, 0.5, 1.0])
def test_control__is_the_share_obeyed_whatever_the_classifier_misses(obeyed):
    rng, errors = np.random.default_rng(9), np.array([0.02, 0.1, 0.3])
    attributes = labels(0, 200_000)
    reference = attribute_rates(noisy_logits(attributes, errors, seed=1), attributes)
    drawn = labels(2, len(attributes), np.array([0.4, 0.4, 0.4]))  # Without a look at the request.
    shown = np.where(rng.random(attributes.shape) < obeyed, attributes, drawn)
    generated = attribute_rates(noisy_logits(shown, errors, seed=3), attributes)
    assert control(generated, reference) == pytest.approx(obeyed, abs=0.02)


def test_comparable_attributes__leave_out_what_the_classifier_cannot_find():
    attributes = labels(0, 20_000)
    blind = attribute_rates(noisy_logits(attributes, np.array([0.0, 0.0, 0.5])), attributes)
    np.testing.assert_array_equal(comparable_attributes(blind, blind), [True, True, False])
    always_no = attribute_rates(np.full(attributes.shape, -1.0), attributes)
    assert accuracy_ratio(always_no, blind) == 0.5
    assert control(always_no, blind) == 0


def test_comparable_attributes__leave_out_what_was_never_requested():
    attributes = labels(0, 1000)
    reference = attribute_rates(logits_of(attributes), attributes)
    attributes[:, 2] = 0
    generated = attribute_rates(logits_of(attributes), attributes)
    np.testing.assert_array_equal(comparable_attributes(generated, reference), [True, True, False])
    assert accuracy_ratio(generated, reference) == control(generated, reference) == 1


def test_accuracy_ratio__of_no_attribute_is_not_a_number():
    reference = attribute_rates(logits_of(labels(0, 1000)), labels(0, 1000))
    never_asked = attribute_rates(logits_of(labels(0, 1000)), np.zeros((1000, 3), np.uint8))
    assert np.isnan(accuracy_ratio(never_asked, reference))
    assert np.isnan(control(reference, reference, np.zeros(3, bool)))


def test_assign_tiers__by_accuracy_and_by_known_noise():
    reference = attribute_rates(logits_of(labels(0, 1000)), labels(0, 1000))
    accuracy = np.array([0.9, 0.8999, 0.75, 0.7499, np.nan, 0.95])
    reference = reference._replace(balanced_accuracy=accuracy)
    names = ("Male", "Smiling", "Young", "Big_Nose", "Bald", "Pointy_Nose")
    expected = ["sure", "fair", "fair", "unsure", "unsure", "unsure"]
    assert assign_tiers(names, reference) == expected
    assert assign_tiers(names, reference, random=()) == [
        *expected[:5],
        "sure",
    ]  # Drawn: without any error.
    with pytest.raises(ValueError, match="2 names for 6 rates"):
        assign_tiers(names[:2], reference)


def test_assign_tiers__random_labels_are_attributes_of_celeba():
    assert set(RANDOM_IN_CELEBA) < set(ATTRIBUTES)


# Swaps.


def test_compare_swaps__of_an_obedient_generator():
    attributes = labels(0, 100)
    found = compare_swaps(logits_of(attributes), logits_of(flipped(attributes)), attributes)
    assert (found.success == 1).all()
    np.testing.assert_array_equal(found.moved, np.eye(3))
    certain = np.tanh(1)  # The sigmoid of 2 less that of -2.
    np.testing.assert_allclose(found.shift, certain * np.eye(3), atol=1e-12)
    assert (found.mean_success, found.leakage) == (1, 0)


def test_compare_swaps__a_generator_that_ignores_requests_has_no_success():
    attributes = labels(0, 100)
    for seed in range(3):  # Right by chance in some, and wrong in others.
        shown = logits_of(labels(seed, 100))
        found = compare_swaps(shown, np.stack([shown] * 3), attributes)
        assert not found.success.any()
        assert not found.moved.any()
        assert not found.shift.any()


def test_compare_swaps__shows_an_entangled_cell_alone():
    """Smiling follows its own request, and Male as well."""

    def generate(request):
        shown = request.copy()
        shown[..., 1] |= request[..., 0]
        return logits_of(shown)

    attributes = labels(0, 1000)
    found = compare_swaps(generate(attributes), generate(flipped(attributes)), attributes)
    serious, female = (attributes[:, 1] == 0).mean(), (attributes[:, 0] == 0).mean()
    moved = np.eye(3)
    moved[0, 1] = serious  # Male makes them smile who otherwise would not.
    moved[1, 1] = female  # Those who are male smile anyway.
    np.testing.assert_allclose(found.moved, moved, atol=1e-12)
    np.testing.assert_allclose(found.shift, np.tanh(1) * moved, atol=1e-12)
    np.testing.assert_allclose(found.success, [1, female, 1])
    assert found.leakage == pytest.approx(serious / 6)


def test_compare_swaps__what_excludes_each_other_is_no_leakage():
    """Two values of a column change together; a hat comes with one of them."""
    rows = np.array([[1, 0, 0], [0, 1, 1]] * 4, np.uint8)
    exclude = same_group(["a=x", "a=y", "Hat"], [("a=x", "a=y")])
    np.testing.assert_array_equal(exclude, [[1, 1, 0], [1, 1, 0], [0, 0, 0]])
    swapped = np.stack([rows[:, [1, 0, 2]], rows[:, [1, 0, 2]], rows ^ np.uint8([0, 0, 1])])
    found = compare_swaps(logits_of(rows), logits_of(swapped), rows, exclude)
    assert (found.mean_success, found.leakage) == (1, 0)
    np.testing.assert_array_equal(np.isnan(found.moved), [[0, 1, 0], [1, 0, 0], [0, 0, 0]])
    assert compare_swaps(logits_of(rows), logits_of(swapped), rows).leakage == pytest.approx(1 / 3)
    assert not same_group(["a", "b"], ()).any()


def test_compare_swaps__contrary_attributes_move_each_other_downwards():
    """Blond takes black hair away, whoever asked for it."""

    def generate(request):
        shown = request.copy()
        shown[..., 1] &= 1 - request[..., 0]
        return logits_of(shown)

    attributes = np.array([[0, 1], [1, 1], [0, 0], [1, 0]], np.uint8)
    found = compare_swaps(generate(attributes), generate(flipped(attributes)), attributes)
    np.testing.assert_array_equal(found.moved, [[1, 0.5], [0, 0.5]])
    np.testing.assert_allclose(found.shift, np.tanh(1) * np.array([[1, -0.5], [0, 0.5]]))


@given(drawn)
@settings(max_examples=30, deadline=None)
def test_compare_swaps__are_the_same_from_either_side(rng):
    """A face and its variant are a pair: neither comes first."""
    attributes, before = labels(0, 30)[:, :1], rng.standard_normal((30, 1))
    after = rng.standard_normal((1, 30, 1))
    same(
        compare_swaps(before, after, attributes),
        compare_swaps(after[0], before[None], 1 - attributes),
    )
    order = rng.permutation(30)
    found = compare_swaps(before[order], after[:, order], attributes[order])
    same(found, compare_swaps(before, after, attributes))
    assert (found.success <= np.diag(found.moved)).all()
    assert np.isnan(found.leakage)


# Distances of pictures with what was asked for.


def features_of(attributes: np.ndarray, seed: int, d: int = 8) -> np.ndarray:
    """Pictures that show their attributes, and other things."""
    mixing = np.random.default_rng(99).standard_normal((attributes.shape[1], d))
    noise = np.random.default_rng(seed).standard_normal((len(attributes), d))
    return (attributes @ mixing + 0.5 * noise).astype(np.float32)


def test_scores__see_shuffled_requests_but_the_distance_of_pictures_does_not():
    reference_attributes, attributes = labels(0, 4000), labels(1, 4000)
    reference, generated = features_of(reference_attributes, 2), features_of(attributes, 3)
    shuffled = np.random.default_rng(4).permutation(attributes)
    apart = frechet_distance(reference, generated)  # Of which requests are no part.

    obeyed = joint_distance(reference, reference_attributes, generated, attributes)
    ignored = joint_distance(reference, reference_attributes, generated, shuffled)
    assert apart <= obeyed < 3 * apart
    assert ignored > 30 * obeyed

    obeyed = intra_attribute_distances(
        reference, reference_attributes, generated, attributes, least=100
    )
    ignored = intra_attribute_distances(
        reference, reference_attributes, generated, shuffled, least=100
    )
    assert (ignored > 10 * obeyed).all()

    seen = noisy_logits(attributes, np.array([0.1, 0.1, 0.1]))
    obeyed, ignored = attribute_rates(seen, attributes), attribute_rates(seen, shuffled)
    for name in ("true_positive", "true_negative", "balanced_accuracy", "f1", "precision"):
        assert (getattr(ignored, name) < getattr(obeyed, name)).all()
    np.testing.assert_allclose(ignored.balanced_accuracy, 0.5, atol=0.05)


def test_joint_distance__by_hand():
    # The same faces, 5 long on average, with and without the attribute; labels are 1 / 2 on
    # average, so they count 10-fold. Those of the generated ones are the other way round:
    # covariances [[1, c], [c, 100]] / 2 with c = 10 and -10, which are singular and orthogonal but
    # for the angle.
    reference, generated = np.array([[4.0], [6.0]]), np.array([[4.0], [6.0]])
    asked = np.array([[0], [1]], np.uint8)
    assert joint_distance(reference, asked, generated, asked) == pytest.approx(0, abs=1e-9)
    u, v = np.array([2.0, 10.0]), np.array([2.0, -10.0])  # Covariances u u^T / 2 and v v^T / 2.
    expected = (u @ u + v @ v) / 2 - abs(u @ v)
    assert joint_distance(reference, asked, generated, 1 - asked) == pytest.approx(expected)


@given(drawn, st.integers(2, 30))
@settings(max_examples=30, deadline=None)
def test_joint_distance__is_no_less_than_that_of_pictures(rng, n):
    reference_attributes, attributes = labels(0, 30), labels(1, 30)[:n]
    reference, generated = rng.standard_normal((30, 4)), rng.standard_normal((n, 4))
    found = joint_distance(reference, reference_attributes, generated, attributes)
    assert found >= frechet_distance(reference, generated) - 1e-9
    order = rng.permutation(30)
    again = joint_distance(reference[order], reference_attributes[order], generated, attributes)
    assert again == pytest.approx(found, rel=1e-6, abs=1e-6)


def test_joint_distance__does_not_depend_on_the_unit_of_features():
    reference_attributes, attributes = labels(0, 500), labels(1, 500)
    reference, generated = features_of(reference_attributes, 2), features_of(attributes, 3)
    found = joint_distance(reference, reference_attributes, generated, attributes)
    scaled = joint_distance(1024 * reference, reference_attributes, 1024 * generated, attributes)
    assert scaled == pytest.approx(1024**2 * found, rel=1e-5)


def test_intra_attribute_distances__are_of_those_who_have_it():
    reference_attributes, attributes = labels(0, 1000), labels(1, 800)
    reference, generated = features_of(reference_attributes, 2), features_of(attributes, 3)
    found = intra_attribute_distances(
        reference, reference_attributes, generated, attributes, least=100
    )
    rows = reference_attributes[:, 1] == 1, attributes[:, 1] == 1
    assert found[1] == frechet_distance(reference[rows[0]], generated[rows[1]])
    assert np.isnan(found[2])  # 5 % of either.
    fewest = min(rows[0].sum(), rows[1].sum())
    for least, known in ((fewest, True), (fewest + 1, False)):
        found = intra_attribute_distances(
            reference, reference_attributes, generated, attributes, least=int(least)
        )
        assert np.isfinite(found[1]) == known


# What is refused.


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        (np.zeros((9, 3), np.uint8), r"attributes has the shape \(9, 3\): \(10, 3\)"),
        (np.zeros((10, 2), np.uint8), r"attributes has the shape \(10, 2\): \(10, 3\)"),
        (np.full((10, 3), 255, np.uint8), r"attributes holds 255: 0 \(lacks it\) or 1"),
    ],
)
def test_scores__refuse_attributes_of_other_shapes_or_values(attributes, message):
    logits, good = np.zeros((10, 3)), np.ones((10, 3), np.uint8)
    with pytest.raises(ValueError, match=message):
        attribute_rates(logits, attributes)
    with pytest.raises(ValueError, match=message):
        compare_swaps(logits, np.zeros((3, 10, 3)), attributes)
    for distance in (intra_attribute_distances, joint_distance):
        with pytest.raises(ValueError, match=f"generated_{message}"):
            distance(logits, good, logits, attributes)


def test_scores__refuse_logits_that_are_no_numbers():
    attributes, logits = labels(0, 10), np.full((10, 3), np.nan)
    with pytest.raises(ValueError, match="logits holds NaN"):
        attribute_rates(logits, attributes)
    with pytest.raises(ValueError, match=r"after\[0\] holds NaN"):
        compare_swaps(np.zeros((10, 3)), np.stack([logits] * 3), attributes)
    with pytest.raises(ValueError, match=r"after has the shape \(2, 10, 3\): \(3, 10, 3\)"):
        compare_swaps(np.zeros((10, 3)), np.zeros((2, 10, 3)), attributes)


def test_joint_distance__needs_a_reference_that_has_something():
    features, none = np.ones((10, 2)), np.zeros((10, 3), np.uint8)
    with pytest.raises(ValueError, match="reference_attributes are all 0"):
        joint_distance(features, none, features, none)
