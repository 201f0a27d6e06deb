"""The rate is that of the steps alone."""

import time

import pytest

from gan.training.clock import Clock


@pytest.fixture
def now(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_lap__leaves_out_compiling_and_pauses(now):
    clock = Clock(before=5.0, step=10)
    now[0] += 60  # Compiles.
    clock.compiled(11, None)
    now[0] += 4
    with clock.paused(None):
        now[0] += 50
    clock.compiled(12, None)  # Only the first call compiles.
    assert clock.lap(13, 8) == {"seconds": 119.0, "images_per_second": 4.0}


def test_lap__does_not_blame_a_first_step_for_earlier_starts(now):
    clock = Clock(before=30_000.0, step=999)
    now[0] += 4
    clock.compiled(1000, None)
    assert clock.lap(1000, 8) == {"seconds": 30_004.0, "images_per_second": 2.0}
