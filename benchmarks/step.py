"""Times DCGAN's training step beside PyTorch's, on this machine, in turns.

    python -m benchmarks.step --json=step.json

Each contestant has a process of its own: it compiles, warms up and then blocks on a pipe until told
to time some steps. Only one computes at a time, and a ratio is taken within a round, so whatever
slows the machine for a while slows both of its sides.
"""

import argparse
import contextlib
import functools
import importlib.util
import json
import multiprocessing
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

PEERS = ("eager", "tuned")
PACKAGES = ("jax", "jaxlib", "flax", "optax", "torch")
NOT_IDLE = 0.2  # Cores.
BUSY = "The machine was busy with something else, which slows some more than others: repeat it."
IMAGE_SIZE, Z_DIM = 64, 100
WARM_UP = 3  # Steps: all that is compiled is compiled in the first.
USAGE = 64
NO_TORCH = "PyTorch is missing: pip install -e '.[bench]', or pip install torch; it needs no GPU."


class Work(NamedTuple):
    """What has to be the same on both sides."""

    generator: int  # Learned parameters.
    discriminator: int
    device: str  # "cpu" | "gpu" | "tpu"


class Turn(NamedTuple):
    """One timing of some steps."""

    wall: float  # Seconds: on the clock,
    cpu: float  # of computing, added up over the threads,
    others: float  # and what all other processes computed meanwhile.


Run = Callable[[int], None]  # Does so many steps and waits for the last one's result.


def ours(batch: int, width: int) -> tuple[Run, Work]:
    """`gan.step.train_step`, compiled and placed as `gan.train` does it."""
    import jax

    from gan.config import Augment, Config, Data, Network
    from gan.parallel import Parallel
    from gan.state import Batch
    from gan.step import build, init_state, train_step

    config = Config(
        data=Data(image_size=IMAGE_SIZE, batch_size=batch),
        augment=Augment(flip=False),
        network=Network(z_dim=Z_DIM, g_width=width, d_width=width, conditional=False),
    )
    parallel = Parallel.create(config.parallel)
    gan = build(config, marginals=(0.5,), axis_name=parallel.axis_name)
    init = jax.jit(functools.partial(init_state, gan), out_shardings=parallel.replicated)
    state = init(jax.random.key(config.seed))
    attributes = np.zeros((batch, 1), np.uint8)  # Ignored, but there has to be one.
    real = parallel.put(Batch(noise(batch), attributes))
    step = parallel.compile(functools.partial(train_step, gan))

    def run(steps: int) -> None:
        nonlocal state
        for _ in range(steps):
            state, metrics = step(state, real)
        jax.block_until_ready((state, metrics))

    players = state.generator, state.discriminator
    sizes = (sum(x.size for x in jax.tree.leaves(player.params)) for player in players)
    return run, Work(*sizes, jax.default_backend())


def theirs(batch: int, width: int, *, tuned: bool) -> tuple[Run, Work]:
    """PyTorch's DCGAN example: as its users run it, or `tuned`."""
    from benchmarks.pytorch_dcgan import Game

    # As floats: the example's data loader normalises, while we do so in the step.
    real = noise(batch).astype(np.float32).transpose(0, 3, 1, 2) / 127.5 - 1
    game = Game(real, Z_DIM, width, tuned)
    sizes = (
        sum(p.numel() for p in net.parameters()) for net in (game.generator, game.discriminator)
    )
    return game.run, Work(*sizes, game.device.type.replace("cuda", "gpu"))


def noise(batch: int) -> np.ndarray:
    """In the place of photographs: a step takes as long whatever they show."""
    shape = (batch, IMAGE_SIZE, IMAGE_SIZE, 3)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


CONTESTANTS = {
    "ours": ours,
    "eager": functools.partial(theirs, tuned=False),
    "tuned": functools.partial(theirs, tuned=True),
}


def serve(name: str, batch: int, width: int, pipe: Connection) -> None:
    """The life of a worker: warm up, then time as many steps as each message says."""
    run, work = CONTESTANTS[name](batch, width)
    run(WARM_UP)
    pipe.send(work)
    with contextlib.suppress(EOFError):  # The parent is gone.
        while True:
            steps = pipe.recv()  # Blocks: the others have the cores to themselves.
            before = clocks()
            run(steps)
            wall, cpu, machine = (b - a for a, b in zip(before, clocks(), strict=True))
            pipe.send(Turn(wall, cpu, others=max(0.0, machine - cpu)))


def clocks() -> tuple[float, float, float]:
    """Seconds now: on the clock, computed by this process, and by the machine (where it tells)."""
    machine, stat = 0.0, Path("/proc/stat")
    if stat.exists():
        user, nice, system, _, _, irq, softirq, steal, *_ = map(int, stat.read_text().split()[1:11])
        machine = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    return time.perf_counter(), time.process_time(), machine


