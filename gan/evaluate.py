"""The job that scores what was generated: checkpoints of runs, or any folder of pictures.

A row of `scores.jsonl` depends on a checkpoint and a protocol alone, so an evaluation that was
stopped ends with the file of one that was not.
"""

import dataclasses
import functools
import hashlib
import io
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from gan import results, tables, workdir
from gan.checkpoint import Best, Checkpoints, read_best
from gan.config import Config
from gan.data.attributes import AttributeTable
from gan.data.folder import read_all
from gan.data.prepare import prepare
from gan.data.store import Store, open_store
from gan.errors import ConfigError, DataError, WorkdirInUse
from gan.judge import Drawn, Row, Sets, judge, judge_checkpoint, nearest_pairs, protocol
from gan.logs import Board, log, read_rows, tensorboard_is_there
from gan.metrics.attribute_network import attribute_network
from gan.metrics.features import Extractor, by_attributes, by_inception
from gan.metrics.reals import Reals
from gan.metrics.scores import find
from gan.pictures import grid, write_png
from gan.report import write_report
from gan.sample import Run
from gan.sampler import AttributeGrid, Sampler

ENOUGH = 2_048  # Pictures, for a covariance of Inception's features that is not singular.
WAIT = 20.0  # Seconds between two looks at a running training.


@dataclasses.dataclass(frozen=True)
class Options:
    """What the command line chooses."""

    split: str = "validation"  # The reals that are compared with, and whose attributes are asked.
    num_images: int | None = None  # Of either kind; None: as the run's configuration says.
    seeds: Sequence[int] = (0, 1, 2)  # Each another set of generated pictures.
    inception: Path | None = None  # Weights; without them nothing is called FID.
    resize: str = "legacy"  # For Inception.
    best: str | None = None  # The score that chooses `best`; None: as before, else FD or swd.
    watch: bool = False  # Go on until the training has ended.


def evaluate(folders: Sequence[Path], options: Options) -> None:
    """Scores every checkpoint of the runs that has no row of this protocol, and reports.

    One line a checkpoint is appended to `scores.jsonl`. Of several runs one that cannot be scored
    is told and left out, and its error raised at the end.
    """
    job = Job(options)
    failed: dict[Path, Exception] = {}
    waiting = list(folders)
    while waiting:
        for folder in [*waiting]:
            try:
                if job.run(folder) or not options.watch:
                    waiting.remove(folder)
            except (ConfigError, DataError, WorkdirInUse) as error:
                if len(folders) == 1:
                    raise
                log.error("%s Left out.", error)
                failed[folder] = error
                waiting.remove(folder)
        if waiting and options.watch:
            time.sleep(WAIT)
    for error in failed.values():
        raise error


