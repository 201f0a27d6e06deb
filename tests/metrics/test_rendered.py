"""Scores against the law of the rendered faces: samplers that keep it, and some that do not."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from gan.data.faces import dataset
from gan.data.faces.traits import ATTRIBUTES
from gan.metrics import rendered
from gan.metrics.rendered import (
    PLAIN,
    contradiction_rate,
    draw_labels,
    score_compositions,
    score_joint,
    score_rendered,
)

NUM = 20_000


@pytest.fixture(scope="module")
def law():
    return draw_labels(200_000)


@pytest.fixture
def sample():
    """What a perfect generator shows."""
    return draw_labels(NUM, seed=2)


def column(name: str) -> int:
    return ATTRIBUTES.index(name)


def pairs_of(*names: str) -> set[tuple[str, str]]:
    return {(a, b) for i, a in enumerate(PLAIN) for b in PLAIN[i + 1 :] if {a, b} & set(names)}


def without(sample: np.ndarray, *names: str) -> np.ndarray:
    """Without the faces that have all of these."""
    has = sample[:, [column(name) for name in names]]
    return sample[~has.all(axis=1)]


# Fresh labels.


def test_draw_labels__are_of_faces_of_different_people():
    chunk, start = rendered.CHUNK, rendered.CHUNK - 10
    index = np.arange(start, start + chunk) * dataset.IMAGES_PER_IDENTITY
    known = dataset.describe_faces(3, jnp.asarray(index))
    np.testing.assert_array_equal(draw_labels(chunk + 7, seed=3)[start:], known.attributes[:17])
    assert len(np.unique(known.identity)) == chunk
    with pytest.raises(ValueError, match="num is 0: 1 or more"):
        draw_labels(0)


def test_draw_labels__are_not_the_training_set():
    assert rendered.SEED != dataset.SEED


# The joint distribution.


def test_score_joint__of_a_sampler_that_keeps_the_law_is_the_baseline(law, sample):
    found = score_joint(sample, law)
    assert found.total_variation == pytest.approx(found.baseline, rel=0.1)
    assert found.differing_pairs == ()
    assert found.expected_cells > 200
    assert found.missing_cells <= 3
    assert found.contradictions == 0


def test_score_joint__raises_few_false_alarms_though_the_law_is_known_by_few_draws(law):
    parts = itertools.pairwise(np.split(law, 20))
    alarms = [bool(score_joint(*sets).differing_pairs) for sets in parts]
    assert sum(alarms) <= 2  # 0.2 expected.


def test_score_joint__baseline_falls_with_the_number_of_faces(law, sample):
    few, many = score_joint(sample[:200], law), score_joint(sample, law)
    assert few.baseline > 3 * many.baseline
    assert few.total_variation == pytest.approx(few.baseline, rel=0.15)
    assert many == score_joint(sample, law)  # The baseline is drawn by a seed.
    assert many.baseline != score_joint(sample, law, seed=1).baseline


def test_score_joint__total_variation_by_hand():
    rows = np.zeros((4, 40), np.uint8)
    rows[:, column("Smiling")] = (0, 1, 1, 1)
    rows[:, column("Big_Nose")] = (0, 1, 0, 1)  # Not among those compared.
    other = rows.copy()
    other[:, column("Smiling")] = (0, 0, 0, 1)
    assert score_joint(rows, other).total_variation == pytest.approx(0.5)
    other[:, column("Male")] = 1
    assert score_joint(rows, other).total_variation == 1
    assert score_joint(rows, rows).total_variation == 0


def test_score_joint__missing_cells_by_hand():
    def smiling(*values):
        rows = np.zeros((len(values), 40), np.uint8)
        rows[:, column("Smiling")] = values
        return rows

    law = smiling(0, 1)
    for values, missing, expected in (
        ([0] * 9 + [1], 0, 2),
        ([0] * 10, 1, 2),
        ([0] * 9, 0, 0),  # 4.5 expected of either.
    ):
        found = score_joint(smiling(*values), law)
        assert (found.missing_cells, found.expected_cells) == (missing, expected)


def test_score_joint__finds_a_dropped_mode(law, sample):
    found = score_joint(without(sample, "Bald"), law)
    assert found.missing_cells > 5
    assert pairs_of("Bald") <= set(found.differing_pairs)
    rarer = score_joint(without(sample, "Eyeglasses", "Male"), law)
    assert rarer.missing_cells > 5
    assert ("Eyeglasses", "Male") in rarer.differing_pairs


def test_score_joint__finds_an_ignored_dependence_without_any_wrong_share(law, sample):
    """Mouths that open regardless of the smile, as often as they should."""
    mouth, smile = column("Mouth_Slightly_Open"), column("Smiling")
    # Within each sex, on which both may depend.
    for male in (0, 1):
        rows = np.flatnonzero(sample[:, column("Male")] == male)
        sample[rows, mouth] = np.random.default_rng(male).permutation(sample[rows, mouth])
    found = score_joint(sample, law)
    assert found.total_variation > 2 * found.baseline
    assert ("Mouth_Slightly_Open", "Smiling") in found.differing_pairs
    assert set(found.differing_pairs) <= pairs_of("Mouth_Slightly_Open")
    assert abs(sample[:, mouth].mean() - law[:, mouth].mean()) < 0.01
    assert abs(sample[:, smile].mean() - law[:, smile].mean()) < 0.01


def test_score_joint__shows_a_wrong_share_in_all_pairs_of_the_attribute_and_in_no_other(
    law, sample
):
    smile = sample[:, column("Smiling")]
    smile |= np.random.default_rng(0).random(NUM) < 0.2
    assert set(score_joint(sample, law).differing_pairs) == pairs_of("Smiling")


def test_score_joint__does_not_depend_on_the_order_of_faces(law, sample):
    shuffled = np.random.default_rng(0).permutation(sample)
    assert score_joint(shuffled, law) == score_joint(sample, law)


def test_score_joint__errors_of_a_decoder_on_both_sides_cancel(law, sample):
    def decode(attributes, seed):
        return attributes ^ (np.random.default_rng(seed).random(attributes.shape) < 0.02)

    assert score_joint(decode(sample, 0), law).differing_pairs
    found = score_joint(decode(sample, 0), decode(law, 1))
    assert found.differing_pairs == ()
    assert found.total_variation == pytest.approx(found.baseline, rel=0.1)


def test_holm__by_hand():
    # Thresholds 0.01 / 4, / 3, / 2, / 1: the third fails, so the last, which would pass, does not.
    p_values = np.array([0.009, 0.0024, 0.0033, 0.006])
    np.testing.assert_array_equal(rendered._holm(p_values), [False, True, True, False])
    assert rendered._holm(np.array([0.009])).all()
    assert not rendered._holm(np.empty(0)).size


# Contradictions.


def test_contradiction_rate__counts_what_no_rendered_face_is_like(sample):
    assert contradiction_rate(sample) == 0
    sample[:, column("Attractive")] = 1  # Never drawn, so never learnt.
    assert contradiction_rate(sample) == 0
    sample[: NUM // 4, column("No_Beard")] ^= 1
    assert contradiction_rate(sample) == pytest.approx(0.25)


# New combinations.


def test_score_compositions__by_hand():
    def rows(*pairs):
        out = np.zeros((len(pairs), 40), np.uint8)
        out[:, [column("Eyeglasses"), column("Wearing_Hat")]] = pairs
        return out

    train = rows((0, 0), (0, 0), (0, 1), (1, 0), (1, 0))
    requested = rows((0, 0), (0, 1), (1, 0), (1, 1), (1, 1), (1, 1))
    decoded = rows((0, 0), (0, 0), (1, 0), (1, 1), (0, 1), (0, 0))
    names = ("Eyeglasses", "Wearing_Hat")
    found = score_compositions(train, requested, decoded, names)
    assert found == pytest.approx((2 / 3, 1 / 3, 3, 3))
    # What one face has is unseen, too.
    assert score_compositions(train, requested, decoded, names, rare=1) == pytest.approx(
        (1, 1 / 4, 2, 4)
    )
    # Another attribute is of no concern unless asked about.
    decoded[:, column("Smiling")] = 1
    assert score_compositions(train, requested, decoded, names) == found
    assert score_compositions(train, requested, decoded, (*names, "Smiling")).seen == 0
    everything = score_compositions(requested, requested, requested)
    assert (everything.seen, everything.num_unseen) == (1, 0)
    assert np.isnan(everything.unseen)


def test_score_compositions__a_generator_that_snaps_to_known_faces_fails_on_new_ones(sample):
    """It draws the training face most like the request."""
    names = ("Eyeglasses", "Wearing_Hat", "Male", "Smiling")
    columns = [column(name) for name in names]
    train = without(sample[:10_000], "Eyeglasses", "Wearing_Hat")
    requested = sample[10_000:]
    known = np.unique(train[:, columns], axis=0)
    distance = (requested[:, None, columns] != known).sum(axis=2)
    decoded = requested.copy()
    decoded[:, columns] = known[distance.argmin(axis=1)]
    found = score_compositions(train, requested, decoded, names)
    assert (found.seen, found.unseen) == (1, 0)
    assert found.num_unseen == requested[:, columns[:2]].all(axis=1).sum() > 10


def test_score_rendered__has_baselines_and_counts_the_cases_of_shares(law, sample):
    train = without(sample[:10_000], "Eyeglasses", "Wearing_Hat")
    requests, generated = sample[10_000:11_000], sample[11_000:12_000]
    found = score_rendered(train, requests, generated, requests, law)
    joint, baseline = score_joint(generated, law), score_joint(requests, law)
    assert found["joint"] == (joint.total_variation, baseline.total_variation, None)
    assert found["contradictions"] == (0, 0, None)
    whole = score_compositions(train, requests, generated)
    assert found["correct_seen"] == (whole.seen, 1, whole.num_seen)
    assert found["correct_unseen"] == (whole.unseen, 1, whole.num_unseen)
    assert whole.num_seen + whole.num_unseen == 1000
    assert 0 < whole.num_unseen < 500


# What is refused.


def test_scores__refuse_values_and_shapes_that_cannot_be(law):
    rows = law[:10]
    with pytest.raises(ValueError, match=r"decoded has the shape \(0, 40\): one face or more"):
        score_joint(rows[:0], rows)
    with pytest.raises(ValueError, match="law holds 255: 0"):
        score_joint(rows, np.full((2, 40), 255, np.uint8))
    with pytest.raises(ValueError, match="9 decoded rows for 10 requests: one each"):
        score_compositions(rows, rows, rows[:9])
    with pytest.raises(ValueError, match=r"'Bold' is no attribute\. Did you mean 'Bald'"):
        score_compositions(rows, rows, rows, ("Bold",))
