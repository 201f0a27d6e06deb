"""Scores that exist for rendered faces alone, whose law is known (`gan.data.faces.dataset`).

The labels of rendered faces have no errors, and any number of new ones can be drawn: request those
of `draw_labels` from a generator, and compare with them. The training set does not serve for that,
as it has few persons, and so is further from the law than its number of pictures would explain.
The attributes of generated faces are decoded by a classifier. Its errors cancel if its decisions on
new rendered faces are the baseline.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Bool, Float64, Int, UInt8

from gan.data.faces.dataset import describe_faces
from gan.data.faces.traits import ATTRIBUTES, IMAGES_PER_IDENTITY, UNDRAWN, consistent_rows
from gan.errors import nearest
from gan.metrics.scores import Measured

Attributes = UInt8[np.ndarray, "_ 40"]  # 0 (lacks it) or 1 (has it), in the order of ATTRIBUTES.

# Attributes that are plain to see: each changes at least 60 pixels of 64 x 64, at the median.
PLAIN = (
    *("Bald", "Bangs", "Black_Hair", "Blond_Hair", "Eyeglasses", "Male", "Mouth_Slightly_Open"),
    *("No_Beard", "Smiling", "Wavy_Hair", "Wearing_Hat", "Wearing_Necktie"),
)
CELLS = 2 ** len(PLAIN)  # Combinations of these attributes.
SEED = 1  # Seed of new labels; that of the training set is 0.
CHUNK = 20_000  # Labels that are drawn at a time.
EXPECTED = 5  # A cell counts as expected, and a z test as valid, from so many faces on.
SIGNIFICANCE = 0.01  # Probability of a false alarm among all pairs.
REPEATS = 20  # Draws of the law that the baseline is the mean of.


class JointScores(NamedTuple):
    """The joint distribution of the attributes `PLAIN`, compared with its law."""

    total_variation: float  # Share of faces in a wrong cell, in [0, 1].
    baseline: float  # The same for as many draws of the law itself, on average.
    missing_cells: int  # Cells that are expected 5 times or more and stay empty; by chance 1 or 2.
    expected_cells: int  # Cells that are expected 5 times or more.
    differing_pairs: tuple[tuple[str, str], ...]  # Pairs of attributes whose 2 x 2 tables differ.
    contradictions: float  # Share of faces that break a rule of the sampler, by any attribute.


def draw_labels(num: int, seed: int = SEED) -> UInt8[np.ndarray, "_ 40"]:
    """Draws the attributes [num 40] of faces, each of another person: they are independent.

    Raises ValueError for `num` below 1.
    """
    if num < 1:
        raise ValueError(f"num is {num}: 1 or more")
    parts = []
    for start in range(0, num, CHUNK):  # All chunks have one size, to compile once.
        index = jnp.arange(start, start + CHUNK) * IMAGES_PER_IDENTITY
        parts.append(np.asarray(describe_faces(seed, index).attributes)[: num - start])
    return np.concatenate(parts)


def score_joint(decoded: Attributes, law: Attributes, seed: int = 0) -> JointScores:
    """Compares the decoded attributes of generated faces [n 40] with draws of the law [m 40].

    m = 1,000,000 is enough for n = 50,000: baseline and tests take m into account. `seed` is that
    of the baseline. Raises ValueError for an empty set or values other than 0 and 1.
    """
    _check(decoded=decoded, law=law)
    (n, counts), (m, law_counts) = ((len(x), _histogram(x)) for x in (decoded, law))
    share = law_counts / m
    rng = np.random.default_rng(seed)
    draws = [rng.multinomial(size, share, REPEATS) / size for size in (n, m)]
    expected = n * share >= EXPECTED
    return JointScores(
        total_variation=float(_total_variation(counts / n, share)),
        baseline=float(_total_variation(*draws).mean()),
        missing_cells=int((expected & (counts == 0)).sum()),
        expected_cells=int(expected.sum()),
        differing_pairs=_differing_pairs(counts, law_counts),
        contradictions=contradiction_rate(decoded),
    )


def contradiction_rate(attributes: Attributes) -> float:
    """Share of faces with attributes that no rendered face combines, such as bald with bangs.

    Attributes that are never drawn do not count, as no classifier can have learnt them.
    """
    drawn = [name not in UNDRAWN for name in ATTRIBUTES]
    return float(1 - consistent_rows(attributes * np.array(drawn, np.uint8)).mean())


def score_rendered(
    train: Attributes,
    requests: Attributes,
    generated: Attributes,
    real: Attributes,
    law: Attributes,
) -> dict[str, Measured]:
    """Computes every score of rendered faces, with its baseline and its number of cases.

    `generated` [n 40] are decoded from faces that were generated for `requests` [n 40], `real` from
    rendered faces that have the attributes `requests`. `train` and `law` are the labels of the
    training set and draws of the law. Raises ValueError as the functions do that it calls.
    """
    joint, joint_real = (score_joint(decoded, law) for decoded in (generated, real))
    whole, whole_real = (
        score_compositions(train, requests, decoded) for decoded in (generated, real)
    )
    return {
        "joint": Measured(joint.total_variation, joint_real.total_variation),
        "contradictions": Measured(joint.contradictions, joint_real.contradictions),
        "correct_seen": Measured(whole.seen, whole_real.seen, whole.num_seen),
        "correct_unseen": Measured(whole.unseen, whole_real.unseen, whole.num_unseen),
    }


class Compositions(NamedTuple):
    """Share of requests of which every attribute came out; NaN without such requests."""

    seen: float  # Among requests whose combination occurs in training.
    unseen: float  # Among requests whose combination does not.
    num_seen: int  # Number of requests whose combination occurs in training.
    num_unseen: int  # Number of requests whose combination does not.


def score_compositions(
    train: Attributes,
    requested: Attributes,
    decoded: Attributes,
    names: Sequence[str] = PLAIN,
    rare: int = 0,
) -> Compositions:
    """Scores whether attributes can be combined in new ways: attributes `names` of [n 40].

    A combination is unseen if at most `rare` training faces have it. Unseen ones also hold rarer,
    and so harder, attributes. Raises ValueError for an empty set, values other than 0 and 1, a name
    that is not in ATTRIBUTES, or unless there is one decoded row for each request.
    """
    _check(train=train, requested=requested, decoded=decoded)
    if len(requested) != len(decoded):
        raise ValueError(f"{len(decoded)} decoded rows for {len(requested)} requests: one each")
    combinations, faces = np.unique(_cells(train, names), return_counts=True)
    asked = _cells(requested, names)
    seen = np.isin(asked, combinations[faces > rare])
    correct = _cells(decoded, names) == asked
    return Compositions(
        seen=_mean(correct[seen]),
        unseen=_mean(correct[~seen]),
        num_seen=int(seen.sum()),
        num_unseen=int((~seen).sum()),
    )


def _cells(attributes: Attributes, names: Sequence[str]) -> Int[np.ndarray, " n"]:
    """Number of each row's combination of the attributes `names`, one bit each."""
    for name in names:
        if name not in ATTRIBUTES:
            raise ValueError(f"names: {name!r} is no attribute.{nearest(name, ATTRIBUTES)}")
    columns = attributes[:, [ATTRIBUTES.index(name) for name in names]]
    return columns @ (1 << np.arange(len(names)))


