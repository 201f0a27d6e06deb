"""Which scores there are: from what was seen of real and of fake pictures to numbers by name.

A score of pictures takes uint8 [n h w 3], a score of features float [n d]. Each has the signature
`(real, fake) -> number` and stands beside its floor, which is what as many other reals get.
"""

from collections.abc import Callable, Iterable, Mapping

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
MIN_PICTURES = 6  # Pictures: k + 1, for the density's fifth neighbour.


def score_pictures(real: Pictures, fake: Pictures) -> Scores:
    """All scores of pictures."""
    return {name: score(real, fake) for name, score in PICTURES.items()}


def score_features(real: Features, fake: Features, extractor: str) -> Scores:
    """All scores of features, each named after the extractor that they come from."""
    found = {name: score(real, fake) for name, score in FEATURES.items()}
    near = neighbour_scores(real, fake)  # One pass over the distances for all four.
    found |= {name: getattr(near, name) for name in NEIGHBOURS}
    return {full_name(name, extractor): value for name, value in found.items()}


def full_name(name: str, extractor: str) -> str:
    """Of a score as it is reported: "FID" is a name only of features of the known Inception."""
    if extractor.startswith("inception") and name in KNOWN_NAMES:
        return KNOWN_NAMES[name] + extractor.removeprefix("inception")
    return f"{name}-{extractor}"


def better_direction(name: str) -> str:
    """ "lower" or "higher", for a score by its whole name. Raises ConfigError for none of ours."""
    base = name.partition("-")[0]
    if base not in BETTER:
        raise ConfigError(f"{name!r} is no score.{nearest(base, BETTER)} See {[*BETTER]}.")
    return BETTER[base]


def find_score(name: str, there: Iterable[str]) -> str:
    """The whole name of a score by its beginning: "FD" is "FD-attr@1a2b3c4d" where that is there.

    Raises ConfigError where no score is called so.
    """
    there = [*there]
    for found in (x for x in there if name in (x, x.partition("-")[0], x.partition("@")[0])):
        return found
    short = dict.fromkeys(x.partition("@")[0] for x in there)
    raise ConfigError(
        f"--best={name}: no such score there.{nearest(name, [*short])} "
        f"There are: {', '.join(short)}."
    )


PICTURES: Mapping[str, Callable[[Pictures, Pictures], float]] = {"swd": sliced_wasserstein}
FEATURES: Mapping[str, Callable[[Features, Features], float]] = {
    "FD": frechet_distance,
    "KD": kernel_distance,
    "MIND": sliced_wasserstein_features,
}
NEIGHBOURS = ("precision", "recall", "density", "coverage")
KNOWN_NAMES = {"FD": "FID", "KD": "KID"}
BETTER = {
    **dict.fromkeys(("swd", "FD", "KD", "FID", "KID", "MIND", "FJD", "leakage"), "lower"),
    **dict.fromkeys((*NEIGHBOURS, "authenticity", "nearest_ratio", "IS"), "higher"),
    **dict.fromkeys(("balanced_accuracy", "accuracy_ratio", "control", "swap"), "higher"),
    **dict.fromkeys(("joint", "contradictions"), "lower"),  # Of rendered faces.
    **dict.fromkeys(("correct_seen", "correct_unseen"), "higher"),
}
