"""The job that scores every checkpoint that has no score yet."""

import json
import os
import time
from pathlib import Path

import numpy as np

from gan import workdir
from gan.checkpoint import Checkpoints
from gan.data.attributes import AttributeTable
from gan.data.prepare import prepare
from gan.data.store import Store
from gan.errors import ConfigError, DataError
from gan.logs import log, read_rows
from gan.metrics.scores import SCORES
from gan.sample import Run
from gan.sampler import Sampler

HELD_OUT = "validation"


def evaluate(folder: Path) -> list[dict]:
    """Appends one line a checkpoint to `scores.jsonl`; a stopped evaluation goes on where it was.

    A generated face gets the attributes of the held-out one that it is compared with. Beside each
    score stands its floor: the same number of training images instead of generated ones.
    """
    run = Run.open(folder)
    path = folder / "scores.jsonl"
    with (
        workdir.lock(folder, ".evaluate.lock"),
        Checkpoints(folder, read_only=True) as checkpoints,
    ):
        rows = read_rows(path)
        steps = [step for step in checkpoints.steps() if step not in {r["step"] for r in rows}]
        if not checkpoints.steps():
            raise ConfigError(f"--workdir={folder} has no checkpoint yet; train on.")
        if not steps:
            log.info("%d checkpoints, all scored: %s", len(checkpoints.steps()), path)
            return rows
        stores = prepare(run.config.data)
        if not run.table.same_data(AttributeTable.of(stores["train"])):
            raise ConfigError(
                f"--workdir={folder} was trained on other data than config.data.path holds now: "
                "its scores would not compare. Bring the old files back."
            )
        real = held_out(stores[HELD_OUT], run)
        num = len(real)
        # Spread over the set: neighbours may show one person.
        spread = np.linspace(0, len(run.table.rows) - 1, num).astype(int)
        train = stores["train"].images[spread]
        floors = {f"{name}_floor": score(real, train) for name, score in SCORES.items()}
        sampler = Sampler(run.gan, run.table)
        attributes = np.asarray(stores[HELD_OUT].attributes[:num])
        for step in steps:
            begin = time.monotonic()
            try:
                state = checkpoints.restore(run.like, step)
            except DataError as error:
                log.warning("%s Not scored.", error)
                continue
            fake = sampler(state.ema, range(num), attributes)
            row = {"step": step} | {name: score(real, fake) for name, score in SCORES.items()}
            row |= floors | {
                "images": num,
                "split": HELD_OUT,
                "image_size": run.config.data.image_size,
                "crop": stores[HELD_OUT].crop,
                "seconds": round(time.monotonic() - begin, 2),
            }
            rows.append(row)
            write_rows(path, rows)
            numbers = ", ".join(f"{n} {row[n]:.2f} (floor {row[n + '_floor']:.2f})" for n in SCORES)
            log.info("step %d: %s", step, numbers)
    return rows


def held_out(store: Store, run: Run) -> np.ndarray:
    """The first `config.eval_images` pictures of the held-out split."""
    num = min(run.config.eval_images, len(store.images), len(run.table.rows))
    return np.asarray(store.images[:num])


def write_rows(path: Path, rows: list[dict]) -> None:
    """All rows or, if killed, those that were there."""
    partial = path.with_suffix(".partial")
    with partial.open("w") as file:
        file.writelines(json.dumps(row) + "\n" for row in sorted(rows, key=lambda r: r["step"]))
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
