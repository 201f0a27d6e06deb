"""Ends a process that hangs. JAX would not: its heartbeats go on while Python waits for ever."""

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import numpy as np

from gan.config import Limits
from gan.errors import INTERNAL
from gan.runtime import cluster
from gan.runtime.logs import log

TICK = 0.5  # Seconds between two looks at what the process does.
SAID = 10.0  # Seconds that a process that hangs gets to log it, before it is ended.
TIMES = 20  # How often the mean time of a call one call may take.
WHOLE = 3  # How often the time between two logs one call may take.
# Waiting for a peer gets 1.5x the limit, so the process that really hangs is ended first.
PEER_PATIENCE = 1.5
# The others wait 3x as long for what process 0 does alone (drawing, saving) as that may take.
ALONE = 3


class Expected(NamedTuple):
    """What the process does now, and for how long it may."""

    doing: str  # What it does, in words for the user.
    limit: float  # Seconds that it may take.
    setting: str  # The name in `config.limits` that the limit comes from.


class Watchdog:
    """A thread that ends the process if something takes longer than it may.

    A process that waits for others gets longer than they do, so that the one that hangs ends first
    and says its name.
    """

    def __init__(self, limits: Limits):
        """Takes its limits from `config.limits`.

        Code outside `during` and `watch_calls` is limited by `limits.compile`.
        """
        self._limits = limits
        self._expected = Expected("starting or ending", limits.compile, "compile")
        # What the thread saw at its last look, and for how many seconds it has seen that.
        self._looked: tuple[Expected | None, float] = (None, 0.0)
        self._paused = False  # Whether process 0 drew or saved since the last call.
        self._calls, self._synced = 0, time.monotonic()
        # Seconds of the mean call and of all calls between the last two logs.
        self._interval: tuple[float, float] | None = None
        self._ended = threading.Event()

    def __enter__(self) -> "Watchdog":
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def watch_calls(self, calls: Iterable[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
        """Yields `calls` (step, batch), and limits both the wait for each and the call with it."""
        calls, shapes = iter(calls), set()
        while True:
            limit = self._patience()
            self._expected = Expected("reading the next batch", limit, "step")
            try:
                step, batch = next(calls)
            except StopIteration:
                break
            shape = str(jax.tree.map(np.shape, batch))
            if shape not in shapes:  # A batch of another shape is compiled first.
                limit += self._limits.compile
                shapes.add(shape)
            # Process 0 may still draw or save, which the others do not.
            limit = PEER_PATIENCE * limit + self._paused * ALONE * self._limits.save
            self._paused = False
            self._expected = Expected(f"the call that ends with step {step}", limit, "step")
            yield step, batch
            self._calls += 1

    def note_sync(self) -> None:
        """Notes that all calls so far have ended, and how long they took."""
        now = time.monotonic()
        self._interval = (now - self._synced) / max(self._calls, 1), now - self._synced
        self._calls, self._synced = 0, now

    def _patience(self) -> float:
        """Seconds that one batch or call may take.

        Dispatch is asynchronous: the last call before a log waits for all.
        """
        if self._interval is None:
            return self._limits.step + self._limits.compile
        mean, whole = self._interval
        return max(self._limits.step, TIMES * mean, WHOLE * whole)

    @contextmanager
    def during(self, doing: str, setting: str) -> Iterator[None]:
        """Limits a block by one of the settings of `config.limits`, then what came before anew."""
        before = self._expected
        limit = getattr(self._limits, setting) * (1 if cluster.is_first() else ALONE)
        self._expected = Expected(doing, limit, setting)
        yield
        self._paused = True
        self._expected = before._replace()  # A new object, whose time begins anew.

    def _watch(self) -> None:
        before = time.monotonic()
        while not self._ended.wait(TICK):
            now = time.monotonic()
            self._look(now - before)
            before = now

    def _look(self, seconds: float) -> None:
        expected = self._expected  # Read once: the main thread may change it at any time.
        same, elapsed = self._looked
        # Time in which the process was stopped (Ctrl-Z, a debugger) does not count.
        elapsed = elapsed + min(seconds, 4 * TICK) if expected is same else 0.0
        self._looked = expected, elapsed
        if elapsed > expected.limit:
            self._end(expected)

    def _end(self, expected: Expected) -> None:
        # Logging may hang as well, if the log lies on the disk that hangs.
        faulthandler.dump_traceback_later(SAID, exit=True, file=sys.__stderr__)
        who = cluster.process_name() or "this process"
        log.error(
            "%s hangs: %s took longer than %.0f s (config.limits.%s). It ends here; below is where "
            "it waited. The same command goes on from the last checkpoint.",
            *(who, *expected),
        )
        faulthandler.dump_traceback(sys.__stderr__, all_threads=True)
        os._exit(INTERNAL)
