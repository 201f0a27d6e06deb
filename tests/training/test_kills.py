"""Trainings that are killed again and again, or cannot save, end as one that never was.

The `series` prints what benchmarks/README.md shows.
"""

import contextlib
import dataclasses
import logging
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.processes import Job, fingerprint

STEPS = 8
OPTIONS = (
    *(f"--config.steps={STEPS}", "--config.checkpoint_every=1", "--config.sample_every=100"),
    *("--config.limits.heartbeat=10", "--config.limits.join=30"),
)
PATIENCE = 240  # Seconds after which a training that has not ended never will.
log = logging.getLogger(__name__)


@dataclasses.dataclass
class Series:
    """What came of one series of kills."""

    processes: int
    kills: int = 0
    while_saving: int = 0  # Kills that came while a checkpoint was being written.
    runs: int = 0  # Trainings that came to their end.
    ended_otherwise: int = 0  # Those of them whose last state is not the undisturbed run's.
    slowest_end: float = 0.0  # Most seconds from a kill to the end of all processes.


def kill_again_and_again(num: int, kills: int, folder: Path, seed: int) -> Series:
    """Kills trainings of `num` processes, and starts them again until they have ended.

    Half of the kills (SIGKILL) come at random moments between the start of a process and a time in
    which it would have ended, half while a checkpoint is being written. With several processes one
    of them is killed; the others have to end by themselves.
    """
    cache, found, draw = folder / "cache", Series(num), random.Random(seed)
    for name in ("compile", "undisturbed"):  # The second one finds all programs compiled.
        begin = time.monotonic()
        with Job(folder / name, cache, *OPTIONS, num=num) as job:
            assert not any(job.wait(PATIENCE)), job.text()
        whole = time.monotonic() - begin
    right = fingerprint(folder / "undisturbed", STEPS)
    while found.kills < kills or (folder / "run").exists():
        saving = draw.random() < 0.5
        after, victim = draw.uniform(0.0, 1.3 * whole), draw.randrange(num)
        with Job(folder / "run", cache, *OPTIONS, num=num) as job:
            wait_for_moment(job, folder / "run", after, saving, found.kills < kills)
            if job.running() and found.kills < kills:
                time.sleep(draw.uniform(0, 0.02) if saving else 0)
                found.slowest_end = max(found.slowest_end, kill(job, victim))
                found.kills += 1
                found.while_saving += saving
                continue
            assert not any(job.wait(PATIENCE)), "\n".join(map(job.text, range(num)))
        found.runs += 1
        found.ended_otherwise += fingerprint(folder / "run", STEPS) != right
        shutil.rmtree(folder / "run")
    return found


def wait_for_moment(job: Job, folder: Path, after: float, saving: bool, kill: bool) -> None:
    """Waits until the training is to be killed, or has ended."""
    begin = time.monotonic()
    while job.running() and kill:
        begun = any((folder / "checkpoints").glob("*-tmp*"))
        if begun if saving else time.monotonic() - begin > after:
            return
        time.sleep(0.001 if saving else 0.02)


def kill(job: Job, victim: int) -> float:
    """Kills one process; returns the seconds until all have ended."""
    begin = time.monotonic()
    job.signal(signal.SIGKILL, victim)
    job.wait(PATIENCE)
    return time.monotonic() - begin


@pytest.mark.parametrize(
    ("num", "kills"),
    [
        pytest.param(1, 4, marks=pytest.mark.slow),
        pytest.param(1, 100, marks=pytest.mark.series),
        pytest.param(2, 100, marks=pytest.mark.series),
    ],
)
def test_training__killed_at_any_moment_ends_with_the_same_bits(tmp_path, num, kills):
    found = kill_again_and_again(num, kills, tmp_path, seed=num)
    log.info("%s", found)
    assert found.kills == kills
    assert found.runs >= 1
    assert found.ended_otherwise == 0


def fill(disk: Path) -> Callable[[], None]:
    """Fills a disk to its last byte; returns what makes room again."""
    with contextlib.suppress(OSError), (disk / "others").open("wb") as others:
        while True:
            others.write(bytes(4096))
    return (disk / "others").unlink


def seal(disk: Path) -> Callable[[], None]:
    """Lets nothing new be written beside the checkpoints; returns what opens them again."""
    change = lambda flag: subprocess.run(  # noqa: E731
        ["chattr", flag, str(disk / "run/checkpoints")], capture_output=True, text=True
    )
    if change("+i").returncode:
        pytest.skip("this file system has no immutable folders")
    return lambda: change("-i")


@pytest.mark.series
@pytest.mark.parametrize("harm", [fill, seal], ids=["full", "read-only"])
def test_training__that_cannot_save_goes_on_and_loses_nothing(
    faces_cache, tmp_path, make_disk, harm
):
    options = ("--config.steps=40", "--config.checkpoint_every=2", "--config.log_every=1")
    disk = make_disk("40m")
    with Job(tmp_path / "roomy", faces_cache, *options) as job:
        assert job.wait() == [0]
    with Job(disk / "run", faces_cache, *options, logs=tmp_path, xdg=faces_cache) as job:
        job.wait_for("step 1/")
        mend = harm(disk)
        job.wait_for("It is kept in memory, and tried again")
        assert "step 40/40" in job.text()
        mend()
        assert job.wait() == [0], job.text()
    assert fingerprint(disk / "run", 40) == fingerprint(tmp_path / "roomy", 40)
