"""Scores sets of pictures beside a reference set: the numbers of one row of `scores.jsonl`.

They depend on the pictures and on the protocol alone: on no clock, no host and no random numbers
that are not the same each time.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import UInt8

from gan import __version__
from gan.evaluation.score_rows import Row
from gan.metrics.pixels import Pictures
from gan.metrics.reference_set import Attributes, PictureSet, ReferenceSet
from gan.metrics.scores import Scores, finite_number
from gan.runtime.pictures import enlarge_pictures, make_grid

PROTOCOL_VERSION = 2  # Raised when the same pictures get other numbers.
PAIRS, COLUMNS = 24, 8  # Pairs in the sheet of nearest pictures, and how many stand side by side.
Sets = Iterator[tuple[Pictures, Attributes | None]]  # Pictures, and their requests if any.


def score_sets(reference: ReferenceSet, sets: Sets) -> tuple[Row, PictureSet]:
    """Scores sets of as many pictures as the reference set has.

    Returns the "scores" and "attributes" of a row, over all sets, and the last set.
    """
    found: list[Scores] = []
    scored: list[PictureSet] = []
    for number, (images, requests) in enumerate(sets):
        pictures = reference.extract(images, requests)
        found.append(reference.score(pictures, seed=number))
        scored = [*map(_without_images, scored), pictures]
    last = scored[-1]
    scores = {
        name: make_score([x[name] for x in found], reference.baseline.get(name, np.nan))
        for name in found[0]
    }
    requested = last.attributes is not None and reference.names and reference.classifier
    attributes = reference.score_attributes(scored) if requested else {}
    return {"scores": scores, "attributes": attributes}, last


def make_score(
    values: list[float], baseline: float = np.nan, cases: int | None = None
) -> dict[str, float | None]:
    """A score of a row, from its values in each set of pictures; NaN and infinity become None.

    `cases` is the number of cases that a score of few cases is a share of.
    """
    score = {
        "mean": finite_number(np.mean(values)),
        "sd": finite_number(np.std(values, ddof=1)) if len(values) > 1 else None,
        "floor": finite_number(baseline),
    }
    return score if cases is None else score | {"cases": cases}


def _without_images(pictures: PictureSet) -> PictureSet:
    """Drops the images, which take most of the memory."""
    return pictures._replace(images=np.empty((0, 1, 1, 3), np.uint8))


def describe_protocol(reference: ReferenceSet, seeds: Sequence[int]) -> dict:
    """All that scores depend on besides the generator, with a digest of it as "id".

    There is a set of pictures for each of the evaluation `seeds`: the best of few lucky sets is not
    the best of many. Scores of different protocols never compare. Files keep the keys of the first
    version: "reals" is the reference set, and "floors" the split of the baselines.
    """
    train, split = reference.stores["train"], reference.stores[reference.split]
    stamp = {
        "version": PROTOCOL_VERSION,
        "data": f"{train.source} {train.digest[:12]}",
        "split": reference.split,
        "reals": split.digest[:12],
        "floors": reference.baseline_split,
        "images": reference.num,
        "seeds": [*seeds],
        "image_size": train.image_size,
        "crop": train.crop,
        "resize": train.resize,
        "flips": "none",
        "attributes": _describe_attributes(reference),
        "extractors": {x.name: x.stamp for x in reference.extractors},
        "gan": __version__,
    }
    text = json.dumps(stamp, sort_keys=True).encode()
    return {"id": hashlib.sha256(text).hexdigest()[:8]} | stamp


def _describe_attributes(reference: ReferenceSet) -> str:
    """Returns "all", or a digest of the names where a model was trained on some attributes.

    A model of no attributes has "all", too: its scores do not depend on them.
    """
    classifier = reference.classifier
    known = classifier.attributes if classifier else reference.stores["train"].attribute_names
    if not reference.names or set(reference.names) == set(known):
        return "all"
    return hashlib.sha256(",".join(reference.names).encode()).hexdigest()[:8]


def draw_nearest_pairs(
    reference: ReferenceSet, pictures: PictureSet
) -> UInt8[np.ndarray, "height width 3"]:
    """Draws the pictures nearest to the training set, each above its nearest training picture."""
    near = reference.find_nearest(pictures)
    closest = np.argsort(near.distance, kind="stable")[:PAIRS]
    rows = []
    for some in (closest[i : i + COLUMNS] for i in range(0, len(closest), COLUMNS)):
        pair = (pictures.images[some], reference.stores["train"].images[near.index[some]])
        pad = [(0, COLUMNS - len(some)), (0, 0), (0, 0), (0, 0)]
        rows += [np.pad(x, pad, constant_values=255) for x in pair]
    labels = ["generated", "nearest in training"] * (len(rows) // 2)
    return make_grid(enlarge_pictures(np.concatenate(rows)), COLUMNS, labels)
