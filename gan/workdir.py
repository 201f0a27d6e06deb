"""The folder of a run: its configuration, its environment, and one process at a time."""

import contextlib
import fcntl
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from gan import cluster
from gan.config import Config, flatten, from_json, to_json
from gan.errors import ConfigError, DataError, WorkdirInUse

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "clu", "numpy", "tensorflow")
SHARED = 60.0  # Seconds until a new file has to be seen by all hosts; NFS remembers what was not.
# What may change from start to start of one run; all else would make it another run.
FREE = {
    *("steps", "parallel", "log_every", "sample_every", "checkpoint_every", "keep_checkpoints"),
    *("keep_every", "eval_images", "profile", "steps_per_call", "deterministic", "data.path"),
    *("data.labels", "data.cache_dir", "data.feed"),
    *("limits.heartbeat", "limits.prepare", "limits.compile", "limits.save", "limits.step"),
}


@contextlib.contextmanager
def lock(workdir: Path, name: str = ".lock") -> Iterator[None]:
    """Makes `workdir` and holds it for this process; the kernel lets go even of a killed one.

    Raises WorkdirInUse where another process holds it, ConfigError where it cannot be written.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        file = (workdir / name).open("a+")
    except OSError as error:
        raise ConfigError(
            f"--workdir={workdir} cannot be written ({error.strerror}). Name a folder of your own."
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise WorkdirInUse(
                f"--workdir={workdir} is in use by {file.read() or 'another process'}. Wait for "
                "it, stop it, or name another workdir."
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()} since {time.ctime()}")
        file.flush()
        os.fsync(file.fileno())
        yield


def check_shared(workdir: Path) -> None:
    """Raises ConfigError in all processes where `workdir` is not one and the same to all of them.

    Each writes its part of a checkpoint: on disks of their own, none would be whole.
    """
    path = workdir / ".lock"
    owner = cluster.gather("owner", path.read_text() if cluster.first() else "")[0]
    with cluster.together("shared"):
        deadline = time.monotonic() + SHARED
        while not path.exists() or path.read_text() != owner:
            if time.monotonic() > deadline:
                raise ConfigError(
                    f"--workdir={workdir} is another folder here than for process 0 ({owner}). "
                    "Name one that all hosts share."
                )
            time.sleep(0.2)


def read_config(workdir: Path) -> Config:
    """The configuration of the run in `workdir`. Raises ConfigError where there is none."""
    path = workdir / "config.json"
    if not path.exists():
        raise ConfigError(
            f"--workdir={workdir} holds no run (no config.json in it). Train one first: "
            f"python -m gan.main --config=configs/quickstart.py --workdir={workdir}"
        )
    try:
        return from_json(path.read_text())
    except ConfigError as error:
        raise DataError(f"{path}: {error} Was it edited, or written by another version?") from None


def check_same_run(config: Config, workdir: Path) -> None:
    """Raises ConfigError where `config` describes another run than the one in `workdir`."""
    if not (workdir / "config.json").exists():
        return
    new, old = flatten(config), flatten(read_config(workdir))
    changed = [
        f"config.{name} is {old[name]!r} there and {new[name]!r} now"
        for name in new
        if name not in FREE and new[name] != old[name]
    ]
    if changed:
        raise ConfigError(
            f"--workdir={workdir} holds another run: {'; '.join(changed)}. Name another workdir "
            "for a new run, or give the same settings to go on with this one."
        )


def write_config(config: Config, workdir: Path) -> None:
    """Writes `config.json` and, for the record, `environment.json`."""
    write(workdir / "config.json", to_json(config).encode())
    write_json(workdir / "environment.json", environment())


def environment() -> dict[str, object]:
    """Versions, devices and command: what a number needs beside it to be compared."""
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
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A JSON lines file, by step: all rows or, if killed, those that were there."""
    by_step = sorted(rows, key=lambda row: (row["step"], str(row.get("protocol"))))
    write(path, "".join(json.dumps(row) + "\n" for row in by_step).encode())


def write_json(path: Path, value: Any) -> None:
    """For people as well."""
    write(path, (json.dumps(value, indent=2) + "\n").encode())


def write(path: Path, data: bytes) -> None:
    """The whole file or none."""
    partial = path.with_name(f".{path.name}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