def evaluate_pictures(pictures: Path, config: Config, folder: Path, options: Options) -> None:
    """Scores the pictures in a folder (or zip), whoever drew them, beside the configured data.

    `folder` gets what the folder of a run gets, with one row of step 0. A CSV with the pictures
    says what attributes they were asked to have. Raises ConfigError where `folder` holds a run.
    """
    if (folder / "config.json").exists():
        raise ConfigError(
            f"--workdir={folder} holds a run of its own; name another folder for the scores of "
            f"--images={pictures}."
        )
    given = read_all(dataclasses.replace(config.data, source="folder", path=str(pictures)))
    with workdir.lock(folder, ".evaluate.lock"):
        wanted = options.num_images or config.eval_images
        options = dataclasses.replace(options, num_images=min(wanted, len(given.images)))
        job = Job(options)
        stores = prepare(config.data)
        names = [name for name in stores["train"].attribute_names if name in given.names]
        reals = job.reals(stores, config.eval_images, tuple(names))
        num = min(len(options.seeds), len(given.images) // reals.num)
        asked = given.attributes[:, [given.names.index(name) for name in names]]

        def sets() -> Sets:
            for part in range(num):
                rows = slice(part * reals.num, (part + 1) * reals.num)
                yield given.images[rows], asked[rows] if names else None

        row, last = judge(reals, sets())
        shown = {"samples.png": grid(last.images[:64], 8)}
        if reals.by_attributes:
            shown["nearest.png"] = nearest_pairs(reals, last)
        show(results.shown(folder, protocol(reals)["id"], 0), shown)
        stamp = {
            "pictures": pictures.name,
            "digest": hashlib.sha256(given.images.tobytes()).hexdigest()[:16],
            "changes": given.changes,
            "labels": "given with the pictures" if names else "none",
            "sets": num,
        }
        row = {"step": 0} | row | {"generated": stamp, "protocol": protocol(reals)}
        kept = read_rows(folder / "scores.jsonl")
        rows = [r for r in kept if r.get("protocol") != row["protocol"]] + [row]
        workdir.write_rows(folder / "scores.jsonl", rows)
        conclude(folder, rows, row["protocol"]["id"], options.best)


class Job:
    """One evaluation of one or more runs; what they share is looked at once."""

    def __init__(self, options: Options):
        """Nothing is read yet."""
        self.options = options
        self._reals: dict[tuple, Reals] = {}
        self._bad: set[tuple[Path, int]] = set()  # Checkpoints that cannot be read.

    def run(self, folder: Path) -> bool:
        """Scores what there is to score; whether the training of this run has ended."""
        if self.options.watch and not (folder / "config.json").exists():
            return False
        run = Run.open(folder)
        with (
            workdir.lock(folder, ".evaluate.lock"),
            Checkpoints(folder, read_only=True) as checkpoints,
        ):
            steps = checkpoints.steps()
            ended = bool(steps) and steps[-1] >= run.config.steps
            if not steps and not self.options.watch:
                raise ConfigError(f"--workdir={folder} has no checkpoint yet; train on.")
            if steps:
                self._score(folder, run, checkpoints, steps)
        return ended

    def _score(
        self, folder: Path, run: Run, checkpoints: Checkpoints, steps: Sequence[int]
    ) -> None:
        """Every step without a row of this protocol."""
        stores = prepare(run.config.data)
        if not run.table.same_data(AttributeTable.of(stores["train"])):
            raise ConfigError(
                f"--workdir={folder} was trained on other data than config.data.path holds now: "
                "its scores would not compare. Bring the old files back."
            )
        reals = self.reals(stores, run.config.eval_images, run.table.names)
        path, stamp = folder / "scores.jsonl", protocol(reals)
        rows = read_rows(path)
        seeds = [*self.options.seeds]
        same = [r for r in rows if r.get("protocol") == stamp]
        scored = {r["step"] for r in same if r["generated"].get("seeds") == seeds}
        todo = [s for s in steps if s not in scored and (folder, s) not in self._bad]
        if not todo:
            if not self.options.watch:
                log.info("%d checkpoints, all scored: %s", len(steps), path)
                conclude(folder, rows, stamp["id"], self.options.best)
            return
        sampler = Sampler(run.gan, run.table)
        sheet = AttributeGrid(sampler, run.table)
        board = Board(folder / "evaluation") if tensorboard_is_there() else None
        for step in todo:
            begin = time.monotonic()
            best = dataclasses.replace(read_best(folder), scoring=step)
            workdir.write_json(folder / "best.json", dataclasses.asdict(best))
            try:
                params = checkpoints.restore(run.like, step).ema
            except DataError as error:
                self._bad.add((folder, step))
                if step in checkpoints.steps() or (checkpoints.folder / str(step)).exists():
                    log.warning("%s Not scored.", error)
                continue  # Else the training deleted it in the meantime.
            drawn = Drawn(run, sampler, params, reals, self.options.seeds)
            row, shown = judge_checkpoint(reals, drawn)
            row = {"step": step} | row
            where = results.shown(folder, stamp["id"], step)
            show(where, shown | {"samples.png": sheet(params)})
            # In place of one with other seeds.
            rows = [r for r in rows if (r["step"], r.get("protocol")) != (step, stamp)] + [row]
            workdir.write_rows(path, rows)
            if board:
                board.write("write_scalars", step, scalars(row))
            best = choose(folder, rows, stamp["id"], self.options.best)
            mark = " (the best so far)" if best.step == step else ""
            seconds = time.monotonic() - begin
            log.info("step %d, %.1f s: %s%s", step, seconds, tables.brief(row), mark)
        if board:
            board.close()
        conclude(folder, rows, stamp["id"], self.options.best)

    def reals(self, stores: Mapping[str, Store], num: int, names: tuple[str, ...]) -> Reals:
        """Those of one data set, the same ones for all runs on it."""
        num = self.options.num_images or num
        key = (stores["train"].path, stores["train"].digest, num, names)
        if key not in self._reals:
            if self._inception and num < ENOUGH:
                log.warning(
                    "%d pictures are few for a distance of Inception's features: its bias falls as "
                    "1 / n. %d are the least that are compared at all.",
                    *(num, ENOUGH),
                )
            self._reals[key] = Reals(
                stores=stores,
                split=self.options.split,
                num=num,
                names=names,
                by_attributes=self._attribute_extractor(stores["train"].path.parent),
                inception=self._inception,
            )
        return self._reals[key]

    @functools.cached_property
    def _inception(self) -> Extractor | None:
        path = self.options.inception
        return by_inception(path, self.options.resize) if path else None

    def _attribute_extractor(self, where: Path) -> tuple[Extractor, tuple[str, ...]] | None:
        """Trained on all attributes of the data set, whichever of them a run has learnt."""
        train, held_out = (open_store(where / split) for split in ("train", "validation"))
        if not any(0 < share < 1 for share in train.attributes.mean(axis=0)):
            log.info("This data set has no attributes: no network can learn to look at it.")
            return None
        network = attribute_network(train, held_out)
        return by_attributes(network), network.names


def scalars(row: dict) -> dict[str, float]:
    """For TensorBoard."""
    return {n: v["mean"] for n, v in row["scores"].items() if v["mean"] is not None}


def show(folder: Path, shown: Mapping[str, np.ndarray]) -> None:
    """Writes pictures and, as `.npy`, arrays; each whole or not at all."""
    for name, array in shown.items():
        if name.endswith(".png"):
            write_png(folder / name, array)
        else:
            buffer = io.BytesIO()
            np.save(buffer, array, allow_pickle=False)
            workdir.write(folder / name, buffer.getvalue())


def choose(folder: Path, rows: Sequence[Row], protocol_id: str, wish: str | None) -> Best:
    """Records the best checkpoint by the wished score, which the training then never deletes."""
    rows = results.by_protocol(rows)[protocol_id]
    there = results.names(rows)
    name = results.pick(wish or read_best(folder).score or "", there) or results.default_name(rows)
    if wish:
        name = find(wish, there)
    row = results.best_row(rows, name)
    best = Best(row["step"], name, results.score(row, name), protocol_id)
    workdir.write_json(folder / "best.json", dataclasses.asdict(best))
    return best


def conclude(folder: Path, rows: Sequence[Row], protocol_id: str, wish: str | None) -> None:
    """The tables on the terminal, `best.json` and `report.html`."""
    best = choose(folder, rows, protocol_id, wish)
    rows = results.by_protocol(rows)[protocol_id]
    log.info("%s", tables.score_table(rows, dataclasses.asdict(best)))
    row = next(row for row in rows if row["step"] == best.step)
    if row["attributes"]:
        log.info("Step %d:\n%s", best.step, tables.attribute_table(row))
    log.info("Report: %s", write_report(folder, protocol_id))
