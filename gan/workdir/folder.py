"""Locks the folder of a run, and reads and writes its configuration and environment."""

import contextlib
import errno
import fcntl
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

import jax

from gan.config import Config, flatten, from_json, settings, to_json
from gan.errors import ConfigError, DataError, WorkdirInUse
from gan.runtime import cluster, storage
from gan.runtime.logs import log
from gan.runtime.storage import Path
from gan.workdir.first_edition import upgrade_config

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "clu", "numpy", "tensorflow")
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)  # Errors of file systems without locks.
FORGOTTEN = 150.0  # Seconds until NFS drops the lock of a host that died; 90 are usual.
MOMENT = 0.1  # Seconds to try again: `is_locked` may just be looking.
SHARED = 60.0  # Seconds within which all hosts must see a new file; NFS caches its absence.


@contextlib.contextmanager
def lock_workdir(workdir: Path, name: str = ".lock") -> Iterator[None]:
    """Makes `workdir` and locks it for this process; the kernel unlocks it even if that is killed.

    Where nothing can be locked, that is said, and who was there last. Raises WorkdirInUse where
    another process holds it, ConfigError where it cannot be written.
    """
    if storage.is_remote(workdir):
        _note_owner(workdir, name)
        yield
        return
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        # Unbuffered: a note that does not fit on a full disk must not come again when it is closed.
        file = (workdir / name).open("ab+", buffering=0)
    except OSError as error:
        raise ConfigError(
            f"--workdir={workdir} cannot be written ({error.strerror}). Name a folder of your own."
        ) from None
    with file:
        try:
            _take(file, workdir)
        except BlockingIOError:
            raise WorkdirInUse(
                f"--workdir={workdir} is in use by {_holder(file)}. Wait for it, stop it, or name "
                "another workdir."
            ) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            _warn_no_lock(workdir, name, _read_note(file))
        with contextlib.suppress(OSError):  # It is locked, whether or not there is room to say so.
            file.truncate(0)
            file.write(_owner().encode())
            os.fsync(file.fileno())
        yield


def is_locked(workdir: Path, name: str = ".lock") -> bool | None:
    """Whether a process holds the lock of a workdir; None where that cannot be told."""
    if storage.is_remote(workdir):
        return None
    try:
        with (workdir / name).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (FileNotFoundError, BlockingIOError) as error:
        return isinstance(error, BlockingIOError)
    except OSError:
        return None
    return False


def _take(file: IO[bytes], workdir: Path) -> None:
    """Takes the lock, waiting on NFS until the server forgets the lock of a host that died."""
    begin = time.monotonic()
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            elsewhere = f" on {platform.node()} " not in (holder := _holder(file))
            waited = time.monotonic() - begin
            if waited > (FORGOTTEN if elsewhere else MOMENT):
                raise
            if elsewhere and waited < 1:
                log.info(
                    "%s is locked by %s. Perhaps that host has died: trying for %.0f s.",
                    *(workdir, holder, FORGOTTEN),
                )
            time.sleep(2 if elsewhere else MOMENT)


def _holder(file: IO[bytes]) -> str:
    return _read_note(file) or "another process"


