"""The job that scores the checkpoints of runs.

A row of `scores.jsonl` depends on a checkpoint and a protocol alone, so an evaluation that was
stopped and started again ends with the same file as one that was not.
"""

import time
from collections.abc import Sequence

from gan.errors import ConfigError, DataError, WorkdirInUse
from gan.evaluation.options import EvaluationOptions
from gan.evaluation.reference_sets import ReferenceSets
from gan.evaluation.run_scorer import RunScorer
from gan.runtime.logs import log
from gan.runtime.storage import Path
from gan.sampling.open_run import Run, open_run
from gan.sampling.requests import choose_step
from gan.workdir.best import EVALUATING
from gan.workdir.checkpoints import Checkpoints
from gan.workdir.folder import is_locked, lock_workdir, read_config

WAIT = 20.0  # Seconds between two looks at a running training.


def describe_plan(folders: Sequence[Path], pictures: str | None, options: EvaluationOptions) -> str:
    """Says what would be scored, for --dry_run. Raises ConfigError if a folder holds no run.

    `pictures` is the folder of pictures to score instead of checkpoints, if there is one.
    """
    if not pictures and not options.watch:
        for folder in folders:
            read_config(folder)
    what = f"the pictures in {pictures} into " if pictures else ""
    beside = f"beside real pictures of the {options.split} split"
    return f"Would evaluate {what}{', '.join(map(str, folders))} {beside}."


def evaluate(folders: Sequence[Path], options: EvaluationOptions) -> None:
    """Scores every checkpoint of the runs that has no row of this protocol, and reports.

    Each checkpoint becomes a line of `scores.jsonl`. Among several runs, one that cannot be scored
    is left out with a message, and its error is raised at the end.
    """
    evaluation = _Evaluation(options)
    failed: dict[Path, Exception] = {}
    waiting = list(folders)
    while waiting:
        for folder in [*waiting]:
            try:
                if evaluation.score_run(folder) or not options.watch:
                    waiting.remove(folder)
            except (ConfigError, DataError, OSError, WorkdirInUse) as error:
                if len(folders) == 1:
                    raise
                log.error("%s Left out.", error)
                failed[folder] = error
                waiting.remove(folder)
        if waiting:
            time.sleep(WAIT)
    for error in failed.values():
        raise error


class _Evaluation:
    """What the evaluation of several runs, looked at again and again, has to remember."""

    def __init__(self, options: EvaluationOptions):
        self._options = options
        self._references = ReferenceSets(options)
        self._unreadable: dict[tuple[Path, int], DataError] = {}  # By folder and step.
        self._waiting: dict[Path, str] = {}  # What the user has been told last of a run.
        self._announced: set[Path] = set()  # Runs whose results have been printed.

    def score_run(self, folder: Path) -> bool:
        """Scores the checkpoints that are there. Returns whether the training has ended."""
        watch = self._options.watch
        if watch and not (folder / "config.json").exists():
            return self._wait(f"Waiting for a run in {folder}", folder)
        run = open_run(folder)
        # Asked before the steps are listed, or it could end between the two.
        idle = watch and is_locked(folder) is False
        with (
            lock_workdir(folder, EVALUATING),
            Checkpoints(folder, read_only=True) as checkpoints,
        ):
            steps = checkpoints.steps()
            if not steps and watch:
                return self._wait(f"Waiting for a checkpoint in {folder}", folder, idle)
            if self._options.step or not steps:
                steps = [choose_step(steps, self._options.step, folder)]
            self._score_steps(folder, run, checkpoints, steps)
            ended = steps[-1] >= run.config.steps
            if watch and not ended:
                where = f"{folder} is at step {steps[-1]} of {run.config.steps}"
                self._wait(where, folder, idle)
            return ended

    def _wait(self, what: str, folder: Path, idle: bool = False) -> bool:
        """Says what is waited for, where that is another than before. Returns False."""
        if idle:
            what += ", and no training runs there: start it again"
        if self._waiting.get(folder) != what:
            log.info("%s (Ctrl-C ends the evaluation).", what)
            self._waiting[folder] = what
        return False

    def _score_steps(
        self, folder: Path, run: Run, checkpoints: Checkpoints, steps: Sequence[int]
    ) -> None:
        reference = self._references.make_for_run(run, folder)
        scorer = RunScorer(folder, run, checkpoints, reference, self._options)
        missing = [
            step for step in scorer.find_missing(steps) if (folder, step) not in self._unreadable
        ]
        if not missing and folder in self._announced:
            return
        unreadable = scorer.score_steps(missing)
        self._unreadable |= {(folder, step): error for step, error in unreadable.items()}
        if not scorer.has_scores():
            if not self._options.watch:
                raise next(
                    error for (where, _), error in self._unreadable.items() if where == folder
                )
            return
        if not missing:
            log.info("%d checkpoints, all scored: %s", len(steps), scorer.path)
        scorer.conclude()
        self._announced.add(folder)
