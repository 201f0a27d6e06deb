"""Compares this checkout with another: speed of the step, time to the first one, peak memory.

    python -m benchmarks.checkouts --other=FOLDER --rounds=5

Each measurement is a process `python -m gan.main` in one of the two folders. They take turns, and a
ratio is taken within a round, so whatever slows the machine for a while slows both. Each checkout
has its own prepared data and compiled programs, which a round before the first one makes. The
checkouts may be of different editions: only options are used that all of them have.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks import turns
from gan.runtime.logs import read_rows

DATA = ("--config.data.source=faces", "--config.data.num_faces=4096")
CONFIGS = {
    "quickstart": ("--config=configs/quickstart.py", *DATA),
    "celeba64:narrow": ("--config=configs/celeba64.py:narrow", *DATA),
}
START, SPEED, MEMORY = "until the first step, s", "images/s", "peak memory, MB"


class Training(NamedTuple):
    """What was seen of one training from outside of its process."""

    seconds_to_first_row: float  # From the start of the process.
    images_per_second: float  # Median of its rows, none of which has compiling in it.
    peak_memory: int  # Bytes of resident memory.


def watch_training(checkout: Path, kept: Path, options: tuple[str, ...]) -> Training:
    """Runs a training in a checkout, with data and compiled programs in the folder `kept`."""
    with tempfile.TemporaryDirectory() as workdir:
        command = [
            *(sys.executable, "-m", "gan.main", "--mode=train", f"--workdir={workdir}/run"),
            *(*options, f"--config.data.cache_dir={kept}/data"),
        ]
        environment = os.environ | {"XDG_CACHE_HOME": str(kept), "PYTHONUNBUFFERED": "1"}
        begin = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=checkout,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        first, printed = 0.0, []
        for line in process.stdout:
            printed.append(line)
            if line.startswith("step ") and not first:
                first = time.perf_counter() - begin
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{''.join(printed)}{checkout}: {' '.join(command)} failed: see above.")
        rates = [row["images_per_second"] for row in read_rows(Path(workdir, "run/metrics.jsonl"))]
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Training(first, statistics.median(rates), peak)


def measure_round(
    checkouts: dict[str, Path], kept: Path, order: list[str], steps: int, batch: int
) -> dict[str, dict[str, float]]:
    """Returns all quantities of each checkout; one measures right after the other, in `order`."""
    found: dict[str, dict[str, float]] = {side: {} for side in checkouts}
    for name, options in CONFIGS.items():
        lengths = (
            ("--config.steps=1", "--config.log_every=1"),
            (f"--config.steps={steps}", f"--config.log_every={max(steps // 5, 1)}"),
        )
        for length in lengths:
            every = (*options, f"--config.data.batch_size={batch}", *length)
            for side in order:
                seen = watch_training(checkouts[side], kept / side, every)
                if length is lengths[0]:
                    found[side][f"{name}: {START}"] = seen.seconds_to_first_row
                else:
                    found[side][f"{name}: {SPEED}"] = seen.images_per_second
                    found[side][f"{name}: {MEMORY}"] = seen.peak_memory / 1e6
    return found


def report(rounds: list[dict[str, dict[str, float]]]) -> str:
    """Returns a table of medians and ranges; ratios are those within a round."""
    rows = [("", "this", "other", "this / other")]
    for name in rounds[0]["this"]:
        this, other = ([found[side][name] for found in rounds] for side in ("this", "other"))
        ratios = [a / b for a, b in zip(this, other, strict=True)]
        digits = 2 if name.endswith(START) else 0
        cells = [turns.format_spread(values, digits) for values in (this, other)]
        rows.append((name, *cells, turns.format_spread(ratios, 3)))
    return turns.format_columns("Median (range)", rows)


def main() -> None:
    """Prints a table."""
    numbers = {
        "rounds": (5, "in each, both checkouts have their turn"),
        "steps": (60, "of each training whose speed and memory are measured"),
        "batch": (64, "images a step"),
    }
    parser = turns.make_parser(__doc__, numbers)
    parser.add_argument("--other", type=Path, required=True, help="folder of the other checkout")
    parser.add_argument("--this", type=Path, default=turns.ROOT, help="default: the one it lies in")
    options = parser.parse_args()
    checkouts = {"this": options.this.resolve(), "other": options.other.resolve()}
    rounds = []
    with tempfile.TemporaryDirectory() as kept:
        for number, order in enumerate(turns.alternate([*checkouts], 1 + options.rounds)):
            lengths = options.steps, options.batch
            rounds.append(measure_round(checkouts, Path(kept), order, *lengths))
            print(f"round {number} of {options.rounds}", file=sys.stderr, flush=True)
    print(report(rounds[1:]))
    turns.write_results(options, rounds=rounds[1:])


if __name__ == "__main__":
    main()
