"""A training that is killed again and again, or whose disk fills, ends as one that never was."""

import contextlib
import os
import subprocess

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


@pytest.fixture
def disk(tmp_path):
    """A disk of its own, of 40 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting takes root")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.series
def test_on_a_disk_that_fills_training_goes_on_and_loses_nothing(faces_cache, tmp_path, disk):
    options = ("--config.steps=40", "--config.checkpoint_every=2", "--config.log_every=1")
    with Job(tmp_path / "roomy", faces_cache, *options) as job:
        assert job.wait() == [0]
    with Job(disk / "run", faces_cache, *options, logs=tmp_path, xdg=faces_cache) as job:
        job.wait_for("step 1/")
        with contextlib.suppress(OSError), (disk / "others").open("wb") as others:
            while True:
                others.write(bytes(4096))
        job.wait_for("It is kept in memory, and tried again")
        assert "step 40/40" in job.text()
        (disk / "others").unlink()
        assert job.wait() == [0], job.text()
    assert fingerprint(disk / "run", 40) == fingerprint(tmp_path / "roomy", 40)
