"""Checkpoints of the whole `TrainState`, with Orbax: save, restore, fall back."""

import concurrent.futures
import contextlib
import errno
import json
import math
import shutil
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from flax import struct
from orbax.checkpoint import checkpoint_managers as policies

from gan.errors import OURS, ConfigError, DataError, NotSaved, Preempted
from gan.model.state import Params, TrainState
from gan.runtime import cluster, storage
from gan.runtime.logs import format_duration, log
from gan.runtime.storage import Path
from gan.workdir import checkpoint_files, first_edition
from gan.workdir.best import KeepBest
from gan.workdir.manifest import Manifest, differences, digests, is_key, on_host, types

ATTEMPTS = 2  # Number of times that one state is written before it is given up.
PAUSE = 5.0  # Seconds between two attempts to write the last state.
PATIENCE = 600.0  # Seconds for which the last state is tried again.
ROOM = 8 * 2**20  # Bytes kept free beyond the arrays, for logs and pictures.
T = TypeVar("T")


class Checkpoints:
    """Saves and restores the checkpoints of a workdir: for each step a state and its manifest.

    Orbax renames a folder into place when it is complete, but keeps no checksums: a flipped bit
    would be restored without a word. The first of several processes writes; each reads on its own,
    and what one finds damaged is damaged for all.
    """

    def __init__(
        self,
        workdir: Path,
        *,
        keep: int = 1,
        keep_every: int = 1,
        about: Mapping[str, Any] | None = None,
        read_only: bool = False,
    ):
        """Opens `workdir/checkpoints`; with `read_only`, never changes anything there.

        Kept are the newest `keep`, each `keep_every`-th step, and the best by its score. `about` is
        what the states belong to, as JSON: a training goes on from no other.
        """
        # Orbax refuses a relative path.
        self.folder = (
            workdir if storage.is_remote(workdir) else workdir.absolute()
        ) / "checkpoints"
        self._about = about
        self._policy = policies.AnyPreservationPolicy(
            # Two at least: the old one may be deleted before the new one has reached the disk.
            [policies.LatestN(max(keep, 2)), policies.EveryNSteps(keep_every), KeepBest(workdir)]
        )
        self._thread = concurrent.futures.ThreadPoolExecutor(1)
        self._snapshot: Snapshot | None = None  # What was saved last.
        self._written: concurrent.futures.Future | None = None  # Its result: why that failed.
        if not read_only and not storage.is_remote(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    def steps(self) -> list[int]:
        """Steps that are saved, the oldest first."""
        self._settle()
        names = [path.name for path in self.folder.glob("*") if checkpoint_files.is_complete(path)]
        return sorted(int(name) for name in names if name.isdecimal() and name == str(int(name)))

    def save(self, state: TrainState, step: int, metrics: Any = None) -> None:
        """Copies the state to the host, and writes it in the background.

        `metrics` are those since the last row of the log, as JSON: they come back with the state.
        Where writing fails it is told, and training goes on: the next one comes soon.
        """
        if self._written:
            self._written.result()
        if not cluster.is_first() or self._is_saved(step):
            return
        # Copied, since on CPU it may be the device's own memory, which the next step reuses.
        self._snapshot = Snapshot(step, jax.tree.map(np.array, on_host(state)), metrics)
        self._written = self._thread.submit(self._write, self._snapshot)

    def _is_saved(self, step: int) -> bool:
        """Whether a step is saved; no where that cannot be seen, so that writing says why."""
        with contextlib.suppress(OSError), storage.raise_as_os_error():
            return step in self.steps()
        return False

    def wait(
        self, patience: float = PATIENCE, time_left: Callable[[], float] = lambda: math.inf
    ) -> None:
        """Waits until what was saved last is on the disk.

        Raises NotSaved, in all processes, where it is not after `patience` seconds of new attempts,
        or after the `time_left`, which is asked before each.
        """
        reason = self._written.result() if self._written else ""
        patience = min(patience, time_left())
        end = time.monotonic() + patience
        if reason and patience:
            log.error("It is kept in memory, and tried again for %s.", format_duration(patience))
        while reason and time.monotonic() < end:
            time.sleep(PAUSE)
            if time.monotonic() + time_left() < end:
                end = time.monotonic() + time_left()
                log.error("A signal came: it is tried for %s more.", format_duration(time_left()))
            reason = self._write(self._snapshot, tell=False)
        self._written = None
        if said := _gather(reason)[0]:
            raise NotSaved(said)

    def _settle(self) -> None:
        if self._written:
            concurrent.futures.wait([self._written])

    def _write(self, snapshot: "Snapshot", tell: bool = True) -> str:
        """Writes a snapshot; returns why it failed, or "". A failed attempt leaves nothing."""
        manifest = Manifest(
            step=snapshot.step,
            sha256=digests(snapshot.state),
            arrays=types(snapshot.state),
            about=self._about,
            metrics=snapshot.metrics,
        )
        size = sum(array.nbytes for array in jax.tree.leaves(snapshot.state))
        for _ in range(ATTEMPTS):
            try:
                checkpoint_files.remove_unfinished(self.folder)
                check_room(self.folder, size)
                checkpoint_files.write(
                    self.folder, snapshot.step, snapshot.state, manifest.to_json(), self._policy
                )
                self._read_back(manifest, snapshot.state)
                return ""
            except OSError as error:
                reason = error.strerror or error
        with contextlib.suppress(OSError):
            checkpoint_files.remove_unfinished(self.folder)
        text = (
            f"Step {snapshot.step} cannot be saved in {self.folder} ({reason}). Make room there, "
            "or make it writable."
        )
        if tell:
            log.error("%s", text)
        return text

    def _read_back(self, written: Manifest, state: TrainState) -> None:
        """Raises OSError, and deletes what was written, unless a reader would find it whole.

        The one before is still there then, since two are kept at least.
        """
        path = self.folder / str(written.step)
        try:
            if not checkpoint_files.is_complete(path):
                raise DataError("nothing is there")
            manifest = Manifest.from_json(checkpoint_files.read_meta(path))
            if (
                not manifest.sha256
                == written.sha256
                == digests(checkpoint_files.read_state(path, state))
            ):
                raise DataError("its numbers differ")
        except (DataError, ValueError) as error:
            checkpoint_files.remove(path)
            raise OSError(errno.EIO, f"it cannot be read back: {error}") from error

    def restore(self, like: TrainState, step: int) -> TrainState:
        """Restores the state at `step`, with the shapes and shardings of `like`.

        Raises DataError where the files are damaged, ConfigError where they hold another model.
        """
        self._settle()
        return self._read(like, step)[0]

    def restore_averages(self, like: dict[str, Params], step: int) -> dict[str, Params]:
        """Restores the moving averages at `step` alone, which is all that drawing needs.

        `like` gives names, shapes and shardings. Raises DataError and ConfigError as `restore`.
        """
        self._settle()
        return self._read(Averages(like), step)[0].averages

    def _read(self, like: T, step: int) -> tuple[T, Manifest]:
        """Reads a whole state or, of one, the moving averages."""
        path = self.folder / str(step)
        text = checkpoint_files.read_meta(path)
        try:
            manifest = Manifest.from_json(text)
        except ConfigError as error:  # It is a ValueError too, but not damage.
            raise ConfigError(f"{path}: {error}") from error
        except ValueError as error:
            raise DataError(f"{path}: its manifest is damaged ({error}).") from error
        if manifest.step != step:
            raise DataError(f"{path} says that it is of step {manifest.step}.")
        old = first_edition.is_layout(manifest.sha256)
        there = first_edition.layout(like) if old else like
        expected = types(there)
        # The first manifests had no types: there, arrays are compared after they are read.
        known = manifest.arrays or {name: expected.get(name, "") for name in manifest.sha256}
        if isinstance(like, Averages):
            parts = (".ema", *(f".averages['{name}']" for name in like.averages))
            known = {name: known[name] for name in known if name.startswith(parts)}
        _compare(path, "another model", known, expected)
        if self._about is not None and manifest.about is not None:
            _compare(path, "a state of another training", manifest.about, self._about)
        arrays = checkpoint_files.read_state(path, there)
        found = digests(arrays)
        wrong = [name for name in found if manifest.sha256.get(name) != found[name]]
        if wrong:
            raise DataError(f"{path}: the checksum of {wrong[0].lstrip('.')} is wrong.")
        _compare(path, "another model", types(arrays), expected)
        if old:
            arrays = first_edition.convert(arrays, like)
        return jax.tree.map(_place, arrays, like), manifest

    def restore_newest(self, like: TrainState) -> tuple[TrainState, Any] | None:
        """Restores the newest undamaged state and its metrics; None where nothing was saved.

        Renames damaged newer checkpoints. Raises DataError where all are damaged: that is not a
        new run.
        """
        damaged: dict[int, DataError] = {}
        for step in reversed(json.loads(_gather(json.dumps(self.steps()))[0])):
            try:
                state, manifest = _together(lambda: self._read(like, step))  # noqa: B023, used at once
            except DataError as error:
                damaged[step] = error
                continue
            _together(lambda: self._set_aside(damaged))
            return state, manifest.metrics
        if damaged:
            raise DataError(
                f"{self.folder}: no checkpoint is whole. {damaged[max(damaged)]} Bring one back, "
                "or name another workdir to start over."
            )
        return None

    def _set_aside(self, damaged: Mapping[int, DataError]) -> None:
        for step, error in damaged.items() if cluster.is_first() else ():
            aside = self.folder / f"{step}.damaged-{time.time_ns()}"
            (self.folder / str(step)).rename(aside)
            log.warning("%s Renamed to %s; the one before is used.", error, aside.name)


class Averages(struct.PyTreeNode):
    """The part of a `TrainState` that drawing needs."""

    averages: dict[str, Params]


class Snapshot(NamedTuple):
    """A state to be written, on the host."""

    step: int
    state: TrainState
    metrics: Any


def _place(array: np.ndarray, like: jax.ShapeDtypeStruct) -> jax.Array:
    whole = jax.random.wrap_key_data(array) if is_key(like) else array
    return jax.make_array_from_callback(like.shape, like.sharding, lambda index: whole[index])


def _compare(path: Path, what: str, there: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    if different := differences(there, now):
        raise ConfigError(
            f"{path} holds {what}: {different}. Name another workdir, or give the settings and "
            "data that it was trained with."
        )


def _gather(text: str) -> list[str]:
    return cluster.gather_texts("checkpoints", text)


def _together(attempt: Callable[[], T]) -> T:
    """Calls `attempt` in every process; if it fails in one, raises the same error in all."""
    mine, text = None, ""
    try:
        result = attempt()
    except (Exception, Preempted) as error:
        mine, text = error, f"{type(error).__name__}: {error}"
    said = [x.partition(": ") for x in _gather(text) if x]
    # Damage comes last: only from that can training go on.
    for kind, _, message in sorted(said, key=lambda x: x[0] == DataError.__name__):
        if type(mine).__name__ == kind:
            raise mine
        ours = {error.__name__: error for error in OURS}
        raise ours.get(kind, RuntimeError)(message)
    return result


def check_room(folder: Path, size: int) -> None:
    """Raises OSError unless `size` bytes, and some more, are free."""
    if storage.is_remote(folder):
        return
    needed, usage = size + size // 10 + ROOM, shutil.disk_usage(folder)
    if usage.total and usage.free < needed:  # Some network file systems report 0 of 0.
        raise OSError(
            errno.ENOSPC,
            f"needs {needed / 1e6:,.0f} MB of disk, {usage.free / 1e6:,.0f} MB are free",
        )
