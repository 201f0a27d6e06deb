"""Random faults at random moments in a command, which is then run again until it ends.

`python tests/helpers/chaos.py --rounds=200 --seed=0` prints what came of each round, and counts.
"""

import argparse
import collections
import contextlib
import dataclasses
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # Where a script finds `gan`.

from gan.runtime.pictures import write_png  # noqa: E402
from gan.runtime.tensorflow import import_tensorflow  # noqa: E402

PATIENCE = 300.0  # Seconds after which a command that has not ended never will.
ATTEMPTS = 4  # Starts after the disturbed one.
LEARNT = 0.8  # Share of the evaluations that find a classifier, which takes a minute to train.
SIZE = "96m"  # Of the file system that holds workdir and cache.
TINY = ("--config=tests/helpers/tiny.py", "--config.data.num_faces=400")
STEPS = 6
TRAIN = (f"--config.steps={STEPS}", "--config.keep_checkpoints=9", "--config.checkpoint_every=2")
SHORT = ("--config.limits.join=30", "--config.limits.heartbeat=10")


@dataclasses.dataclass
class World:
    """A small file system with a workdir, a cache and what the commands make of them."""

    disk: Path
    compiled: Path  # XLA's programs, which outlive the worlds.

    @property
    def pictures(self) -> Path:
        """Pictures to export."""
        return self.compiled.parent / "pictures"

    @property
    def run(self) -> Path:
        """The workdir."""
        return self.disk / "run"

    @property
    def cache(self) -> Path:
        """Prepared data, and what an evaluation keeps."""
        return self.disk / "cache"

    def start(self, mode: str, run: Path | None = None) -> subprocess.Popen:
        """Starts a command; its output goes to the file `said`, outside of the disk."""
        arguments = [sys.executable, "-m", "gan.main", f"--mode={mode}", *self.options(mode, run)]
        handle, name = tempfile.mkstemp(dir=self.compiled.parent, suffix=".txt")
        environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(self.compiled),
            "XDG_CACHE_HOME": str(self.disk / "xdg"),
            "PYTHONUNBUFFERED": "1",
        }
        with open(handle, "wb") as output:
            process = subprocess.Popen(
                arguments, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
            )
        process.said = Path(name)
        return process

    def options(self, mode: str, run: Path | None = None) -> tuple[str, ...]:
        """What a mode is started with."""
        workdir, cache = f"--workdir={run or self.run}", f"--config.data.cache_dir={self.cache}"
        return {
            "prepare": (*TINY, cache),
            "train": (*TINY, *TRAIN, *SHORT, cache, workdir),
            "evaluate": (workdir, "--num_images=24", "--seeds=0"),
            "sample": (workdir, "--seeds=0-15", "--attributes=Smiling=1"),
            "export": (
                *(*TINY, "--config.data.source=auto", f"--config.data.path={self.pictures}"),
                *(cache, f"--out={self.disk / 'tfds'}"),
            ),
        }[mode]

    def outcome(self, mode: str) -> dict[str, str]:
        """Digests of all that a mode leaves, apart from clocks and hosts."""
        files = {
            "prepare": [*self.cache.rglob("*.npy")],
            "train": [
                *(self.run / "samples").glob("*.png"),
                *(self.run / "checkpoints").glob("[0-9]/meta/metadata"),
                self.run / "attributes.npz",
                self.run / "metrics.jsonl",
            ],
            "evaluate": [
                self.run / "scores.jsonl",
                self.run / "best.json",
                *(self.run / "evaluation").rglob("step_*/*"),
            ],
            "sample": [self.run / "faces.png"],
            "export": [path for path in (self.disk / "tfds").rglob("*") if path.is_file()],
        }[mode]
        return {str(path.relative_to(self.disk)): digest(path) for path in files if path.exists()}


