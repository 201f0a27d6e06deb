"""Hooks of every training: rows of the log, pictures, checkpoints, a trace."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from gan.data.batch import Batch
from gan.errors import Diverged
from gan.model import flops
from gan.model.averages import EMA
from gan.model.state import TrainState
from gan.model.step import build, init_state, train_step
from gan.runtime import cluster, logs
from gan.runtime.logs import log
from gan.runtime.parallel import take_local_copies
from gan.runtime.pictures import write_png
from gan.runtime.profile import Trace
from gan.sampling.attribute_sheet import AttributeSheet
from gan.sampling.sampler import Sampler
from gan.training import running_means
from gan.training.loop import Hook, Hooks, TrainingRun

LOSSES_SHOWN = "G {g_loss:.3f} D {d_loss:.3f}"  # In the status line, before the loss's own words.


def standard_hooks(run: TrainingRun, trace: Trace) -> Hooks:
    """Hooks of every training, in the order of their calls."""
    config = run.config
    hooks = [
        (config.log_every, row_writer(run)),
        (config.sample_every, sheet_writer(run)),
        (config.checkpoint_every, save_checkpoint),
    ]
    if cluster.is_first():
        hooks.insert(0, (0, lambda _, step, state: trace.after(step, state)))
    return hooks


def row_writer(run: TrainingRun) -> Hook:
    """Returns the hook that logs the metrics' means since the last row, and the rate.

    It raises Diverged where one is not finite.
    """
    share = share_per_image_rate(run)
    shown = [LOSSES_SHOWN, *filter(None, [run.rules.loss.status])]

    def write_row(run: TrainingRun, step: int, state: TrainState) -> None:
        scalars = running_means.compute(run.metrics)
        run.watchdog.note_sync()
        if not np.isfinite(list(scalars.values())).all():
            raise Diverged(describe_divergence(run, step, scalars))
        images, steps = run.rules.images, run.config.steps
        row = {"images": step * images, **run.clock.lap(step, images), **scalars}
        if share:
            row["share_of_peak"] = share * row["images_per_second"]
        if run.writer:
            run.writer.write_row(step, row)
        left = (steps - step) * images / row["images_per_second"]
        log.info("%s", logs.format_status(step, steps, row, left, shown))
        if step % run.config.log_every == 0:  # Else a run of more steps goes on with them.
            run.metrics = None

    return write_row


def sheet_writer(run: TrainingRun) -> Hook:
    """Returns the hook that draws the same faces each time, a row for each attribute."""
    sheet = AttributeSheet(Sampler(run.model, run.table), run.table)

    def write_sheet(run: TrainingRun, step: int, state: TrainState) -> None:
        with run.clock.paused(state), run.watchdog.during("drawing samples", "save"):
            if run.writer:
                with logs.tolerate_full_disk(run.folder / "samples"):
                    picture = sheet(take_local_copies(state.averages[EMA]))
                    write_png(run.folder / "samples" / f"step_{step:08d}.png", picture)
                    run.writer.write_picture(step, "samples", picture)

    return write_sheet


def save_checkpoint(run: TrainingRun, step: int, state: TrainState) -> None:
    """Saves the state in the background. Raises Diverged where a parameter is not finite."""
    with run.clock.paused(state), run.watchdog.during("saving a checkpoint", "save"):
        if not bool(is_finite(state)):
            raise Diverged(describe_divergence(run, step, {}))
        if run.writer:
            run.writer.flush()
        run.checkpoints.save(state, step, running_means.to_json(run.metrics))


@jax.jit
def is_finite(state: TrainState) -> jax.Array:
    """Whether every number of the networks and their averages is finite."""
    leaves = jax.tree.leaves((state.generator, state.discriminator, state.averages))
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()


def describe_divergence(run: TrainingRun, step: int, scalars: dict[str, float]) -> str:
    """Says what diverged, where the last good checkpoint is, and what helps."""
    saved = run.checkpoints.steps()
    cluster.wait_for_all("diverged")  # The first still writes; who leaves before would abort it.
    bad = ", ".join(f"{name}={value}" for name, value in scalars.items() if not np.isfinite(value))
    good = f"step {saved[-1]}" if saved else "still to come"
    return (
        f"Diverged at or before step {step}: {bad or 'a parameter'} is not finite. Nothing of it "
        f"was saved; the last good checkpoint is {good}. "
        "In a new workdir, lower learning rates (config.g_optimizer.learning_rate, "
        "config.d_optimizer.learning_rate) or config.r1=1 usually help."
    )


def share_per_image_rate(run: TrainingRun) -> float | None:
    """Returns the share of the devices' peak in bfloat16 at a rate of one image a second.

    None where the peak is not known.

    Traces the step once more, which takes about a second.
    """
    peak = flops.peak(jax.devices()[0].device_kind)
    if peak is None:
        return None
    num, side = run.rules.images, run.model.image_size
    sizes = Batch((num, side, side, 3), (num, len(run.table.names)))
    batch = Batch(*(jax.ShapeDtypeStruct(size, np.uint8) for size in sizes))
    # The step of the global batch: one that averages over no axis.
    model, rules = build(run.config, run.table.marginals)
    state = jax.eval_shape(lambda: init_state(model, rules, jax.random.key(0)))
    step = functools.partial(train_step, model, rules)
    return flops.count(step, state, batch) / num / (peak * jax.device_count())
