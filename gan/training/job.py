"""The job that trains."""

import contextlib

import jax

from gan.config import Config, validate
from gan.data.attributes import AttributeTable
from gan.data.feed import example_indices
from gan.data.prepare import prepare
from gan.data.source import SPLITS
from gan.data.store import Store
from gan.errors import ConfigError, DataError
from gan.model.state import TrainState
from gan.model.step import abstract_state, build
from gan.runtime import cluster, logs
from gan.runtime.logs import log
from gan.runtime.own_output import check_apart
from gan.runtime.parallel import Parallel
from gan.runtime.pictures import enlarge_pictures, make_grid, write_png
from gan.runtime.profile import Trace
from gan.runtime.storage import Path
from gan.runtime.watchdog import Watchdog
from gan.training.hooks import save_checkpoint, standard_hooks
from gan.training.loop import Hooks, TrainingRun, restore_or_init, run_steps
from gan.training.stop_signals import Stop
from gan.workdir.best import forget_scores
from gan.workdir.checkpoints import Checkpoints
from gan.workdir.folder import check_same_run, check_shared, lock_workdir, write_config


def train(config: Config, folder: Path, verify: bool = False, hooks: Hooks = ()) -> TrainState:
    """Trains up to `config.steps`, going on from the newest checkpoint in `folder` if there is one.

    A new run compares the checksums of the pictures that it trains on; `verify` those of all.
    `hooks` are called between steps, before those that every training has: at a step that is
    logged, `run.metrics` still has the means since the last row.

    Raises Preempted (saved) on SIGTERM or Ctrl-C, Diverged where a number is no longer finite.
    """
    parallel = Parallel.create(config.parallel)
    validate(config, jax.device_count())
    check_apart(config.data.path, str(folder), "--workdir")
    # Before anything is written or prepared: can this model be built at all?
    abstract_state(*build(config, ()), parallel.replicated)
    with contextlib.ExitStack() as stack:
        run = open_training(stack, config, folder, parallel, verify)
        state = restore_or_init(run)
        start = int(state.step)
        announce(run, state, start)
        if cluster.is_first():
            forget_scores(folder, after=start)
        if start >= config.steps:
            log.info("Nothing to do. To go on, raise config.steps above %d.", start)
            return state
        if start == 0 and cluster.is_first():
            show_training_images(run)
        trace = stack.enter_context(Trace(folder, config.profile))
        all_hooks = [*hooks, *standard_hooks(run, trace)]
        state = run_steps(run, state, all_hooks, save_checkpoint)
    last = folder / "samples" / f"step_{config.steps:08d}.png"
    log.info("Done: step %d. Pictures: %s", config.steps, last)
    return state


def open_training(
    stack: contextlib.ExitStack, config: Config, folder: Path, parallel: Parallel, verify: bool
) -> TrainingRun:
    """Takes the workdir, prepares the data and opens the checkpoints; `stack` closes them all."""
    watchdog = stack.enter_context(Watchdog(config.limits))
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
        known = None if new else fingerprint_of_run(folder)
        store = prepare(config.data, SPLITS if verify else SPLITS[:new], known=known)["train"]
        table = remember_attributes(store, folder)
    model, rules = build(config, table.marginals, parallel.axis_name)
    with cluster.fail_together("checkpoints"):
        if cluster.is_first():
            write_config(config, folder)
        checkpoints = Checkpoints(
            folder,
            keep=config.keep_checkpoints,
            keep_every=config.keep_every,
            about=table.describe() | position(config),
        )
        stack.enter_context(checkpoints)
    return TrainingRun(
        config=config,
        folder=folder,
        model=model,
        rules=rules,
        parallel=parallel,
        store=store,
        table=table,
        checkpoints=checkpoints,
        stop=stop,
        watchdog=watchdog,
    )


def position(config: Config) -> dict[str, int]:
    """Settings that, with the step, fix the order of the data."""
    return {"seed": config.seed, "batch_size": config.data.batch_size, "d_steps": config.d_steps}


def show_training_images(run: TrainingRun) -> None:
    """Writes the first images that the run trains on."""
    images = run.store.images
    shown = images[example_indices(run.config.seed, 0, 64, len(images))]
    with logs.tolerate_full_disk(run.folder / "reals.png"):
        write_png(run.folder / "reals.png", make_grid(enlarge_pictures(shown), 8))


def fingerprint_of_run(folder: Path) -> str | None:
    """Fingerprint of the data that the run in `folder` was trained on; None if it is not known."""
    try:
        return AttributeTable.load(folder / "attributes.npz").fingerprint
    except DataError:  # Missing or damaged: written anew.
        return None


def remember_attributes(store: Store, folder: Path) -> AttributeTable:
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


def announce(run: TrainingRun, state: TrainState, start: int) -> None:
    """Says what is going to happen."""
    config, store = run.config, run.store
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
