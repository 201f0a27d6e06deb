"""Kills trainings at any moment, starts them again, and compares the end with an undisturbed run.

    python -m benchmarks.kills --kills=100 --processes=1,2

Half of the kills (SIGKILL) come at random moments between the start of a process and a time in
which it would have ended, half while a checkpoint is being written. With several processes one of
them is killed; that the others end by themselves is part of what is shown.
"""

import argparse
import dataclasses
import random
import shutil
import signal
import tempfile
import time
from pathlib import Path

from benchmarks.processes import Job, fingerprint

STEPS = 8
OPTIONS = (f"--config.steps={STEPS}", "--config.checkpoint_every=1", "--config.sample_every=100")
PATIENCE = 240  # Seconds until a job has ended, or something is wrong.
HEARTBEAT, JOIN = 10, 30  # Seconds.


@dataclasses.dataclass
class Series:
    """What came of one series of kills."""

    processes: int
    kills: int = 0
    while_saving: int = 0
    runs: int = 0  # That came to their end.
    wrong: int = 0  # Of these, with another state.
    slowest_end: float = 0.0  # Seconds from a kill to the end of all processes.


def series(num: int, kills: int, folder: Path, seed: int = 0) -> Series:
    """Kills `kills` times; each run goes on until it ends, then the next begins."""
    cache, found, draw = folder / "cache", Series(num), random.Random(seed)
    options = (*OPTIONS, f"--config.limits.heartbeat={HEARTBEAT}", f"--config.limits.join={JOIN}")
    for name in ("compile", "undisturbed"):  # The second one finds all programs compiled.
        begin = time.monotonic()
        with Job(folder / name, cache, *options, num=num) as job:
            if any(job.wait(PATIENCE)):
                raise RuntimeError(job.text())
        whole = time.monotonic() - begin
    right = fingerprint(folder / "undisturbed", STEPS)
    while found.kills < kills or (folder / "run").exists():
        saving = draw.random() < 0.5
        after, victim = draw.uniform(0.0, 1.3 * whole), draw.randrange(num)
        with Job(folder / "run", cache, *options, num=num) as job:
            begin = time.monotonic()
            while job.running() and found.kills < kills:
                if _is_saving(folder / "run") if saving else time.monotonic() - begin > after:
                    break
                time.sleep(0.001 if saving else 0.02)
            if job.running() and found.kills < kills:
                time.sleep(draw.uniform(0, 0.02) if saving else 0)
                job.signal(signal.SIGKILL, victim)
                found.kills += 1
                found.while_saving += saving
                begin = time.monotonic()
                job.wait(PATIENCE)
                found.slowest_end = max(found.slowest_end, time.monotonic() - begin)
                ended = False
            else:
                ended = not any(job.wait(PATIENCE))
                if not ended:
                    raise RuntimeError("\n".join(map(job.text, range(num))))
        if ended:
            found.runs += 1
            found.wrong += fingerprint(folder / "run", STEPS) != right
            shutil.rmtree(folder / "run")
    return found


def _is_saving(folder: Path) -> bool:
    return any((folder / "checkpoints").glob("*-tmp*"))


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--processes", default="1,2")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print("| processes | kills | of them while saving | runs | ended otherwise | slowest end, s |")
    print("|---|---|---|---|---|---|")
    wrong = 0
    for num in map(int, arguments.processes.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            found = series(num, arguments.kills, Path(folder), arguments.seed)
        print(
            f"| {num} | {found.kills} | {found.while_saving} | {found.runs} | {found.wrong} | "
            f"{found.slowest_end:.1f} |",
            flush=True,
        )
        wrong += found.wrong
    raise SystemExit(wrong > 0)


if __name__ == "__main__":
    main()
