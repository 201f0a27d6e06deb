"""Times DCGAN's training step beside its peers', on this machine, in turns.

    python benchmarks/step.py --batch=64 --json=step.json

Each contestant has a process of its own: it compiles, warms up and then blocks on a pipe until told
to time some steps. Only one computes at a time, and a ratio is taken within a round, so whatever
slows the machine for a while slows both of its sides.
"""

import argparse
import contextlib
import datetime
import importlib.util
import json
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import time
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))  # For `python benchmarks/step.py`.
from benchmarks import turns
from benchmarks.contestants import CONTESTANTS, Action, Contestant, Options
from benchmarks.work import Work, step_flops

PEERS = ("eager", "tuned", "naive_flax")
DTYPES = ("float32", "bfloat16")
PACKAGES = ("jax", "jaxlib", "flax", "optax", "torch")
NOT_IDLE = 0.2  # Cores.
BUSY = "The machine was busy with something else, which slows some more than others: repeat it."
WARM_UP = 3  # Steps: all that is compiled is compiled in the first.
STEPS = {"cpu": 5, "gpu": 500, "tpu": 500}  # A turn.
SLOW_ROUNDS = 2  # In which naive Flax has a turn on CPU, of one step: that takes 10 s and more.
MATRIX_SIDE = {"cpu": 2048, "gpu": 8192, "tpu": 8192}
COPY_BYTES = 2**28  # More than caches hold.
REPEATS = 5
USAGE = 64
NO_TORCH = "PyTorch is missing: pip install -e '.[bench]', or pip install torch; it needs no GPU."
DURATION = (
    "On two idle CPU cores all peers take about 5 minutes at batch 64 and 9 at batch 128, of which "
    "naive_flax has 1 and 2."
)


class Turn(NamedTuple):
    """One timing of some steps."""

    steps: int
    wall: float  # Seconds: on the clock,
    cpu: float  # of computing, added up over the threads,
    others: float  # and what all other processes computed meanwhile.


class Limits(NamedTuple):
    """Told at the end: what was needed, and what the machine can do in the same process."""

    memory: int  # Most bytes: of the process on CPU, else on the device.
    matrix: float  # FLOP/s of a product of large matrices.
    copy: float  # Bytes/s, read and written.
    device: str  # Its name.
    xla: dict[str, float]  # XLA's own count of a step, where there is one.


def serve(name: str, options: Options, pipe: Connection) -> None:
    """The life of a worker: warm up, time as many steps as each message says, tell its limits."""
    # One GPU, as in PyTorch's example, of which no process takes all memory at its start.
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    contestant = CONTESTANTS[name](options)
    contestant.run(1 if is_slow(name, contestant.work.device) else WARM_UP)
    pipe.send(contestant.work)
    with contextlib.suppress(EOFError):  # The parent is gone.
        while steps := pipe.recv():  # Blocks: the others have the cores to themselves.
            before = clocks()
            done = contestant.run(steps)
            wall, cpu, machine = (b - a for a, b in zip(before, clocks(), strict=True))
            pipe.send(Turn(done, wall, cpu, others=max(0.0, machine - cpu)))
        pipe.send(limits(contestant, options.dtype))


def is_slow(name: str, device: str) -> bool:
    """Whether it gets the fewest steps that can be measured."""
    return name == "naive_flax" and device == "cpu"


