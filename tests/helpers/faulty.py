"""`python tests/faulty.py KIND:PROCESS:STEP OPTIONS`: the trainer, with something gone wrong."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from gan import main
from gan.data.feed import ResidentFeed
from gan.errors import DataError
from gan.runtime import cluster
from gan.training import job
from gan.workdir import folder as folder_module


def hang() -> None:
    """As a loader does whose disk no longer answers."""
    time.sleep(10_000)


def late() -> None:
    """As a host does that compiles far more slowly than the others."""
    time.sleep(45)


def fail() -> None:
    """As a bug does."""
    raise RuntimeError("a fault made for a test")


def bad() -> None:
    """As a damaged file does, on one host only."""
    raise DataError("a damaged file made for a test")


def while_preparing(harm: Callable[[], None], process: int) -> None:
    """In one process."""
    prepare = job.prepare

    def faulty(*arguments: Any) -> Any:
        if cluster.process_index() == process:
            harm()
        return prepare(*arguments)

    job.prepare = faulty


def after(harm: Callable[[], None], process: int, step: int) -> None:
    """In one process, instead of reading the next batch."""
    calls = ResidentFeed.calls

    def faulty(self: ResidentFeed, *arguments: Any) -> Iterator[tuple[int, Any]]:
        for done, batch in calls(self, *arguments):
            yield done, batch
            if done == step and cluster.process_index() == process:
                harm()

    ResidentFeed.calls = faulty


def elsewhere(process: int) -> None:
    """The workdir's name means another folder to one process."""
    train_there = job.train

    def faulty(config: Any, folder: Path, verify: bool) -> Any:
        if cluster.process_index() == process:
            folder = folder.with_name("elsewhere")
            folder.mkdir(exist_ok=True)
        return train_there(config, folder, verify)

    job.train = faulty
    folder_module.SHARED = 2


if __name__ == "__main__":
    kind, process, step = sys.argv.pop(1).split(":")
    if kind == "elsewhere":
        elsewhere(int(process))
    else:
        harm = {"hang": hang, "late": late, "fail": fail, "bad": bad}[kind]
        if step == "preparing":
            while_preparing(harm, int(process))
        else:
            after(harm, int(process), int(step))
    main.main()
