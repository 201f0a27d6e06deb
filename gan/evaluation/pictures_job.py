"""The job that scores a folder of pictures, whoever drew them, beside configured data."""

import collections
import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np

from gan.config import Config
from gan.data.files import open_files
from gan.data.prepare import prepare
from gan.data.readers.folder import FolderPictures, get_extension, is_picture, load_pictures
from gan.data.source import SPLITS
from gan.errors import ConfigError
from gan.evaluation import score_rows
from gan.evaluation.formats import describe_given
from gan.evaluation.options import EvaluationOptions
from gan.evaluation.reference_sets import ReferenceSets
from gan.evaluation.results import announce_results, write_arrays
from gan.evaluation.score_sets import Sets, describe_protocol, draw_nearest_pairs, score_sets
from gan.metrics.scores import MIN_PICTURES
from gan.runtime.logs import log, read_rows
from gan.runtime.pictures import enlarge_pictures, make_grid
from gan.runtime.storage import Path
from gan.workdir.best import EVALUATING
from gan.workdir.folder import lock_workdir, write_rows

SHOWN, COLUMNS = 64, 8  # Pictures in the sheet of samples, and how many stand side by side.
STEP = 0  # The step of the only row.


def evaluate_pictures(
    pictures: Path, config: Config, folder: Path, options: EvaluationOptions
) -> None:
    """Scores the pictures in a folder (or zip) beside the configured data.

    `folder` gets what the folder of a run gets, with one row of step 0. A CSV with the pictures
    says which attributes they were requested to have. Raises ConfigError where `folder` holds a
    run, or scores of other pictures.
    """
    if (folder / "config.json").exists():
        raise ConfigError(
            f"--workdir={folder} holds a run of its own; name another folder for the scores of "
            f"--images={pictures}."
        )
    data = dataclasses.replace(config.data, source="folder", path=str(pictures))
    given = load_pictures(dataclasses.replace(data, labels="auto", attributes=None, on_bad="error"))
    if len(given.images) < MIN_PICTURES:
        raise ConfigError(
            f"--images={pictures}: {len(given.images)} pictures, and at least {MIN_PICTURES} are "
            "needed to compare with as many real ones. Add some."
        )
    digest = hashlib.sha256(given.images.tobytes()).hexdigest()[:16]
    path = folder / "scores.jsonl"
    rows = read_rows(path)
    if any(row.get("generated", {}).get("digest", digest) != digest for row in rows):
        raise ConfigError(
            f"--workdir={folder} holds the scores of other pictures than --images={pictures}; name "
            "another folder."
        )
    with lock_workdir(folder, EVALUATING):
        num = min(options.num_images or config.eval_images, len(given.images))
        stores = prepare(config.data, SPLITS)
        names = [name for name in stores["train"].attribute_names if name in given.names]
        reference = ReferenceSets(options).make(stores, num, tuple(names))
        num_sets = min(len(options.seeds), len(given.images) // reference.num)
        stamp = {
            "pictures": pictures.name,
            "digest": digest,
            "files": count_kinds(pictures),
            "changes": given.changes,
            "labels": "given with the pictures" if names else "none",
            "sets": num_sets,
        }
        log.info("%s: %s", pictures, describe_given(stamp))
        row, last = score_sets(reference, split_sets(given, names, reference.num, num_sets))
        protocol = describe_protocol(reference, options.seeds)
        row = {"step": STEP} | row | {"generated": stamp, "protocol": protocol}
        shown = {"samples.png": make_grid(enlarge_pictures(last.images[:SHOWN]), COLUMNS)}
        if reference.classifier:
            shown["nearest.png"] = draw_nearest_pairs(reference, last)
        write_arrays(score_rows.pictures_folder(folder, protocol["id"], STEP), shown)
        rows = score_rows.replace_row(rows, row)
        write_rows(path, rows)
        announce_results(folder, rows, protocol["id"])


def count_kinds(pictures: Path) -> dict[str, int]:
    """Number of pictures in a folder or zip of each kind of file, by its extension."""
    names = filter(is_picture, open_files(pictures).list(deep=True))
    return dict(sorted(collections.Counter(map(get_extension, names)).items()))


def split_sets(given: FolderPictures, names: Sequence[str], num: int, num_sets: int) -> Sets:
    """Splits pictures at random into sets of `num` with their requests for the attributes `names`.

    At random, because files may be sorted by class.
    """
    rows = np.random.default_rng(0).permutation(len(given.images))[: num * num_sets]
    requests = given.attributes[:, [given.names.index(name) for name in names]]
    for part in np.split(rows, num_sets):
        yield given.images[part], requests[part] if names else None
