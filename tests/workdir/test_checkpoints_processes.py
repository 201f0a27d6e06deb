"""Several processes, played by threads, always decide alike; one of them writes."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.states import ORBAX_FAILS, like, make_state, same, save_two

from gan.errors import ConfigError, DataError, NotSaved
from gan.runtime import cluster
from gan.workdir import checkpoint_files
from gan.workdir.checkpoints import Checkpoints

pytestmark = ORBAX_FAILS


class Two:
    """Two of them; `rank` is whose turn it is."""

    def __init__(self):
        self._here = threading.local()
        self._here.rank = 0  # Of who prepares the test.
        self._barrier = threading.Barrier(2, timeout=30)
        self._said = ["", ""]

    @property
    def rank(self) -> int:
        return self._here.rank

    def gather(self, name: str, text: str) -> list[str]:
        self._said[self.rank] = text
        self._barrier.wait()
        said = list(self._said)
        self._barrier.wait()
        return said

    def do(self, job: Callable) -> list:
        """What `job` returns, or raises, in each."""
        found = [None, None]

        def one(rank: int) -> None:
            self._here.rank = rank
            try:
                found[rank] = job()
            except Exception as error:
                found[rank] = error

        threads = [threading.Thread(target=one, args=(rank,)) for rank in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found


@pytest.fixture
def two(monkeypatch):
    two = Two()
    monkeypatch.setattr(cluster, "is_first", lambda: two.rank == 0)
    monkeypatch.setattr(cluster, "gather_texts", two.gather)
    return two


@pytest.fixture
def folder(tmp_path):
    return save_two(tmp_path)


def restore(folder):
    def job():
        with Checkpoints(folder, keep=3) as checkpoints:
            return checkpoints.restore_newest(like())[0]

    return job


def only_for(two, rank, error, monkeypatch):
    """Reading step 2 fails in one process alone."""
    read = checkpoint_files.read_state

    def fails(path, like):
        if two.rank == rank and path.name == "2":
            raise error
        return read(path, like)

    monkeypatch.setattr(checkpoint_files, "read_state", fails)


@pytest.mark.parametrize("rank", [0, 1])
def test_processes__damaged_for_one_is_damaged_for_all_and_renamed_once(
    two, folder, rank, monkeypatch
):
    only_for(two, rank, DataError("a bit"), monkeypatch)
    for state in two.do(restore(folder)):
        assert same(state, make_state(1))
    assert len(list((folder / "checkpoints").glob("2.damaged-*"))) == 1


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("error", [ConfigError("another model"), MemoryError("no more")])
def test_processes__an_error_of_one_is_one_of_all(two, folder, rank, error, monkeypatch):
    only_for(two, rank, error, monkeypatch)
    found = two.do(restore(folder))
    assert found[rank] is error
    assert type(found[1 - rank]) is (
        ConfigError if isinstance(error, ConfigError) else RuntimeError
    )
    assert str(found[1 - rank]) == str(error)
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["1", "2"]


@pytest.mark.parametrize("rank", [0, 1])
def test_processes__damage_gives_way_to_any_other_error(two, folder, rank, monkeypatch):
    only_for(two, rank, ConfigError("another model"), monkeypatch)
    only_for(two, 1 - rank, DataError("a bit"), monkeypatch)
    assert [type(error) for error in two.do(restore(folder))] == [ConfigError] * 2


def test_processes__all_try_what_the_first_sees(two, folder, monkeypatch):
    steps = Checkpoints.steps
    monkeypatch.setattr(Checkpoints, "steps", lambda self: [] if two.rank else steps(self))
    for state in two.do(restore(folder)):
        assert same(state, make_state(2))


def test_processes__a_rename_that_fails_ends_all(two, folder, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "denied")

    only_for(two, 1, DataError("a bit"), monkeypatch)
    monkeypatch.setattr(Path, "rename", refuse)
    found = two.do(restore(folder))
    assert [type(error) for error in found] == [PermissionError, RuntimeError]


def test_processes__the_first_writes_and_all_learn_of_its_failure(two, tmp_path, monkeypatch):
    calls, fails, write = [], [False], checkpoint_files.write

    def count(*args):
        calls.append(args[1])
        if fails[0]:
            raise OSError(28, "No space left on device")
        write(*args)

    def job():
        with Checkpoints(tmp_path, keep=3) as checkpoints:
            checkpoints.save(make_state(1 + fails[0]), 1 + fails[0])
            checkpoints.wait(patience=0.0)
            return checkpoints.steps()

    monkeypatch.setattr(checkpoint_files, "write", count)
    assert two.do(job) == [[1], [1]]
    assert calls == [1]
    fails[0] = True
    first, second = two.do(job)
    assert type(first) is type(second) is NotSaved
    assert str(first) == str(second)
    assert "No space left on device" in str(first)
