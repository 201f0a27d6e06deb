"""The job that trains."""

import contextlib
import functools
import os
import signal
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from gan.config import Config, validate
from gan.data.attributes import AttributeTable
from gan.data.batch import Batch
from gan.data.feed import example_indices, open_feed
from gan.data.prepare import prepare
from gan.data.source import SPLITS
from gan.data.store import Store
from gan.errors import ConfigError, DataError, Diverged, Preempted
from gan.model import flops
from gan.model.state import TrainState
from gan.model.step import TrainMetrics, abstract_state, build, init_state, train_step
from gan.runtime import cluster, logs
from gan.runtime.logs import log
from gan.runtime.parallel import Parallel, compile_for_one_call, take_local_copies
from gan.runtime.pictures import make_grid, write_png
from gan.runtime.profile import Trace
from gan.runtime.storage import Path
from gan.runtime.watchdog import Watchdog
from gan.sampling.sampler import AttributeGrid, Sampler
from gan.workdir.checkpoints import PATIENCE, Checkpoints
from gan.workdir.folder import check_same_run, check_shared, lock_workdir, write_config

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
STATUS = (  # The metrics in the status line.
    "G {g_loss:.3f} D {d_loss:.3f}",
    "D right on real {d_real_accuracy:.0%}, fake {d_fake_accuracy:.0%}",
)
GRACE = 20.0  # Seconds to make room for the last checkpoint, where the machine is taken away.


def train(config: Config, folder: Path, verify: bool = False) -> TrainState:
    """Trains up to `config.steps`, going on from the newest checkpoint in `folder` if there is one.

    A new run compares the checksums of the pictures that it trains on; `verify` those of all.

    Raises Preempted (saved) on SIGTERM or Ctrl-C, Diverged where a number is no longer finite.
    """
    parallel = Parallel.create(config.parallel)
    validate(config, jax.device_count())
    # Before anything is written or prepared: can this game be built at all?
    abstract_state(build(config, ()), parallel.replicated)
    with contextlib.ExitStack() as stack:
        watchdog = stack.enter_context(Watchdog(config.limits))
        if cluster.process_count() > 1:
            parallel.connect_devices()
        with cluster.fail_together("workdir"):
            if cluster.is_first():
                stack.enter_context(lock_workdir(folder))
        check_shared(folder)
        with cluster.fail_together("run"):
            check_same_run(config, folder)
            new = not (folder / "checkpoints").exists()
        if cluster.is_first():
            stack.enter_context(logs.log_to_file(folder / "log.txt"))
        stop = stack.enter_context(Stop())
        with watchdog.during("preparing the data", "prepare"), cluster.fail_together("data"):
            store = prepare(config.data, SPLITS if verify else SPLITS[:new])["train"]
            table = remember(store, folder)
        with cluster.fail_together("checkpoints"):
            if cluster.is_first():
                write_config(config, folder)
            checkpoints = stack.enter_context(
                Checkpoints(
                    folder,
                    keep=config.keep_checkpoints,
                    keep_every=config.keep_every,
                    about=table.identity() | position(config),
                )
            )
        return loop(config, folder, parallel, store, table, checkpoints, stop, watchdog)


