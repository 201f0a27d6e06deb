"""The lock of a workdir: one process holds it, and what happens where another does or none can."""

import errno
import fcntl
import logging
import os
import threading
import time

import pytest
from helpers.full_disk import full_disk
from helpers.memory_bucket import memory_bucket

from gan.errors import ConfigError, Unreachable, WorkdirInUse
from gan.runtime.logs import log
from gan.workdir import folder as folder_module
from gan.workdir.folder import check_shared, is_locked, lock_workdir


@pytest.fixture
def bucket():
    """A bucket in memory, and a folder in it."""
    with memory_bucket() as bucket:
        yield bucket


@pytest.fixture
def warnings(caplog):
    """What our log warns of."""
    log.addHandler(caplog.handler)
    yield lambda: {x.getMessage() for x in caplog.records if x.levelno == logging.WARNING}
    log.removeHandler(caplog.handler)


def lock_twice(folder):
    for _ in range(2):
        with lock_workdir(folder):
            assert f"process {os.getpid()}" in (folder / ".lock").read_text()
            check_shared(folder)


def test_lock_workdir__in_a_bucket_says_once_that_there_is_none_and_who_was_there(bucket, warnings):
    folder = bucket[1]
    (folder / ".lock").write_text("process 1 on elsewhere")
    lock_twice(folder)
    (said,) = warnings()  # Another one would name this process.
    assert "process 1 on elsewhere" in said
    assert "nothing can be locked" in said


@pytest.mark.parametrize(
    ("error", "said"),
    [(PermissionError("who are you"), ConfigError), (ConnectionError("reset"), Unreachable)],
)
def test_lock_workdir__in_a_bucket_that_fails_says_whose_turn_it_is(bucket, error, said):
    files, folder = bucket
    files.error = error
    with pytest.raises(said, match=str(error)), lock_workdir(folder):
        pass


def break_locks(monkeypatch, number):
    def flock(file, flags):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_lock_workdir__a_disk_without_locks_is_used_and_that_is_said_once(
    tmp_path, monkeypatch, warnings, number
):
    break_locks(monkeypatch, number)
    (tmp_path / ".lock").write_text("process 1 on elsewhere")
    lock_twice(tmp_path)
    (said,) = warnings()
    assert "process 1 on elsewhere" in said


def test_lock_workdir__raises_another_error_of_locking(tmp_path, monkeypatch):
    break_locks(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="Input/output"), lock_workdir(tmp_path):
        pass


def test_is_locked__sees_the_lock_of_any_process(tmp_path):
    assert is_locked(tmp_path) is False
    with lock_workdir(tmp_path):
        assert is_locked(tmp_path) is True
        assert is_locked(tmp_path, ".evaluate.lock") is False
    assert is_locked(tmp_path) is False


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EIO])
def test_is_locked__is_unknown_where_nothing_can_be_locked(tmp_path, monkeypatch, number):
    (tmp_path / ".lock").touch()
    break_locks(monkeypatch, number)
    assert is_locked(tmp_path) is None


def test_lock_workdir__needs_no_room_on_the_disk(tmp_path):
    with full_disk(0), lock_workdir(tmp_path):
        assert is_locked(tmp_path) is True


def test_lock_workdir__does_not_mind_somebody_who_looks(tmp_path):
    with (tmp_path / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        timer = threading.Timer(0.02, lambda: fcntl.flock(file, fcntl.LOCK_UN))
        timer.start()
        with lock_workdir(tmp_path):
            pass
        timer.join()


@pytest.fixture
def held(tmp_path):
    """A lock that another host holds, and what lets go of it."""
    with (tmp_path / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("process 1 on elsewhere since yesterday")
        file.flush()
        yield tmp_path, lambda: fcntl.flock(file, fcntl.LOCK_UN)


def test_lock_workdir__waits_for_the_lock_of_a_host_that_died(held):
    """NFS holds it for a while."""
    folder, release = held
    timer = threading.Timer(0.5, release)
    timer.start()
    begin = time.monotonic()
    with lock_workdir(folder):
        assert time.monotonic() - begin > 0.5
        assert f"process {os.getpid()}" in (folder / ".lock").read_text()
    timer.join()


def test_lock_workdir__a_host_that_lives_keeps_it(held, monkeypatch):
    monkeypatch.setattr(folder_module, "FORGOTTEN", 0.0)
    with pytest.raises(WorkdirInUse, match="process 1 on elsewhere"), lock_workdir(held[0]):
        pass


def test_lock_workdir__waits_for_no_process_of_the_same_host(tmp_path):
    with lock_workdir(tmp_path):
        begin = time.monotonic()
        with pytest.raises(WorkdirInUse, match=f"process {os.getpid()}"), lock_workdir(tmp_path):
            pass
        assert time.monotonic() - begin < 1.5  # It would wait in turns of two seconds.
