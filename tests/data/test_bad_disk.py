"""What may go wrong while a data set is prepared: small, full and read-only disks, and kills."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import command_on
from helpers.small_celeba import write_celeba


@pytest.fixture
def tmpfs(make_disk):
    return make_disk("1m")


def test_prepare__says_before_that_a_disk_is_too_small(run, tmp_path, tmpfs):
    root = write_celeba(tmp_path / "celeba")
    more = (f"--config.data.cache_dir={tmpfs}", "--mode=prepare", "--config.data.image_size=256")
    code, said = run(*command_on(root, *more))
    assert code == 65
    assert re.search(r"needs [\d.]+ MB, and 1.0 MB are free.*cache_dir", said)


def test_prepare__leaves_nothing_on_a_disk_that_fills(run, tmp_path, tmpfs, monkeypatch):
    from gan.data import build_store

    def progress(batches, name, num):
        for batch in batches:
            (tmpfs / "others").write_bytes(bytes(2**20 - 16 * os.statvfs(tmpfs).f_bsize))
            yield batch

    monkeypatch.setattr(build_store, "show_progress", progress)
    root = write_celeba(tmp_path / "celeba")
    more = (f"--config.data.cache_dir={tmpfs}", "--config.data.image_size=128")
    code, said = run(*command_on(root, *more))
    assert code == 65, said
    assert re.search(r"needs [\d.]+ MB, and 0.\d MB are free.*cache_dir", said)
    assert not [path for path in tmpfs.rglob("*") if path.name not in ("others", ".lock")][1:]


def test_main__exits_64_for_a_read_only_target(run, tmp_path, tmpfs):
    subprocess.run(["mount", "-o", "remount,ro", str(tmpfs)], check=True)
    root = write_celeba(tmp_path / "celeba")
    code, said = run(*command_on(root, f"--config.data.cache_dir={tmpfs}"))
    assert code == 64
    assert "cannot be written (Read-only file system)" in said


@pytest.mark.slow
def test_prepare__finishes_what_a_killed_one_began(run, tmp_path):
    root = write_celeba(tmp_path / "celeba")
    command = [sys.executable, "-m", "gan.main", *command_on(root, "--mode=prepare")]
    begin = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    whole = time.monotonic() - begin
    digest = {path.relative_to(tmp_path): sha256(path) for path in files(tmp_path / "cache")}
    assert len(digest) == 16  # Five files a split, and the sheet.
    shutil.rmtree(tmp_path / "cache")
    for share in np.random.default_rng(0).uniform(0.6, 1, 4):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(share * whole)
        process.send_signal(signal.SIGKILL)
        process.wait()
    code, said = run(*command_on(root, "--mode=prepare", "--verify"))
    assert code == 0, said
    assert digest == {
        path.relative_to(tmp_path): sha256(path) for path in files(tmp_path / "cache")
    }


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