def loop(
    config: Config,
    folder: Path,
    parallel: Parallel,
    store: Store,
    table: AttributeTable,
    checkpoints: Checkpoints,
    stop: "Stop",
    watchdog: Watchdog,
) -> TrainState:
    """The steps, and what is told and kept of them."""
    gan = build(config, table.marginals, parallel.axis_name)
    like = abstract_state(gan, parallel.replicated)
    with watchdog.during("restoring the newest checkpoint", "compile"):
        state, metrics = checkpoints.restore_newest(like, TrainMetrics.empty()) or (None, None)
        if state is None:
            init = lambda seed: init_state(gan, jax.random.key(seed))  # noqa: E731
            state = compile_for_one_call(init, out_shardings=parallel.replicated)(
                np.uint32(config.seed)
            )
        start = int(state.step)
    announce(config, state, store, start)
    if start >= config.steps:
        log.info("Nothing to do. To go on, raise config.steps above %d.", start)
        return state
    if start == 0 and cluster.is_first():
        reals = store.images[example_indices(config.seed, 0, 64, len(store.images))]
        with logs.tolerate_full_disk(folder / "reals.png"):
            write_png(folder / "reals.png", make_grid(reals, 8))

    batch_size = config.data.batch_size * config.d_steps
    with watchdog.during("bringing the data to the devices", "compile"):
        feed = open_feed(
            config.data.feed,
            store,
            parallel,
            seed=config.seed,
            batch=batch_size,
            steps_per_call=config.steps_per_call,
        )
    log.info("Feed: %s", feed.text)
    step_call = feed.compile(functools.partial(train_step, gan))
    share = share_of_peak(config, table, state)
    merge = jax.jit(TrainMetrics.merge, donate_argnums=0)
    draw_sheet = AttributeGrid(Sampler(gan, table), table)
    every = (config.log_every, config.sample_every, config.checkpoint_every)
    with contextlib.ExitStack() as stack:
        if cluster.is_first():
            writer = stack.enter_context(logs.MetricsWriter(folder, start))
            trace = stack.enter_context(Trace(folder, config.profile))
        clock = Clock(writer.seconds if cluster.is_first() else 0.0, start)
        stop.await_steps()
        first = True
        for step, batch in watchdog.watch_calls(feed.calls(start, config.steps, every)):
            with jax.transfer_guard("disallow"):  # Nothing here may wait for the host.
                state, update = step_call(state, batch)
            metrics = update if metrics is None else merge(metrics, update)
            if first:
                jax.block_until_ready(state)
                clock.compiled(step)
                first = False
            if cluster.is_first():
                trace.after(step, state)
            last = stop.after_call() or step == config.steps

            if step % config.log_every == 0 or step == config.steps:
                computed = jax.device_get(metrics).compute()
                watchdog.note_sync()
                scalars = {name: float(value) for name, value in computed.items()}
                if not np.isfinite(list(scalars.values())).all():
                    raise Diverged(diverged(step, checkpoints, scalars))
                row = {"images": step * batch_size, **clock.lap(step, batch_size), **scalars}
                if share:
                    row["share_of_peak"] = share * row["images_per_second"]
                if cluster.is_first():
                    writer.write_row(step, row)
                left = (config.steps - step) * batch_size / row["images_per_second"]
                log.info("%s", logs.format_status(step, config.steps, row, left, STATUS))
                if step % config.log_every == 0:  # Else a run of more steps goes on with them.
                    metrics = None
            if step % config.sample_every == 0 or step == config.steps:
                with clock.paused(state), watchdog.during("drawing samples", "save"):
                    if cluster.is_first():
                        with logs.tolerate_full_disk(folder / "samples"):
                            sheet = draw_sheet(take_local_copies(state.ema))
                            write_png(folder / "samples" / f"step_{step:08d}.png", sheet)
                            writer.write_picture(step, "samples", sheet)
            if step % config.checkpoint_every == 0 or last:
                with clock.paused(state), watchdog.during("saving a checkpoint", "save"):
                    if not bool(finite(state)):
                        raise Diverged(diverged(step, checkpoints, {}))
                    if cluster.is_first():
                        writer.flush()
                    checkpoints.save(state, step, metrics)
            if last:
                break
        with watchdog.during("saving the last checkpoint and closing the logs", "save"):
            checkpoints.wait(GRACE if stop.name else PATIENCE)
            stack.close()
            cluster.wait_for_all(
                "end"
            )  # Who leaves before the first has closed them would abort it.
    if step < config.steps:
        raise Preempted(f"{stop.name}: saved step {step}. Run the same command again to go on.")
    log.info("Done: step %d. Pictures: %s", step, folder / "samples" / f"step_{step:08d}.png")
    return state


def position(config: Config) -> dict[str, int]:
    """What says, beside the step, which pictures are next."""
    return {"seed": config.seed, "batch_size": config.data.batch_size, "d_steps": config.d_steps}


