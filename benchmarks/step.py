"""Times DCGAN's training step beside its peers', on this machine, in turns.

    python benchmarks/step.py --batch=64 --json=step.json

Each contestant has a process of its own: it compiles, warms up and then blocks on a pipe until told
to time some steps. Only one computes at a time, and a ratio is taken within a round, so whatever
slows the machine for a while slows both of its sides.
"""

import argparse
import contextlib
import datetime
import functools
import importlib.util
import json
import math
import multiprocessing
import os
import platform
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).parents[1]
PEERS = ("eager", "tuned", "naive_flax")
DTYPES = ("float32", "bfloat16")
PACKAGES = ("jax", "jaxlib", "flax", "optax", "torch")
NOT_IDLE = 0.2  # Cores.
BUSY = "The machine was busy with something else, which slows some more than others: repeat it."
IMAGE_SIZE, Z_DIM = 64, 100
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
# Where in space each layer's kernel is applied: from 1x1 to 4x4, then at the smaller of both sides.
PLACES = (1, 4**2, 8**2, 16**2, 32**2)
# Of a step: G's forward passes, and passes for gradients of D's weights (eager wastes one).
PASSES = {"ours": (1, 2), "eager": (1, 3), "tuned": (1, 2), "naive_flax": (2, 2)}


class Player(NamedTuple):
    """The size of a network."""

    parameters: int
    kernels: tuple[int, ...]  # Numbers in the kernel of each convolution, in order of depth.


class Work(NamedTuple):
    """What has to be the same on both sides."""

    generator: Player
    discriminator: Player
    device: str  # "cpu" | "gpu" | "tpu"


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


Action = Callable[[], None]


class Contestant(NamedTuple):
    """What a worker has to know of a framework."""

    run: Callable[[int], int]  # At least so many steps, waiting for the last one; how many it did.
    work: Work
    device_memory: Callable[[], int | None]  # Most bytes in use; None on CPU.
    # A product of two matrices [side, side], and adding 1 to so many float32 in place.
    yardsticks: Callable[[int, str, int], tuple[Action, Action]]
    device: str
    xla: dict[str, float]


class Options(NamedTuple):
    """What the command line says of the step."""

    batch: int
    width: int
    dtype: str
    steps_per_call: int


