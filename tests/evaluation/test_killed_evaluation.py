"""An evaluation that is killed at random, again and again, ends as an undisturbed one does."""

import dataclasses
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import tiny, unoptimised

from gan.training.job import train

CHECKPOINTS, KILLS = 14, 3
COMMAND = (sys.executable, "-m", "gan.main", "--mode=evaluate", "--seeds=0")


def outcome(folder: Path) -> dict[str, bytes]:
    """Every file that an evaluation leaves, except TensorBoard's events, which hold the time."""
    left = [folder / name for name in ("scores.jsonl", "best.json", "report.html")]
    left += [path for path in (folder / "evaluation").rglob("step_*/*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in left}


def start(folder: Path) -> subprocess.Popen:
    environment = os.environ | unoptimised.FLAGS | {"XDG_CACHE_HOME": str(folder.parent / "cache")}
    output = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen((*COMMAND, f"--workdir={folder}"), env=environment, **output)


def lines(folder: Path) -> int:
    path = folder / "scores.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.series
def test_evaluate__ends_with_the_same_files_if_killed_at_random(faces_cache, tmp_path):
    config = tiny.get_config()
    config.data.cache_dir = str(faces_cache)
    every = {"log_every": CHECKPOINTS, "sample_every": CHECKPOINTS, "checkpoint_every": 1}
    config = dataclasses.replace(config, steps=CHECKPOINTS, keep_every=1, eval_images=24, **every)
    whole, folder = (tmp_path / name / "run" for name in ("whole", "killed"))
    train(config, whole)
    shutil.copytree(whole, folder)
    assert start(whole).wait() == 0
    assert lines(whole) == CHECKPOINTS

    rng = random.Random(0)
    for _ in range(KILLS):
        process, before = start(folder), lines(folder)
        while lines(folder) == before:  # Past the start, or it would be killed before any work.
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 3))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert 0 < lines(folder) < CHECKPOINTS
    assert start(folder).wait() == 0
    assert outcome(folder) == outcome(whole)
