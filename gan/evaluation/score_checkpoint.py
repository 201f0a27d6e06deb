"""From what a checkpoint draws to a row of numbers.

A row depends on the checkpoint and the protocol alone: no clock, no host, nothing drawn at random
that is not drawn the same way again.
"""

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import UInt8

from gan import __version__
from gan.data.faces import dataset
from gan.metrics import conditional, rendered
from gan.metrics.distances import spread_rows
from gan.metrics.reference_set import PictureSet, ReferenceSet
from gan.metrics.scores import Measured, Scores, finite_number, full_name
from gan.model.state import Params
from gan.runtime.pictures import make_grid
from gan.sampling.open_run import Run
from gan.sampling.sampler import Sampler

VERSION = 1  # Of the protocol: raised when the same pictures get other numbers.
SWAPS, LEAST_SWAPS = 5_120, 8  # Faces in all, and for each attribute asked for in another way.
AT_A_TIME = 4_096  # Of them, in memory.
PAIRS, COLUMNS = 24, 8  # Shown of the pictures nearest to the training set.
LAW = 300_000  # Labels of rendered faces, that stand for all.
CHUNK = 256  # Faces rendered at a time.
Row = dict
Pictures = UInt8[np.ndarray, "_ _ _ 3"]
Attributes = UInt8[np.ndarray, "_ _"]
Sets = Iterator[tuple[Pictures, Attributes | None]]