def ours(options: Options) -> Contestant:
    """`gan.step.train_step`, compiled, placed and called as `gan.train` does it."""
    import jax
    from jax import lax

    from gan.config import Augment, Config, Data, Network
    from gan.data.feed import STEPS_PER_CALL
    from gan.parallel import Parallel, compile_once
    from gan.state import Batch, TrainState
    from gan.step import build, init_state, train_step

    batch, width = options.batch, options.width
    default = 1 if jax.default_backend() == "cpu" else STEPS_PER_CALL
    per_call = options.steps_per_call or default
    config = Config(
        data=Data(image_size=IMAGE_SIZE, batch_size=batch),
        augment=Augment(flip=False),
        network=Network(
            z_dim=Z_DIM, g_width=width, d_width=width, conditional=False, dtype=options.dtype
        ),
    )
    parallel = Parallel.create(config.parallel)
    gan = build(config, marginals=(0.5,), axis_name=parallel.axis_name)
    init = compile_once(functools.partial(init_state, gan), out_shardings=parallel.replicated)
    state = init(jax.random.key(config.seed))
    attributes = np.zeros((per_call, batch, 1), np.uint8)  # Ignored, but there has to be one.
    real = parallel.put(Batch(noise(per_call, batch), attributes), axis=1)
    one = functools.partial(train_step, gan)

    def several(state: TrainState, real: Batch) -> tuple[TrainState, Any]:
        if per_call == 1:  # On CPU a scan is many times slower.
            return one(state, jax.tree.map(lambda x: x[0], real))
        state, metrics = lax.scan(one, state, real)
        return state, metrics.reduce()

    call = parallel.compile(several, axis=1).lower(state, real).compile()

    def run(steps: int) -> int:
        nonlocal state
        calls = -(-steps // per_call)
        for _ in range(calls):
            state, metrics = call(state, real)
        jax.block_until_ready((state, metrics))
        return calls * per_call

    players = state.generator.params, state.discriminator.params
    return in_jax(run, players, call)


def naive_flax(options: Options) -> Contestant:
    """DCGAN as a newcomer writes it in Flax; in float32, whatever the others compute in."""
    from benchmarks.naive_flax import Game

    game = Game(as_floats(noise(options.batch)), Z_DIM, options.width)
    players = game.generator.params, game.discriminator.params
    return in_jax(game.run, players, game.step)


def in_jax(run: Callable[[int], int], players: tuple[Any, Any], compiled: Any) -> Contestant:
    """A contestant that `run`s a `compiled` program of JAX."""
    import jax
    import jax.numpy as jnp

    def device_memory() -> int | None:
        return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")

    def yardsticks(side: int, dtype: str, size: int) -> tuple[Action, Action]:
        a, x = jnp.full((side, side), 0.01, dtype), jnp.zeros(size, jnp.float32)
        product = jax.jit(jnp.matmul)
        add = jax.jit(lambda x: x + 1, donate_argnums=0)

        def touch() -> None:
            nonlocal x
            x = add(x).block_until_ready()

        return lambda: product(a, a).block_until_ready(), touch

    cost = compiled.cost_analysis() or {}
    names = {"flops": "flops", "bytes": "bytes accessed"}  # The body of a scan counts once.
    xla = {name: cost[key] for name, key in names.items() if key in cost}
    sizes = (player(jax.tree.leaves(params)) for params in players)
    work = Work(*sizes, jax.default_backend())
    return Contestant(run, work, device_memory, yardsticks, jax.devices()[0].device_kind, xla)


def pytorch(options: Options, *, tuned: bool) -> Contestant:
    """PyTorch's DCGAN example: as its users run it, or `tuned`."""
    import torch

    from benchmarks.pytorch_dcgan import Game

    real = as_floats(noise(options.batch)).transpose(0, 3, 1, 2)
    game = Game(real, Z_DIM, options.width, tuned, options.dtype)
    sizes = (player(net.parameters()) for net in (game.generator, game.discriminator))
    kind = game.device.type.replace("cuda", "gpu")
    name = torch.cuda.get_device_name() if kind == "gpu" else kind
    work = Work(*sizes, kind)
    return Contestant(game.run, work, game.device_memory, game.yardsticks, name, {})


CONTESTANTS = {
    "ours": ours,
    "eager": functools.partial(pytorch, tuned=False),
    "tuned": functools.partial(pytorch, tuned=True),
    "naive_flax": naive_flax,
}


def noise(*leading: int) -> np.ndarray:
    """In the place of photographs: a step takes as long whatever they show."""
    shape = (*leading, IMAGE_SIZE, IMAGE_SIZE, 3)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def as_floats(images: np.ndarray) -> np.ndarray:
    """In [-1, 1]: the peers' data loaders normalise, while we do so in the step."""
    return images.astype(np.float32) / 127.5 - 1


def player(arrays: Iterable[Any]) -> Player:
    """The size of a network, from its learned arrays in order of depth."""
    shapes = [tuple(array.shape) for array in arrays]
    kernels = tuple(math.prod(shape) for shape in shapes if len(shape) > 1)
    return Player(sum(map(math.prod, shapes)), kernels)


def layer_flops(kernel: int, places: int) -> int:
    """Of one pass over one image: a multiplication and an addition for each number and place.

    So many has a convolution forward, its gradient in its input and that in its weights; one whose
    kernel reaches beyond the image counts in full. Normalisation, activations and Adam do not.
    """
    return 2 * kernel * places


def step_flops(generator: Player, discriminator: Player, name: str) -> int:
    """Of one image's share of a step of contestant `name`, in convolutions and dense layers.

    With a pass of either network as the unit (0.21 GFLOP at width 64), ours and tuned have 11: G
    forward, in its inputs and weights; D three times forward, three times in its inputs and twice
    in its weights. Eager has one more in D's weights, naive Flax one more forward of G. Gradients
    in the latent and, in D's update, in the images are needed by nobody.
    """
    g = list(map(layer_flops, generator.kernels, PLACES))
    d = list(map(layer_flops, discriminator.kernels, reversed(PLACES)))
    forwards, weights = PASSES[name]
    return (forwards + 2) * sum(g) - g[0] + (3 + 3 + weights) * sum(d) - 2 * d[0]


def serve(name: str, options: Options, pipe: Connection) -> None:
    """The life of a worker: warm up, time as many steps as each message says, tell its limits."""
    sys.path.insert(0, str(ROOT))  # Of a script, Python knows only the folder.
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
        turns = [r[name] for r in rounds if name in r]
        flops = options.batch * step_flops(work.generator, work.discriminator, name)
        contestants[name] = {
            "images_per_second": spread([options.batch / pace(turn) for turn in turns]),
            "cores": spread([turn.cpu / turn.wall for turn in turns]),
            "cores_of_others": spread([turn.others / turn.wall for turn in turns]),
            "peak_memory_bytes": told[name].memory,
            "flops": flops,
            "xla": told[name].xla,
            "floor": floor(flops, told[name], [pace(turn) for turn in turns]),
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
    """The least that a step's arithmetic takes at the rate of a large matrix product."""
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
