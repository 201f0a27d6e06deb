"""Trains with a fault: `python tests/helpers/faulty.py KIND:PROCESS:STEP OPTIONS`.

The fault comes to one process after a step, or while it prepares the data if STEP is `preparing`.
"""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # Where a script finds `gan`.

from gan import main
from gan.data.feed import ResidentFeed
from gan.errors import DataError
from gan.runtime import cluster
from gan.training import job
from gan.workdir import folder as folder_module


def hang() -> None:
    """Hangs, as a loader does whose disk no longer answers."""
    time.sleep(10_000)


def be_late() -> None:
    """Waits, as a host does that compiles far more slowly than the others."""
    time.sleep(45)


def fail() -> None:
    """Raises an error that only a bug would raise."""
    raise RuntimeError("a fault made for a test")


def find_bad_data() -> None:
    """Raises the error of a damaged file."""
    raise DataError("a damaged file made for a test")


HARMS = {"hang": hang, "late": be_late, "fail": fail, "bad": find_bad_data}


def harm_preparing(harm: Callable[[], None], process: int) -> None:
    """Harms a process before it prepares the data."""
    prepare = job.prepare

    def faulty(*arguments: Any, **named: Any) -> Any:
        if cluster.process_index() == process:
            harm()
        return prepare(*arguments, **named)

    job.prepare = faulty


def harm_reading(harm: Callable[[], None], process: int, step: int) -> None:
    """Harms a process instead of reading the batch after `step`."""
    calls = ResidentFeed.calls

    def faulty(self: ResidentFeed, *arguments: Any) -> Iterator[tuple[int, Any]]:
        for done, batch in calls(self, *arguments):
            yield done, batch
            if done == step and cluster.process_index() == process:
                harm()

    ResidentFeed.calls = faulty


def move_workdir(process: int) -> None:
    """Makes the workdir's name mean another folder to a process."""
    train = job.train

    def faulty(config: Any, folder: Path, verify: bool) -> Any:
        if cluster.process_index() == process:
            folder = folder.with_name("elsewhere")
            folder.mkdir(exist_ok=True)
        return train(config, folder, verify)

    job.train = faulty
    folder_module.SHARED = 2


if __name__ == "__main__":
    kind, process, step = sys.argv.pop(1).split(":")
    if kind == "elsewhere":
        move_workdir(int(process))
    elif step == "preparing":
        harm_preparing(HARMS[kind], int(process))
    else:
        harm_reading(HARMS[kind], int(process), int(step))
    main.main()
