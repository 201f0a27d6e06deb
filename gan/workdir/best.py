"""The best checkpoint of a run, in `best.json`: the evaluation writes it, the training keeps it."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from orbax.checkpoint import checkpoint_managers as policies

from gan.runtime.storage import Path
from gan.workdir.folder import write_json


@dataclasses.dataclass(frozen=True)
class Best:
    """What the evaluation of a run has found."""

    step: int | None = None  # The best checkpoint.
    score: str | None = None  # The score that it is best by.
    value: float | None = None  # Its value of that score.
    protocol: str | None = None  # The id of the protocol that it was scored by.
    scoring: int | None = None  # A checkpoint that is being scored now, and may be better.


def read_best(workdir: Path) -> Best:
    """Reads `best.json`; all None where nothing is scored, or the file is damaged."""
    try:
        return Best(**json.loads((workdir / "best.json").read_text()))
    except (OSError, ValueError, TypeError):
        return Best()


def write_best(workdir: Path, best: Best) -> None:
    """Writes `best.json`, for the training, `--step=best` and the report."""
    write_json(workdir / "best.json", dataclasses.asdict(best))


@dataclasses.dataclass
class KeepBest(policies.PreservationPolicy):
    """Keeps the checkpoint that is best by its score, and the one that is being scored."""

    workdir: Path

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """Says for each checkpoint whether it stays."""
        best = read_best(self.workdir)
        return [checkpoint.step in (best.step, best.scoring) for checkpoint in checkpoints]