class Clock:
    """Seconds since the run began, over all its starts, and the rate of the steps alone."""

    def __init__(self, before: float, step: int):
        """Goes on after `before` seconds, at `step`."""
        self._begin = self._lap = time.monotonic()
        self._start = self._begin - before
        self._step = step

    def compiled(self, step: int) -> None:
        """The first step has also compiled: the rate is measured from here."""
        self._lap, self._step = time.monotonic(), step

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


@jax.jit
def finite(state: TrainState) -> jax.Array:
    """Whether every number of the state is."""
    leaves = jax.tree.leaves((state.generator, state.discriminator, state.ema))
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()


def share_of_peak(config: Config, table: AttributeTable, state: TrainState) -> float | None:
    """What an image a second is of the devices' peak in bfloat16, where that is known.

    Traces the step once more, which takes about a second.
    """
    peak = flops.peak(jax.devices()[0].device_kind)
    if peak is None:
        return None
    num, side = config.data.batch_size * config.d_steps, config.data.image_size
    sizes = Batch((num, side, side, 3), (num, len(table.names)))
    batch = Batch(*(jax.ShapeDtypeStruct(size, np.uint8) for size in sizes))
    # Of the global batch, which is what a step that averages over no axis sees.
    step = functools.partial(train_step, build(config, table.marginals))
    return flops.count(step, state, batch) / num / (peak * jax.device_count())


def diverged(step: int, checkpoints: Checkpoints, scalars: dict[str, float]) -> str:
    """What a user is told, when all that was good is saved."""
    saved = checkpoints.steps()
    cluster.wait_for_all("diverged")  # The first still writes; who leaves before would abort it.
    bad = ", ".join(f"{name}={value}" for name, value in scalars.items() if not np.isfinite(value))
    good = f"step {saved[-1]}" if saved else "still to come"
    return (
        f"Diverged at or before step {step}: {bad or 'a parameter'} is not finite. Nothing of it "
        f"was saved; the last good checkpoint is {good}. "
        "In a new workdir, lower learning rates (config.g_optimizer.learning_rate, "
        "config.d_optimizer.learning_rate) or config.r1=1 usually help."
    )


class Stop:
    """SIGTERM and Ctrl-C end preparing at once; the loop sees them after its step, and saves.

    A second one kills. Of several processes it is enough that one gets a signal: JAX sees to it
    that all stop after the same step, and takes no second one.
    """

    def __init__(self) -> None:
        """Nothing has come yet."""
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
        """From now on the loop asks after each call, and saves."""
        self._awaited = True
        cluster.watch_for_preemption()

    def after_call(self) -> bool:
        """Whether to save and end: in all processes after the same call of the step."""
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


def remember(store: Store, folder: Path) -> AttributeTable:
    """Writes the training set's attributes to the workdir; refuses another set than before."""
    table = AttributeTable.from_store(store)
    path = folder / "attributes.npz"
    if path.exists() and (folder / "checkpoints").exists():
        with contextlib.suppress(DataError):  # Damaged: written anew.
            old = AttributeTable.load(path)
            if not table.same_data(old):
                raise ConfigError(
                    f"--workdir={folder} was trained on other data ({len(old.rows):,} images, now "
                    f"{len(table.rows):,}, or other pictures or labels). Name another workdir, or "
                    "bring the old files back."
                )
    if cluster.is_first():
        table.save(path)
    return table


def announce(config: Config, state: TrainState, store: Store, start: int) -> None:
    """What is going to happen."""
    count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree)) / 1e6  # noqa: E731
    device = jax.devices()[0].device_kind
    log.info(
        "%s at %d px: generator %.2f M, discriminator %.2f M parameters; %s images, %d attributes; "
        "%d x %s, %s.",
        config.network.name,
        config.data.image_size,
        count(state.generator.params),
        count(state.discriminator.params),
        f"{len(store.images):,}",
        len(store.attribute_names),
        jax.device_count(),
        device,
        config.parallel,
    )
    log.info("Training from step %d to %d.", start, config.steps)
