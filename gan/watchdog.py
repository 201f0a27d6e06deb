"""Ends a process that hangs: JAX's heartbeats go on while Python waits for ever."""

import faulthandler
import math
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np

from gan import cluster
from gan.config import Limits
from gan.errors import INTERNAL
from gan.logs import log

TICK = 0.5  # Seconds from look to look.
TIMES = 20  # The mean call of the step, before one is thought to hang.
OTHERS = 1.5  # Longer than one may hang, one may wait for another: who hangs ends first.


class Watchdog:
    """A thread that ends the process where what it does takes longer than it may.

    Who waits for others is given longer than they are, so the one that hangs ends first, and names
    itself.
    """

    def __init__(self, limits: Limits):
        """Nothing is expected yet."""
        self._limits = limits
        self._doing, self._setting, self._limit = "", "", math.inf
        self._elapsed = 0.0
        self._paused = False
        self._ended = threading.Event()

    def __enter__(self) -> "Watchdog":
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def calls(self, calls: Iterable[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
        """What `calls` brings, watched: how long each is waited for, then what is done with it."""
        calls, shapes = iter(calls), set()
        begin, done = time.monotonic(), 0
        while True:
            limit = max(self._limits.step, TIMES * (time.monotonic() - begin) / max(done, 1))
            self._expect("reading the next batch", limit, "step")
            try:
                step, batch = next(calls)
            except StopIteration:
                break
            shape = str(jax.tree.map(np.shape, batch))
            new = shape not in shapes  # Another program: it is compiled first.
            if new:
                limit += self._limits.compile
                shapes.add(shape)
            # Others may still be saving what this process has not to save.
            limit = OTHERS * limit + self._paused * self._limits.save
            self._paused = False
            self._expect(f"the call that ends with step {step}", limit, "step")
            yield step, batch
            begin, done = (time.monotonic(), 0) if new else (begin, done + 1)
        self._expect("", math.inf, "")

    @contextmanager
    def during(self, doing: str, setting: str) -> Iterator[None]:
        """Watches a block, by one of the limits; afterwards what was expected before."""
        before = self._doing, self._limit, self._setting
        self._expect(doing, getattr(self._limits, setting), setting)
        yield
        self._paused = True
        self._expect(*before)

    def _expect(self, doing: str, limit: float, setting: str) -> None:
        self._elapsed = 0.0
        self._doing, self._limit, self._setting = doing, limit, setting

    def _watch(self) -> None:
        before = time.monotonic()
        while not self._ended.wait(TICK):
            now = time.monotonic()
            # A process that was stopped (Ctrl-Z, a debugger) did not hang meanwhile.
            self._elapsed += min(now - before, 4 * TICK)
            before = now
            if self._elapsed > self._limit:
                self._end()

    def _end(self) -> None:
        who = cluster.name() or "this process"
        log.error(
            "%s hangs: %s took longer than %.0f s (config.limits.%s). It ends here; below is where "
            "it waited. The same command goes on from the last checkpoint.",
            *(who, self._doing, self._limit, self._setting),
        )
        faulthandler.dump_traceback(sys.__stderr__, all_threads=True)
        os._exit(INTERNAL)
