"""The best checkpoint of a run, in `best.json`: the evaluation writes it, the training keeps it.

What an evaluation found carries the digest of what the checkpoint drew with, so that it counts for
no other checkpoint of the same step.
"""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from orbax.checkpoint import checkpoint_managers as policies

from gan.errors import ConfigError, DataError
from gan.runtime import storage
from gan.runtime.logs import log, read_rows
from gan.runtime.storage import Path
from gan.workdir import checkpoint_files
from gan.workdir.folder import is_locked, write_json, write_rows
from gan.workdir.manifest import Manifest

EVALUATING = ".evaluate.lock"  # Held by the process that scores checkpoints.


@dataclasses.dataclass(frozen=True)
class Best:
    """What the evaluation of a run has found."""

    step: int | None = None  # The best checkpoint.
    score: str | None = None  # The score that it is best by.
    value: float | None = None  # Its value of that score.
    protocol: str | None = None  # The id of the protocol that it was scored by.
    checkpoint: str | None = None  # Its `checkpoint_digest`; None in files of older versions.
    scoring: int | None = None  # A checkpoint that is being scored now, and may be better.


def read_best(workdir: Path) -> Best:
    """Reads `best.json`; all None where nothing is scored, or the file is damaged.

    A checkpoint that is another one than was scored is not the best, and none is being scored
    where no evaluation runs.
    """
    try:
        best = Best(**json.loads((workdir / "best.json").read_text()))
    except (OSError, ValueError, TypeError):
        return Best()
    if best.scoring is not None and is_locked(workdir, EVALUATING) is False:
        best = dataclasses.replace(best, scoring=None)
    if best.checkpoint and checkpoint_digest(workdir, best.step) not in (None, best.checkpoint):
        return Best(scoring=best.scoring)
    return best


def write_best(workdir: Path, best: Best) -> None:
    """Writes `best.json`, for the training, `--step=best` and the report."""
    write_json(workdir / "best.json", dataclasses.asdict(best))


def checkpoint_digest(workdir: Path, step: int) -> str | None:
    """Digest of what a checkpoint draws with; None where it is not there or is damaged."""
    try:
        text = checkpoint_files.read_meta(workdir / "checkpoints" / str(step))
        return Manifest.from_json(text).drawing_digest
    except (DataError, ConfigError, ValueError):
        return None


def forget_scores(workdir: Path, after: int) -> None:
    """Removes what was found of checkpoints after a step, which are going to be trained anew."""
    path = workdir / "scores.jsonl"
    rows = read_rows(path)
    kept = [row for row in rows if row["step"] <= after]
    if len(kept) < len(rows):
        log.info(
            "%s: %d scores of steps after %d removed, which are trained anew.",
            *(path, len(rows) - len(kept), after),
        )
        write_rows(path, kept)
        (workdir / "report.html").unlink(missing_ok=True)
    if (read_best(workdir).step or 0) > after:
        write_best(workdir, Best())
    for folder in [*(workdir / "evaluation").glob("*/step_*")]:
        step = folder.name.removeprefix("step_")
        if step.isdecimal() and int(step) > after:
            storage.remove_folder(folder)


@dataclasses.dataclass
class KeepBest(policies.PreservationPolicy):
    """Keeps the checkpoint that is best by its score, and the one that is being scored."""

    workdir: Path

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """Says for each checkpoint whether it stays."""
        best = read_best(self.workdir)
        return [checkpoint.step in (best.step, best.scoring) for checkpoint in checkpoints]
