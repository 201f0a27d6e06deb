"""Measures how fast sets are scored, and checkpoints evaluated.

    python -m benchmarks.evaluate --json=evaluate.json

Scores are given noise, since they take as long whatever they are given. `--mode=evaluate` runs in a
process of its own on a short training, made for it in a temporary folder.
"""

import re
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import turns
from gan.metrics import scores
from gan.metrics.neighbours import neighbour_scores

COMMAND = "from gan import main; main.main()"


def time_scores(pictures: int, size: int, features: int, width: int, rounds: int) -> dict[str, Any]:
    """Returns the seconds of each score, of as many real as fake pictures, or rows of features."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, pictures, size, size, 3), np.uint8)
    rows = rng.standard_normal((2, features, width), np.float32)
    of_pictures, of_features = (
        {name: score.function for name, score in registry.items()}
        for registry in (scores.PICTURES, scores.FEATURES)
    )
    of_features[", ".join(scores.NEIGHBOURS)] = neighbour_scores
    kinds = {
        f"{pictures:,} pictures of {size} px": (of_pictures, images),
        f"{features:,} x {width:,} features": (of_features, rows),
    }
    results = {}
    for kind, (functions, sets) in kinds.items():
        calls = {name: _call(score, sets) for name, score in functions.items()}
        results[kind] = turns.time_in_turns(calls, rounds)
    return results


def _call(score: Callable, sets: np.ndarray) -> Callable[[], None]:
    return lambda: score(*sets)


def time_job(settings: list[str], checkpoints: int, images: int) -> dict[str, Any]:
    """Returns the seconds of `--mode=evaluate`: before the checkpoints, and of each of them."""
    every = ("log_every", "checkpoint_every", "keep_every")
    with tempfile.TemporaryDirectory() as folder:
        workdir = f"--workdir={folder}/run"
        turns.run_python(
            COMMAND,
            *("--mode=train", workdir, *settings, f"--config.steps={checkpoints}"),
            *(f"--config.{name}=1" for name in every),
            f"--config.eval_images={images}",
        )
        evaluate = ("--mode=evaluate", workdir)
        begin = time.perf_counter()
        # Its cache is empty, so it compiles, and trains the classifier.
        printed = turns.run_python(COMMAND, *evaluate, XDG_CACHE_HOME=folder)
        total = time.perf_counter() - begin
    first, *later = (float(x) for x in re.findall(r"^step \d+, ([\d.]+) s:", printed, re.M))
    classifier = [float(x) for x in re.findall(r"^attr@.*; ([\d.]+) s\.$", printed, re.M)]
    return {
        "total_seconds": total,
        "classifier_seconds": sum(classifier),  # 0 if there is one already.
        "before_seconds": total - first - sum(later) - sum(classifier),
        "first_seconds": first,
        "later_seconds": later,
        "images": images,
    }


def report_scores(measured: dict[str, Any]) -> str:
    """Returns tables with a row for each score, and their sum."""
    tables = []
    for kind, seconds in measured.items():
        rows = [("", "seconds (range)")]
        rows += [(name, turns.format_spread(values, 1)) for name, values in seconds.items()]
        together = [sum(values) for values in zip(*seconds.values(), strict=True)]
        tables.append(
            turns.format_columns(kind, [*rows, ("together", turns.format_spread(together, 1))])
        )
    return "\n".join(tables)


def report_job(measured: dict[str, Any]) -> str:
    """Returns a table with a row for each part of the job."""
    later = measured["later_seconds"]
    parts = {
        "training the attribute classifier, once for a data set": measured["classifier_seconds"],
        "start-up, data, and the first checkpoint's baselines": measured["before_seconds"],
        "first checkpoint, with compiling and the reference set": measured["first_seconds"],
        "each later one: restored, drawn, classified, scored": statistics.mean(later),
        "the whole": measured["total_seconds"],
    }
    rows = [("", "seconds"), *((name, f"{seconds:.1f}") for name, seconds in parts.items())]
    title = f"--mode=evaluate, {1 + len(later)} checkpoints, 3 x {measured['images']:,} images"
    return turns.format_columns(title, rows)


def main() -> None:
    """Prints two tables."""
    numbers = {
        "size": (64, "pixels"),
        "width": (64, "channels of the networks"),
        "checkpoints": (3, "at least 2"),
        "pictures": (2_048, "real, and as many generated"),
        "features": (10_000, "rows of the real ones, and of the fake ones"),
        "feature_width": (2_048, "their width"),
        "rounds": (1, "of the scores alone"),
    }
    parser = turns.make_parser(__doc__, numbers)
    parser.add_argument("--config", default="configs/celeba64.py", help="as of gan.main")
    parser.epilog = "More options go to gan.main, as --config.data.cache_dir=FOLDER."
    options, more = parser.parse_known_args()
    options.more = more
    if options.checkpoints < 2:
        parser.error("--checkpoints must be at least 2: the first compiles")
    alone = time_scores(
        *(options.pictures, options.size, options.features, options.feature_width, options.rounds)
    )
    print(report_scores(alone), flush=True)
    settings = [
        f"--config={options.config}",
        *("--config.data.source=faces", "--config.data.batch_size=16"),
        f"--config.data.image_size={options.size}",
        *(f"--config.network.{name}={options.width}" for name in ("g_width", "d_width")),
        f"--config.data.num_faces={16 * options.pictures}",  # A sixteenth is held out.
        *more,
    ]
    job = time_job(settings, options.checkpoints, options.pictures)
    print(report_job(job))
    turns.write_results(options, job=job, alone=alone)


if __name__ == "__main__":
    main()