class Drawn:
    """What one checkpoint draws for the held-out pictures' attributes."""

    def __init__(
        self,
        run: Run,
        sampler: Sampler,
        params: Params,
        reference: ReferenceSet,
        seeds: Sequence[int],
    ):
        """`seeds` are evaluation seeds: each is another set of pictures, with other latents."""
        self._draw = functools.partial(sampler, params)
        self._run, self._reference, self._seeds = run, reference, seeds
        self._asked = reference.held_out.attributes

    @property
    def varying(self) -> list[int]:
        """Columns of the attributes that a request can change."""
        return self._run.table.varying

    def sets(self) -> Sets:
        """Pictures and what was asked of them, for each evaluation seed."""
        num = self._reference.num
        for seed in self._seeds:
            images = self._draw(range(seed * num, (seed + 1) * num), self._asked)
            yield images, self._asked if self._run.model.conditional else None

    def stamp(self) -> dict:
        """What is to be known of the pictures."""
        return {
            "labels": f"rows of {self._reference.split}" if self._run.model.conditional else "none",
            "weights": "moving average, half-life of "
            f"{self._run.config.average.half_life:,.0f} images",
            "seeds": [*self._seeds],
        }

    def swaps(self) -> tuple[conditional.Swaps, list[int]]:
        """Each attribute that varies asked for in another way, all else kept; their columns."""
        columns = self.varying
        num = min(len(self._asked), max(LEAST_SWAPS, SWAPS // len(columns)))
        asked = self._asked[spread_rows(len(self._asked), num)]
        requests = np.tile(asked, (1 + len(columns), 1, 1))
        for variant, column in zip(requests[1:], columns, strict=True):
            variant[:, column] ^= 1
        seeds = np.tile(np.arange(len(asked)), len(requests))
        flat = requests.reshape(len(seeds), -1)
        logits = [
            self._reference.attribute_logits(
                self._see(flat[i : i + AT_A_TIME], seeds[i : i + AT_A_TIME])
            )
            for i in range(0, len(seeds), AT_A_TIME)
        ]
        before, *after = np.concatenate(logits)[:, columns].reshape(*requests.shape[:2], -1)
        return conditional.compare_swaps(before, np.stack(after), asked[:, columns]), columns

    def truth(self) -> dict[str, Measured]:
        """Scores of rendered faces, whose law is known."""
        train, fresh = self._run.table.rows, fresh_faces(self._reference)
        generated = self._see(fresh.attributes, np.arange(len(fresh.images)))
        decoded = ((self._reference.attribute_logits(x) > 0) for x in (generated, fresh))
        return rendered.score_rendered(
            train, fresh.attributes, *(x.astype(np.uint8) for x in decoded), law()
        )

    def _see(self, asked: Attributes, seeds: np.ndarray) -> PictureSet:
        return self._reference.extract(self._draw(seeds, asked), asked)


def judge(reference: ReferenceSet, sets: Sets) -> tuple[Row, PictureSet]:
    """The numbers of a row, over all sets of pictures; and the last set."""
    found: list[Scores] = []
    fakes: list[PictureSet] = []
    for images, attributes in sets:
        seen = reference.extract(images, attributes)
        found.append(reference.score(seen))
        fakes = [*map(without_images, fakes), seen]
    scores = {
        name: {
            "mean": finite_number(np.mean([x[name] for x in found])),
            "sd": finite_number(np.std([x[name] for x in found], ddof=1))
            if len(found) > 1
            else None,
            "floor": finite_number(reference.baseline.get(name, np.nan)),
        }
        for name in found[0]
    }
    asked = fakes[-1].attributes is not None and reference.names and reference.classifier
    return {
        "scores": scores,
        "attributes": reference.score_attributes(fakes) if asked else {},
    }, fakes[-1]


def judge_checkpoint(reference: ReferenceSet, drawn: Drawn) -> tuple[Row, dict[str, np.ndarray]]:
    """A row without its step; and what is to be shown beside it, by the name of its file."""
    row, last = judge(reference, drawn.sets())
    shown = {"nearest.png": nearest_pairs(reference, last)} if reference.classifier else {}
    # Of classes, one asked for in another way is no class, or two.
    if row["attributes"] and drawn.varying and not reference.has_classes:
        swaps, columns = drawn.swaps()
        names = [reference.names[column] for column in columns]
        for name, success in zip(names, swaps.success, strict=True):
            row["attributes"][name]["swap"] = finite_number(success)
        matrix = np.full((len(reference.names),) * 2, np.nan)
        matrix[np.ix_(columns, columns)] = swaps.moved
        shown["swap.npy"] = matrix
        _add(
            row,
            reference,
            {"swap": Measured(swaps.mean_success), "leakage": Measured(swaps.leakage)},
        )
    if row["attributes"] and reference.is_rendered and reference.names == tuple(dataset.ATTRIBUTES):
        _add(row, reference, drawn.truth())
    return row | {"generated": drawn.stamp(), "protocol": protocol(reference)}, shown


def protocol(reference: ReferenceSet) -> dict:
    """All that numbers depend on besides the pictures they are of: unlike ones never compare."""
    train, split = reference.stores["train"], reference.stores[reference.split]
    # Where nothing is asked for, it does not matter how much could have been.
    known = reference.classifier.attributes if reference.classifier else train.attribute_names
    some = reference.names and set(reference.names) != set(known)
    attributes = (
        hashlib.sha256(",".join(reference.names).encode()).hexdigest()[:8] if some else "all"
    )
    stamp = {
        "version": VERSION,
        "data": f"{train.source} {train.digest[:12]}",
        "split": reference.split,
        "reals": split.digest[:12],
        "floors": reference.baseline_split,
        "images": reference.num,
        "image_size": train.image_size,
        "crop": train.crop,
        "resize": train.resize,
        "flips": "none",
        "attributes": attributes,
        "extractors": {x.name: x.stamp for x in reference.extractors},
        "gan": __version__,
    }
    text = json.dumps(stamp, sort_keys=True).encode()
    return {"id": hashlib.sha256(text).hexdigest()[:8]} | stamp


def nearest_pairs(reference: ReferenceSet, fake: PictureSet) -> UInt8[np.ndarray, "height width 3"]:
    """The generated pictures nearest to the training set, each above its nearest one."""
    near = reference.find_nearest(fake)
    closest = np.argsort(near.distance, kind="stable")[:PAIRS]
    rows = []
    for some in (closest[i : i + COLUMNS] for i in range(0, len(closest), COLUMNS)):
        pair = (fake.images[some], reference.stores["train"].images[near.index[some]])
        pad = [(0, COLUMNS - len(some)), (0, 0), (0, 0), (0, 0)]
        rows += [np.pad(x, pad, constant_values=255) for x in pair]
    labels = ["generated", "nearest in training"] * (len(rows) // 2)
    return make_grid(np.concatenate(rows), COLUMNS, labels)


def without_images(seen: PictureSet) -> PictureSet:
    """To keep many: what was seen of them takes a fraction of their memory."""
    return seen._replace(images=np.empty((0, 1, 1, 3), np.uint8))


@functools.cache
def law() -> UInt8[np.ndarray, "n 40"]:
    """The labels of so many rendered faces that they stand for all."""
    return rendered.draw_labels(LAW)


@functools.cache
def fresh_faces(reference: ReferenceSet) -> PictureSet:
    """As many rendered faces of people that no split has."""
    index = np.arange(reference.num) * dataset.IMAGES_PER_IDENTITY
    padded = np.pad(index, (0, -len(index) % CHUNK), mode="edge")  # To compile once.
    size = reference.stores["train"].image_size
    drawn = [dataset.draw_faces(rendered.SEED, part, size) for part in padded.reshape(-1, CHUNK)]
    images = np.concatenate([np.asarray(face.image) for face in drawn])
    attributes = np.concatenate([np.asarray(face.attributes) for face in drawn])
    return reference.extract(images[: reference.num], attributes[: reference.num])


def _add(row: Row, reference: ReferenceSet, scores: Mapping[str, Measured]) -> None:
    """Adds scores of one set of pictures to a row."""
    for name, measured in scores.items():
        found = {
            "mean": finite_number(measured.value),
            "sd": None,
            "floor": finite_number(measured.baseline),
        }
        if measured.cases is not None:
            found["cases"] = measured.cases
        row["scores"][full_name(name, reference.classifier.name)] = found
