"""Starts the trainer as one or several processes, and harms them."""

import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from helpers import unoptimised

from gan.runtime.cluster import find_free_port

ROOT = Path(__file__).parents[2]
ENTER_NAMESPACE = ("ip", "netns", "exec")
RENAME_HOST = ("unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"')
log = logging.getLogger(__name__)


class Job:
    """The processes of one training of `tests/helpers/tiny.py`, on CPU devices."""

    def __init__(
        self,
        folder: os.PathLike,
        cache: Path | str,
        *options: str,
        num: int = 1,
        devices: int = 1,
        fault: str = "",
        coordinator: str = "localhost",
        inside: Sequence[str] = (),
        logs: Path | None = None,
        xdg: Path | None = None,
    ):
        """Starts `num` processes with `devices` each, which train in `folder` on data in `cache`.

        `fault`, such as "hang:1:3", goes to `tests/helpers/faulty.py`. `inside` names a network
        namespace for each process, which is also the name of its host. Output goes to files in
        `logs`, by default beside `folder`; what the processes cache goes to `xdg`, by default
        `cache`.
        """
        port = find_free_port()
        logs = logs or folder.parent
        logs.mkdir(parents=True, exist_ok=True)
        self.logs = [logs / f"{folder.name}.{index}.{time.time_ns()}.txt" for index in range(num)]
        self.processes = []
        faulty = [str(ROOT / "tests" / "helpers" / "faulty.py"), fault]
        for index in range(num):
            command = [
                *(sys.executable, *(faulty if fault else ["-m", "gan.main"])),
                *("--config=tests/helpers/tiny.py", f"--workdir={folder}"),
                *(f"--config.data.cache_dir={cache}", *options),
            ]
            if num > 1:
                command.append(f"--coordinator={coordinator}:{port}")
                command += [f"--num_processes={num}", f"--process_id={index}"]
            if inside:
                host = inside[index]
                command = [*ENTER_NAMESPACE, host, *RENAME_HOST, host, *command]
            environment = os.environ | {
                "JAX_PLATFORMS": "cpu",
                **unoptimised.FLAGS,
                "JAX_NUM_CPU_DEVICES": str(devices),
                "XDG_CACHE_HOME": str(xdg or cache),
                "PYTHONUNBUFFERED": "1",
            }
            with self.logs[index].open("wb") as file:
                process = subprocess.Popen(
                    command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT
                )
            self.processes.append(process)

    def __enter__(self) -> "Job":
        return self

    def __exit__(self, *_: object) -> None:
        """Leaves no process behind, whatever happened."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()

    def text(self, index: int = 0) -> str:
        """Returns what a process has printed so far."""
        return self.logs[index].read_text(errors="replace")

    def wait_for(self, words: str, timeout: float = 180, index: int = 0) -> None:
        """Waits until a process has printed `words`."""
        deadline = time.monotonic() + timeout
        while words not in self.text(index):
            ended = self.processes[index].poll() is not None and words not in self.text(index)
            assert not ended, f"{words!r} was not printed:\n{self.text(index)}"
            assert time.monotonic() < deadline, f"{words!r} took too long:\n{self.text(index)}"
            time.sleep(0.05)

    def wait(self, timeout: float = 180, only: int | None = None) -> list[int]:
        """Returns the exit codes of all processes, or of `only` one, within `timeout` seconds."""
        begin = time.monotonic()
        awaited = self.processes if only is None else [self.processes[only]]
        for index, process in enumerate(awaited):
            try:
                process.wait(max(begin + timeout - time.monotonic(), 0.01))
            except subprocess.TimeoutExpired:
                raise AssertionError(
                    f"process {index} still runs after {timeout} s:\n{self.text(index)}"
                ) from None
        codes = [process.returncode for process in awaited]
        log.info("Exit codes %s after %.1f s.", codes, time.monotonic() - begin)
        return codes

    def running(self) -> bool:
        """Whether all processes run."""
        return all(process.poll() is None for process in self.processes)

    def signal(self, number: signal.Signals, index: int = 0) -> None:
        """Sends a signal to a process."""
        self.processes[index].send_signal(number)


def fingerprint(folder: os.PathLike, step: int) -> str:
    """Returns a digest of all numbers of a checkpoint, from the digests in it."""
    meta = json.loads((folder / "checkpoints" / str(step) / "meta" / "metadata").read_text())
    return hashlib.sha256(json.dumps(meta["sha256"], sort_keys=True).encode()).hexdigest()
