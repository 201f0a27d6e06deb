"""Real pictures, looked at once, and everything that is scored beside them.

Held-out pictures are what generated ones are compared with; the training set is what they must not
be copies of. A score's floor is what as many other real pictures get in place of generated ones.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, UInt8

from gan.data.store import Store
from gan.errors import ConfigError
from gan.metrics import conditional
from gan.metrics.distances import inception_score, spread
from gan.metrics.extractors.attribute_classifier import Looks
from gan.metrics.extractors.extractor import Extractor, looks_of
from gan.metrics.neighbours import Nearest, authenticity, nearest, nearest_ratio
from gan.metrics.scores import LEAST, Scores, named, of_features, of_pictures
from gan.runtime.logs import log

Attributes = UInt8[np.ndarray, "_ _"]
Pictures = UInt8[np.ndarray, "_ _ _ 3"]
TRAIN = "train"
ENOUGH = 2_049  # Rows, for a covariance of 2,048 features that is not singular.


class Seen(NamedTuple):
    """Pictures and what each extractor said of them."""

    images: Pictures
    attributes: Attributes | None  # Asked for, or of real pictures; None: nothing was asked.
    looks: Mapping[str, Looks]  # By the extractor's name.


@dataclasses.dataclass(frozen=True, eq=False)
class Reals:
    """The reals of one protocol: `names` are the attributes that a model was trained on."""

    stores: Mapping[str, Store]
    split: str
    num: int  # Held-out pictures; fewer where the split has fewer.
    names: tuple[str, ...]
    by_attributes: tuple[Extractor, tuple[str, ...]] | None  # With the names of its logits.
    inception: Extractor | None = None

    def __post_init__(self) -> None:
        there = len(self.stores[self.split].images)
        if there < self.num:
            log.info("The split %s has %s pictures: all are compared.", self.split, f"{there:,}")
            object.__setattr__(self, "num", there)
        if self.inception and self.num < ENOUGH:
            log.warning(
                "%s pictures are few for a distance of Inception's features, whose bias falls as "
                "1 / n: from %s on, their covariance is not singular.",
                *(f"{self.num:,}", f"{ENOUGH:,}"),
            )
        if self.num < LEAST:
            raise ConfigError(
                f"{self.num} pictures of the split {self.split} to compare with: at least {LEAST} "
                "are needed. Raise --num_images, or prepare more data."
            )

    @property
    def extractors(self) -> list[Extractor]:
        """Those that there are, the one that knows the attributes first."""
        found = [self.by_attributes and self.by_attributes[0], self.inception]
        return [extractor for extractor in found if extractor]

    @property
    def drawn(self) -> bool:
        """Whether these are rendered faces: their labels have no error, and their law is known."""
        return self.stores[TRAIN].source == "faces"

    @functools.cached_property
    def rows(self) -> np.ndarray:
        """Of the split, spread over it: neighbours may show one person."""
        return spread(len(self.stores[self.split].images), self.num)

    @functools.cached_property
    def held_out(self) -> Seen:
        """The pictures that generated ones are compared with."""
        return self._see(self.split, self.rows)

    @functools.cached_property
    def training(self) -> Looks | None:
        """All of the training set, as seen by what knows the attributes."""
        if not self.by_attributes:
            return None
        train = self.stores[TRAIN]
        return looks_of(self.by_attributes[0], train, np.arange(len(train.images)))

    @property
    def other_split(self) -> str:
        """Of the pictures that floors are of: unseen by the network that looks, if that can be."""
        unseen = [x for x in ("validation", "test") if x != self.split]
        return next((x for x in unseen if len(self.stores[x].images) >= self.num), TRAIN)

    @functools.cached_property
    def other(self) -> Seen | None:
        """As many other real pictures; None where there are not so many."""
        rows = np.arange(len(self.stores[self.other_split].images))
        if self.other_split == self.split:
            rows = np.setdiff1d(rows, self.rows)
        if len(rows) < self.num:
            return None
        return self._see(self.other_split, rows[spread(len(rows), self.num)])

    @functools.cached_property
    def floors(self) -> Scores:
        """What real pictures get; a score that has none is left out."""
        # Without their labels, which are others than the held-out ones': requests are the same.
        found = self._likeness(self.other._replace(attributes=None)) if self.other else {}
        if self.by_attributes and self.split != TRAIN:
            name = self.by_attributes[0].name
            near = self._held_out_nearest
            features = self.held_out.looks[name].features
            found[named("authenticity", name)] = authenticity(
                self.training.features, features, near
            )
            found[named("nearest_ratio", name)] = 1.0
        if self.names and self.by_attributes:
            name = self.by_attributes[0].name
            found[named("balanced_accuracy", name)] = mean(self.rates.balanced_accuracy)
            found |= dict.fromkeys((named("accuracy_ratio", name), named("control", name)), 1.0)
        return found

    @functools.cached_property
    def rates(self) -> conditional.Rates:
        """How well attributes are seen in real pictures: no more can be asked of generated ones."""
        # Of training pictures the network has learnt the labels, not only how to tell them.
        unseen = self.held_out
        if self.split == TRAIN:
            there = len(self.stores["validation"].images)
            unseen = self._see("validation", spread(there, min(there, self.num)))
        return conditional.rates(self.logits(unseen), unseen.attributes)

    def see(self, images: Pictures, attributes: Attributes | None) -> Seen:
        """Generated pictures."""
        return Seen(images, attributes, {x.name: x(images) for x in self.extractors})

    def scores(self, fake: Seen) -> Scores:
        """All of one set of generated pictures, as many as there are reals."""
        found = self._likeness(fake)
        if not self.by_attributes:
            return found
        name = self.by_attributes[0].name
        near = self.nearest(fake)
        features = fake.looks[name].features
        found[named("authenticity", name)] = authenticity(self.training.features, features, near)
        if self.split != TRAIN:
            found[named("nearest_ratio", name)] = nearest_ratio(self._held_out_nearest, near)
        if fake.attributes is not None and self.names:
            rates = conditional.rates(self.logits(fake), fake.attributes)
            found[named("balanced_accuracy", name)] = mean(rates.balanced_accuracy)
            found[named("accuracy_ratio", name)] = conditional.headline(rates, self.rates)
            found[named("control", name)] = conditional.control(rates, self.rates)
        return found

    @functools.cached_property
    def _held_out_nearest(self) -> Nearest:
        return self.nearest(self.held_out)

    def nearest(self, fake: Seen) -> Nearest:
        """Of each picture the training picture most like it."""
        return nearest(self.training.features, fake.looks[self.by_attributes[0].name].features)

    def logits(self, seen: Seen) -> Float[np.ndarray, "n a"]:
        """Of the attributes `names`: above 0, a picture is seen to have it."""
        extractor, names = self.by_attributes
        return seen.looks[extractor.name].logits[:, [names.index(name) for name in self.names]]

    def by_attribute(self, fakes: Sequence[Seen]) -> dict[str, dict]:
        """Of each attribute by its name, the rates of all `fakes` together beside the reals'."""
        asked = np.concatenate([fake.attributes for fake in fakes])
        rates = conditional.rates(np.concatenate([self.logits(fake) for fake in fakes]), asked)
        distances = np.mean([self._intra(fake) for fake in fakes], axis=0)
        floors = self._intra(self.other) if self.other else np.full(len(self.names), np.nan)
        random = () if self.drawn else conditional.RANDOM_IN_CELEBA
        tiers = conditional.tiers(self.names, self.rates, random)
        return {
            attribute: {
                "positives": int(rates.positives[i]) // len(fakes),
                "tier": tiers[i],
                **_rates_of(rates, i),
                "distance": number(distances[i]),
                "real": {**_rates_of(self.rates, i), "distance": number(floors[i])},
            }
            for i, attribute in enumerate(self.names)
        }

    def _intra(self, fake: Seen) -> Float[np.ndarray, " a"]:
        """Of each attribute, the distance of what was asked to have it from reals that have it."""
        name, real = self.by_attributes[0].name, self.held_out
        return conditional.intra_attribute(
            *(real.looks[name].features, real.attributes),
            *(fake.looks[name].features, fake.attributes),
        )

    def _likeness(self, fake: Seen) -> Scores:
        """Scores that ask whether `fake` is distributed as the held-out pictures are."""
        real = self.held_out
        found = of_pictures(real.images, fake.images)
        for extractor in self.extractors:
            a, b = (seen.looks[extractor.name] for seen in (real, fake))
            found |= of_features(a.features, b.features, extractor.name)
            if fake.attributes is not None and real.attributes.any():  # It has no scale else.
                joint = conditional.joint_distance(
                    a.features, real.attributes, b.features, fake.attributes
                )
                found[named("FJD", extractor.name)] = joint
        if self.inception and self.inception.name == "inception" and self.has_classes:
            probabilities = np.asarray(jax.nn.softmax(fake.looks["inception"].logits))
            found["IS"] = inception_score(probabilities, min(10, self.num))
        return found

    @property
    def has_classes(self) -> bool:
        """Whether each picture is of exactly one class: else an inception score says nothing."""
        attributes = self.stores[self.split].attributes
        return attributes.shape[1] > 1 and bool((attributes.sum(axis=1) == 1).all())

    def _see(self, split: str, rows: np.ndarray) -> Seen:
        store = self.stores[split]
        columns = [store.attribute_names.index(name) for name in self.names]
        return Seen(
            np.asarray(store.images[rows]),
            np.asarray(store.attributes[rows][:, columns]),
            {x.name: looks_of(x, store, rows) for x in self.extractors},
        )


def mean(values: np.ndarray) -> float:
    """Over those that are defined."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else math.nan


def number(value: float) -> float | None:
    """As JSON knows it: null where it is undefined."""
    return float(value) if math.isfinite(value) else None


def _rates_of(rates: conditional.Rates, column: int) -> dict[str, float | None]:
    kinds = ("true_positive", "true_negative", "balanced_accuracy", "f1")
    return {kind: number(getattr(rates, kind)[column]) for kind in kinds}
