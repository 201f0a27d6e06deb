"""How the cost of a training step grows: with batch, resolution and width, and over devices.

    python -m benchmarks.scaling --json=scaling.json

FLOPs and bytes are XLA's count of what it compiled. The devices are virtual ones of the CPU, and
only compiled for: what they tell each other is read from the program.
"""

import collections
import functools
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # For `python benchmarks/scaling.py`.
from benchmarks import turns
from gan.config import Config, Data
from gan.data.batch import Batch
from gan.model.networks import dcgan
from gan.model.step import abstract_state, build, init_state, train_step
from gan.preflight.compiled_program import find_collectives
from gan.runtime.parallel import Parallel, compile_for_one_call

MARGINALS = (0.5,) * 40


class Step:
    """The compiled step for a batch, resolution and width."""

    def __init__(self, batch: int, size: int, width: int, dtype: str = "float32"):
        """For all devices that there are."""
        self.parallel = Parallel.create("jit")
        config = Config(
            data=Data(image_size=size, batch_size=batch),
            dtype=dtype,
            network=dcgan.Settings(g_width=width, d_width=width),
        )
        self.built = build(config, MARGINALS)
        self._shapes = {"image": (batch, size, size, 3), "attributes": (batch, len(MARGINALS))}
        batch_like = Batch(*(jax.ShapeDtypeStruct(s, np.uint8) for s in self._shapes.values()))
        self.like = abstract_state(*self.built, self.parallel.replicated)
        step = self.parallel.compile(functools.partial(train_step, *self.built))
        self.compiled = step.lower(self.like, batch_like).compile()
        self.flops, self.bytes = turns.cost(self.compiled)

    def contestant(self, steps: int) -> Callable[[], None]:
        """Does so many steps on one batch."""
        init = functools.partial(init_state, *self.built)
        state = compile_for_one_call(init, out_shardings=self.parallel.replicated)(
            jax.random.key(0)
        )
        rng = np.random.default_rng(0)
        noise = {name: rng.integers(0, 2, shape, np.uint8) for name, shape in self._shapes.items()}
        batch = self.parallel.put_batch(Batch(**noise))

        def run() -> None:
            nonlocal state
            for _ in range(steps):
                state, metrics = self.compiled(state, batch)
            jax.block_until_ready((state, metrics))

        run()
        return run


def growth(
    axis: str, values: list[int], others: dict[str, int], dtype: str, steps: int, rounds: int
) -> dict[str, Any]:
    """Seconds of a step, its FLOPs and bytes for each value, and the exponent of the time."""
    made = {value: Step(**others | {axis: value}, dtype=dtype) for value in values}
    contestants = {str(value): step.contestant(steps) for value, step in made.items()}
    seconds = turns.seconds_in_turns(contestants, rounds)
    rows = {}
    for value, step in made.items():
        taken = [s / steps for s in seconds[str(value)]]
        floors = step.flops / turns.matmul_rate(dtype), step.bytes / turns.copy_rate()
        rows[str(value)] = {
            "seconds": taken,
            "flops": step.flops,
            "bytes": step.bytes,
            "share_of_flops_floor": floors[0] / statistics.median(taken),
            "share_of_bytes_floor": floors[1] / statistics.median(taken),
        }
    medians = [statistics.median(row["seconds"]) for row in rows.values()]
    flops = [row["flops"] for row in rows.values()]
    return {"rows": rows, "exponent": turns.exponent(flops, medians) if len(values) > 1 else None}


def collectives(text: str, devices: int) -> dict[str, dict[str, int]]:
    """How many of each kind a compiled program has, and the bytes of their results."""
    found: dict[str, dict[str, int]] = collections.defaultdict(lambda: {"number": 0, "bytes": 0})
    for collective in find_collectives(text, devices):
        found[collective.kind]["number"] += 1
        found[collective.kind]["bytes"] += collective.bytes
    return dict(found)