def _read_note(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _note_owner(workdir: Path, name: str) -> None:
    path = workdir / name
    try:
        before = path.read_text() if path.exists() else ""
        storage.write_file(path, _owner().encode())
    except Exception as error:  # Each storage client has its own types of errors.
        raise storage.access_error(f"--workdir={workdir} cannot be written", error) from error
    _warn_no_lock(workdir, name, before)


def _owner() -> str:
    return f"process {os.getpid()} on {platform.node()} since {time.ctime()}"


_told: set[tuple[Path, str]] = set()  # Already told: a waiting evaluation locks again and again.


def _warn_no_lock(workdir: Path, name: str, before: str) -> None:
    if (workdir, name) in _told:
        return
    _told.add((workdir, name))
    log.warning(
        "--workdir=%s: nothing can be locked there. See to it yourself that one %s at a time "
        "writes to it (before: %s).",
        workdir,
        "evaluation" if "evaluate" in name else "training",
        before or "nobody",
    )


def check_shared(workdir: Path) -> None:
    """Raises ConfigError in all processes unless `workdir` is the same folder for all of them.

    Process 0 writes the checkpoints, and all read them.
    """
    path = workdir / ".lock"
    owner = cluster.gather_texts("owner", path.read_text() if cluster.is_first() else "")[0]
    with cluster.fail_together("shared"):
        deadline = time.monotonic() + SHARED
        while not path.exists() or path.read_text() != owner:
            if time.monotonic() > deadline:
                raise ConfigError(
                    f"--workdir={workdir} is another folder here than for process 0 ({owner}). "
                    "Name one that all hosts share."
                )
            time.sleep(0.2)


def find_runs(pattern: str, signs: Sequence[str] = ("config.json",)) -> list[Path]:
    """The folders that --workdir names: one, or those that match a pattern and hold a run.

    A folder holds a run if any of the files `signs` is in it. Raises ConfigError if none does.
    """
    path = storage.parse_workdir(pattern, several=True)
    storage.check_reachable(path, "--workdir")
    if path.exists() or not storage.has_pattern(pattern):
        return [path]
    found = storage.find_matches(path)
    runs = [folder for folder in found if any((folder / sign).exists() for sign in signs)]
    if not runs:
        raise ConfigError(f"--workdir={pattern}: no run matches ({len(found)} folders do).")
    return runs


def read_config(workdir: Path) -> Config:
    """Reads the configuration of the run in `workdir`. Raises ConfigError where there is none."""
    path = workdir / "config.json"
    if not path.exists():
        raise ConfigError(
            f"--workdir={workdir} holds no run (no config.json in it). Train one first: "
            f"python -m gan.main --config=configs/quickstart.py --workdir={workdir}"
        )
    try:
        return from_json(path.read_text(), upgrade_config)
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8, so damaged. Bring it back from a copy.") from None
    except ConfigError as error:
        raise DataError(f"{path}: {error} Was it edited, or written by another version?") from None


def check_same_run(config: Config, workdir: Path) -> None:
    """Raises ConfigError if `config` describes another run than the one in `workdir`."""
    if not (workdir / "config.json").exists():
        return
    new, old = flatten(config), flatten(read_config(workdir))
    changed = [
        f"config.{name} is {old[name]!r} there and {new[name]!r} now"
        for name, known in settings(config).items()
        if not known.may_change and name in old and new[name] != old[name]
    ]
    if changed:
        raise ConfigError(
            f"--workdir={workdir} holds another run: {'; '.join(changed)}. Name another workdir "
            "for a new run, or give the same settings to go on with this one."
        )


def write_config(config: Config, workdir: Path) -> None:
    """Writes `config.json` and, for the record, `environment.json`."""
    storage.write_file(workdir / "config.json", to_json(config).encode())
    write_json(workdir / "environment.json", environment())


def environment() -> dict[str, object]:
    """Versions, devices and the command, without which a measured number cannot be compared."""
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {
        "command": sys.argv,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "devices": [device.device_kind for device in jax.devices()],
        "processes": jax.process_count(),
        "git": _git_commit(),
        "versions": versions,
    }


def _git_commit() -> str | None:
    command = ["git", "-C", os.path.dirname(__file__), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a JSON lines file in the order of steps; if killed, the old file stays whole."""
    by_step = sorted(rows, key=lambda row: (row["step"], str(row.get("protocol"))))
    storage.write_file(path, "".join(json.dumps(row) + "\n" for row in by_step).encode())


def write_json(path: Path, value: Any) -> None:
    """Writes indented JSON, which people can read too."""
    storage.write_file(path, (json.dumps(value, indent=2) + "\n").encode())
