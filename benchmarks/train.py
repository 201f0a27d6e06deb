"""Measures how long a whole training takes, and where the time goes that is not the step's.

    python -m benchmarks.train --config=configs/quickstart.py --steps=1000 --json=train.json

Each run trains in a process of its own and a new folder, and is timed from the start of the process
to its end; the data are prepared before. The first run of a round compiles everything, the second
finds it in the cache of compiled programs.
"""

import functools
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import turns
from benchmarks.shares import COMPILE, END, SHARES, START, STEPS


def measure_run(arguments: list[str], folder: Path, cache: Path) -> dict[str, Any]:
    """Measures a training in the new `folder`, with this cache of compiled programs."""
    path = folder.with_suffix(".json")
    command = ["--mode=train", f"--workdir={folder}", *arguments]
    begin = time.time()
    code = f"from benchmarks import shares; shares.main({str(path)!r}, {begin})"
    turns.run_python(code, *command, XDG_CACHE_HOME=str(cache))
    end = time.time()
    written = json.loads(path.read_text())
    seconds, running = dict.fromkeys(SHARES, 0.0), dict.fromkeys(SHARES, 0.0)
    first_step = 0.0
    for phase, share, spent in [*written["seconds"], (END, END, end - written["until"])]:
        seconds[share] += spent
        running[share] += spent * (phase == STEPS)
        first_step += spent * (phase in (START, COMPILE))
    total, loop = end - begin, sum(running.values())
    rows = (folder / "metrics.jsonl").read_text().splitlines()
    images = json.loads(rows[-1])["images"]
    return {
        "images": images,
        "seconds": seconds,
        "shares": {share: spent / total for share, spent in seconds.items()},
        "total_seconds": total,
        "seconds_to_first_step": first_step,
        "images_per_second": images / total,
        "not_the_step": 1 - seconds[STEPS] / total,
        "not_the_step_once_it_runs": 1 - running[STEPS] / loop if loop else 0.0,
    }


def report(runs: dict[str, list[dict[str, Any]]]) -> str:
    """Returns a table of medians and ranges over all rounds."""

    def row(name: str, *keys: str, scale: float = 1, digits: int = 1) -> list[str]:
        cells = [name]
        for rounds in runs.values():
            values = [functools.reduce(dict.__getitem__, keys, run) for run in rounds]
            cells.append(turns.format_spread([scale * value for value in values], digits))
        return cells

    return turns.format_columns(
        "Seconds, and images/s: median (range)",
        [
            ["", *(f"{name} cache" for name in runs)],
            *(row(share, "seconds", share, digits=2) for share in SHARES),
            row("all", "total_seconds"),
            row("until the first step is done", "seconds_to_first_step"),
            row("images/s, from start to end", "images_per_second"),
            row("not the step, %", "not_the_step", scale=100),
            row("not the step, once it runs, %", "not_the_step_once_it_runs", scale=100),
        ],
    )


def main() -> None:
    """Prints a table."""
    parser = turns.make_parser(
        __doc__,
        {
            "steps": (1000, "of each run"),
            "rounds": (1, "each has a run with a cold cache and one with a warm one"),
        },
    )
    parser.add_argument("--config", default="configs/quickstart.py", help="as of gan.main")
    parser.epilog = "More options go to gan.main, as --config.network.g_width=32."
    options, more = parser.parse_known_args()
    options.more = more
    arguments = [f"--config={options.config}", f"--config.steps={options.steps}", *more]
    turns.run_python("from gan import main; main.main()", "--mode=prepare", *arguments)
    runs: dict[str, list[dict[str, Any]]] = {"cold": [], "warm": []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds):
            for name, done in runs.items():
                cache = Path(folder) / f"cache{number}"
                done.append(measure_run(arguments, Path(folder) / f"{name}{number}", cache))
    share = statistics.median(run["not_the_step_once_it_runs"] for run in runs["warm"])
    print(f"{options.steps:,} steps, {runs['warm'][0]['images']:,} images")
    print(report(runs))
    print(f"Everything that is not the step, once it runs: {share:.1%} of the time.")
    turns.write_results(options, **runs)


if __name__ == "__main__":
    main()
