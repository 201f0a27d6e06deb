"""A process that hangs is ended: each thing has its limit, and the one at fault ends first."""

import subprocess
import sys
import time

import jax
import pytest

from gan.config import Limits
from gan.runtime import cluster
from gan.runtime.watchdog import TICK, Expected, Watchdog


class Barking(Watchdog):
    """A watchdog that only notes what it would end, on time that a test lets pass."""

    def __init__(self):
        super().__init__(Limits(step=10, compile=100, save=50))
        self.barked = []

    def _end(self, expected: Expected) -> None:
        self.barked.append(expected.doing)

    def wait(self, seconds: float) -> None:
        """Looks as its thread would meanwhile."""
        self._look(0)
        for _ in range(int(seconds / TICK)):
            self._look(TICK)
            if self.barked[-1:] == [self._expected.doing]:
                return


def test_during__each_thing_has_its_limit():
    dog = Barking()
    with dog.during("saving", "save"):
        dog.wait(49)
        assert not dog.barked
        dog.wait(2)
        assert dog.barked == ["saving"]
    dog.wait(99)  # What nobody has named has a limit as well.
    assert len(dog.barked) == 1
    dog.wait(2)
    assert dog.barked == ["saving", "starting or ending"]


def test_during__others_wait_longer_for_what_the_first_does_alone(monkeypatch):
    dog = Barking()
    for first, limit in ((True, 50), (False, 150)):
        monkeypatch.setattr(cluster, "is_first", lambda first=first: first)
        with dog.during("saving", "save"):
            assert dog._expected.limit == limit


def test_watch_calls__reading_ends_before_waiting_for_others_does():
    dog = Barking()

    def batches():
        for step in (1, 2, 3):
            dog.wait(9)
            yield step, jax.numpy.zeros(3)

    limits = []
    for step, _ in dog.watch_calls(batches()):
        limits.append(dog._expected.limit)
        if step == 2:
            with dog.during("saving", "save"):
                pass
        assert dog._expected.doing == f"the call that ends with step {step}"
    # The first compiles; the third may wait for others that save and draw.
    assert limits == [pytest.approx(x) for x in (1.5 * 210, 1.5 * 110, 1.5 * 110 + 3 * 50)]
    assert not dog.barked


def test_note_sync__a_call_may_take_as_long_as_all_from_log_to_log():
    dog = Barking()
    for seconds, patience in ((500, 3 * 500), (1, 10)):
        dog._synced, dog._calls = time.monotonic() - seconds, 10
        dog.note_sync()
        assert dog._patience() == pytest.approx(patience, rel=0.01)


def test_look__time_in_which_the_process_was_stopped_is_not_counted():
    dog = Barking()
    for seconds in (0, 0.5, 999.5, 0.5):
        dog._look(seconds)
    assert dog._looked[1] == pytest.approx(3.0)
    assert not dog.barked


def test_end__a_log_that_hangs_does_not_keep_it_from_ending():
    code = """
import logging, threading
from gan.runtime import watchdog
from gan.config import Limits
class Stuck(logging.Handler):
    def emit(self, record):
        threading.Event().wait()
logging.getLogger("gan").addHandler(Stuck())
watchdog.TICK, watchdog.SAID = 0.05, 0.5
with watchdog.Watchdog(Limits(compile=0.2)):
    threading.Event().wait()
"""
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, timeout=60, capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    assert "in wait" in ended.stderr  # Where it waited.
