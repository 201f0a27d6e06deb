"""The registry of scores, and their names.

A score is a function `(reference, generated) -> number`. To add one, write the function and a line
in `PICTURES`, if it takes pictures, or in `FEATURES`, if it takes an extractor's features:

    def brightness(reference: Pictures, generated: Pictures) -> float:
        return abs(float(reference.mean()) - float(generated.mean()))

    "brightness": Score(brightness, "lower", "Difference of the mean brightness, in levels of 255.")

A name has no "-" and no "@". Nothing else is needed: evaluations compute it for every checkpoint
with its baseline, the score of as many other real pictures, and tables and report show it.
Checkpoints that were scored before are scored again.
"""

import math
import numbers
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple

import numpy as np

from gan.errors import ConfigError, nearest
from gan.metrics.distances import (
    Features,
    frechet_distance,
    kernel_distance,
    sliced_wasserstein_features,
)
from gan.metrics.neighbours import neighbour_scores
from gan.metrics.pixels import Pictures, sliced_wasserstein

Scores = dict[str, float]
MIN_PICTURES = 6  # Density needs five neighbours of each picture.


class Measured(NamedTuple):
    """A score of one set of pictures, with what is needed to judge it."""

    value: float  # NaN if it is undefined.
    baseline: float = math.nan  # NaN if there is none.
    cases: int | None = None  # Number of cases that a share is of, where these can be few.


class Score(NamedTuple):
    """A line of the registry."""

    function: Callable[..., float]  # (reference, generated) -> number; NaN if it is undefined.
    better: Literal["lower", "higher"]  # Which of two numbers is that of the better generator.
    measures: str  # What it measures, a sentence for the report.
    main: bool = True  # Whether tables on the terminal show it; the report shows all.
    # Whether the function draws at random: then it takes a `seed`, another for each set, so that
    # the deviation over sets has what comes of the draw in it.
    random: bool = False

    def compute(self, reference: np.ndarray, generated: np.ndarray, seed: int) -> float:
        """The score of one set of generated pictures, or of their features."""
        more = {"seed": seed} if self.random else {}
        return self.function(reference, generated, **more)


# Both sets are uint8 [n h w 3] in 0..255, of one n and one size, n at least `MIN_PICTURES`.
PICTURES: Mapping[str, Score] = {
    "swd": Score(
        sliced_wasserstein,
        "lower",
        "Sliced Wasserstein distance between small patches of generated and of real pictures, from "
        "fine to coarse: it measures texture and needs no classifier.",
        random=True,
    ),
}
# Both sets are float32 [n d], of one n and one d, n at least `MIN_PICTURES`. A name gets the
# extractor's behind it: "FD-attr@1a2b3c4d".
FEATURES: Mapping[str, Score] = {
    "FD": Score(
        frechet_distance,
        "lower",
        "Frechet distance between generated and real pictures in the features of a classifier: it "
        "compares the means and covariances of both sets.",
    ),
    "KD": Score(
        kernel_distance,
        "lower",
        "Kernel distance between generated and real pictures in the features of a classifier; "
        "unlike FD, it is unbiased for small numbers of pictures.",
        main=False,
        random=True,
    ),
    "MIND": Score(
        sliced_wasserstein_features,
        "lower",
        "Sliced Wasserstein distance between generated and real pictures in the features of a "
        "classifier; it needs fewer pictures than FD to be stable.",
        main=False,
        random=True,
    ),
}
NEIGHBOURS = ("precision", "recall", "density", "coverage")  # One pass over distances gives all.
KNOWN_NAMES = {"FD": "FID", "KD": "KID"}  # In the features of the published Inception.
# Which number is the better one, for every score by the beginning of its name.
BETTER = {
    **{name: score.better for name, score in (PICTURES | FEATURES).items()},
    **dict.fromkeys(("FID", "KID", "FJD", "leakage"), "lower"),
    **dict.fromkeys((*NEIGHBOURS, "authenticity", "nearest_ratio", "IS"), "higher"),
    **dict.fromkeys(("balanced_accuracy", "accuracy_ratio", "control", "swap"), "higher"),
    **dict.fromkeys(("joint", "contradictions"), "lower"),  # These four are of rendered faces.
    **dict.fromkeys(("correct_seen", "correct_unseen"), "higher"),
}


def score_pictures(reference: Pictures, generated: Pictures, seed: int = 0) -> Scores:
    """Computes every score of pictures, uint8 [n h w 3]."""
    return {name: score.compute(reference, generated, seed) for name, score in PICTURES.items()}


def score_features(
    reference: Features, generated: Features, extractor: str, seed: int = 0
) -> Scores:
    """Computes every score of features [n d], by names that end with the extractor's name."""
    found = {name: score.compute(reference, generated, seed) for name, score in FEATURES.items()}
    near = neighbour_scores(reference, generated)
    found |= {name: getattr(near, name) for name in NEIGHBOURS}
    return {full_name(name, extractor): value for name, value in found.items()}


def registered_names(extractors: Iterable[str]) -> set[str]:
    """Names of all scores that `score_pictures` and `score_features` give for these extractors."""
    features = {full_name(name, x) for x in extractors for name in (*FEATURES, *NEIGHBOURS)}
    return features.union(PICTURES)


def full_name(name: str, extractor: str) -> str:
    """Name of a score with that of its extractor, such as "FD-attr@1a2b3c4d".

    Only the features of the published Inception give "FID" and "KID", or "FID-clean".
    """
    if extractor.startswith("inception") and name in KNOWN_NAMES:
        return KNOWN_NAMES[name] + extractor.removeprefix("inception")
    return f"{name}-{extractor}"


def finite_number(value: object) -> float | None:
    """Returns a finite number as a float, and None for NaN, infinity, null or no number."""
    return float(value) if isinstance(value, numbers.Real) and math.isfinite(value) else None


def base_name(name: str) -> str:
    """Name of a score without that of its extractor: "FD" for "FD-attr@1a2b3c4d"."""
    return name.partition("-")[0]


def better_direction(name: str) -> str:
    """Returns "lower" or "higher", whichever is better by the score of this full or base name.

    Raises ConfigError for a name that is no score's.
    """
    base = base_name(name)
    if base not in BETTER:
        raise ConfigError(f"{name!r} is no score.{nearest(base, BETTER)} See {[*BETTER]}.")
    return BETTER[base]


def find_score(name: str, there: Iterable[str]) -> str:
    """Finds a score's full name by its beginning: "FD" is "FD-attr@1a2b3c4d" if that is `there`.

    Raises ConfigError where no score is called so.
    """
    there = [*there]
    for found in (x for x in there if name in (x, base_name(x), x.partition("@")[0])):
        return found
    short = dict.fromkeys(x.partition("@")[0] for x in there)
    raise ConfigError(
        f"--best={name}: no such score there.{nearest(name, [*short])} "
        f"There are: {', '.join(short)}."
    )
