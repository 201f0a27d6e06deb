"""Times DCGAN's training step beside its peers', on this machine, in turns.

    python -m benchmarks.step --batch=64 --json=step.json

Each contestant has a process of its own: it compiles, warms up, and then waits on a pipe for the
number of steps to time. Only one computes at a time, and a ratio is taken within a round, so
whatever slows the machine for a while slows both of its sides.
"""

import argparse
import contextlib
import datetime
import importlib.util
import json
import multiprocessing
import os
import resource
import statistics
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import turns
from benchmarks.peers.contestants import CONTESTANTS, Contestant, Options
from benchmarks.work import Work, count_step_flops

PEERS = ("eager", "tuned", "naive_flax")
DTYPES = ("float32", "bfloat16")
NOT_IDLE = 0.2  # Cores that other processes took.
BUSY = "The machine was busy with something else, which slows some more than others: repeat it."
WARM_UP = 3  # Steps; whatever compiles does so in the first.
STEPS = {"cpu": 5, "gpu": 500, "tpu": 500}  # Steps of a turn.
SLOW_ROUNDS = 2  # Rounds in which naive Flax has a turn on CPU: of one step, of 10 s and more.
MATRIX_SIDE = {"cpu": 2048, "gpu": 8192, "tpu": 8192}
COPY_BYTES = 2**28  # Bytes; more than caches hold.
USAGE = 64
NO_TORCH = "PyTorch is missing: pip install -e '.[bench]', or pip install torch; it needs no GPU."
DURATION = (
    "On two idle CPU cores all peers take about 5 minutes at batch 64 and 9 at batch 128, of which "
    "naive_flax has 1 and 2."
)


class Turn(NamedTuple):
    """One timing of some steps."""

    steps: int
    wall: float  # Seconds on the clock.
    cpu: float  # Seconds that the process computed, added up over its threads.
    others: float  # Seconds that all other processes computed meanwhile.

    @property
    def pace(self) -> float:
        """Seconds of one step."""
        return self.wall / self.steps


class Limits(NamedTuple):
    """What a worker tells at its end: what it needed, and what the machine can do at best."""

    memory: int  # Most bytes of the process on CPU, else of the device.
    matrix: float  # FLOP/s of a product of large matrices.
    copy: float  # Bytes/s, read and written, of a pass over a large array.
    device: str  # Name of the device.
    xla: dict[str, float]  # XLA's own count of a step; empty for PyTorch.


def serve(name: str, options: Options, pipe: Connection) -> None:
    """Warms up, times as many steps as each message says, and tells its limits at the end."""
    # PyTorch's example takes one GPU. No process may take all of its memory at the start.
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    contestant = CONTESTANTS[name](options)
    contestant.run(1 if is_slow(name, contestant.work.device) else WARM_UP)
    pipe.send((contestant.work, contestant.flops))
    with contextlib.suppress(EOFError):  # The parent is gone.
        while steps := pipe.recv():  # Blocks: the others have the cores to themselves.
            before = read_clocks()
            done = contestant.run(steps)
            wall, cpu, machine = (b - a for a, b in zip(before, read_clocks(), strict=True))
            pipe.send(Turn(done, wall, cpu, others=max(0.0, machine - cpu)))
        pipe.send(measure_limits(contestant, options.dtype))


def is_slow(name: str, device: str) -> bool:
    """Whether a contestant gets the fewest steps that can be measured."""
    return name == "naive_flax" and device == "cpu"