def limits(contestant: Contestant, dtype: str) -> Limits:
    """Memory first: the yardsticks need some, too."""
    unit = 1 if sys.platform == "darwin" else 1024
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    memory = contestant.device_memory() or resident
    device = contestant.work.device
    side = MATRIX_SIDE[device]
    # Few CPUs have units for bfloat16; PyTorch takes a minute for this product on the others.
    dtype = "float32" if device == "cpu" else dtype
    multiply, touch = contestant.yardsticks(side, dtype, COPY_BYTES // 4)
    matrix, copy = 2 * side**3 / fastest(multiply), 2 * COPY_BYTES / fastest(touch)
    return Limits(memory, matrix, copy, contestant.device, contestant.xla)


def fastest(action: Action) -> float:
    """Seconds that it takes when nothing disturbs it."""
    action()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def clocks() -> tuple[float, float, float]:
    """Seconds now: on the clock, computed by this process, and by the machine (where it tells)."""
    machine, stat = 0.0, Path("/proc/stat")
    if stat.exists():
        user, nice, system, _, _, irq, softirq, steal, *_ = map(int, stat.read_text().split()[1:11])
        machine = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    return time.perf_counter(), time.process_time(), machine


class Worker:
    """A contestant in a process of its own, which ends with this one."""

    def __init__(self, name: str, options: Options):
        spawn = multiprocessing.get_context("spawn")
        self.pipe, end = spawn.Pipe()
        self.process = spawn.Process(target=serve, args=(name, options, end), daemon=True)
        self.process.start()
        end.close()  # It has the only one now, so if it dies `recv` says so.
        self.work: Work = self.pipe.recv()

    def time(self, steps: int) -> Turn:
        """Has it do so many steps."""
        self.pipe.send(steps)
        return self.pipe.recv()

    def close(self) -> Limits:
        """Lets it end."""
        self.pipe.send(0)
        told = self.pipe.recv()
        self.process.join()
        return told


def measure(options: Options, samples: int, steps: int, peers: list[str]) -> dict[str, Any]:
    """All that `--json` writes."""
    workers = {name: Worker(name, options) for name in ("ours", *peers)}
    work = workers["ours"].work
    for name, worker in workers.items():
        if worker.work != work:
            raise ValueError(f"unequal work: ours is {work}, {name} is {worker.work}")
    steps = steps or STEPS[work.device]
    rounds: list[dict[str, Turn]] = []
    for i in range(samples):
        rounds.append({})
        for name, worker in workers.items():
            slow = is_slow(name, work.device)
            if not slow or i < SLOW_ROUNDS:
                rounds[-1][name] = worker.time(1 if slow else steps)
        speeds = [f"{name} {options.batch / pace(turn):.1f}" for name, turn in rounds[-1].items()]
        print(f"round {i + 1} of {samples}, images/s:", *speeds, file=sys.stderr, flush=True)
    told = {name: worker.close() for name, worker in workers.items()}

    contestants = {}
    for name in workers:
        its = [r[name] for r in rounds if name in r]
        flops = options.batch * step_flops(work.generator, work.discriminator, name)
        contestants[name] = {
            "images_per_second": spread([options.batch / pace(turn) for turn in its]),
            "cores": spread([turn.cpu / turn.wall for turn in its]),
            "cores_of_others": spread([turn.others / turn.wall for turn in its]),
            "peak_memory_bytes": told[name].memory,
            "flops": flops,
            "xla": told[name].xla,
            "floor": floor(flops, told[name], [pace(turn) for turn in its]),
        }
    ratios = {
        f"ratio_to_{p}": spread([pace(r[p]) / pace(r["ours"]) for r in rounds if p in r])
        for p in peers
    }
    versions = {package: version(package) for package in PACKAGES if importable(package)}
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
        "versions": {"python": platform.python_version(), **versions},
        "hardware": {**hardware(), "device": told["ours"].device},
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def pace(turn: Turn) -> float:
    """Seconds a step."""
    return turn.wall / turn.steps


def floor(flops: int, told: Limits, paces: list[float]) -> dict[str, Any]:
    """What the counted arithmetic of a step takes at the rate of a large matrix product."""
    seconds = flops / told.matrix
    result = {
        "matrix_flops_per_second": told.matrix,
        "copy_bytes_per_second": told.copy,
        "seconds": seconds,
        "share": spread([seconds / pace for pace in paces]),
    }
    if "bytes" in told.xla:  # What the program passes on, of which caches keep a part.
        result["seconds_of_copying"] = told.xla["bytes"] / told.copy
    return result


def spread(values: list[float]) -> dict[str, float]:
    """Median and range."""
    numbers = dict(median=statistics.median(values), low=min(values), high=max(values))
    return {name: round(value, 4) for name, value in numbers.items()}


def hardware() -> dict[str, Any]:
    """What it runs on."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    cores = os.cpu_count()
    return {"cpu": turns.cpu(), "cores": cores, "threads": len(allowed) if allowed else cores}


def table(result: dict[str, Any]) -> str:
    """The result as a table in Markdown."""
    lines = [
        "|  | images/s | from - to | ours / it | from - to | share of floor | peak MB | cores "
        "| others' cores |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, its in result["contestants"].items():
        speed, ratio = its["images_per_second"], result.get(f"ratio_to_{name}")
        cells = [
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
        lines.append(f"| {' | '.join(cells)} |")
    bound = result["floor"]
    lines.append(
        f"\nFloor of ours: {result['contestants']['ours']['flops'] / 1e9:,.1f} GFLOP a step at "
        f"{bound['matrix_flops_per_second'] / 1e9:,.0f} GFLOP/s = {bound['seconds']:.4f} s. "
        f"Memory is read and written at {bound['copy_bytes_per_second'] / 1e9:,.1f} GB/s."
    )
    return "\n".join(lines)


def importable(package: str) -> bool:
    """Whether it is installed."""
    return importlib.util.find_spec(package) is not None


def main() -> None:
    """The command line."""
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
    if not {"eager", "tuned"}.isdisjoint(peers) and not importable("torch"):
        print(NO_TORCH, file=sys.stderr)
        sys.exit(USAGE)
    options = Options(given.batch, given.width, given.dtype, given.steps_per_call)
    try:
        result = measure(options, given.samples, given.steps, peers)
    except EOFError:
        sys.exit("A worker died; its last words are above.")
    print(table(result))
    busy = (its["cores_of_others"]["median"] for its in result["contestants"].values())
    if max(busy) > NOT_IDLE:
        print(BUSY, file=sys.stderr)
    if given.json:
        given.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
