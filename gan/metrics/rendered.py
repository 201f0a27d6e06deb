"""How well generated faces keep to the known law of the rendered ones (`gan.data.faces.dataset`).

There the labels have no error, and any number of fresh ones can be had. `draw_labels` are what to
ask a generator for, and what to compare with: a training set has few persons, and so is itself
further from the law than chance allows for its number of pictures. The attributes of generated
pictures are decoded by a network; if it errs, compare with what it decodes from fresh real
pictures, and its errors are on both sides.
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

Attributes = UInt8[np.ndarray, "_ 40"]  # 0 | 1, in the order of ATTRIBUTES.

# Plain to see: in pictures of 64 pixels each changes 60 or more, at the median.
PLAIN = (
    *("Bald", "Bangs", "Black_Hair", "Blond_Hair", "Eyeglasses", "Male", "Mouth_Slightly_Open"),
    *("No_Beard", "Smiling", "Wavy_Hair", "Wearing_Hat", "Wearing_Necktie"),
)
CELLS = 2 ** len(PLAIN)
SEED = 1  # Of fresh labels; the training set's is 0.
CHUNK = 20_000
EXPECTED = 5  # Faces, from which a cell counts as expected and a z test as valid.
SIGNIFICANCE = 0.01  # Of a false alarm among all pairs.
REPEATS = 20


class JointScores(NamedTuple):
    """The joint distribution of the attributes `PLAIN`, beside its law."""

    total_variation: float  # In [0, 1]: the share of faces that are in the wrong cell.
    floor: float  # What as many draws of the law itself have, on average.
    missing_cells: int  # Combinations expected 5 times or more that never occur; by chance 1 or 2.
    expected_cells: int  # Those expected so often.
    differing_pairs: tuple[tuple[str, str], ...]  # Pairs of attributes whose 2 x 2 tables differ.
    contradictions: float  # Share of faces that break a rule of the sampler, of any attribute.


def draw_labels(num: int, seed: int = SEED) -> UInt8[np.ndarray, "_ 40"]:
    """Attributes of `num` faces, each of another person: independent draws of the law.

    Raises ValueError for less than one.
    """
    if num < 1:
        raise ValueError(f"num is {num}: 1 or more")
    parts = []
    for start in range(0, num, CHUNK):  # All of one size, to compile once.
        index = jnp.arange(start, start + CHUNK) * IMAGES_PER_IDENTITY
        parts.append(np.asarray(describe_faces(seed, index).attributes)[: num - start])
    return np.concatenate(parts)


def score_joint(decoded: Attributes, law: Attributes, seed: int = 0) -> JointScores:
    """Compares the decoded attributes of generated faces with `law`, draws of the law.

    A million of these are enough for 50,000 faces; the floor and the tests reckon with their
    number. `seed` is the floor's. Raises ValueError for an empty set or values other than 0 and 1.
    """
    _check(decoded=decoded, law=law)
    (n, counts), (m, law_counts) = ((len(x), _histogram(x)) for x in (decoded, law))
    share = law_counts / m
    rng = np.random.default_rng(seed)
    draws = [rng.multinomial(size, share, REPEATS) / size for size in (n, m)]
    expected = n * share >= EXPECTED
    return JointScores(
        total_variation=float(_total_variation(counts / n, share)),
        floor=float(_total_variation(*draws).mean()),
        missing_cells=int((expected & (counts == 0)).sum()),
        expected_cells=int(expected.sum()),
        differing_pairs=_differing_pairs(counts, law_counts),
        contradictions=contradictions(decoded),
    )


def contradictions(attributes: Attributes) -> float:
    """Share of faces that no rendered one is like: bald with bangs, bearded with no beard...

    What is never drawn does not count, as no decoder can have learnt it.
    """
    drawn = [name not in UNDRAWN for name in ATTRIBUTES]
    return float(1 - consistent_rows(attributes * np.array(drawn, np.uint8)).mean())


class Compositions(NamedTuple):
    """Share of requests of which all attributes came out, NaN where there is no such request."""

    seen: float  # Of combinations that occur in training.
    unseen: float  # Of those that do not.
    num_seen: int  # Requests of either kind.
    num_unseen: int


def score_compositions(
    train: Attributes,
    requested: Attributes,
    decoded: Attributes,
    names: Sequence[str] = PLAIN,
    rare: int = 0,
) -> Compositions:
    """Whether attributes can be combined in new ways: by the combinations of those in `names`.

    One that `rare` training faces or fewer have is unseen. Unseen combinations hold rarer, so
    harder, attributes as well. Raises ValueError for an empty set, other than one decoded row a
    request, values other than 0 and 1, or a name that is not in ATTRIBUTES.
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
    """The combination of the attributes `names` as a number, one bit each."""
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
    """Where any of the four cells differs: z tests of two shares, corrected by Holm (1979)."""
    first, second = np.triu_indices(len(PLAIN), k=1)
    (n, table), (m, law) = (
        (x.sum(), _pair_tables(x)[:, first, second]) for x in (counts, law_counts)
    )
    pooled = (table + law) / (n + m)
    # A cell that is all but impossible has no normal error: contradictions tell of it.
    tested = np.minimum(pooled, 1 - pooled) * min(n, m) >= EXPECTED
    pooled = pooled[tested]
    error = np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    z = (table[tested] / n - law[tested] / m) / error
    differs = np.zeros_like(tested)
    differs[tested] = _holm(2 * scipy.special.ndtr(-np.abs(z)))
    return tuple((PLAIN[first[i]], PLAIN[second[i]]) for i in np.flatnonzero(differs.any(axis=0)))


def _pair_tables(counts: Int[np.ndarray, " cells"]) -> Float64[np.ndarray, "4 p p"]:
    """Of each pair of attributes the faces with both, the first only, the second only, neither."""
    has = (np.arange(CELLS)[:, None] >> np.arange(len(PLAIN)) & 1).astype(np.float64)
    sides = (has, 1 - has)
    return np.stack([(a.T * counts) @ b for a in sides for b in sides])


def _holm(p_values: Float64[np.ndarray, " t"]) -> Bool[np.ndarray, " t"]:
    order = np.argsort(p_values)
    passes = p_values[order] <= SIGNIFICANCE / np.arange(len(order), 0, -1)
    rejected = np.empty(len(order), bool)
    rejected[order] = np.logical_and.accumulate(passes)  # The first to fail ends it.
    return rejected


def _mean(correct: Bool[np.ndarray, " n"]) -> float:
    return float(correct.mean()) if len(correct) else float("nan")


def _check(**sets: Attributes) -> None:
    for name, attributes in sets.items():
        if not len(attributes):
            raise ValueError(f"{name} has the shape {attributes.shape}: one face or more")
        if (attributes > 1).any():
            raise ValueError(f"{name} holds {attributes.max()}: 0 (lacks it) or 1 (has it)")