def measure_limits(contestant: Contestant, dtype: str) -> Limits:
    """Measures memory and yardsticks; memory first, since the yardsticks need some, too."""
    unit = 1 if sys.platform == "darwin" else 1024
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    memory = contestant.device_memory() or resident
    device = contestant.work.device
    side = MATRIX_SIDE[device]
    # Few CPUs have units for bfloat16; PyTorch takes a minute for this product on the others.
    dtype = "float32" if device == "cpu" else dtype
    multiply, touch = contestant.yardsticks(side, dtype, COPY_BYTES // 4)
    matrix = 2 * side**3 / turns.time_fastest(multiply)
    copy = 2 * COPY_BYTES / turns.time_fastest(touch)
    return Limits(memory, matrix, copy, contestant.device, contestant.xla)


def read_clocks() -> tuple[float, float, float]:
    """Seconds now: on the clock, computed by this process, and by the machine (0 if unknown)."""
    machine, stat = 0.0, Path("/proc/stat")
    if stat.exists():
        user, nice, system, _, _, irq, softirq, steal, *_ = map(int, stat.read_text().split()[1:11])
        machine = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    return time.perf_counter(), time.process_time(), machine


class Worker:
    """A contestant in a process of its own, which ends with this one."""

    def __init__(self, name: str, options: Options):
        """Starts it and waits until it is warm. Raises EOFError if it dies."""
        spawn = multiprocessing.get_context("spawn")
        self.pipe, end = spawn.Pipe()
        self.process = spawn.Process(target=serve, args=(name, options, end), daemon=True)
        self.process.start()
        end.close()  # It has the only one now, so if it dies `recv` says so.
        self.work: Work
        self.flops: int | None
        self.work, self.flops = self.pipe.recv()

    def time(self, steps: int) -> Turn:
        """Has it do at least so many steps."""
        self.pipe.send(steps)
        return self.pipe.recv()

    def close(self) -> Limits:
        """Ends it, and returns its limits."""
        self.pipe.send(0)
        told = self.pipe.recv()
        self.process.join()
        return told


def measure(options: Options, samples: int, steps: int, peers: list[str]) -> dict[str, Any]:
    """Measures all contestants, and returns what `--json` writes."""
    workers = {name: Worker(name, options) for name in ("ours", *peers)}
    work, flops = workers["ours"].work, check_equal_work(workers, options.batch)
    steps = steps or STEPS[work.device]
    rounds = time_rounds(workers, options.batch, samples, steps)
    told = {name: worker.close() for name, worker in workers.items()}
    contestants = {
        name: describe_contestant(
            options.batch, flops[name], told[name], [r[name] for r in rounds if name in r]
        )
        for name in workers
    }
    ratios = {
        f"ratio_to_{p}": summarize([r[p].pace / r["ours"].pace for r in rounds if p in r])
        for p in peers
    }
    return {
        **ratios,
        "images_per_second": contestants["ours"]["images_per_second"],
        "floor": contestants["ours"]["floor"],
        "contestants": contestants,
        "samples": [{name: turn._asdict() for name, turn in r.items()} for r in rounds],
        "parameters": {
            "generator": work.generator.parameters,
            "discriminator": work.discriminator.parameters,
        },
        "options": {**options._asdict(), "samples": samples, "steps": steps, "peers": peers},
        "versions": turns.list_versions(),
        "hardware": {**describe_hardware(), "device": told["ours"].device},
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def check_equal_work(workers: dict[str, Worker], batch: int) -> dict[str, int]:
    """Returns the FLOPs of a step of each; raises ValueError if networks or FLOPs differ.

    FLOPs by formula have to be those counted in the program, where somebody counts there.
    """
    work, flops = workers["ours"].work, {}
    for name, worker in workers.items():
        if worker.work != work:
            raise ValueError(f"unequal work: ours is {work}, {name} is {worker.work}")
        flops[name] = batch * count_step_flops(work.generator, work.discriminator, name)
        if worker.flops not in (None, flops[name]):
            raise ValueError(f"{name} does {worker.flops} FLOPs a step, not {flops[name]}")
    return flops


def time_rounds(
    workers: dict[str, Worker], batch: int, samples: int, steps: int
) -> list[dict[str, Turn]]:
    """Gives each contestant a turn in each round."""
    rounds: list[dict[str, Turn]] = []
    for i in range(samples):
        rounds.append({})
        for name, worker in workers.items():
            slow = is_slow(name, worker.work.device)
            if not slow or i < SLOW_ROUNDS:
                rounds[-1][name] = worker.time(1 if slow else steps)
        speeds = [f"{name} {batch / turn.pace:.1f}" for name, turn in rounds[-1].items()]
        print(f"round {i + 1} of {samples}, images/s:", *speeds, file=sys.stderr, flush=True)
    return rounds


def describe_contestant(batch: int, flops: int, told: Limits, its: list[Turn]) -> dict[str, Any]:
    """Returns the figures of one contestant, over all of its turns."""
    return {
        "images_per_second": summarize([batch / turn.pace for turn in its]),
        "cores": summarize([turn.cpu / turn.wall for turn in its]),
        "cores_of_others": summarize([turn.others / turn.wall for turn in its]),
        "peak_memory_bytes": told.memory,
        "flops": flops,
        "xla": told.xla,
        "floor": compare_with_floor(flops, told, [turn.pace for turn in its]),
    }


def compare_with_floor(flops: int, told: Limits, paces: list[float]) -> dict[str, Any]:
    """Compares steps with their floor: the time of their FLOPs at the rate of a large product."""
    seconds = flops / told.matrix
    result = {
        "matrix_flops_per_second": told.matrix,
        "copy_bytes_per_second": told.copy,
        "seconds": seconds,
        "share": summarize([seconds / pace for pace in paces]),
    }
    if "bytes" in told.xla:  # What the program passes on, of which caches keep a part.
        result["seconds_of_copying"] = told.xla["bytes"] / told.copy
    return result


def summarize(values: list[float]) -> dict[str, float]:
    """Returns median and range."""
    numbers = dict(median=statistics.median(values), low=min(values), high=max(values))
    return {name: round(value, 4) for name, value in numbers.items()}


def describe_hardware() -> dict[str, Any]:
    """Returns the processor, and how many of its cores there are and may be used."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    cores = os.cpu_count()
    return {"cpu": turns.name_cpu(), "cores": cores, "threads": len(allowed) if allowed else cores}


def report(result: dict[str, Any]) -> str:
    """Returns the results as a table in Markdown."""
    head = (
        *("", "images/s", "from - to", "ours / it", "from - to", "share of floor", "peak MB"),
        *("cores", "others' cores"),
    )
    rows = []
    for name, its in result["contestants"].items():
        speed, ratio = its["images_per_second"], result.get(f"ratio_to_{name}")
        rows.append(
            [
                name,
                f"{speed['median']:.1f}",
                f"{speed['low']:.1f} - {speed['high']:.1f}",
                f"{ratio['median']:.2f}" if ratio else "",
                f"{ratio['low']:.2f} - {ratio['high']:.2f}" if ratio else "",
                f"{its['floor']['share']['median']:.0%}",
                f"{its['peak_memory_bytes'] / 1e6:,.0f}",
                f"{its['cores']['median']:.1f}",
                f"{its['cores_of_others']['median']:.1f}",
            ]
        )
    bound = result["floor"]
    return (
        f"{turns.format_markdown(head, rows)}\n"
        f"\nFloor of ours: {result['contestants']['ours']['flops'] / 1e9:,.1f} GFLOP a step at "
        f"{bound['matrix_flops_per_second'] / 1e9:,.0f} GFLOP/s = {bound['seconds']:.4f} s. "
        f"Memory is read and written at {bound['copy_bytes_per_second'] / 1e9:,.1f} GB/s."
    )


def is_installed(package: str) -> bool:
    """Whether a package can be imported."""
    return importlib.util.find_spec(package) is not None


def main() -> None:
    """Prints a table; exits with 64 for wrong options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=DURATION)
    numbers = {
        "batch": (128, "images a step (128)"),
        "width": (64, "channels of the widest layers, ngf = ndf (64)"),
        "samples": (7, "rounds; in each, every contestant has its turn (7)"),
        "steps": (0, "steps a turn; 0: 5 on CPU, else 500"),
        "steps_per_call": (0, "of ours; 0: as training does it, 1 on CPU, else 25"),
    }
    for name, (default, meaning) in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=meaning)
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="naive_flax ignores it")
    parser.add_argument(
        "--peers", default=",".join(PEERS), help=f"of {','.join(PEERS)}; may be empty"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there, too")
    given = parser.parse_args()
    peers = [p for p in given.peers.split(",") if p]
    if not set(peers) <= set(PEERS):
        parser.error(f"--peers: choose from {', '.join(PEERS)}")
    if not {"eager", "tuned"}.isdisjoint(peers) and not is_installed("torch"):
        print(NO_TORCH, file=sys.stderr)
        sys.exit(USAGE)
    options = Options(given.batch, given.width, given.dtype, given.steps_per_call)
    try:
        result = measure(options, given.samples, given.steps, peers)
    except EOFError:
        sys.exit("A worker died; its last words are above.")
    print(report(result))
    busy = (its["cores_of_others"]["median"] for its in result["contestants"].values())
    if max(busy) > NOT_IDLE:
        print(BUSY, file=sys.stderr)
    if given.json:
        given.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