def digest(path: Path) -> str:
    """SHA-256 of a file's content without what differs from run to run: clocks and speeds."""
    data = path.read_bytes()
    if path.name == "metrics.jsonl":
        keys = ("seconds", "images_per_second", "share_of_peak")
        rows = [json.loads(line) for line in data.splitlines()]
        data = json.dumps([{k: v for k, v in x.items() if k not in keys} for x in rows]).encode()
    if path.name == "metadata":
        meta = json.loads(data)
        data = json.dumps([meta["step"], meta["sha256"]], sort_keys=True).encode()
    if ".tfrecord" in path.name:  # Protocol buffers write a map in any order.
        tf = import_tensorflow()
        records = (tf.train.Example.FromString(x.numpy()) for x in tf.data.TFRecordDataset(path))
        data = b"".join(x.SerializeToString(deterministic=True) for x in records)
    return hashlib.sha256(data).hexdigest()


def said(process: subprocess.Popen) -> str:
    """Returns what a process has printed so far."""
    return process.said.read_text(errors="replace")


Cleanup = Callable[[], None]
Fault = Callable[[World, subprocess.Popen, random.Random], Cleanup | None]


def kill(world: World, process: subprocess.Popen, draw: random.Random) -> None:
    """Kills (SIGKILL)."""
    process.kill()


def stop(world: World, process: subprocess.Popen, draw: random.Random) -> None:
    """Stops for some seconds (SIGSTOP), and lets it go on."""
    process.send_signal(signal.SIGSTOP)
    time.sleep(draw.uniform(0.5, 4))
    process.send_signal(signal.SIGCONT)


def hang_up(world: World, process: subprocess.Popen, draw: random.Random) -> None:
    """Closes the terminal (SIGHUP)."""
    process.send_signal(signal.SIGHUP)


def terminate_twice(world: World, process: subprocess.Popen, draw: random.Random) -> None:
    """Sends SIGTERM, and once more before it may have ended."""
    for _ in range(2):
        process.send_signal(signal.SIGTERM)
        time.sleep(draw.uniform(0, 0.5))


def fill(world: World, process: subprocess.Popen, draw: random.Random) -> Cleanup:
    """Fills the disk to its last byte, until the command has ended or has waited long enough."""
    ballast = world.disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb") as file:
        while True:
            file.write(bytes(4096))
    end_soon(process, draw)
    return ballast.unlink


def forbid(world: World, process: subprocess.Popen, draw: random.Random) -> Cleanup:
    """Makes workdir and cache read-only, until the command has ended or has waited long enough."""
    folders = [path for path in (world.run, world.cache) if path.exists()]
    nested = [x for path in folders for x in (path, *path.rglob("*")) if x.is_dir()]
    change = lambda sign: subprocess.run(  # noqa: E731, for root a mode alone forbids nothing
        ["chattr", f"{sign}i", *map(str, nested)], capture_output=True, check=False
    )
    change("+")
    end_soon(process, draw)
    return lambda: change("-")


def end_soon(process: subprocess.Popen, draw: random.Random) -> None:
    """Waits some seconds, then asks the command to end, and again, as somebody would."""
    for _ in range(3):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(draw.uniform(4, 12))
            return
        process.send_signal(signal.SIGTERM)


def remove_cache(world: World, process: subprocess.Popen, draw: random.Random) -> None:
    """Deletes all that was prepared and kept."""
    for folder in (world.cache, world.disk / "xdg"):
        shutil.rmtree(folder, ignore_errors=True)


def flip_bit(world: World, process: subprocess.Popen, draw: random.Random) -> None:
    """Kills, and flips a bit of any file in workdir or cache."""
    process.kill()
    process.wait()
    files = [x for folder in (world.run, world.cache) for x in folder.rglob("*") if x.is_file()]
    files = sorted(x for x in files if x.stat().st_size)
    if files:
        path = draw.choice(files)
        data = bytearray(path.read_bytes())
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes(data)
        process.harmed = path


