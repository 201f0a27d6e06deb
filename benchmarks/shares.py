"""Training, watched from inside its process: what each moment of its main thread went into.

Only what the loop waits for is counted. What goes on behind it (writing a checkpoint, TensorBoard's
events, gathering batches) takes cores from the steps, and so shows as time of theirs.
"""

import functools
import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SHARES = (
    *("start-up", "data", "compile, first step", "steps"),
    *("pictures", "checkpoints", "logging", "end"),
)
START, DATA, COMPILE, STEPS, PICTURES, CHECKPOINTS, LOGGING, END = SHARES


class Shares:
    """Each moment of the main thread's, given to the innermost share that it is in."""

    def __init__(self, begin: float):
        """The process began at `begin`, of `time.time`."""
        self.seconds: dict[tuple[str, str], float] = defaultdict(float)  # By phase and share.
        self._phase, self._stack, self._last = START, [], begin

    def phase(self, name: str) -> None:
        """What time is given to from here on, outside of all that is watched."""
        self._lap()
        self._phase = name

    def watch(self, owner: Any, share: str, *names: str) -> None:
        """Gives the time of these functions, of a module or a class, to a share."""
        for name in names:
            setattr(owner, name, self.watched(getattr(owner, name), share))

    def watched(
        self, function: Callable, share: str, finish: Callable = lambda result: result
    ) -> Callable:
        """The same function, whose time is taken until its result is finished."""

        @functools.wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            if threading.current_thread() is not threading.main_thread():
                return function(*arguments, **options)  # Nothing waits for it.
            self._lap()
            self._stack.append(share)
            try:
                return finish(function(*arguments, **options))
            finally:
                self._lap()
                self._stack.pop()

        return call

    def _lap(self) -> None:
        now = time.time()
        share = self._stack[-1] if self._stack else self._phase
        self.seconds[self._phase, share] += now - self._last
        self._last = now

    def write(self, path: Path) -> None:
        """For the process that measures."""
        self._lap()
        rows = [[*keys, seconds] for keys, seconds in self.seconds.items()]
        path.write_text(json.dumps({"seconds": rows, "until": self._last}))


def inside(path: str, begin: float) -> None:
    """Runs the command in this process and writes its shares."""
    from gan import main
    from gan.runtime import jax_setup

    shares = Shares(begin)
    start = jax_setup.set_up_jax

    def start_and_watch(deterministic: bool) -> None:  # Before it nothing may import JAX.
        start(deterministic)
        watch(shares)

    jax_setup.set_up_jax = start_and_watch
    main.main()
    shares.write(Path(path))


def watch(shares: Shares) -> None:
    """Takes the time of what training calls, by the names that it calls it by."""
    import jax

    from gan.runtime import logs
    from gan.training import job
    from gan.workdir.checkpoints import Checkpoints

    shares.watch(job, DATA, "prepare", "remember")
    shares.watch(job, PICTURES, "write_png")
    shares.watch(job.AttributeSheet, PICTURES, "__init__", "__call__")
    shares.watch(logs.MetricsWriter, PICTURES, "write_picture")
    shares.watch(Checkpoints, CHECKPOINTS, "__init__", "restore_newest", "save", "wait", "__exit__")
    shares.watch(logs.MetricsWriter, LOGGING, "__init__", "write_row", "__exit__")
    shares.watch(logs, LOGGING, "format_status")
    wait = jax.block_until_ready  # Only where training itself waits at once.
    job.finite = shares.watched(job.finite, CHECKPOINTS, wait)
    compute = shares.watched(job.TrainMetrics.compute, LOGGING, wait)
    # It would wait for the steps: they are waited for before, in their own time.
    job.TrainMetrics.compute = lambda metrics: compute(wait(metrics))
    compile_once, compiled = job.compile_for_one_call, job.Clock.compiled
    open_feed, loop = shares.watched(job.open_feed, DATA), job.loop

    def watched_compile(*arguments: Any, **options: Any) -> Callable:
        return shares.watched(compile_once(*arguments, **options), COMPILE, wait)

    def watched_feed(*arguments: Any, **options: Any) -> Any:
        feed = open_feed(*arguments, **options)
        calls = shares.watched(feed.calls, DATA)

        def watched_calls(*spans: Any) -> Iterator:
            iterator = calls(*spans)
            following = shares.watched(lambda: next(iterator, None), DATA)
            first = following()
            shares.phase(COMPILE)
            yield first
            yield from iter(following, None)

        feed.calls = watched_calls
        return feed

    def watched_compiled(clock: job.Clock, step: int) -> None:
        compiled(clock, step)
        shares.phase(STEPS)

    def watched_loop(*arguments: Any) -> Any:
        try:
            return loop(*arguments)
        finally:
            shares.phase(END)

    job.compile_for_one_call, job.open_feed = watched_compile, watched_feed
    job.Clock.compiled, job.loop = watched_compiled, watched_loop
