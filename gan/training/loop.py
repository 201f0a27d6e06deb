"""The loop of a training: steps, and hooks between them."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np

from gan.config import Config
from gan.data.attributes import AttributeTable
from gan.data.feed import open_feed
from gan.data.store import Store
from gan.errors import Preempted
from gan.model.generate import Model
from gan.model.state import TrainState
from gan.model.step import Rules, abstract_state, init_state, train_step
from gan.runtime import cluster
from gan.runtime.logs import MetricsWriter, log
from gan.runtime.parallel import Parallel, compile_for_one_call
from gan.runtime.storage import Path
from gan.runtime.watchdog import Watchdog
from gan.training import running_means
from gan.training.clock import Clock
from gan.training.stop_signals import Stop
from gan.workdir.checkpoints import Checkpoints
from gan.workdir.first_edition import upgrade_metrics


@dataclasses.dataclass(kw_only=True)
class TrainingRun:
    """All that the loop and its hooks share."""

    config: Config
    folder: Path
    model: Model
    rules: Rules
    parallel: Parallel
    store: Store  # The training set.
    table: AttributeTable
    checkpoints: Checkpoints
    stop: Stop
    watchdog: Watchdog
    # While it runs:
    writer: MetricsWriter | None = None  # The first process's.
    clock: Clock | None = None
    metrics: running_means.Metrics | None = None  # Since the last row.


Hook = Callable[[TrainingRun, int, TrainState], None]
# (every, hook): the hook is called after every so many steps, and after the last one. With 0 it is
# called after each call of the compiled program, which may run several steps.
Hooks = Sequence[tuple[int, Hook]]


def restore_or_init(run: TrainingRun) -> TrainState:
    """The newest state in the workdir, with the metrics since its last row; else a new one."""
    like = abstract_state(run.model, run.rules, run.parallel.replicated)
    with run.watchdog.during("restoring the newest checkpoint", "compile"):
        if found := run.checkpoints.restore_newest(like):
            state, metrics = found
            run.metrics = running_means.from_json(metrics and upgrade_metrics(metrics))
            return state
        init = lambda seed: init_state(run.model, run.rules, jax.random.key(seed))  # noqa: E731
        init = compile_for_one_call(init, out_shardings=run.parallel.replicated)
        return init(np.uint32(run.config.seed))


def run_steps(run: TrainingRun, state: TrainState, hooks: Hooks, save: Hook) -> TrainState:
    """Trains from `state` to `config.steps`, or until a signal; `save` is called at the end.

    Raises Preempted where a signal came and all is saved.
    """
    config, start = run.config, int(state.step)
    with run.watchdog.during("bringing the data to the devices", "compile"):
        feed = open_feed(
            config.data.feed,
            run.store,
            run.parallel,
            seed=config.seed,
            batch=run.rules.images,
            steps_per_call=config.steps_per_call,
        )
    log.info("Feed: %s", feed.text)
    call = feed.compile(functools.partial(train_step, run.model, run.rules))
    with contextlib.ExitStack() as stack:
        if cluster.is_first():
            run.writer = stack.enter_context(MetricsWriter(run.folder, start))
        run.clock = Clock(run.writer.seconds if run.writer else 0.0, start)
        run.stop.await_steps()
        intervals = [every for every, _ in hooks if every]
        for step, batch in run.watchdog.watch_calls(feed.calls(start, config.steps, intervals)):
            with jax.transfer_guard("disallow"):  # Nothing here may wait for the host.
                state, update = call(state, batch)
            run.metrics = running_means.merge(run.metrics, update) if run.metrics else update
            run.clock.compiled(step, state)
            ended = run.stop.after_call() or step == config.steps
            for every, hook in hooks:
                if not every or step % every == 0 or step == config.steps:
                    hook(run, step, state)
            if ended:
                break
        save(run, step, state)
        with run.watchdog.during("saving the last checkpoint and closing the logs", "save"):
            run.stop.await_disk()
            run.checkpoints.wait(time_left=run.stop.time_left)
            stack.close()
            # A process that ends before the first has closed its logs would abort it.
            cluster.wait_for_all("end")
    if step < config.steps:
        raise Preempted(f"{run.stop.name}: saved step {step}. Run the same command again to go on.")
    return state
