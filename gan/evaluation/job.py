"""The job that scores what was generated: checkpoints of runs, or any folder of pictures.

A row of `scores.jsonl` depends on a checkpoint and a protocol alone, so an evaluation that was
stopped ends with the file of one that was not.
"""

import contextlib
import dataclasses
import hashlib
import io
import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from gan.config import Config
from gan.data.attributes import AttributeTable
from gan.data.prepare import prepare
from gan.data.readers.folder import FolderPictures, load_pictures
from gan.data.store import Store, open_store
from gan.errors import ConfigError, DataError, WorkdirInUse
from gan.evaluation import score_rows, tables
from gan.evaluation.report.report import write_report
from gan.evaluation.score_checkpoint import (
    Drawn,
    Row,
    Sets,
    judge,
    judge_checkpoint,
    nearest_pairs,
    protocol,
)
from gan.metrics.extractors.extractor import Extractor, ExtractorInputs
from gan.metrics.extractors.registry import make_extractors
from gan.metrics.reference_set import ReferenceSet
from gan.metrics.scores import better_direction, find_score, registered_names
from gan.runtime import storage
from gan.runtime.logs import EventWriter, log, read_rows, tensorboard_is_installed
from gan.runtime.pictures import make_grid, write_png
from gan.runtime.storage import Path
from gan.sampling.attribute_sheet import AttributeSheet
from gan.sampling.open_run import Run, open_run
from gan.sampling.requests import MAX_SEED, choose_step
from gan.sampling.sampler import Sampler
from gan.workdir.best import Best, read_best, write_best
from gan.workdir.checkpoints import Checkpoints
from gan.workdir.folder import lock_workdir, read_config, write_rows

WAIT = 20.0  # Seconds between two looks at a running training.
SHOWN = 64  # Pictures of a folder, in the report.


@dataclasses.dataclass(frozen=True)
class Options:
    """What the command line chooses. Raises ConfigError for what cannot be."""

    split: str = "validation"  # Whose pictures are compared with, and whose attributes asked for.
    num_images: int | None = None  # Of either kind; None: as the run's configuration says.
    seeds: Sequence[int] = (0, 1, 2)  # Each another set of generated pictures.
    inception: Path | None = None  # Weights; without them nothing is called FID.
    resize: str = "legacy"  # For Inception.
    step: str | None = None  # The only checkpoint to score, a number or "best"; None: all.
    best: str | None = None  # The score that chooses `best`; None: as before, else FD.
    watch: bool = False  # Go on until the training has ended.

    def __post_init__(self) -> None:
        if self.best:
            better_direction(self.best)
        if len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(f"--seeds={[*self.seeds]}: one is there twice, which is no evidence.")
        if self.inception and not self.inception.is_file():
            raise ConfigError(f"--inception={self.inception}: no such file.")


def describe_plan(folders: Sequence[Path], pictures: str | None, options: Options) -> str:
    """What would be scored, for --dry_run. Raises ConfigError where a folder holds no run."""
    if not pictures and not options.watch:
        for folder in folders:
            read_config(folder)
    what = f"the pictures in {pictures} into " if pictures else ""
    beside = f"beside real pictures of the {options.split} split"
    return f"Would evaluate {what}{', '.join(map(str, folders))} {beside}."


