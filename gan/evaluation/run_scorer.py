"""Scores the checkpoints of one run by one protocol and keeps what was found in its workdir."""

import contextlib
import time
from collections.abc import Iterator, Sequence

from gan.errors import ConfigError, DataError
from gan.evaluation import score_rows, tables
from gan.evaluation.options import EvaluationOptions
from gan.evaluation.results import (
    announce_results,
    choose_best,
    hold_checkpoint,
    write_arrays,
)
from gan.evaluation.score_checkpoint import GeneratedPictures, score_checkpoint
from gan.evaluation.score_rows import Row
from gan.evaluation.score_sets import describe_protocol
from gan.metrics.reference_set import ReferenceSet
from gan.metrics.scores import registered_names
from gan.model.state import Params
from gan.runtime.logs import EventWriter, log, read_rows, tensorboard_is_installed
from gan.runtime.storage import Path
from gan.sampling.attribute_sheet import AttributeSheet
from gan.sampling.open_run import Run
from gan.sampling.requests import MAX_SEED
from gan.sampling.sampler import Sampler
from gan.workdir.best import checkpoint_digest, read_best
from gan.workdir.checkpoints import Checkpoints
from gan.workdir.folder import write_rows


class RunScorer:
    """The evaluation of one run by one protocol."""

    def __init__(
        self,
        folder: Path,
        run: Run,
        checkpoints: Checkpoints,
        reference: ReferenceSet,
        options: EvaluationOptions,
    ):
        """Reads the rows that are there. Raises ConfigError for seeds that are too large."""
        check_seeds(options.seeds, reference.num)
        self.path = folder / "scores.jsonl"
        self._folder, self._run, self._checkpoints = folder, run, checkpoints
        self._reference, self._options = reference, options
        self._protocol = describe_protocol(reference, options.seeds)
        self._rows: Sequence[Row] = score_rows.drop_stale(folder, read_rows(self.path))

    def find_missing(self, steps: Sequence[int]) -> list[int]:
        """Those of `steps` without a row of this protocol with all scores.

        A row that was written before a score was registered does not have all scores. Says which
        steps older versions scored, whose rows do not tell what checkpoint they are of.
        """
        names = registered_names(extractor.name for extractor in self._reference.extractors)
        scored = {
            row["step"]
            for row in self._rows
            if row.get("protocol") == self._protocol and names <= row["scores"].keys()
        }
        missing = [step for step in steps if step not in scored]
        older = {row["step"] for row in self._rows if "checkpoint" not in row}
        if again := [step for step in missing if step in older]:
            log.info(
                "%s: an older version scored steps %s and did not note which bytes it saw. Its "
                "rows stay under its protocol, and the steps are scored again.",
                *(self.path, ", ".join(map(str, again))),
            )
        return missing

    def has_scores(self) -> bool:
        """Whether there is a row of this protocol."""
        return self._protocol["id"] in score_rows.group_by_protocol(self._rows)

    def score_steps(self, steps: Sequence[int]) -> dict[int, DataError]:
        """Scores checkpoints and writes a row for each. Returns the errors of unreadable ones."""
        unreadable: dict[int, DataError] = {}
        if not steps:
            return unreadable
        sampler = Sampler(self._run.model, self._run.table)
        sheet = AttributeSheet(sampler, self._run.table)
        with self._open_events() as events:
            for step in steps:
                begin = time.monotonic()
                with hold_checkpoint(self._folder, step):
                    try:
                        params = self._run.restore(step)
                    except DataError as error:
                        # It is no damage if the training has deleted the checkpoint meanwhile.
                        if (self._checkpoints.folder / str(step)).exists():
                            log.warning("%s Not scored.", error)
                        unreadable[step] = error
                        continue
                    row = self._score_step(step, params, sampler, sheet)
                if events:
                    means = {name: score_rows.score_mean(row, name) for name in row["scores"]}
                    known = {name: mean for name, mean in means.items() if mean is not None}
                    events.write("write_scalars", step, known)
                seconds = time.monotonic() - begin
                log.info("step %d, %.1f s: %s", step, seconds, tables.summarize_row(row))
        return unreadable

    def _score_step(
        self, step: int, params: Params, sampler: Sampler, sheet: AttributeSheet
    ) -> Row:
        seeds = [*self._options.seeds]
        generated = GeneratedPictures(self._run, sampler, params, self._reference, seeds)
        row, shown = score_checkpoint(self._reference, generated)
        where = score_rows.pictures_folder(self._folder, self._protocol["id"], step)
        write_arrays(where, shown | {"samples.png": sheet(params)})
        source = {"step": step, "checkpoint": checkpoint_digest(self._folder, step)}
        row = source | row | {"protocol": self._protocol}
        self._rows = score_rows.replace_row(self._rows, row)
        write_rows(self.path, self._rows)
        # The best checkpoint by another protocol stays until all are scored by this one.
        if read_best(self._folder).protocol in (None, self._protocol["id"]):
            self._choose_best()
        return row

    @contextlib.contextmanager
    def _open_events(self) -> Iterator[EventWriter | None]:
        if not tensorboard_is_installed():
            yield None
            return
        events = EventWriter(self._folder / "evaluation" / self._protocol["id"])
        try:
            yield events
        finally:
            events.close()

    def conclude(self) -> None:
        """Chooses the best checkpoint, prints the tables and writes the report."""
        self._choose_best()
        if not self._chooses() and not self._options.step and self._options.split != "test":
            log.info(
                "These scores do not choose the best checkpoint: those of %s validation pictures "
                "do. To choose by them anyway, name a score: --best=FD.",
                f"{self._run.config.eval_images:,}",
            )
        announce_results(self._folder, self._rows, self._protocol["id"])

    def _choose_best(self) -> None:
        if self._chooses():
            steps = self._checkpoints.steps()
            wish = self._options.best
            choose_best(self._folder, self._rows, self._protocol["id"], wish, steps)

    def _chooses(self) -> bool:
        """Whether these scores choose the best checkpoint.

        Those of the configured number of validation pictures do, and others where a score is named
        to choose by; never those of a single checkpoint that was asked for.
        """
        wanted = self._options
        usual = wanted.num_images in (None, self._run.config.eval_images)
        usual = usual and wanted.split == "validation"
        return bool(wanted.best) or (usual and not wanted.step)


def check_seeds(seeds: Sequence[int], num: int) -> None:
    """Raises ConfigError where an evaluation seed times `num` latents exceeds the largest seed."""
    if (max(seeds) + 1) * num > MAX_SEED:
        raise ConfigError(
            f"--seeds={max(seeds)}: at most {MAX_SEED // num - 1:,}, as each stands for "
            f"{num:,} latents."
        )