def set_clock_back(world: World, process: subprocess.Popen, draw: random.Random) -> None:
    """Kills, and lets all files come from the future, as if the clock had been set back."""
    process.kill()
    process.wait()
    tomorrow = time.time() + 86_400
    for path in world.disk.rglob("*"):
        with contextlib.suppress(OSError):
            os.utime(path, (tomorrow, tomorrow))


def use_the_same_cache(world: World, process: subprocess.Popen, draw: random.Random) -> None:
    """Starts another training that uses the same cache, and kills it at a random moment."""
    other = world.start("train", world.disk / "other")
    with contextlib.suppress(subprocess.TimeoutExpired):
        other.wait(draw.uniform(1, 15))
    other.kill()
    other.wait()
    shutil.rmtree(world.disk / "other", ignore_errors=True)


def evaluate_beside(world: World, process: subprocess.Popen, draw: random.Random) -> None:
    """Scores the run beside the command, and kills that at a random moment."""
    other = world.start("evaluate")
    with contextlib.suppress(subprocess.TimeoutExpired):
        other.wait(draw.uniform(1, 20))
    other.kill()
    other.wait()


FAULTS: dict[str, tuple[Fault, tuple[str, ...]]] = {  # With the modes that they come to.
    name: (fault, modes)
    for fault, name, modes in (
        (kill, "kill", ("prepare", "train", "evaluate", "sample", "export")),
        (stop, "stop", ("prepare", "train", "evaluate", "sample", "export")),
        (hang_up, "hang up", ("prepare", "train", "evaluate", "sample", "export")),
        (terminate_twice, "terminate twice", ("prepare", "train", "evaluate", "sample", "export")),
        (fill, "full disk", ("prepare", "train", "evaluate", "sample", "export")),
        (forbid, "read-only", ("prepare", "train", "evaluate", "sample", "export")),
        (remove_cache, "cache removed", ("prepare", "train", "evaluate", "export")),
        (flip_bit, "flipped bit", ("prepare", "train", "evaluate", "sample", "export")),
        (set_clock_back, "clock set back", ("prepare", "train", "evaluate", "sample", "export")),
        (use_the_same_cache, "same cache", ("prepare", "train", "evaluate", "export")),
        (evaluate_beside, "evaluated beside", ("train", "sample")),
    )
}
BEFORE = {  # What has been done when a mode starts.
    "prepare": (),
    "train": (),
    "evaluate": ("train",),
    "sample": ("train",),
    "export": (),
}


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mounts a small file system, which takes root."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def run_whole(world: World, mode: str) -> float:
    """Runs a command undisturbed; returns its seconds."""
    begin = time.monotonic()
    process = world.start(mode)
    if process.wait(PATIENCE):
        raise AssertionError(f"{mode} ended with {process.returncode}:\n{said(process)}")
    return time.monotonic() - begin


def play(folder: Path, compiled: Path, mode: str, name: str, moment: float, seed: int) -> str:
    """Plays one round; returns what went wrong, or "".

    `moment` is the time of the fault in seconds after the command's start. What the commands made
    undisturbed lies in `folder / "right"`.
    """
    draw = random.Random(seed)
    right = json.loads((folder / "right.json").read_text())
    with small_disk(folder / "world") as disk:
        world = World(disk, compiled)
        for before in BEFORE[mode]:
            source = folder / "right" / before
            shutil.copytree(source, disk, dirs_exist_ok=True)
        if mode == "evaluate" and draw.random() < LEARNT:
            kept = folder / "right" / mode / "cache"
            shutil.copytree(kept, world.cache, dirs_exist_ok=True)
        process = world.start(mode)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moment)
        cleanup = FAULTS[name][0](world, process, draw)
        codes, texts = [], []
        for attempt in range(ATTEMPTS + 1):
            try:
                codes.append(process.wait(PATIENCE))
            except subprocess.TimeoutExpired:
                process.kill()
                return f"hangs, start {attempt + 1}:\n{said(process)}"
            finally:
                if cleanup:
                    cleanup()
                    cleanup = None
            texts.append(said(process))
            if "Traceback" in texts[-1]:
                return f"traceback, codes {codes}:\n{texts[-1]}"
            if not codes[-1]:
                break
            follow_advice(texts[-1], world)
            process = world.start(mode)
        if codes[-1]:
            harmed = getattr(process, "harmed", "")
            return f"does not end, codes {codes} {harmed}:\n" + "\n---\n".join(texts)
        found = world.outcome(mode)
        if found != right[mode]:
            names = sorted(x for x in {*found, *right[mode]} if found.get(x) != right[mode].get(x))
            return f"differs in {', '.join(names)}; codes {codes}:\n" + "\n---\n".join(texts)
    return ""


