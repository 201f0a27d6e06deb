"""Trains as `gan.training` does, and tells what each moment of the main thread went into.

The hooks of the training are timed, and so is what its watchdog watches: the wait for each batch
and each block that is not a step. Work behind the steps (writing a checkpoint, TensorBoard's
events, gathering batches) takes cores from them, and shows as time of theirs.
"""

import contextlib
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

SHARES = (
    *("start-up", "data", "compile, first step", "steps"),
    *("pictures", "checkpoints", "logging", "end"),
)
START, DATA, COMPILE, STEPS, PICTURES, CHECKPOINTS, LOGGING, END = SHARES
HOOKS = (LOGGING, PICTURES, CHECKPOINTS)  # Shares of the training's hooks, in their order.
BLOCKS = {  # What the watchdog calls them. The hooks' own blocks are timed as hooks.
    "restoring the newest checkpoint": COMPILE,  # In a new folder: making the first weights.
    "bringing the data to the devices": DATA,
    "saving the last checkpoint and closing the logs": CHECKPOINTS,
}


class Shares:
    """Gives each moment to the innermost share that it is in, and to a phase of the training."""

    def __init__(self, begin: float):
        """Starts at `begin`, by `time.time`, when the process was started."""
        self.seconds: dict[tuple[str, str], float] = defaultdict(float)  # By phase and share.
        self._phase, self._stack, self._last = START, [], begin

    def begin_phase(self, name: str) -> None:
        """Gives time outside of all blocks to this phase's own share from now on."""
        self._lap()
        self._phase = name

    @contextlib.contextmanager
    def timed(self, share: str) -> Iterator[None]:
        """Gives the time of a block to a share."""
        self._lap()
        self._stack.append(share)
        try:
            yield
        finally:
            self._lap()
            self._stack.pop()

    def _lap(self) -> None:
        now = time.time()
        share = self._stack[-1] if self._stack else self._phase
        self.seconds[self._phase, share] += now - self._last
        self._last = now

    def write(self, path: Path) -> None:
        """Writes (phase, share, seconds), and until when they were taken."""
        self._lap()
        rows = [[*keys, seconds] for keys, seconds in self.seconds.items()]
        path.write_text(json.dumps({"seconds": rows, "until": self._last}))


class TimedWatchdog:
    """A training's watchdog that also gives what it watches to shares."""

    def __init__(self, watchdog: Any, shares: Shares):
        """Watches by `watchdog`, a `gan.runtime.watchdog.Watchdog`."""
        self._watchdog, self._shares = watchdog, shares
        self.note_sync = watchdog.note_sync

    def watch_calls(self, calls: Iterable[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
        """Yields `calls`; the wait for each is the data's, the first call is compiling."""
        calls = iter(self._watchdog.watch_calls(calls))
        self._shares.begin_phase(COMPILE)
        while True:
            with self._shares.timed(DATA):
                item = next(calls, None)
            if item is None:
                return
            yield item

    @contextlib.contextmanager
    def during(self, doing: str, setting: str) -> Iterator[None]:
        """Watches a block, and gives its time to a share if it has one in `BLOCKS`."""
        share = BLOCKS.get(doing)
        given = self._shares.timed(share) if share else contextlib.nullcontext()
        with self._watchdog.during(doing, setting), given:
            yield


def train_timed(config: Any, folder: Any, shares: Shares) -> None:
    """Trains a configuration in a new folder, as `gan.training.job.train` does."""
    import jax

    from gan.runtime.parallel import Parallel
    from gan.runtime.profile import Trace
    from gan.training import hooks, job, loop

    def timed(hook: loop.Hook, share: str) -> loop.Hook:
        def call(run: loop.TrainingRun, step: int, state: Any) -> None:
            jax.block_until_ready(state)  # The steps under way take time of their own.
            with shares.timed(share):
                hook(run, step, state)

        return call

    parallel = Parallel.create(config.parallel)
    with contextlib.ExitStack() as stack:
        with shares.timed(DATA):
            run = job.open_training(stack, config, folder, parallel, verify=False)
        run.watchdog = TimedWatchdog(run.watchdog, shares)
        state = loop.restore_or_init(run)
        with shares.timed(PICTURES):
            job.show_training_images(run)
            _, *standard = hooks.standard_hooks(run, Trace(folder, 0))  # The first one traces.
        watched = [
            (interval, timed(hook, share))
            for (interval, hook), share in zip(standard, HOOKS, strict=True)
        ]
        # It is called after each call of the step; the first one has compiled.
        watched.insert(0, (0, lambda *_: shares.begin_phase(STEPS)))
        loop.run_steps(run, state, watched, timed(hooks.save_checkpoint, CHECKPOINTS))
        shares.begin_phase(END)


def main(path: str, begin: float) -> None:
    """Trains as the command line says, and writes the shares to `path`.

    `begin` is when the process was started, by `time.time`.
    """
    from gan.command_line import parse
    from gan.main import run_configured, show_our_lines

    shares = Shares(begin)
    show_our_lines()
    run_configured(lambda _, *what: train_timed(*what, shares), parse(sys.argv))
    shares.write(Path(path))
