"""Ends a process that hangs: JAX's heartbeats go on while Python waits for ever."""

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

TICK = 0.5  # Seconds from look to look,
SAID = 10.0  # and until all is said.
TIMES = 20  # The mean call of the step, before one is thought to hang,
WHOLE = 3  # or the time from log to log.
OTHERS = 1.5  # Longer than one may hang, one may wait for another: who hangs ends first.
ALONE = 3  # Times the limit of what the first process does alone, the others wait for it.


class Expected(NamedTuple):
    """What is done now, and the seconds it may take, which one of `Limits` says."""

    doing: str
    limit: float
    setting: str


class Watchdog:
    """A thread that ends the process where what it does takes longer than it may.

    Who waits for others is given longer than they are, so the one that hangs ends first, and names
    itself.
    """

    def __init__(self, limits: Limits):
        """Where nothing else is expected, what is not watched by name takes no longer than this."""
        self._limits = limits
        self._expected = Expected("starting or ending", limits.compile, "compile")
        self._looked: tuple[Expected | None, float] = (None, 0.0)  # At what, for how long.
        self._paused = False
        self._calls, self._synced = 0, time.monotonic()
        self._interval: tuple[float, float] | None = None  # Seconds a call, and from log to log.
        self._ended = threading.Event()

    def __enter__(self) -> "Watchdog":
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def calls(self, calls: Iterable[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
        """What `calls` brings, watched: how long each is waited for, then what is done with it."""
        calls, shapes = iter(calls), set()
        while True:
            limit = self._patience()
            self._expected = Expected("reading the next batch", limit, "step")
            try:
                step, batch = next(calls)
            except StopIteration:
                break
            shape = str(jax.tree.map(np.shape, batch))
            if shape not in shapes:  # Another program: it is compiled first.
                limit += self._limits.compile
                shapes.add(shape)
            # Others may still be drawing and saving what this process does not.
            limit = OTHERS * limit + self._paused * ALONE * self._limits.save
            self._paused = False
            self._expected = Expected(f"the call that ends with step {step}", limit, "step")
            yield step, batch
            self._calls += 1

    def synced(self) -> None:
        """All calls so far have been waited for: their mean is known."""
        now = time.monotonic()
        self._interval = (now - self._synced) / max(self._calls, 1), now - self._synced
        self._calls, self._synced = 0, now

    def _patience(self) -> float:
        """Of a batch or call. Calls only begin their work: the last before a log waits for all."""
        if self._interval is None:
            return self._limits.step + self._limits.compile
        mean, whole = self._interval
        return max(self._limits.step, TIMES * mean, WHOLE * whole)

    @contextmanager
    def during(self, doing: str, setting: str) -> Iterator[None]:
        """Watches a block, by one of the limits; afterwards what was expected before."""
        before = self._expected
        limit = getattr(self._limits, setting) * (1 if cluster.first() else ALONE)
        self._expected = Expected(doing, limit, setting)
        yield
        self._paused = True
        self._expected = before._replace()  # Another, so that its time begins anew.

    def _watch(self) -> None:
        before = time.monotonic()
        while not self._ended.wait(TICK):
            now = time.monotonic()
            # A process that was stopped (Ctrl-Z, a debugger) did not hang meanwhile.
            self._look(min(now - before, 4 * TICK))
            before = now

    def _look(self, seconds: float) -> None:
        expected = self._expected  # The other thread may change it at any time.
        same, elapsed = self._looked
        elapsed = elapsed + seconds if expected is same else 0.0
        self._looked = expected, elapsed
        if elapsed > expected.limit:
            self._end(expected)

    def _end(self, expected: Expected) -> None:
        # Telling it may hang as well, where the log lies on what hangs.
        faulthandler.dump_traceback_later(SAID, exit=True, file=sys.__stderr__)
        who = cluster.name() or "this process"
        log.error(
            "%s hangs: %s took longer than %.0f s (config.limits.%s). It ends here; below is where "
            "it waited. The same command goes on from the last checkpoint.",
            *(who, *expected),
        )
        faulthandler.dump_traceback(sys.__stderr__, all_threads=True)
        os._exit(INTERNAL)