def evaluate(folders: Sequence[Path], options: Options) -> None:
    """Scores every checkpoint of the runs that has no row of this protocol, and reports.

    One line a checkpoint is written to `scores.jsonl`. Of several runs one that cannot be scored
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
        if waiting:
            time.sleep(WAIT)
    for error in failed.values():
        raise error


def evaluate_pictures(pictures: Path, config: Config, folder: Path, options: Options) -> None:
    """Scores the pictures in a folder (or zip), whoever drew them, beside the configured data.

    `folder` gets what the folder of a run gets, with one row of step 0. A CSV with the pictures
    says what attributes they were asked to have. Raises ConfigError where `folder` holds a run, or
    scores of other pictures.
    """
    if (folder / "config.json").exists():
        raise ConfigError(
            f"--workdir={folder} holds a run of its own; name another folder for the scores of "
            f"--images={pictures}."
        )
    data = dataclasses.replace(config.data, source="folder", path=str(pictures))
    given = load_pictures(dataclasses.replace(data, labels=None, attributes=None, on_bad="error"))
    digest = hashlib.sha256(given.images.tobytes()).hexdigest()[:16]
    kept, path = read_rows(folder / "scores.jsonl"), folder / "scores.jsonl"
    if any(row.get("generated", {}).get("digest", digest) != digest for row in kept):
        raise ConfigError(
            f"--workdir={folder} holds the scores of other pictures than --images={pictures}; name "
            "another folder."
        )
    with lock_workdir(folder, ".evaluate.lock"):
        num = min(options.num_images or config.eval_images, len(given.images))
        stores = prepare(config.data)
        names = [name for name in stores["train"].attribute_names if name in given.names]
        reference = Job(options).reference_set(stores, num, tuple(names))
        sets = min(len(options.seeds), len(given.images) // reference.num)
        row, last = judge(reference, parts(given, names, reference.num, sets))
        shown = {"samples.png": make_grid(last.images[:SHOWN], 8)}
        if reference.classifier:
            shown["nearest.png"] = nearest_pairs(reference, last)
        stamp = {
            "pictures": pictures.name,
            "digest": digest,
            "changes": given.changes,
            "labels": "given with the pictures" if names else "none",
            "sets": sets,
        }
        row = {"step": 0} | row | {"generated": stamp, "protocol": protocol(reference)}
        show(score_rows.pictures_folder(folder, row["protocol"]["id"], 0), shown)
        rows = score_rows.replace_row(kept, row)
        write_rows(path, rows)
        choose(folder, rows, row["protocol"]["id"], options.best, steps=[0])
        conclude(folder, rows, row["protocol"]["id"])


def parts(given: FolderPictures, names: Sequence[str], num: int, sets: int) -> Sets:
    """Sets of `num` pictures with what was asked, at random: files may be sorted by class."""
    rows = np.random.default_rng(0).permutation(len(given.images))[: num * sets]
    asked = given.attributes[:, [given.names.index(name) for name in names]]
    for part in np.split(rows, sets):
        yield given.images[part], asked[part] if names else None


class Job:
    """One evaluation of one or more runs; what they share is looked at once."""

    def __init__(self, options: Options):
        """Nothing is read yet."""
        self.options = options
        self._stores: dict[str, dict[str, Store]] = {}  # By the data's configuration.
        self._extractors: dict[Path, tuple[Extractor, ...]] = {}  # By the prepared data's folder.
        self._references: dict[tuple, ReferenceSet] = {}
        self._bad: dict[tuple[Path, int], DataError] = {}  # Checkpoints that cannot be read.
        self._told: set[Path] = set()  # That they are waited for.
        self._concluded: set[Path] = set()

    def run(self, folder: Path) -> bool:
        """Scores what there is to score; whether the training of this run has ended."""
        if self.options.watch and not (folder / "config.json").exists():
            return self._wait(folder, "a run")
        run = open_run(folder)
        with (
            lock_workdir(folder, ".evaluate.lock"),
            Checkpoints(folder, read_only=True) as checkpoints,
        ):
            steps = checkpoints.steps()
            if not steps and self.options.watch:
                return self._wait(folder, "a checkpoint")
            if self.options.step or not steps:
                steps = [choose_step(steps, self.options.step, folder)]
            self._score(folder, run, checkpoints, steps)
            return steps[-1] >= run.config.steps

    def _wait(self, folder: Path, what: str) -> bool:
        if folder not in self._told:
            log.info("Waiting for %s in %s (Ctrl-C ends it).", what, folder)
            self._told.add(folder)
        return False

    def _score(
        self, folder: Path, run: Run, checkpoints: Checkpoints, steps: Sequence[int]
    ) -> None:
        """Each of the steps that has no row of this protocol and these seeds."""
        reference = self._reference_of(run, folder)
        path, stamp = folder / "scores.jsonl", protocol(reference)
        rows, seeds = read_rows(path), [*self.options.seeds]
        if (max(seeds) + 1) * reference.num > MAX_SEED:
            raise ConfigError(
                f"--seeds={max(seeds)}: at most {MAX_SEED // reference.num - 1:,}, as each stands "
                f"for {reference.num:,} latents."
            )
        names = registered_names(extractor.name for extractor in reference.extractors)
        scored = {
            row["step"]
            for row in rows
            if row.get("protocol") == stamp
            and row["generated"].get("seeds") == seeds
            and names <= row["scores"].keys()
        }
        todo = [s for s in steps if s not in scored and (folder, s) not in self._bad]
        if not todo and folder in self._concluded:
            return
        with contextlib.ExitStack() as stack:
            board = None
            if todo and tensorboard_is_installed():
                board = EventWriter(folder / "evaluation" / stamp["id"])
                stack.callback(board.close)
            sampler = Sampler(run.model, run.table)
            sheet = AttributeSheet(sampler, run.table) if todo else None
            for step in todo:
                begin = time.monotonic()
                with held(folder, step):
                    try:
                        params = run.restore(step)
                    except DataError as error:
                        if (checkpoints.folder / str(step)).exists():
                            log.warning("%s Not scored.", error)
                        self._bad[folder, step] = error  # Or deleted by the training meanwhile.
                        continue
                    row, shown = judge_checkpoint(
                        reference, Drawn(run, sampler, params, reference, seeds)
                    )
                    where = score_rows.pictures_folder(folder, stamp["id"], step)
                    show(where, shown | {"samples.png": sheet(params)})
                    row = {"step": step} | row
                    rows = score_rows.replace_row(rows, row)
                    write_rows(path, rows)
                    if read_best(folder).protocol in (None, stamp["id"]):
                        self._choose(folder, rows, stamp["id"], checkpoints)
                if board:
                    scalars = {n: x["mean"] for n, x in row["scores"].items()}
                    known = {n: x for n, x in scalars.items() if x is not None}
                    board.write("write_scalars", step, known)
                seconds = time.monotonic() - begin
                log.info("step %d, %.1f s: %s", step, seconds, tables.summarize_row(row))
        if stamp["id"] not in score_rows.group_by_protocol(rows):
            if not self.options.watch:
                raise next(error for (where, _), error in self._bad.items() if where == folder)
            return
        if not todo:
            log.info("%d checkpoints, all scored: %s", len(steps), path)
        # Only now: of another protocol, the best so far stays until all are scored by this one.
        self._choose(folder, rows, stamp["id"], checkpoints)
        conclude(folder, rows, stamp["id"])
        self._concluded.add(folder)

    def _choose(
        self, folder: Path, rows: Sequence[Row], protocol_id: str, checkpoints: Checkpoints
    ) -> None:
        """On the test split nothing is chosen: it would no longer be one."""
        if self.options.split != "test" and not self.options.step:
            choose(folder, rows, protocol_id, self.options.best, checkpoints.steps())

    def _reference_of(self, run: Run, folder: Path) -> ReferenceSet:
        key = repr(run.config.data)
        if key not in self._stores:
            self._stores[key] = prepare(run.config.data)
        stores = self._stores[key]
        if not run.table.same_data(AttributeTable.from_store(stores["train"])):
            raise ConfigError(
                f"--workdir={folder} was trained on other data than config.data.path holds now: "
                "its scores would not compare. Bring the old files back."
            )
        num = self.options.num_images or run.config.eval_images
        return self.reference_set(stores, num, run.table.names)

    def reference_set(
        self, stores: Mapping[str, Store], num: int, names: tuple[str, ...]
    ) -> ReferenceSet:
        """Those of one data set, the same ones for all runs on it."""
        key = (stores["train"].path, stores["train"].digest, num, names)
        if key not in self._references:
            self._references[key] = ReferenceSet(
                stores=stores,
                split=self.options.split,
                num=num,
                names=names,
                extractors=self._extractors_of(stores["train"].path.parent),
            )
        return self._references[key]

    def _extractors_of(self, where: Path) -> tuple[Extractor, ...]:
        """The extractors of the data set prepared in the folder `where`, made once."""
        if where not in self._extractors:
            splits = (open_store(where / split) for split in ("train", "validation"))
            inputs = ExtractorInputs(*splits, self.options.inception, self.options.resize)
            self._extractors[where] = make_extractors(inputs)
        return self._extractors[where]


@contextlib.contextmanager
def held(folder: Path, step: int) -> Iterator[None]:
    """Keeps the training from deleting a checkpoint while it is scored: it may be the best."""
    write_best(folder, dataclasses.replace(read_best(folder), scoring=step))
    try:
        yield
    finally:
        write_best(folder, dataclasses.replace(read_best(folder), scoring=None))


def choose(
    folder: Path, rows: Sequence[Row], protocol_id: str, wish: str | None, steps: Sequence[int]
) -> None:
    """Records the best of the checkpoints that are there, by the wished score if it is given.

    Raises ConfigError where no row has that score.
    """
    rows = [row for row in score_rows.group_by_protocol(rows)[protocol_id] if row["step"] in steps]
    known = score_rows.scores_with_numbers(rows)
    before = read_best(folder)
    name = find_score(wish, known) if wish else score_rows.pick_score(before.score or "", known)
    name = name or score_rows.default_score_name(rows)
    if row := score_rows.find_best_row(rows, name):
        value = score_rows.score_mean(row, name)
        write_best(folder, Best(row["step"], name, value, protocol_id, before.scoring))


def conclude(folder: Path, rows: Sequence[Row], protocol_id: str) -> None:
    """The tables on the terminal, and `report.html`."""
    rows, best = score_rows.group_by_protocol(rows)[protocol_id], read_best(folder)
    log.info("%s", tables.lay_out_scores(rows, best))
    row = next((row for row in rows if row["step"] == best.step), rows[-1])
    if row["attributes"]:
        log.info("Step %d:\n%s", row["step"], tables.lay_out_attributes(row))
    log.info("Report: %s", write_report(folder, protocol_id))


def show(folder: Path, shown: Mapping[str, np.ndarray]) -> None:
    """Writes pictures and, as `.npy`, arrays; each whole or not at all."""
    for name, array in shown.items():
        if name.endswith(".png"):
            write_png(folder / name, array)
        else:
            buffer = io.BytesIO()
            np.save(buffer, array, allow_pickle=False)
            storage.write_file(folder / name, buffer.getvalue())