def on_devices(devices: int, batch: int, size: int, width: int) -> dict[str, Any]:
    """What so many devices tell each other in a step, and what they have to."""
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", devices)
    step = Step(batch, size, width)
    players = step.like.generator, step.like.discriminator
    size_of = lambda tree: sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))  # noqa: E731
    return {
        "collectives": collectives(step.compiled.as_text(), devices),
        "gradient_bytes": size_of([player.params for player in players]),
        "statistics_bytes": size_of([player.variables for player in players]),
        "flops_of_a_device": step.flops,
    }


def over_devices(numbers: list[int], batches: list[int], size: int, width: int) -> dict[str, Any]:
    """`on_devices` for each number of devices and global batch, in processes of their own."""
    results = {}
    for devices in numbers:
        for batch in batches:
            call = f"scaling.on_devices({devices}, {batch}, {size}, {width})"
            code = f"import json; from benchmarks import scaling; print(json.dumps({call}))"
            printed = turns.in_a_process(code, JAX_PLATFORMS="cpu")
            results[f"{devices}, {batch}"] = json.loads(printed.splitlines()[-1])
    return results


def report_growth(axis: str, measured: dict[str, Any]) -> str:
    """A row for each value, then the exponent."""
    rows = [(axis, "ms a step (range)", "GFLOP", "GB", "share of FLOPs' floor", "of bytes' floor")]
    for value, row in measured["rows"].items():
        cells = [value, turns.spread([1000 * s for s in row["seconds"]], 1)]
        cells += [f"{row[kind] / 1e9:.2f}" for kind in ("flops", "bytes")]
        cells += [f"{row[f'share_of_{kind}_floor']:.0%}" for kind in ("flops", "bytes")]
        rows.append(cells)
    text = turns.columns(f"By {axis}", rows)
    if measured["exponent"] is not None:
        text += f"\n  time grows as the FLOPs to the {measured['exponent']:.2f}"
    return text


def report_devices(measured: dict[str, Any]) -> str:
    """A row for each number of devices and global batch."""
    rows = [("devices, batch", "collectives", "MB", "gradients, MB", "GFLOP a device")]
    for name, row in measured.items():
        found = row["collectives"]
        kinds = ", ".join(f"{kind['number']} {name}" for name, kind in found.items()) or "none"
        total = sum(kind["bytes"] for kind in found.values())
        cells = (total / 1e6, row["gradient_bytes"] / 1e6, row["flops_of_a_device"] / 1e9)
        rows.append((name, kinds, *(f"{cell:,.3f}" for cell in cells)))
    return turns.columns("What devices tell each other in a step", rows)


def main() -> None:
    """Prints four tables."""
    numbers = {
        "batch": (64, "where something else grows"),
        "size": (64, "pixels, where something else grows"),
        "width": (64, "channels of the networks, where something else grows"),
        "steps": (2, "in a turn"),
        "rounds": (3, "in each, every row of a table has its turn"),
    }
    parser = turns.parser(__doc__, numbers)
    lists = {"batches": "16,32,64,128", "sizes": "32,64,128", "widths": "16,32,64,128"}
    for name, values in (lists | {"devices": "1,2,4,8"}).items():
        parser.add_argument(f"--{name}", type=turns.whole_numbers, default=values, help=values)
    parser.add_argument("--dtype", default="float32")
    options = parser.parse_args()
    fixed = {name: getattr(options, name) for name in ("batch", "size", "width")}
    devices = over_devices(
        options.devices, [options.batch, 2 * options.batch], options.size, options.width
    )
    print(report_devices(devices), flush=True)
    measured = {}
    for axis, name in zip(fixed, lists, strict=True):
        settings = options.dtype, options.steps, options.rounds
        measured[axis] = growth(axis, getattr(options, name), fixed, *settings)
        print(report_growth(axis, measured[axis]), flush=True)
    turns.write(options, growth=measured, devices=devices)


if __name__ == "__main__":
    main()
