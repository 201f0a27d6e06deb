"""Signals that end a training in good order."""

import math
import os
import signal

from gan.errors import Preempted
from gan.runtime import cluster

# SIGHUP is what a closed terminal, or a lost ssh connection, sends.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# Seconds that are left for the last checkpoint after no signal, after one, after two.
TIME_LEFT = (math.inf, 20.0, 0.0)


class Stop:
    """Notes SIGTERM, SIGHUP and Ctrl-C: preparing ends at once, the loop saves after its step.

    A second one kills or, while the last state waits for room on the disk, gives it up. Of several
    processes it is enough that one gets a signal: JAX sees to it that all stop after the same step,
    and takes no second one.
    """

    def __init__(self) -> None:
        """Starts without a signal."""
        self.name = ""
        self._noted = 0
        self._allowed = 1  # Signals that are noted; the next one does what it did before.
        self._shared = False  # JAX tells the other processes.
        self._awaited = False  # By the loop, which then saves.
        self._calls = 0
        self._before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
        if self._before[signal.SIGHUP] is signal.SIG_IGN:
            del self._before[signal.SIGHUP]  # As `nohup` asks for.

    def __enter__(self) -> "Stop":
        self._note_signals()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def await_steps(self) -> None:
        """Leaves signals to the loop, which asks after each call and saves."""
        self._awaited = True
        self._shared = cluster.process_count() > 1
        cluster.watch_for_preemption()

    def after_call(self) -> bool:
        """Whether to save and end; all processes agree after the same call of the step."""
        self._calls += 1
        if cluster.is_preempted(self._calls):
            self._hear("SIGTERM")
        return bool(self.name)

    def await_disk(self) -> None:
        """Lets signals, from now on, shorten the `time_left` for a disk that is full."""
        self._shared, self._allowed = False, len(TIME_LEFT) - 1
        self._note_signals()

    def time_left(self) -> float:
        """Seconds for which the last state may still be tried, after the signals so far."""
        return TIME_LEFT[self._noted]

    def _note_signals(self) -> None:
        for number in self._before:
            signal.signal(number, self._note)

    def _hear(self, name: str) -> None:
        self.name = name
        self._noted += 1

    def _note(self, number: int, _: object) -> None:
        if self._shared:
            signal.signal(number, self._before[number])
            os.kill(os.getpid(), signal.SIGTERM)  # Which JAX tells the other processes.
            return
        self._hear(signal.Signals(number).name)
        if self._noted >= self._allowed:
            for each, handler in self._before.items():
                signal.signal(each, handler)
        if not self._awaited:
            raise Preempted(f"{self.name}: nothing to save yet. Run the same command again.")
