"""The real pictures that generated ones are scored beside, and the scores of a set of pictures.

Generated pictures are compared with held-out ones, and must not be copies of the training set. The
baseline of a score is its value for as many other real pictures in place of generated ones.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from gan.data.store import Store
from gan.errors import ConfigError
from gan.metrics import conditional
from gan.metrics.distances import inception_score, spread_rows
from gan.metrics.extractors.extractor import Extracted, Extractor, extract_from_store
from gan.metrics.neighbours import Nearest, authenticity, find_nearest, nearest_ratio
from gan.metrics.pixels import Pictures
from gan.metrics.scores import (
    MIN_PICTURES,
    Scores,
    finite_number,
    full_name,
    score_features,
    score_pictures,
)
from gan.runtime.logs import log

Attributes = UInt8[np.ndarray, "_ _"]  # 0 (lacks it) or 1 (has it).
TRAIN = "train"
INCEPTION = ("inception", "unverified")  # How the names of its extractors begin.
INCEPTION_PICTURES = 2_049  # From so many on the covariance of 2,048 features is not singular.


class PictureSet(NamedTuple):
    """Pictures, what they were asked to show, and what each extractor returned for them."""

    images: Pictures
    attributes: Attributes | None  # Requests, or labels of real pictures; None without requests.
    extracted: Mapping[str, Extracted]  # By the extractor's name.


@dataclasses.dataclass(frozen=True, eq=False)
class ReferenceSet:
    """The real pictures of one protocol.

    Warns where `num` pictures are few for an Inception distance. Raises ConfigError where they are
    fewer than any score needs.
    """

    stores: Mapping[str, Store]  # By split: "train", "validation" and "test".
    split: str  # Which of them generated pictures are compared with.
    num: int  # Pictures to compare with; all of the split if it has fewer.
    names: tuple[str, ...]  # The attributes that a model was trained on.
    extractors: tuple[Extractor, ...]

    def __post_init__(self) -> None:
        there = len(self.stores[self.split].images)
        if there < MIN_PICTURES:
            enough = [x for x, s in self.stores.items() if len(s.images) >= MIN_PICTURES]
            others = " or ".join(f"--split={x}" for x in enough) or "more pictures"
            raise ConfigError(
                f"--split={self.split}: the data have {there} pictures there, at least "
                f"{MIN_PICTURES} are needed to compare with. Compare with {others}."
            )
        if self.num < MIN_PICTURES:
            raise ConfigError(
                f"{self.num} pictures to compare with: at least {MIN_PICTURES} are needed. Give "
                f"--num_images={MIN_PICTURES} or more."
            )
        if there < self.num:
            log.info("The split %s has %s pictures: all are compared.", self.split, f"{there:,}")
            object.__setattr__(self, "num", there)
        inception = any(x.name.startswith(INCEPTION) for x in self.extractors)
        if inception and self.num < INCEPTION_PICTURES:
            log.warning(
                "%s pictures are few for a distance of Inception's features, whose bias falls as "
                "1 / n: from %s on, their covariance is not singular.",
                *(f"{self.num:,}", f"{INCEPTION_PICTURES:,}"),
            )

    @functools.cached_property
    def classifier(self) -> Extractor | None:
        """The first extractor whose logits tell attributes; None without one."""
        return next((x for x in self.extractors if x.attributes), None)

    @property
    def is_rendered(self) -> bool:
        """Whether these are rendered faces: their labels have no error, and their law is known."""
        return self.stores[TRAIN].source == "faces"

    @property
    def has_classes(self) -> bool:
        """Whether each picture is of exactly one class: else an inception score says nothing."""
        attributes = self.stores[self.split].attributes
        return attributes.shape[1] > 1 and bool((attributes.sum(axis=1) == 1).all())

    @functools.cached_property
    def rows(self) -> Int[np.ndarray, " num"]:
        """Rows of the split, spread over it: neighbours may show one person."""
        return spread_rows(len(self.stores[self.split].images), self.num)

    @functools.cached_property
    def held_out(self) -> PictureSet:
        """The `num` pictures that generated ones are compared with."""
        return self._load(self.split, self.rows)

    @functools.cached_property
    def training(self) -> Extracted | None:
        """What the classifier returns for the whole training set; None without a classifier."""
        if not self.classifier:
            return None
        train = self.stores[TRAIN]
        return extract_from_store(self.classifier, train, np.arange(len(train.images)))

    @property
    def baseline_split(self) -> str:
        """The split of the baseline's pictures: another held-out one if it has `num` pictures.

        Else it is the training split, whose pictures the classifier was trained on.
        """
        others = [x for x in ("validation", "test") if x != self.split]
        return next((x for x in others if len(self.stores[x].images) >= self.num), TRAIN)

    @functools.cached_property
    def baseline_pictures(self) -> PictureSet | None:
        """`num` real pictures that are not among `held_out`; None where there are fewer."""
        rows = np.arange(len(self.stores[self.baseline_split].images))
        if self.baseline_split == self.split:
            rows = np.setdiff1d(rows, self.rows)
        if len(rows) < self.num:
            return None
        return self._load(self.baseline_split, rows[spread_rows(len(rows), self.num)])

    @functools.cached_property
    def baseline(self) -> Scores:
        """The scores of real pictures in place of generated ones; without those that have none."""
        # Drops labels: the joint distance needs equal requests on both sides.
        other = self.baseline_pictures
        found = self._compare(other._replace(attributes=None)) if other else {}
        if not self.classifier:
            return found
        name = self.classifier.name
        if self.split != TRAIN:
            features = self.held_out.extracted[name].features
            found[full_name("authenticity", name)] = authenticity(
                self.training.features, features, self._held_out_nearest
            )
            found[full_name("nearest_ratio", name)] = 1.0
        if self.names:
            found[full_name("balanced_accuracy", name)] = _mean(self.rates.balanced_accuracy)
            ratios = (full_name(x, name) for x in ("accuracy_ratio", "control"))
            found |= dict.fromkeys(ratios, 1.0)
        return found

    @functools.cached_property
    def rates(self) -> conditional.Rates:
        """How well the classifier reads attributes off real pictures, one value an attribute.

        It is measured on pictures that the classifier was not trained on.
        """
        unseen = self.held_out
        if self.split == TRAIN:
            there = len(self.stores["validation"].images)
            unseen = self._load("validation", spread_rows(there, min(there, self.num)))
        return conditional.attribute_rates(self.attribute_logits(unseen), unseen.attributes)

    def extract(self, images: Pictures, attributes: Attributes | None) -> PictureSet:
        """Runs every extractor on generated `images`, which were asked to show `attributes`."""
        rows = np.arange(len(images))
        found = {x.name: x.extract_rows(images, rows) for x in self.extractors}
        return PictureSet(images, attributes, found)

    def score(self, generated: PictureSet, seed: int = 0) -> Scores:
        """Every score of one set of `num` generated pictures.

        `seed` is what scores draw their directions and subsets by: give another to each set.
        """
        found = self._compare(generated, seed)
        if not self.classifier:
            return found
        name, near = self.classifier.name, self.find_nearest(generated)
        features = generated.extracted[name].features
        found[full_name("authenticity", name)] = authenticity(
            self.training.features, features, near
        )
        if self.split != TRAIN:
            found[full_name("nearest_ratio", name)] = nearest_ratio(self._held_out_nearest, near)
        if generated.attributes is not None and self.names:
            logits = self.attribute_logits(generated)
            rates = conditional.attribute_rates(logits, generated.attributes)
            found[full_name("balanced_accuracy", name)] = _mean(rates.balanced_accuracy)
            found[full_name("accuracy_ratio", name)] = conditional.accuracy_ratio(rates, self.rates)
            found[full_name("control", name)] = conditional.control(rates, self.rates)
        return found

    def find_nearest(self, generated: PictureSet) -> Nearest:
        """Finds each picture's nearest training picture by the classifier's features."""
        features = generated.extracted[self.classifier.name].features
        return find_nearest(self.training.features, features)

    @functools.cached_property
    def _held_out_nearest(self) -> Nearest:
        return self.find_nearest(self.held_out)

    def attribute_logits(self, pictures: PictureSet) -> Float[np.ndarray, "n a"]:
        """The classifier's logits of the attributes `names`: above 0, a picture shows it."""
        columns = [self.classifier.attributes.index(name) for name in self.names]
        return pictures.extracted[self.classifier.name].logits[:, columns]

    def score_attributes(self, generated: Sequence[PictureSet]) -> dict[str, dict]:
        """The rates of each attribute over all sets, by its name, with those of real pictures.

        They are ready for JSON: shares in [0, 1], and null where one is undefined. "positives" is
        how many pictures of a set were asked to have the attribute; "distance" is the Frechet
        distance among the pictures that have it, the mean over the sets.
        """
        requests = np.concatenate([pictures.attributes for pictures in generated])
        logits = np.concatenate([self.attribute_logits(pictures) for pictures in generated])
        rates = conditional.attribute_rates(logits, requests)
        distances = np.mean([self._attribute_distances(x) for x in generated], axis=0)
        other = self.baseline_pictures
        nothing = np.full(len(self.names), np.nan)
        baseline = self._attribute_distances(other) if other else nothing
        random = () if self.is_rendered else conditional.RANDOM_IN_CELEBA
        tiers = conditional.assign_tiers(self.names, self.rates, random)
        return {
            attribute: {
                "positives": int(rates.positives[i]) // len(generated),
                "tier": tiers[i],
                **_rates_of(rates, i),
                "distance": finite_number(distances[i]),
                "real": {**_rates_of(self.rates, i), "distance": finite_number(baseline[i])},
            }
            for i, attribute in enumerate(self.names)
        }

    def _attribute_distances(self, pictures: PictureSet) -> Float[np.ndarray, " a"]:
        name, held_out = self.classifier.name, self.held_out
        return conditional.intra_attribute_distances(
            *(held_out.extracted[name].features, held_out.attributes),
            *(pictures.extracted[name].features, pictures.attributes),
        )

    def _compare(self, pictures: PictureSet, seed: int = 0) -> Scores:
        """Every score that asks whether `pictures` are distributed as the held-out ones are."""
        held_out = self.held_out
        found = score_pictures(held_out.images, pictures.images, seed)
        for name in (extractor.name for extractor in self.extractors):
            a, b = (x.extracted[name].features for x in (held_out, pictures))
            found |= score_features(a, b, name, seed)
            # Labels that are all 0 give the joint distance no scale.
            if pictures.attributes is not None and held_out.attributes.any():
                found[full_name("FJD", name)] = conditional.joint_distance(
                    a, held_out.attributes, b, pictures.attributes
                )
            if name == "inception" and self.has_classes:
                probabilities = np.asarray(pictures.extracted[name].probabilities)
                found["IS"] = inception_score(probabilities, min(10, self.num), seed)
        return found

    def _load(self, split: str, rows: Int[np.ndarray, " n"]) -> PictureSet:
        store = self.stores[split]
        columns = [store.attribute_names.index(name) for name in self.names]
        return PictureSet(
            np.asarray(store.images[rows]),
            np.asarray(store.attributes[rows][:, columns]),
            {x.name: extract_from_store(x, store, rows) for x in self.extractors},
        )


def _mean(values: Float[np.ndarray, " a"]) -> float:
    """The mean of the values that are defined; NaN if none is."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else math.nan


def _rates_of(rates: conditional.Rates, column: int) -> dict[str, float | None]:
    kinds = ("true_positive", "true_negative", "balanced_accuracy", "f1")
    return {kind: finite_number(getattr(rates, kind)[column]) for kind in kinds}
