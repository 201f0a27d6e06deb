"""A trace of some steps, for TensorBoard's profiler (`pip install xprof`)."""

import contextlib
from types import TracebackType
from typing import Any

import jax

from gan.runtime import storage
from gan.runtime.logs import log
from gan.runtime.storage import Path

WARM_UP = 1  # Calls of the step: it compiles in the first.


class Trace:
    """Traces `steps` steps of a run, soon after its start; none if 0."""

    def __init__(self, folder: Path, steps: int):
        """Writes into `folder`, as TensorBoard looks for it."""
        self._folder, self._left = folder, steps
        self._calls = 0
        self._shipped = contextlib.ExitStack()
        self._end: int | None = None  # While it traces: after which step it stops.

    def __enter__(self) -> "Trace":
        return self

    def __exit__(self, kind: type | None, value: object, traceback: TracebackType | None) -> None:
        if self._end is not None:
            self._stop()

    def after(self, step: int, state: Any) -> None:
        """Starts or stops where it is time to; waits for the device then, and only then."""
        self._calls += 1
        if self._end is not None and step >= self._end:
            jax.block_until_ready(state)
            self._stop()
            log.info("Traced up to step %d: tensorboard --logdir=%s", step, self._folder)
        elif self._left and self._calls == WARM_UP:
            jax.block_until_ready(state)
            jax.profiler.start_trace(self._shipped.enter_context(storage.shipped(self._folder)))
            self._end, self._left = step + self._left, 0

    def _stop(self) -> None:
        jax.profiler.stop_trace()
        self._shipped.close()
        self._end = None
