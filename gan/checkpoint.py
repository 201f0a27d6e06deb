"""Checkpoints of the whole `TrainState`, with Orbax: save, restore, fall back."""

import dataclasses
import hashlib
import json
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from gan.errors import ConfigError, DataError
from gan.logs import log
from gan.state import TrainState
from gan.storage import Path

MISMATCHES = ("not compatible with the stored shape", "tree structures do not match")


@dataclasses.dataclass(frozen=True)
class Best:
    """What the evaluation of a run found: it writes `best.json`, the training reads it."""

    step: int | None = None  # The best checkpoint.
    score: str | None = None  # By which score,
    value: float | None = None
    protocol: str | None = None  # of which protocol.
    scoring: int | None = None  # Being scored right now, and perhaps better.


def read_best(workdir: Path) -> Best:
    """Empty where nothing has been scored, or the file is damaged: it is written anew."""
    try:
        return Best(**json.loads((workdir / "best.json").read_text()))
    except (OSError, ValueError, TypeError):
        return Best()


@dataclasses.dataclass
class Evaluated(policies.PreservationPolicy):
    """Keeps the checkpoint that is best by its score, and the one that is being scored."""

    workdir: Path

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """For each checkpoint, whether it stays."""
        best = read_best(self.workdir)
        return [checkpoint.step in (best.step, best.scoring) for checkpoint in checkpoints]


class Checkpoints:
    """The checkpoints of a workdir. Each step's folder holds `state` and, beside it, its digests.

    Orbax renames a folder into place when it is complete, but keeps no checksums: a flipped bit
    would be restored without a word.
    """

    def __init__(
        self, workdir: Path, *, keep: int = 1, keep_every: int = 1, read_only: bool = False
    ):
        """Opens `workdir/checkpoints`.

        Kept are the newest `keep`, each `keep_every`-th step, and the best by its score.
        """
        self.folder = workdir / "checkpoints"
        options = ocp.CheckpointManagerOptions(
            read_only=read_only,
            create=not read_only,
            cleanup_tmp_directories=not read_only,
            preservation_policy=policies.AnyPreservationPolicy(
                [
                    policies.LatestN(keep),
                    policies.EveryNSteps(keep_every),
                    Evaluated(workdir),
                ]
            ),
        )
        self._open = lambda: ocp.CheckpointManager(self.folder, options=options)
        self._manager = self._open()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.close()

    def steps(self) -> list[int]:
        """All that are there, the oldest first."""
        return sorted(self._manager.all_steps())

    def save(self, state: TrainState, step: int) -> None:
        """Copies the state to the host, then writes it in the background."""
        if step in self.steps():
            return
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            meta=ocp.args.JsonSave({"step": step, "sha256": digests(state)}),
        )
        # Forced, or Orbax asks as well whether the job is preempted, by another count of steps.
        self._manager.save(step, args=items, force=True)

    def wait(self) -> None:
        """Until what was saved is on disk; raises what went wrong."""
        self._manager.wait_until_finished()

    def restore(self, like: TrainState, step: int) -> TrainState:
        """The state at `step`, with the shapes and shardings of `like`.

        Raises DataError where the files are damaged, ConfigError where they hold another model.
        """
        items = ocp.args.Composite(
            state=ocp.args.StandardRestore(like), meta=ocp.args.JsonRestore()
        )
        try:
            restored = self._manager.restore(step, args=items)
        except (MemoryError, PermissionError):  # Not the files' fault.
            raise
        except Exception as error:  # Orbax has no common type for what a damaged file raises.
            text = " ".join(str(error).split())
            if "RESOURCE_EXHAUSTED" in text:
                raise
            if any(mismatch in text for mismatch in MISMATCHES):
                raise ConfigError(
                    f"{self.folder / str(step)} holds another model than the configuration "
                    f"describes: {text[:300]}"
                ) from error
            reason = f"{type(error).__name__}: {text[:200]}"
            raise DataError(f"{self.folder / str(step)} cannot be read ({reason}).") from error
        found = digests(restored.state)
        meta = restored.meta if isinstance(restored.meta, dict) else {}
        known = meta.get("sha256") or {}
        wrong = [name for name in found if known.get(name) != found[name]]
        if wrong or meta.get("step") != step:
            raise DataError(
                f"{self.folder / str(step)}: the checksum of {(wrong or ['step'])[0]} is wrong."
            )
        return restored.state

    def restore_newest(self, like: TrainState) -> TrainState | None:
        """The newest state that is whole; None where nothing was ever saved.

        Damaged newer ones are renamed, since Orbax would silently not save those steps again.
        Raises DataError where there are checkpoints and none is whole: that is not a new run.
        """
        damaged: dict[int, DataError] = {}
        for step in reversed(self.steps()):
            try:
                state = self.restore(like, step)
            except DataError as error:
                damaged[step] = error
                continue
            self._set_aside(damaged)
            return state
        if damaged:
            raise DataError(
                f"{self.folder}: no checkpoint is whole. {damaged[max(damaged)]} Bring one back, "
                "or name another workdir to start over."
            )
        return None

    def _set_aside(self, damaged: dict[int, DataError]) -> None:
        if not damaged:
            return
        self._manager.close()
        for step, error in damaged.items():
            aside = self.folder / f"{step}.damaged-{time.time_ns()}"
            (self.folder / str(step)).rename(aside)
            log.warning("%s Renamed to %s; the one before is used.", error, aside.name)
        self._manager = self._open()


def digests(tree: Any) -> dict[str, str]:
    """SHA-256 of each leaf's type, shape and bytes."""

    def digest(leaf: jax.Array) -> str:
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        array = np.ascontiguousarray(jax.device_get(leaf))
        header = f"{array.dtype.str} {array.shape} ".encode()
        return hashlib.sha256(header + array.tobytes()).hexdigest()

    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): digest(leaf) for path, leaf in leaves}
