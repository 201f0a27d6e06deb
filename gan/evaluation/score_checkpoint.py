"""Scores one checkpoint: one row of `scores.jsonl`, and the pictures to show beside it."""

import functools
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import UInt8

from gan.data.attributes import Groups
from gan.data.faces import dataset
from gan.evaluation.score_rows import Row
from gan.evaluation.score_sets import (
    Sets,
    draw_nearest_pairs,
    make_score,
    score_sets,
)
from gan.metrics import conditional, rendered
from gan.metrics.distances import spread_rows
from gan.metrics.reference_set import Attributes, PictureSet, ReferenceSet
from gan.metrics.scores import Measured, finite_number, full_name
from gan.model.state import Params
from gan.sampling.open_run import Run
from gan.sampling.sampler import Sampler

SWAPS = 5_120  # Faces drawn in all to change one attribute of their requests.
LEAST_SWAPS = 8  # Faces drawn at least for each attribute that is changed.
AT_A_TIME = 4_096  # Faces in memory at a time when attributes are changed.
LAW = 300_000  # Rendered faces whose labels stand for the law of all.
CHUNK = 256  # Faces rendered at a time.


class GeneratedPictures:
    """The pictures that one checkpoint draws for the attributes of the reference set."""

    def __init__(
        self,
        run: Run,
        sampler: Sampler,
        params: Params,
        reference: ReferenceSet,
        seeds: Sequence[int],
    ):
        """Draws nothing yet. Each of the evaluation `seeds` gives a set of its own latents."""
        self._draw = functools.partial(sampler, params)
        self._run, self._reference, self._seeds = run, reference, seeds
        self._requests = reference.held_out.attributes

    @property
    def varying(self) -> list[int]:
        """Columns of the attributes that a request can change."""
        return self._run.table.varying

    @property
    def groups(self) -> Groups:
        """Attributes that exclude each other, by name."""
        return self._run.table.groups

    def draw_sets(self) -> Sets:
        """Draws the pictures of each evaluation seed, with their requests if there are any."""
        num = self._reference.num
        for seed in self._seeds:
            images = self._draw(range(seed * num, (seed + 1) * num), self._requests)
            yield images, self._requests if self._run.model.conditional else None

    def describe(self) -> dict:
        """What a row says about the generated pictures."""
        return {
            "labels": f"rows of {self._reference.split}" if self._run.model.conditional else "none",
            "weights": "moving average, half-life of "
            f"{self._run.config.average.half_life:,.0f} images",
        }

    def swap_attributes(self) -> conditional.Swaps:
        """Changes each attribute that varies in the request alone, the latents kept.

        Of attributes that exclude each other, another takes the place of the one that is turned
        off. The attributes of the result are those of `varying`.
        """
        columns = self.varying
        num = min(len(self._requests), max(LEAST_SWAPS, SWAPS // len(columns)))
        some = self._requests[spread_rows(len(self._requests), num)]
        requests = np.tile(some, (1 + len(columns), 1, 1))
        for variant, column in zip(requests[1:], columns, strict=True):
            variant[:] = self._run.table.swap(variant, column)
        seeds = np.tile(np.arange(len(some)), len(requests))
        flat = requests.reshape(len(seeds), -1)
        parts = (slice(i, i + AT_A_TIME) for i in range(0, len(seeds), AT_A_TIME))
        logits = [self._classify(self._draw_for(flat[part], seeds[part])) for part in parts]
        before, *after = np.concatenate(logits)[:, columns].reshape(*requests.shape[:2], -1)
        names = [self._reference.names[i] for i in columns]
        exclude = conditional.same_group(names, self.groups)
        return conditional.compare_swaps(before, np.stack(after), some[:, columns], exclude)

    def score_as_rendered(self) -> dict[str, Measured]:
        """Scores how well faces keep to the law of rendered faces, which is known exactly."""
        fresh = draw_fresh_faces(self._reference)
        generated = self._draw_for(fresh.attributes, np.arange(len(fresh.images)))
        decoded = ((self._classify(x) > 0).astype(np.uint8) for x in (generated, fresh))
        train = self._run.table.rows
        return rendered.score_rendered(train, fresh.attributes, *decoded, draw_law())

    def _draw_for(self, requests: Attributes, seeds: np.ndarray) -> PictureSet:
        return self._reference.extract(self._draw(seeds, requests), requests)

    def _classify(self, pictures: PictureSet) -> np.ndarray:
        return self._reference.attribute_logits(pictures)


def score_checkpoint(
    reference: ReferenceSet, generated: GeneratedPictures
) -> tuple[Row, dict[str, np.ndarray]]:
    """Scores the pictures of a checkpoint.

    Returns the "scores", "attributes" and "generated" of its row, and what to show beside it, by
    the name of its file.
    """
    row, last = score_sets(reference, generated.draw_sets())
    shown = {"nearest.png": draw_nearest_pairs(reference, last)} if reference.classifier else {}
    # A picture of exactly one class cannot have one class more or less: it changes to another.
    swappable = generated.groups or not reference.has_classes
    if row["attributes"] and generated.varying and swappable:
        shown["swap.npy"] = _add_swaps(row, reference, generated)
    every_attribute = reference.names == tuple(dataset.ATTRIBUTES)
    if row["attributes"] and reference.is_rendered and every_attribute:
        _add_scores(row, reference, generated.score_as_rendered())
    return row | {"generated": generated.describe()}, shown


def _add_swaps(row: Row, reference: ReferenceSet, generated: GeneratedPictures) -> np.ndarray:
    """Adds what changing one attribute does to a row; returns the matrix of what changes [a a]."""
    swaps, columns = generated.swap_attributes(), generated.varying
    for column, success in zip(columns, swaps.success, strict=True):
        row["attributes"][reference.names[column]]["swap"] = finite_number(success)
    measured = {"swap": Measured(swaps.mean_success), "leakage": Measured(swaps.leakage)}
    _add_scores(row, reference, measured)
    matrix = np.full((len(reference.names),) * 2, np.nan)
    matrix[np.ix_(columns, columns)] = swaps.moved
    return matrix


def _add_scores(row: Row, reference: ReferenceSet, scores: Mapping[str, Measured]) -> None:
    """Adds scores of one set of pictures to a row."""
    for name, (value, baseline, cases) in scores.items():
        whole = full_name(name, reference.classifier.name)
        row["scores"][whole] = make_score([value], baseline, cases)


@functools.cache
def draw_law() -> UInt8[np.ndarray, "n 40"]:
    """Labels of so many rendered faces that they stand for all."""
    return rendered.draw_labels(LAW)


@functools.cache
def draw_fresh_faces(reference: ReferenceSet) -> PictureSet:
    """Renders as many faces as the reference set has, of people that are in no split."""
    index = np.arange(reference.num) * dataset.IMAGES_PER_IDENTITY
    padded = np.pad(index, (0, -len(index) % CHUNK), mode="edge")  # One shape compiles once.
    size = reference.stores["train"].image_size
    drawn = [dataset.draw_faces(rendered.SEED, part, size) for part in padded.reshape(-1, CHUNK)]
    images = np.concatenate([np.asarray(face.image) for face in drawn])
    attributes = np.concatenate([np.asarray(face.attributes) for face in drawn])
    return reference.extract(images[: reference.num], attributes[: reference.num])