def _histogram(attributes: Attributes) -> Int[np.ndarray, " cells"]:
    return np.bincount(_cells(attributes, PLAIN), minlength=CELLS)


def _total_variation(
    a: Float64[np.ndarray, "*n cells"], b: Float64[np.ndarray, "*n cells"]
) -> Float64[np.ndarray, "*n"] | np.float64:
    return np.abs(a - b).sum(axis=-1) / 2


def _differing_pairs(
    counts: Int[np.ndarray, " cells"], law_counts: Int[np.ndarray, " cells"]
) -> tuple[tuple[str, str], ...]:
    """Pairs of which any of four cells differs: z tests of two shares, by Holm's method (1979)."""
    first, second = np.triu_indices(len(PLAIN), k=1)
    (n, table), (m, law) = (
        (x.sum(), _pair_tables(x)[:, first, second]) for x in (counts, law_counts)
    )
    pooled = (table + law) / (n + m)
    # The error of a nearly impossible cell is not normal; contradictions tell of such cells.
    tested = np.minimum(pooled, 1 - pooled) * min(n, m) >= EXPECTED
    pooled = pooled[tested]
    error = np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    z = (table[tested] / n - law[tested] / m) / error
    differs = np.zeros_like(tested)
    differs[tested] = _holm(2 * scipy.special.ndtr(-np.abs(z)))
    return tuple((PLAIN[first[i]], PLAIN[second[i]]) for i in np.flatnonzero(differs.any(axis=0)))


def _pair_tables(counts: Int[np.ndarray, " cells"]) -> Float64[np.ndarray, "4 p p"]:
    """Counts faces with both, the first only, the second only, and neither of two attributes."""
    has = (np.arange(CELLS)[:, None] >> np.arange(len(PLAIN)) & 1).astype(np.float64)
    sides = (has, 1 - has)
    return np.stack([(a.T * counts) @ b for a in sides for b in sides])


def _holm(p_values: Float64[np.ndarray, " t"]) -> Bool[np.ndarray, " t"]:
    """Says which hypotheses are rejected (Holm 1979): after the first that is not, no other is."""
    order = np.argsort(p_values)
    passes = p_values[order] <= SIGNIFICANCE / np.arange(len(order), 0, -1)
    rejected = np.empty(len(order), bool)
    rejected[order] = np.logical_and.accumulate(passes)
    return rejected


def _mean(correct: Bool[np.ndarray, " n"]) -> float:
    return float(correct.mean()) if len(correct) else float("nan")


def _check(**sets: Attributes) -> None:
    for name, attributes in sets.items():
        if not len(attributes):
            raise ValueError(f"{name} has the shape {attributes.shape}: one face or more")
        if (attributes > 1).any():
            raise ValueError(f"{name} holds {attributes.max()}: 0 (lacks it) or 1 (has it)")