class Worker:
    """A contestant in a process of its own, which ends with this one."""

    def __init__(self, name: str, batch: int, width: int):
        spawn = multiprocessing.get_context("spawn")
        self.pipe, end = spawn.Pipe()
        self.process = spawn.Process(target=serve, args=(name, batch, width, end), daemon=True)
        self.process.start()
        end.close()  # It has the only one now, so if it dies `recv` says so.
        self.work: Work = self.pipe.recv()

    def time(self, steps: int) -> Turn:
        """Has it do so many steps."""
        self.pipe.send(steps)
        return self.pipe.recv()

    def close(self) -> None:
        """Lets it end."""
        self.pipe.close()
        self.process.join()


def measure(batch: int, width: int, samples: int, steps: int, peers: list[str]) -> dict[str, Any]:
    """All that `--json` writes."""
    settings = dict(batch=batch, width=width, samples=samples, steps=steps)
    workers = {name: Worker(name, batch, width) for name in ("ours", *peers)}
    work = workers["ours"].work
    for name, worker in workers.items():
        assert worker.work == work, f"unequal work: ours is {work}, {name} is {worker.work}"
    rounds: list[dict[str, Turn]] = []
    for i in range(samples):
        rounds.append({name: worker.time(steps) for name, worker in workers.items()})
        speeds = [f"{name} {batch * steps / turn.wall:.1f}" for name, turn in rounds[-1].items()]
        print(f"round {i + 1} of {samples}, images/s:", *speeds, file=sys.stderr, flush=True)
    for worker in workers.values():
        worker.close()
    ratios = {f"ratio_to_{p}": spread([r[p].wall / r["ours"].wall for r in rounds]) for p in peers}
    speed = {p: spread([batch * steps / r[p].wall for r in rounds]) for p in workers}
    cores = {p: spread([r[p].cpu / r[p].wall for r in rounds]) for p in workers}
    others = {p: spread([r[p].others / r[p].wall for r in rounds]) for p in workers}
    versions = {package: version(package) for package in PACKAGES if importable(package)}
    return {
        **ratios,
        "images_per_second": speed,
        "cores": cores,
        "cores_of_others": others,
        "parameters": work._asdict(),
        **settings,
        "versions": {"python": platform.python_version(), **versions},
        "hardware": hardware(),
    }


def spread(values: list[float]) -> dict[str, float]:
    """Median and range."""
    numbers = dict(median=statistics.median(values), min=min(values), max=max(values))
    return {name: round(value, 4) for name, value in numbers.items()}


def hardware() -> dict[str, Any]:
    """What it runs on."""
    info = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    cores = os.cpu_count()
    return {
        "cpu": model[1] if model else platform.processor(),
        "cores": cores,
        "threads": len(allowed) if allowed else cores,
    }


def table(result: dict[str, Any]) -> str:
    """The result as a table in Markdown."""
    lines = [
        "|  | images/s | from - to | ours / it | from - to | cores | others' cores |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, speed in result["images_per_second"].items():
        ratio = result.get(f"ratio_to_{name}")
        cells = [
            name,
            f"{speed['median']:.1f}",
            f"{speed['min']:.1f} - {speed['max']:.1f}",
            f"{ratio['median']:.2f}" if ratio else "",
            f"{ratio['min']:.2f} - {ratio['max']:.2f}" if ratio else "",
            f"{result['cores'][name]['median']:.1f}",
            f"{result['cores_of_others'][name]['median']:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def importable(package: str) -> bool:
    """Whether it is installed."""
    return importlib.util.find_spec(package) is not None


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    numbers = {
        "batch": (128, "images a step"),
        "width": (64, "channels of the widest layers, ngf = ndf"),
        "samples": (7, "rounds; in each, every contestant has its turn"),
        "steps": (5, "steps a turn"),
    }
    for name, (default, meaning) in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{meaning} ({default})")
    parser.add_argument("--peers", default=",".join(PEERS), help="of eager,tuned; may be empty")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there, too")
    options = vars(parser.parse_args())
    path, peers = options.pop("json"), [p for p in options.pop("peers").split(",") if p]
    if not set(peers) <= set(PEERS):
        parser.error(f"--peers: choose from {', '.join(PEERS)}")
    if peers and not importable("torch"):
        print(NO_TORCH, file=sys.stderr)
        sys.exit(USAGE)
    try:
        result = measure(**options, peers=peers)
    except EOFError:
        sys.exit("A worker died; its last words are above.")
    print(table(result))
    if max(cores["median"] for cores in result["cores_of_others"].values()) > NOT_IDLE:
        print(BUSY, file=sys.stderr)
    if path:
        path.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
