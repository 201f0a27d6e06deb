"""How long a run has taken, and how fast its steps are."""

import contextlib
import time
from collections.abc import Iterator

import jax


class Clock:
    """Seconds since the run began, over all its starts, and the rate of the steps alone."""

    def __init__(self, before: float, step: int):
        """Goes on after `before` seconds, at `step`."""
        self._begin = self._lap = time.monotonic()
        self._start = self._begin - before
        self._step = step
        self._compiled = False

    def compiled(self, step: int, state: object) -> None:
        """Measures the rate from the end of the first call on, since that has also compiled."""
        if not self._compiled:
            jax.block_until_ready(state)
            self._compiled, self._lap, self._step = True, time.monotonic(), step

    @contextlib.contextmanager
    def paused(self, state: object) -> Iterator[None]:
        """Leaves pictures and checkpoints out of the rate, but not the steps still under way."""
        jax.block_until_ready(state)
        begin = time.monotonic()
        yield
        self._lap += time.monotonic() - begin

    def lap(self, step: int, batch_size: int) -> dict[str, float]:
        """Total seconds, and images a second since the last lap."""
        now = time.monotonic()
        done = max(step - self._step, 1)  # A run of a single step: its compilation counts.
        elapsed = now - (self._lap if step > self._step else self._begin)
        self._lap, self._step = now, step
        rate = done * batch_size / max(elapsed, 1e-9)
        return {"seconds": round(now - self._start, 3), "images_per_second": round(rate, 2)}
