"""Traces some steps of a run for TensorBoard's profiler (`pip install xprof`)."""

import contextlib
from types import TracebackType
from typing import Any

import jax

from gan.runtime import storage
from gan.runtime.logs import log
from gan.runtime.storage import Path

WARM_UP = 1  # Calls of the step before the trace starts; the first one compiles.


class Trace:
    """Traces `steps` steps soon after the start of a run; none if 0."""

    def __init__(self, folder: Path, steps: int):
        """Traces into `folder`, where TensorBoard looks for it."""
        self._folder, self._left = folder, steps
        self._calls = 0
        self._staging = contextlib.ExitStack()
        self._end: int | None = None  # The step after which the trace stops, while it runs.

    def __enter__(self) -> "Trace":
        return self

    def __exit__(self, kind: type | None, value: object, traceback: TracebackType | None) -> None:
        if self._end is not None:
            self._stop()

    def after(self, step: int, state: Any) -> None:
        """Starts or stops the trace if it is time to. Waits for the device only then."""
        self._calls += 1
        if self._end is not None and step >= self._end:
            jax.block_until_ready(state)
            self._stop()
            log.info("Traced up to step %d: tensorboard --logdir=%s", step, self._folder)
        elif self._left and self._calls == WARM_UP:
            jax.block_until_ready(state)
            folder = self._staging.enter_context(storage.staging_folder(self._folder))
            jax.profiler.start_trace(folder)
            self._end, self._left = step + self._left, 0

    def _stop(self) -> None:
        jax.profiler.stop_trace()
        self._staging.close()
        self._end = None
