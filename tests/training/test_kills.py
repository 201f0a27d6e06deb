"""A training that is killed again and again, or cannot save, ends as one that never was."""

import contextlib
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import kills
from benchmarks.processes import Job, fingerprint


@pytest.mark.slow
@pytest.mark.parametrize(("num", "times"), [(1, 4), (2, 2)])
def test_killed_at_any_moment_a_run_ends_with_the_same_bits(tmp_path, num, times):
    found = kills.series(num, kills=times, folder=tmp_path, seed=num)
    assert found.kills == times
    assert found.runs >= 1
    assert found.wrong == 0


def fill(disk: Path) -> Callable[[], None]:
    """Until the last byte. What it returns makes room again."""
    with contextlib.suppress(OSError), (disk / "others").open("wb") as others:
        while True:
            others.write(bytes(4096))
    return (disk / "others").unlink


def seal(disk: Path) -> Callable[[], None]:
    """Nothing new can be written beside the checkpoints. What it returns opens them again."""
    change = lambda flag: subprocess.run(  # noqa: E731
        ["chattr", flag, str(disk / "run/checkpoints")], capture_output=True, text=True
    )
    if change("+i").returncode:
        pytest.skip("this file system has no immutable folders")
    return lambda: change("-i")


@pytest.mark.series
@pytest.mark.parametrize("harm", [fill, seal], ids=["full", "read-only"])
def test_where_nothing_can_be_saved_training_goes_on_and_loses_nothing(
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