def follow_advice(text: str, world: World) -> None:
    """Does what a message asks for where that is to delete something in workdir or cache."""
    for found in re.findall(
        rf"[Dd]elete (?:the folder |the file )?({world.disk}\S+?)[,.:;]?(?:\s|$)", text
    ):
        path = Path(found)
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def draw_pictures(folder: Path) -> None:
    """Writes sixty pictures of noise, half of which smile."""
    folder.mkdir()
    draw = np.random.default_rng(0)
    for number in range(60):
        write_png(folder / f"{number}.png", draw.integers(0, 256, (40, 40, 3), np.uint8))
    rows = [f"{number}.png,{number % 2}" for number in range(60)]
    (folder / "labels.csv").write_text("\n".join(["picture,Smiling", *rows]))


def make_right(folder: Path, compiled: Path, modes: Collection[str]) -> dict[str, float]:
    """Runs each mode undisturbed, twice (the second one is timed); returns their seconds."""
    draw_pictures(folder / "pictures")
    seconds, right = {}, {}
    for mode in modes:
        before, outcomes = BEFORE[mode], []
        for _ in range(2):
            with small_disk(folder / "world") as disk:
                world = World(disk, compiled)
                for earlier in before:
                    shutil.copytree(folder / "right" / earlier, disk, dirs_exist_ok=True)
                seconds[mode] = run_whole(world, mode)
                outcomes.append(world.outcome(mode))
                kept = folder / "right" / mode
                shutil.rmtree(kept, ignore_errors=True)
                shutil.copytree(disk, kept)
            (folder / "world").rmdir()
        if outcomes[0] != outcomes[1]:
            raise AssertionError(f"{mode} does not repeat itself")
        right[mode] = outcomes[1]
    (folder / "right.json").write_text(json.dumps(right))
    return seconds


def series(
    folder: Path, rounds: int, seed: int, modes: Collection[str] = tuple(BEFORE)
) -> collections.Counter:
    """Plays `rounds`; prints each that went wrong, and returns how often what happened.

    A mode comes after those that go before it (`BEFORE`).
    """
    compiled = folder / "compiled"
    seconds = make_right(folder, compiled, modes)
    draw, counts = random.Random(seed), collections.Counter()
    pairs = [(name, mode) for name, (_, fit) in FAULTS.items() for mode in modes if mode in fit]
    draw.shuffle(pairs)
    order = [pairs[i % len(pairs)] for i in range(rounds)]  # Each pair as often as any other.
    draw.shuffle(order)
    for number, (name, mode) in enumerate(order):
        moment = draw.uniform(0, 1.1 * seconds[mode])
        wrong = play(folder, compiled, mode, name, moment, draw.randrange(2**32))
        (folder / "world").rmdir()
        verdict = wrong.split(",")[0].split(":")[0].split(" in ")[0] or "as undisturbed"
        counts[name, verdict] += 1
        print(f"{number + 1:4} {mode:9} {name:16} after {moment:4.1f} s: {verdict}", flush=True)
        if wrong:
            print(wrong, flush=True)
    return counts


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as aside:
        totals = series(Path(aside), chosen.rounds, chosen.seed)
    for (fault, verdict), count in sorted(totals.items()):
        print(f"{count:4} {fault:16} {verdict}")
    sys.exit(any(verdict != "as undisturbed" for _, verdict in totals))
