"""Where a checkpoint cannot be written: nothing is lost while memory lasts, and it is said."""

import collections
import errno
import logging
import math
import os
import resource
import shutil
from pathlib import Path

import pytest
from helpers.memory_bucket import memory_bucket
from helpers.states import ORBAX_FAILS, like, make_state, same

from gan.errors import NotSaved
from gan.workdir import checkpoint_files
from gan.workdir import checkpoints as checkpoints_module
from gan.workdir.checkpoints import Checkpoints

pytestmark = ORBAX_FAILS
WIDTH = 300  # Half a megabyte in one array, that no compression makes less.
Usage = collections.namedtuple("Usage", "total used free")


@pytest.fixture
def checkpoints(tmp_path):
    """Checkpoints with step 1 saved."""
    with Checkpoints(tmp_path, keep=3) as checkpoints:
        checkpoints.save(make_state(1, WIDTH), 1)
        checkpoints.wait()
        yield checkpoints


@pytest.fixture
def full(monkeypatch):
    """No file may grow: a write fails in the middle, as on a full disk. `full(False)` ends it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def full(now: bool) -> None:
        size = 100_000 if now else before[0]
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

    full(True)
    yield full
    full(False)


class Naps(list):
    """Stands for `time.sleep`."""

    meanwhile = staticmethod(lambda: None)

    def __call__(self, seconds):
        self.append(seconds)
        self.meanwhile()


@pytest.fixture
def naps(monkeypatch):
    """Counts how often was waited, at no cost; `meanwhile` is done each time."""
    naps = Naps()
    monkeypatch.setattr(checkpoints_module.time, "sleep", naps)
    return naps


def only_step_1(checkpoints):
    assert [path.name for path in checkpoints.folder.iterdir()] == ["1"]
    return same(checkpoints.restore_newest(like(WIDTH))[0], make_state(1, WIDTH))


def test_save__too_little_room_is_told_and_training_goes_on(checkpoints, monkeypatch, caplog):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(10**9, 0, 2_000_000))
    before = sorted(checkpoints.folder.rglob("*"))
    checkpoints.save(make_state(2, WIDTH), 2)
    assert checkpoints.steps() == [1]
    assert sorted(checkpoints.folder.rglob("*")) == before
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert f"Step 2 cannot be saved in {checkpoints.folder}" in record.message
    assert "needs 9 MB of disk, 2 MB are free" in record.message
    assert "Make room" in record.message
    monkeypatch.undo()
    checkpoints.save(make_state(3, WIDTH), 3)
    checkpoints.wait()
    assert checkpoints.steps() == [1, 3]


def test_save__a_write_that_fails_is_tried_again_once_and_leaves_nothing(
    checkpoints, full, monkeypatch, caplog
):
    tries, write = [], checkpoint_files.write
    monkeypatch.setattr(
        checkpoint_files, "write", lambda *args: (tries.append(args[1]), write(*args))
    )
    checkpoints.save(make_state(2, WIDTH), 2)
    assert checkpoints.steps() == [1]
    assert tries == [2, 2]
    assert "Step 2 cannot be saved" in caplog.text
    with pytest.raises(NotSaved, match=r"\(File too large\)\. Make room"):
        checkpoints.wait(patience=0.0)
    full(False)
    assert only_step_1(checkpoints)


def test_save__what_failed_once_is_saved_by_the_second_attempt(
    checkpoints, full, monkeypatch, caplog
):
    remove = checkpoint_files.remove_unfinished
    calls = []

    def makes_room(folder):
        calls.append(sorted(path.name for path in folder.iterdir()))
        full(len(calls) < 2)
        remove(folder)

    monkeypatch.setattr(checkpoint_files, "remove_unfinished", makes_room)
    checkpoints.save(make_state(2, WIDTH), 2)
    checkpoints.wait(patience=0.0)
    assert calls == [["1"], ["1", "2.orbax-checkpoint-tmp"]]
    assert not [record for record in caplog.records if record.name == "gan"]
    assert same(checkpoints.restore_newest(like(WIDTH))[0], make_state(2, WIDTH))


def test_save__the_last_state_is_kept_in_memory_until_there_is_room(
    checkpoints, full, naps, caplog
):
    checkpoints.save(make_state(2, WIDTH), 2)
    checkpoints.save(make_state(3, WIDTH), 3)
    naps.meanwhile = lambda: full(len(naps) < 3)
    checkpoints.wait()
    assert len(naps) == 3
    assert "tried again for 10m00s" in caplog.text
    assert checkpoints.steps() == [1, 3]
    assert same(checkpoints.restore_newest(like(WIDTH))[0], make_state(3, WIDTH))
    checkpoints.wait()


def test_save__patience_ends(checkpoints, full, monkeypatch, naps):
    monkeypatch.setattr(checkpoints_module.time, "monotonic", lambda: 5.0 * len(naps))
    checkpoints.save(make_state(2, WIDTH), 2)
    with pytest.raises(NotSaved, match="Step 2"):
        checkpoints.wait(patience=20.0)
    assert len(naps) == 4
    full(False)
    assert only_step_1(checkpoints)


def test_wait__a_signal_shortens_it_and_says_so(checkpoints, full, monkeypatch, naps, caplog):
    monkeypatch.setattr(checkpoints_module.time, "monotonic", lambda: 5.0 * len(naps))
    checkpoints.save(make_state(2, WIDTH), 2)
    with pytest.raises(NotSaved, match="Step 2"):
        checkpoints.wait(time_left=lambda: math.inf if len(naps) < 3 else 20.0)
    assert len(naps) == 3 + 4
    assert caplog.text.count("A signal came: it is tried for 20s more.") == 1
    full(False)
    assert only_step_1(checkpoints)


@pytest.mark.parametrize("error", [PermissionError(13, "denied"), OSError(30, "read-only")])
def test_save__a_folder_not_to_be_written_is_the_same(checkpoints, monkeypatch, error, caplog):
    def refuse(*_):
        raise error

    monkeypatch.setattr(checkpoint_files, "write", refuse)
    checkpoints.save(make_state(2, WIDTH), 2)
    with pytest.raises(NotSaved, match="make it writable"):
        checkpoints.wait(patience=0.0)
    assert only_step_1(checkpoints)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="it asks there for a file's name")
def test_save__a_disk_that_breaks_at_last_leaves_nothing(checkpoints, monkeypatch, caplog):
    """Breaks after Orbax has renamed the folder into place."""
    fsync = os.fsync

    def broken(file):
        if os.readlink(f"/proc/self/fd/{file}").endswith("/checkpoints/2"):
            raise OSError(errno.EIO, "Input/output error")
        fsync(file)

    monkeypatch.setattr(checkpoint_files.os, "fsync", broken)
    checkpoints.save(make_state(2, WIDTH), 2)
    assert checkpoints.steps() == [1]
    assert "Step 2 cannot be saved" in caplog.text
    assert only_step_1(checkpoints)


def test_save__what_cannot_even_be_looked_at_is_the_same(checkpoints, monkeypatch, caplog):
    def refuse(_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(checkpoint_files, "remove_unfinished", refuse)
    checkpoints.save(make_state(2, WIDTH), 2)
    assert checkpoints.steps() == [1]
    assert "(Input/output error). Make room" in caplog.text


def test_save__a_folder_that_went_away_is_the_same(checkpoints, caplog):
    checkpoints.folder.rename(checkpoints.folder.with_name("away"))
    checkpoints.save(make_state(2, WIDTH), 2)
    with pytest.raises(NotSaved, match="Step 2"):
        checkpoints.wait(patience=0.0)


def test_save__an_error_of_our_own_is_not_taken_for_a_full_disk(checkpoints, monkeypatch):
    def broken(*_):
        raise TypeError("ours")

    monkeypatch.setattr(checkpoint_files, "write", broken)
    checkpoints.save(make_state(2, WIDTH), 2)
    with pytest.raises(TypeError, match="ours"):
        checkpoints.save(make_state(3, WIDTH), 3)
    with pytest.raises(TypeError, match="ours"):
        checkpoints.wait()


def test_save__a_bucket_that_fails_is_a_checkpoint_that_is_not_saved():
    with memory_bucket() as (files, folder), Checkpoints(folder) as checkpoints:
        files.error = RuntimeError("503 try again")
        checkpoints.save(make_state(1), 1)
        with pytest.raises(NotSaved, match="503 try again"):
            checkpoints.wait(patience=0.0)
