"""Whether generated faces are what was asked for, as an attribute network sees them.

It sees an attribute where its logit is positive. Its scores on generated pictures stand over those
on real ones that it was not trained on: a request cannot be seen to be met better than attributes
can be seen at all. Accuracy is not among them: few attributes are frequent, so that "no" to all
has 80 % of CelebA right.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import scipy.special
from jaxtyping import Bool, Float, Float64, Int, UInt8

from gan.metrics.distances import Features, check_features, frechet_distance

Logits = Float[np.ndarray, "_ _"]
Attributes = UInt8[np.ndarray, "_ _"]  # 0 | 1

CHANCE = 0.5  # The balanced accuracy of a guess, and of always the same answer.
READABLE = 0.6  # Below, the network hardly knows the attribute: its verdict says nothing.
SURE, FAIR = 0.9, 0.75
# Of two annotators who labelled the same CelebA pictures anew, agreement on these was no better
# than chance (Wu et al. 2023, arXiv 2210.07356, abstract).
RANDOM_IN_CELEBA = ("High_Cheekbones", "Oval_Face", "Pointy_Nose")


class Rates(NamedTuple):
    """Of each attribute, shares in [0, 1]; NaN where there was nothing to take a share of."""

    true_positive: Float64[np.ndarray, " a"]  # PictureSet, of the faces to have it.
    true_negative: Float64[np.ndarray, " a"]  # Not seen, of the faces to lack it.
    balanced_accuracy: Float64[np.ndarray, " a"]  # The mean of both.
    f1: Float64[np.ndarray, " a"]  # Harmonic mean of `true_positive` and `precision`.
    precision: Float64[np.ndarray, " a"]  # To have it, of the faces where it is seen.
    positives: Int[np.ndarray, " a"]  # The number of faces to have it.


def attribute_rates(logits: Logits, attributes: Attributes) -> Rates:
    """How well decisions [n a] agree with the attributes [n a] asked for (or, of reals, labelled).

    Raises ValueError for other shapes, attributes other than 0 and 1, NaN or infinity.
    """
    check_features(1, logits=logits)
    _check_attributes("attributes", attributes, logits.shape)
    asked, seen = attributes == 1, logits > 0
    hits = (asked & seen).sum(axis=0)
    rejections = (~asked & ~seen).sum(axis=0)
    positives, sightings = asked.sum(axis=0), seen.sum(axis=0)
    true_positive = _ratio(hits, positives)
    true_negative = _ratio(rejections, len(logits) - positives)
    return Rates(
        true_positive=true_positive,
        true_negative=true_negative,
        balanced_accuracy=(true_positive + true_negative) / 2,
        f1=_ratio(2 * hits, np.where(positives, positives + sightings, 0)),
        precision=_ratio(hits, sightings),
        positives=positives,
    )


def accuracy_ratio(
    generated: Rates, real: Rates, where: Bool[np.ndarray, " a"] | None = None
) -> float:
    """Mean balanced accuracy on generated pictures, over that on real ones.

    Over the attributes that are `comparable` and, if given, in `where` (as of one tier). 1 is as
    clear as in real pictures; caricatures exceed it. A generator that ignores requests does not get
    0 but about 0.5 / 0.9: see `control`. NaN where no attribute counts.
    """
    return _compare(generated, real, where, 0.0)


def control(generated: Rates, real: Rates, where: Bool[np.ndarray, " a"] | None = None) -> float:
    """As `headline`, of what either mean exceeds chance by: 0 where requests are ignored.

    Of one attribute it is the difference that the request makes to the share of faces that truly
    have it, with the network's errors taken out (Rogan & Gladen 1978) if it errs on generated
    pictures as it does on real ones.
    """
    return _compare(generated, real, where, CHANCE)


def comparable_attributes(generated: Rates, real: Rates) -> Bool[np.ndarray, " a"]:
    """Attributes asked for and not asked for, and that the network can see in real pictures.

    At chance on reals, it is so on fakes too: a ratio of 1, earned by blindness.
    """
    return np.isfinite(generated.balanced_accuracy) & (real.balanced_accuracy >= READABLE)


def _compare(
    generated: Rates, real: Rates, where: Bool[np.ndarray, " a"] | None, zero: float
) -> float:
    counts = comparable_attributes(generated, real) & (True if where is None else where)
    if not counts.any():
        return float("nan")
    excess = [rates.balanced_accuracy[counts].mean() - zero for rates in (generated, real)]
    return float(excess[0] / excess[1])


def assign_tiers(
    names: Sequence[str], real: Rates, random: Collection[str] = RANDOM_IN_CELEBA
) -> list[str]:
    """How far to trust each attribute's numbers: "sure", "fair" or "unsure".

    By the network's balanced accuracy on held-out reals, from 0.9 and from 0.75 up; those in
    `random` are unsure whatever it says: labels can be predicted from others and yet mean nothing.
    Labels without error have none: pass (). Raises ValueError for other than one name a rate.
    """
    if len(names) != len(real.balanced_accuracy):
        raise ValueError(f"{len(names)} names for {len(real.balanced_accuracy)} rates: one each")

    def tier(name: str, accuracy: float) -> str:
        if name in random or not accuracy >= FAIR:  # So NaN is unsure.
            return "unsure"
        return "sure" if accuracy >= SURE else "fair"

    return [tier(*pair) for pair in zip(names, real.balanced_accuracy, strict=True)]


class Swaps(NamedTuple):
    """What flipping one attribute of the request changes, the latents kept."""

    success: Float64[np.ndarray, " a"]  # Share of faces that show i as asked, with it and without.
    moved: Float64[np.ndarray, "a a"]  # Flipping i: share of faces whose decision j changes.
    shift: Float64[np.ndarray, "a a"]  # Turning i on: mean change of the probability of j, -1..1.

    @property
    def mean_success(self) -> float:
        """1 is full control, 0 none: a face that stays as it is is wrong in one of its two."""
        return float(self.success.mean())

    @property
    def leakage(self) -> float:
        """The mean of `moved` off its diagonal; NaN of one attribute alone.

        Not 0 at best: a request of black hair moves blond, one of a man the lipstick.
        """
        off = ~np.eye(len(self.moved), dtype=bool)
        return float(self.moved[off].mean()) if off.any() else float("nan")


def compare_swaps(
    before: Logits, after: Float[np.ndarray, "_ _ _"], attributes: Attributes
) -> Swaps:
    """Compares faces [n a], asked for by `attributes` [n a], with their variants [a n a].

    Variant i has the latents of the face, and its request but for attribute i. Leave out attributes
    that do not vary in training: nothing can follow them. Raises ValueError for other shapes,
    attributes other than 0 and 1, NaN or infinity.
    """
    check_features(1, before=before)
    _check_attributes("attributes", attributes, before.shape)
    (n, a), decided, probable = before.shape, before > 0, _sigmoid(before)
    if after.shape != (a, n, a):
        raise ValueError(f"after has the shape {after.shape}: {(a, n, a)}, each face a variant")
    success, moved, shift = np.empty(a), np.empty((a, a)), np.empty((a, a))
    for i, variant in enumerate(after):
        check_features(1, **{f"after[{i}]": variant})
        asked, decision = attributes[:, i] == 1, variant > 0
        moved[i] = (decision != decided).mean(axis=0)
        success[i] = ((decided[:, i] == asked) & (decision[:, i] != asked)).mean()
        towards = np.where(asked, -1.0, 1.0)  # The flip turned it off, or on.
        shift[i] = towards @ (_sigmoid(variant) - probable) / n
    return Swaps(success, moved, shift)


def intra_attribute_distances(
    real_features: Features,
    real_attributes: Attributes,
    fake_features: Features,
    fake_attributes: Attributes,
    least: int = 500,
) -> Float64[np.ndarray, " a"]:
    """Frechet distance of the fakes asked to have each attribute from the reals that have it.

    Features [n d] and attributes [n a]. NaN where either side has fewer than `least`. The bias
    grows as 1/n: no value compares with that of another attribute, only with its own floor.
    Raises ValueError for other shapes, attributes other than 0 and 1, NaN or infinity.
    """
    _check_pairs(real_features, real_attributes, fake_features, fake_attributes)
    distances = np.full(real_attributes.shape[1], np.nan)
    for i, (in_real, in_fake) in enumerate(zip(real_attributes.T, fake_attributes.T, strict=True)):
        if min(in_real.sum(), in_fake.sum()) >= least:
            real, fake = real_features[in_real == 1], fake_features[in_fake == 1]
            distances[i] = frechet_distance(real, fake)
    return distances


def joint_distance(
    real_features: Features,
    real_attributes: Attributes,
    fake_features: Features,
    fake_attributes: Attributes,
) -> float:
    """FJD: Frechet distance of pictures with their requests (DeVries et al. 2019, equations 4-6).

    Of features [n d] next to attributes [n a] x the mean norm of real features over that of real
    attributes (section 4.2). At least the Frechet distance of the features: what it is more is
    pictures that are good but not what was asked for, or requests unlike the labels of reals.
    Raises ValueError for other shapes, attributes other than 0 and 1, NaN or infinity, and where
    no real has any attribute.
    """
    _check_pairs(real_features, real_attributes, fake_features, fake_attributes)
    norm = _mean_norm(real_attributes)
    if not norm:
        raise ValueError("real_attributes are all 0: one must be there for the scale")
    scale = _mean_norm(real_features) / norm
    return frechet_distance(
        np.hstack([real_features, (scale * real_attributes).astype(real_features.dtype)]),
        np.hstack([fake_features, (scale * fake_attributes).astype(fake_features.dtype)]),
    )


def _mean_norm(rows: Features | Attributes) -> float:
    return float(np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64)).mean())


def _ratio(a: Int[np.ndarray, " a"], b: Int[np.ndarray, " a"]) -> Float64[np.ndarray, " a"]:
    return np.divide(a, b, out=np.full(len(b), np.nan), where=b > 0)


def _sigmoid(logits: Logits) -> Float64[np.ndarray, "_ _"]:
    return scipy.special.expit(logits.astype(np.float64))


def _check_pairs(
    real_features: Features,
    real_attributes: Attributes,
    fake_features: Features,
    fake_attributes: Attributes,
) -> None:
    check_features(2, real_features=real_features, fake_features=fake_features)
    width = real_attributes.shape[1]
    _check_attributes("real_attributes", real_attributes, (len(real_features), width))
    _check_attributes("fake_attributes", fake_attributes, (len(fake_features), width))


def _check_attributes(name: str, attributes: Attributes, shape: tuple[int, int]) -> None:
    if attributes.shape != shape:
        raise ValueError(f"{name} has the shape {attributes.shape}: {shape}, a row for each face")
    if (attributes > 1).any():
        raise ValueError(f"{name} holds {attributes.max()}: 0 (lacks it) or 1 (has it)")
