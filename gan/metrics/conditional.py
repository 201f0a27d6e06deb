"""Whether generated faces show what was requested, as an attribute classifier reads them.

The classifier finds an attribute where its logit is above 0. Its rates on generated pictures are
compared with those on real pictures that it was not trained on, because a request cannot seem met
more often than the attribute is found at all. Rates are balanced: most attributes are rare, and a
plain accuracy of 80 % on CelebA is reached by never finding any.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import scipy.special
from jaxtyping import Bool, Float, Float64, Int, UInt8

from gan.metrics.distances import Features, check_features, frechet_distance

Logits = Float[np.ndarray, "_ _"]
Attributes = UInt8[np.ndarray, "_ _"]  # [n a], 0 (lacks it) or 1 (has it).

CHANCE = 0.5  # Balanced accuracy of guesses, and of always the same answer.
READABLE = 0.6  # Below it the classifier hardly knows the attribute: its answers say nothing.
SURE, FAIR = 0.9, 0.75  # Balanced accuracy on real pictures, from which a tier begins.
# Two annotators who labelled the same CelebA pictures anew agreed on these no better than by chance
# (Wu et al. 2023, arXiv 2210.07356, abstract).
RANDOM_IN_CELEBA = ("High_Cheekbones", "Oval_Face", "Pointy_Nose")


class Rates(NamedTuple):
    """How well the classifier finds each attribute: shares in [0, 1], NaN without such faces."""

    true_positive: Float64[np.ndarray, " a"]  # Found, among faces requested to have it.
    true_negative: Float64[np.ndarray, " a"]  # Not found, among faces requested to lack it.
    balanced_accuracy: Float64[np.ndarray, " a"]  # Mean of these two.
    f1: Float64[np.ndarray, " a"]  # Harmonic mean of `true_positive` and `precision`.
    precision: Float64[np.ndarray, " a"]  # Requested, among faces in which it is found.
    positives: Int[np.ndarray, " a"]  # Number of faces requested to have it.


def attribute_rates(logits: Logits, attributes: Attributes) -> Rates:
    """Compares the classifier's logits [n a] with requests, or labels of real pictures, [n a].

    Raises ValueError for different shapes, attributes other than 0 and 1, NaN or infinity.
    """
    check_features(1, logits=logits)
    _check_attributes("attributes", attributes, logits.shape)
    requested, found = attributes == 1, logits > 0
    hits = (requested & found).sum(axis=0)
    rejections = (~requested & ~found).sum(axis=0)
    positives, findings = requested.sum(axis=0), found.sum(axis=0)
    true_positive = _ratio(hits, positives)
    true_negative = _ratio(rejections, len(logits) - positives)
    return Rates(
        true_positive=true_positive,
        true_negative=true_negative,
        balanced_accuracy=(true_positive + true_negative) / 2,
        f1=_ratio(2 * hits, np.where(positives, positives + findings, 0)),
        precision=_ratio(hits, findings),
        positives=positives,
    )


def accuracy_ratio(
    generated: Rates, reference: Rates, where: Bool[np.ndarray, " a"] | None = None
) -> float:
    """Mean balanced accuracy on generated pictures, over the same on real ones.

    The means are over `comparable_attributes`, and those of them in `where` if it is given. At 1
    requests show as clearly as attributes of real pictures do; caricatures exceed 1. A generator
    that ignores requests gets about 0.5 / 0.9, not 0: see `control`. NaN if no attribute counts.
    """
    return _compare(generated, reference, where, 0.0)


def control(
    generated: Rates, reference: Rates, where: Bool[np.ndarray, " a"] | None = None
) -> float:
    """(mean balanced accuracy - 0.5) on generated pictures, over the same on real ones.

    The means are those of `accuracy_ratio`: 0 where requests are ignored, 1 where they show as
    clearly as attributes of real pictures do. For one attribute it is by how much requesting it
    raises the share of faces that have it, corrected for the classifier's errors (Rogan & Gladen
    1978), if it errs on generated pictures as it does on real ones. NaN if no attribute counts.
    """
    return _compare(generated, reference, where, CHANCE)


def comparable_attributes(generated: Rates, reference: Rates) -> Bool[np.ndarray, " a"]:
    """Whether each attribute was both requested and not, and is found in real pictures.

    A classifier at chance on real pictures is at chance on generated ones too, which would give a
    ratio of 1.
    """
    return np.isfinite(generated.balanced_accuracy) & (reference.balanced_accuracy >= READABLE)


def _compare(
    generated: Rates, reference: Rates, where: Bool[np.ndarray, " a"] | None, zero: float
) -> float:
    counts = comparable_attributes(generated, reference) & (True if where is None else where)
    if not counts.any():
        return float("nan")
    excess = [rates.balanced_accuracy[counts].mean() - zero for rates in (generated, reference)]
    return float(excess[0] / excess[1])


def assign_tiers(
    names: Sequence[str], reference: Rates, random: Collection[str] = RANDOM_IN_CELEBA
) -> list[str]:
    """Says how far each attribute's numbers can be trusted: "sure", "fair" or "unsure".

    It depends on the balanced accuracy on held-out real pictures: sure from 0.9 on, fair from 0.75
    on. Attributes in `random` are unsure anyway: their labels can be predicted from others and yet
    mean nothing. Pass () for labels without errors. Raises ValueError unless there is one name for
    each rate.
    """
    if len(names) != len(reference.balanced_accuracy):
        raise ValueError(
            f"{len(names)} names for {len(reference.balanced_accuracy)} rates: one each"
        )

    def tier(name: str, accuracy: float) -> str:
        if name in random or not accuracy >= FAIR:  # NaN is unsure, too.
            return "unsure"
        return "sure" if accuracy >= SURE else "fair"

    return [tier(*pair) for pair in zip(names, reference.balanced_accuracy, strict=True)]


class Swaps(NamedTuple):
    """What changes in faces when one attribute of their request is flipped, with equal latents."""

    # Share of faces that show attribute i as requested, both before and after flipping it.
    success: Float64[np.ndarray, " a"]
    # Share of faces in which the decision on attribute j changes when i is flipped, at [i, j]; NaN
    # where i and j exclude each other, as the request then changes both.
    moved: Float64[np.ndarray, "a a"]
    # Mean change of the probability of attribute j when i is turned on, in [-1, 1], at [i, j].
    shift: Float64[np.ndarray, "a a"]

    @property
    def mean_success(self) -> float:
        """Mean of `success`: 1 is full control, and 0 is none, as unchanged faces fail once."""
        return float(self.success.mean())

    @property
    def leakage(self) -> float:
        """Mean of `moved` off its diagonal; NaN if nothing is there.

        The best value is above 0: requesting black hair rightly takes blond hair away.
        """
        off = ~np.eye(len(self.moved), dtype=bool) & np.isfinite(self.moved)
        return float(self.moved[off].mean()) if off.any() else float("nan")


def same_group(names: Sequence[str], groups: Sequence[Collection[str]]) -> Bool[np.ndarray, "a a"]:
    """Tells of each pair of attributes whether one of the groups holds both."""
    member = np.array([[name in group for name in names] for group in groups], bool)
    member = member.reshape(len(groups), len(names))
    return (member[:, :, None] & member[:, None, :]).any(axis=0)


def compare_swaps(
    before: Logits,
    after: Float[np.ndarray, "_ _ _"],
    attributes: Attributes,
    exclude: Bool[np.ndarray, "a a"] | None = None,
) -> Swaps:
    """Compares the logits of faces [n a] with those of their variants [a n a].

    The faces were requested by `attributes` [n a]. Variant i has the same latents and the same
    request, with attribute i flipped, and another of those that `exclude` it. Leave out attributes
    that do not vary in training, because no generator can follow them. Raises ValueError for
    different shapes, attributes other than 0 and 1, NaN or infinity.
    """
    check_features(1, before=before)
    _check_attributes("attributes", attributes, before.shape)
    (n, a), decided, probable = before.shape, before > 0, _sigmoid(before)
    if after.shape != (a, n, a):
        raise ValueError(f"after has the shape {after.shape}: {(a, n, a)}, each face a variant")
    success, moved, shift = np.empty(a), np.empty((a, a)), np.empty((a, a))
    for i, variant in enumerate(after):
        check_features(1, **{f"after[{i}]": variant})
        requested, decision = attributes[:, i] == 1, variant > 0
        moved[i] = (decision != decided).mean(axis=0)
        success[i] = ((decided[:, i] == requested) & (decision[:, i] != requested)).mean()
        towards = np.where(requested, -1.0, 1.0)  # The flip turned it off (-1) or on (1).
        shift[i] = towards @ (_sigmoid(variant) - probable) / n
    if exclude is not None:
        moved[exclude & ~np.eye(a, dtype=bool)] = np.nan
    return Swaps(success, moved, shift)


def intra_attribute_distances(
    reference_features: Features,
    reference_attributes: Attributes,
    generated_features: Features,
    generated_attributes: Attributes,
    least: int = 500,
) -> Float64[np.ndarray, " a"]:
    """Frechet distance, for each attribute, among the pictures that have it (or should have it).

    Features are [n d], attributes [n a]. It is NaN where either side has fewer than `least` such
    pictures. Its bias is of order 1/n: a value compares with its own baseline only, not with other
    attributes. Raises ValueError for different shapes, attributes other than 0 and 1, NaN or
    infinity.
    """
    _check_pairs(reference_features, reference_attributes, generated_features, generated_attributes)
    distances = np.full(reference_attributes.shape[1], np.nan)
    for i, (in_reference, in_generated) in enumerate(
        zip(reference_attributes.T, generated_attributes.T, strict=True)
    ):
        if min(in_reference.sum(), in_generated.sum()) >= least:
            distances[i] = frechet_distance(
                reference_features[in_reference == 1], generated_features[in_generated == 1]
            )
    return distances


def joint_distance(
    reference_features: Features,
    reference_attributes: Attributes,
    generated_features: Features,
    generated_attributes: Attributes,
) -> float:
    """FJD: Frechet distance between pictures joined with their requests (or labels).

    (DeVries et al. 2019, arXiv 1907.08175, equations 4-6.) Features [n d] are joined with
    attributes [n a], times the mean norm of the reference's features over that of its attributes
    (section 4.2). It is at least the Frechet distance between the features alone; the rest tells of
    good pictures that are not what was requested, or of requests unlike the reference's labels.
    Raises ValueError for different shapes, attributes other than 0 and 1, NaN, infinity, or
    reference attributes that are all 0.
    """
    _check_pairs(reference_features, reference_attributes, generated_features, generated_attributes)
    norm = _mean_norm(reference_attributes)
    if not norm:
        raise ValueError("reference_attributes are all 0: one must be there for the scale")
    scale = _mean_norm(reference_features) / norm
    return frechet_distance(
        np.hstack(
            [reference_features, (scale * reference_attributes).astype(reference_features.dtype)]
        ),
        np.hstack(
            [generated_features, (scale * generated_attributes).astype(generated_features.dtype)]
        ),
    )


def _mean_norm(rows: Features | Attributes) -> float:
    return float(np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64)).mean())


def _ratio(a: Int[np.ndarray, " a"], b: Int[np.ndarray, " a"]) -> Float64[np.ndarray, " a"]:
    return np.divide(a, b, out=np.full(len(b), np.nan), where=b > 0)


def _sigmoid(logits: Logits) -> Float64[np.ndarray, "_ _"]:
    return scipy.special.expit(logits.astype(np.float64))


def _check_pairs(
    reference_features: Features,
    reference_attributes: Attributes,
    generated_features: Features,
    generated_attributes: Attributes,
) -> None:
    check_features(2, reference_features=reference_features, generated_features=generated_features)
    width = reference_attributes.shape[1]
    _check_attributes(
        "reference_attributes", reference_attributes, (len(reference_features), width)
    )
    _check_attributes(
        "generated_attributes", generated_attributes, (len(generated_features), width)
    )


def _check_attributes(name: str, attributes: Attributes, shape: tuple[int, int]) -> None:
    if attributes.shape != shape:
        raise ValueError(f"{name} has the shape {attributes.shape}: {shape}, a row for each face")
    if (attributes > 1).any():
        raise ValueError(f"{name} holds {attributes.max()}: 0 (lacks it) or 1 (has it)")
