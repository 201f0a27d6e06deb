"""How fast pictures are scored, and checkpoints evaluated.

    python -m benchmarks.evaluate --json=evaluate.json

Scores see noise: they take as long whatever the pictures show. `--mode=evaluate` runs in a process
of its own on a short training, made for it in a temporary folder.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # For `python benchmarks/evaluate.py`.
from benchmarks import turns
from gan.metrics import scores

COMMAND = "from gan import main; main.main()"


def scoring(sizes: list[int], size: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Seconds of each score on n real and n fake pictures, and how they grow with n."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (2, max(sizes), size, size, 3), np.uint8)
    results = {}
    for name, score in scores.SCORES.items():
        calls = {str(n): _call(score, noise[:, :n]) for n in sizes}
        seconds = turns.seconds_in_turns(calls, rounds)
        medians = [statistics.median(seconds[str(n)]) for n in sizes]
        floors = {str(n): FLOORS[name](n, size) for n in sizes if name in FLOORS}
        results[name] = {
            "seconds": seconds,
            "floor_seconds": floors,
            "exponent": turns.exponent(sizes, medians),
        }
    return results


def _call(score: Callable, pictures: np.ndarray) -> Callable[[], None]:
    return lambda: score(*pictures)


def sliced_wasserstein_floor(num: int, size: int) -> float:
    """Seconds of the projections and sorts alone, of which the score consists."""
    rng = np.random.default_rng(0)
    patches = rng.standard_normal((num * scores.PATCHES, 3 * scores.PATCH**2), np.float32)
    directions = rng.standard_normal((patches.shape[1], scores.DIRECTIONS), np.float32)
    begin = time.perf_counter()
    np.sort((patches @ directions).T, axis=1)
    levels = (size // scores.SMALLEST).bit_length()
    return (time.perf_counter() - begin) * levels * scores.REPEATS * 2  # Real and fake.


FLOORS = {"swd": sliced_wasserstein_floor}


def whole(settings: list[str], checkpoints: int, images: int) -> dict[str, Any]:
    """Seconds of `--mode=evaluate`: of each checkpoint, and of all that comes before them."""
    every = ("log_every", "checkpoint_every", "keep_every")
    with tempfile.TemporaryDirectory() as folder:
        workdir = f"--workdir={folder}/run"
        turns.in_a_process(
            COMMAND,
            *("--mode=train", workdir, *settings, f"--config.steps={checkpoints}"),
            *(f"--config.{name}=1" for name in every),
            f"--config.eval_images={images}",
        )
        begin = time.perf_counter()
        turns.in_a_process(COMMAND, "--mode=evaluate", workdir, XDG_CACHE_HOME=folder)  # Cold.
        total = time.perf_counter() - begin
        lines = (Path(folder) / "run" / "scores.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    first, *later = (row["seconds"] for row in rows)
    return {
        "total_seconds": total,
        "before_seconds": total - first - sum(later),
        "first_seconds": first,
        "later_seconds": later,
        "images": rows[0]["images"],
    }


def report_scoring(measured: dict[str, dict[str, Any]]) -> str:
    """A row for each score and number of pictures."""
    rows = [("score, pictures of each kind", "images/s (range)", "seconds", "share of the floor")]
    for name, result in measured.items():
        for num, seconds in result["seconds"].items():
            median, floor = statistics.median(seconds), result["floor_seconds"].get(num)
            rates = [int(num) / s for s in seconds]
            share = f"{floor / median:.0%}" if floor else ""
            rows.append((f"{name}, {num}", turns.spread(rates), f"{median:.2f}", share))
    return turns.columns("Scores alone", rows)


def report_whole(measured: dict[str, Any]) -> str:
    """A row for each part of the job."""
    images, later = measured["images"], measured["later_seconds"]
    rows = [("", "seconds", "images/s")]
    parts = {
        "all before: start-up, data, the scores' floors": (measured["before_seconds"], None),
        "first checkpoint, with compiling": (measured["first_seconds"], images),
        "each later one: restored, drawn, scored": (statistics.mean(later), images),
        "the whole": (measured["total_seconds"], images * (1 + len(later))),
    }
    for name, (seconds, num) in parts.items():
        rows.append((name, f"{seconds:.2f}", f"{num / seconds:,.0f}" if num else ""))
    return turns.columns(f"--mode=evaluate, {1 + len(later)} checkpoints, {images:,} images", rows)


def main() -> None:
    """Prints two tables."""
    numbers = {
        "size": (64, "pixels"),
        "width": (64, "channels of the networks"),
        "checkpoints": (4, "at least 2"),
        "rounds": (3, "of the scores alone"),
    }
    parser = turns.parser(__doc__, numbers)
    sizes = "256,512,1024,2048"
    parser.add_argument("--pictures", type=turns.whole_numbers, default=sizes, help=sizes)
    parser.add_argument("--config", default="configs/celeba64.py", help="as of gan.main")
    parser.epilog = "More options go to gan.main, as --config.data.cache_dir=FOLDER."
    options, more = parser.parse_known_args()
    options.more = more
    if options.checkpoints < 2:
        parser.error("--checkpoints must be at least 2: the first compiles")
    settings = [
        f"--config={options.config}",
        *("--config.data.source=faces", "--config.data.batch_size=16"),
        f"--config.data.image_size={options.size}",
        *(f"--config.network.{name}={options.width}" for name in ("g_width", "d_width")),
        f"--config.data.num_faces={16 * max(options.pictures)}",  # A sixteenth is held out.
        *more,
    ]
    job = whole(settings, options.checkpoints, max(options.pictures))
    print(report_whole(job), flush=True)
    alone = scoring(options.pictures, options.size, options.rounds)
    print(report_scoring(alone))
    for name, result in alone.items():
        print(f"{name}: time grows as the number of pictures to the {result['exponent']:.2f}")
    turns.write(options, job=job, alone=alone)


if __name__ == "__main__":
    main()
