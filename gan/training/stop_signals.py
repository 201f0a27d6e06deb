"""Signals that end a training in good order."""

import os
import signal

from gan.errors import Preempted
from gan.runtime import cluster

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """Notes SIGTERM and Ctrl-C: preparing ends at once, the loop ends after its step and saves.

    A second one kills. Of several processes it is enough that one gets a signal: JAX sees to it
    that all stop after the same step, and takes no second one.
    """

    def __init__(self) -> None:
        """Starts without a signal."""
        self.name = ""
        self._awaited = False  # By the loop, which then saves.
        self._calls = 0
        self._before = {number: signal.getsignal(number) for number in STOP_SIGNALS}

    def __enter__(self) -> "Stop":
        for number in STOP_SIGNALS:
            signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def await_steps(self) -> None:
        """Leaves signals to the loop, which asks after each call and saves."""
        self._awaited = True
        cluster.watch_for_preemption()

    def after_call(self) -> bool:
        """Whether to save and end; all processes agree after the same call of the step."""
        self._calls += 1
        if cluster.is_preempted(self._calls):
            self.name = "SIGTERM"
        return bool(self.name)

    def _note(self, number: int, _: object) -> None:
        signal.signal(number, self._before[number])
        if self._awaited and cluster.process_count() > 1:
            os.kill(os.getpid(), signal.SIGTERM)  # Which JAX tells the other processes.
            return
        self.name = signal.Signals(number).name
        if not self._awaited:
            raise Preempted(f"{self.name}: nothing to save yet. Run the same command again.")
