"""Measures how the cost of a step grows: with batch, resolution and width, and over devices.

    python -m benchmarks.scaling --json=scaling.json

FLOPs and bytes are XLA's count of what it compiled. The devices are virtual ones of the CPU, and
nothing runs on them: their messages are read from the compiled program.
"""

import collections
import functools
import json
import statistics
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

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
        """Compiles it for all devices that there are."""
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
        self.flops, self.bytes = turns.count_cost(self.compiled)

    def make_contestant(self, steps: int) -> Callable[[], None]:
        """Returns a call that does so many steps on one batch."""
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


def measure_growth(
    axis: str, values: list[int], others: dict[str, int], dtype: str, steps: int, rounds: int
) -> dict[str, Any]:
    """Measures seconds, FLOPs and bytes of a step for each value, and the exponent of the time."""
    made = {value: Step(**others | {axis: value}, dtype=dtype) for value in values}
    contestants = {str(value): step.make_contestant(steps) for value, step in made.items()}
    seconds = turns.time_in_turns(contestants, rounds)
    rows = {}
    for value, step in made.items():
        taken = [s / steps for s in seconds[str(value)]]
        floors = (
            step.flops / turns.measure_matmul_rate(dtype),
            step.bytes / turns.measure_copy_rate(),
        )
        rows[str(value)] = {
            "seconds": taken,
            "flops": step.flops,
            "bytes": step.bytes,
            "share_of_flops_floor": floors[0] / statistics.median(taken),
            "share_of_bytes_floor": floors[1] / statistics.median(taken),
        }
    medians = [statistics.median(row["seconds"]) for row in rows.values()]
    flops = [row["flops"] for row in rows.values()]
    return {
        "rows": rows,
        "exponent": turns.fit_exponent(flops, medians) if len(values) > 1 else None,
    }


def count_collectives(text: str, devices: int) -> dict[str, dict[str, int]]:
    """Counts the messages of each kind in a compiled program, and the bytes of their results."""
    found: dict[str, dict[str, int]] = collections.defaultdict(lambda: {"number": 0, "bytes": 0})
    for collective in find_collectives(text, devices):
        found[collective.kind]["number"] += 1
        found[collective.kind]["bytes"] += collective.bytes
    return dict(found)


def compile_for_devices(devices: int, batch: int, size: int, width: int) -> dict[str, Any]:
    """Returns what so many devices send each other in a step, and what they have to send."""
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", devices)
    step = Step(batch, size, width)
    players = step.like.generator, step.like.discriminator
    size_of = lambda tree: sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))  # noqa: E731
    return {
        "collectives": count_collectives(step.compiled.as_text(), devices),
        "gradient_bytes": size_of([player.params for player in players]),
        "statistics_bytes": size_of([player.variables for player in players]),
        "flops_of_a_device": step.flops,
    }


def compile_for_all(
    numbers: list[int], batches: list[int], size: int, width: int
) -> dict[str, Any]:
    """Compiles for each number of devices and global batch, each in a process of its own."""
    results = {}
    for devices in numbers:
        for batch in batches:
            call = f"scaling.compile_for_devices({devices}, {batch}, {size}, {width})"
            code = f"import json; from benchmarks import scaling; print(json.dumps({call}))"
            printed = turns.run_python(code, JAX_PLATFORMS="cpu")
            results[f"{devices}, {batch}"] = json.loads(printed.splitlines()[-1])
    return results


def report_growth(axis: str, measured: dict[str, Any]) -> str:
    """Returns a table with a row for each value, then the exponent."""
    rows = [(axis, "ms a step (range)", "GFLOP", "GB", "share of FLOPs' floor", "of bytes' floor")]
    for value, row in measured["rows"].items():
        cells = [value, turns.format_spread([1000 * s for s in row["seconds"]], 1)]
        cells += [f"{row[kind] / 1e9:.2f}" for kind in ("flops", "bytes")]
        cells += [f"{row[f'share_of_{kind}_floor']:.0%}" for kind in ("flops", "bytes")]
        rows.append(cells)
    text = turns.format_columns(f"By {axis}", rows)
    if measured["exponent"] is not None:
        text += f"\n  time grows as the FLOPs to the {measured['exponent']:.2f}"
    return text


def report_devices(measured: dict[str, Any]) -> str:
    """Returns a table with a row for each number of devices and global batch."""
    rows = [("devices, batch", "collectives", "MB", "gradients, MB", "GFLOP a device")]
    for name, row in measured.items():
        found = row["collectives"]
        kinds = ", ".join(f"{kind['number']} {name}" for name, kind in found.items()) or "none"
        total = sum(kind["bytes"] for kind in found.values())
        cells = (total / 1e6, row["gradient_bytes"] / 1e6, row["flops_of_a_device"] / 1e9)
        rows.append((name, kinds, *(f"{cell:,.3f}" for cell in cells)))
    return turns.format_columns("What devices send each other in a step", rows)


def main() -> None:
    """Prints four tables."""
    numbers = {
        "batch": (64, "where something else grows"),
        "size": (64, "pixels, where something else grows"),
        "width": (64, "channels of the networks, where something else grows"),
        "steps": (2, "in a turn"),
        "rounds": (3, "in each, every row of a table has its turn"),
    }
    parser = turns.make_parser(__doc__, numbers)
    lists = {"batches": "16,32,64,128", "sizes": "32,64,128", "widths": "16,32,64,128"}
    for name, values in (lists | {"devices": "1,2,4,8"}).items():
        parser.add_argument(f"--{name}", type=turns.parse_numbers, default=values, help=values)
    parser.add_argument("--dtype", default="float32")
    options = parser.parse_args()
    fixed = {name: getattr(options, name) for name in ("batch", "size", "width")}
    devices = compile_for_all(
        options.devices, [options.batch, 2 * options.batch], options.size, options.width
    )
    print(report_devices(devices), flush=True)
    measured = {}
    for axis, name in zip(fixed, lists, strict=True):
        settings = options.dtype, options.steps, options.rounds
        measured[axis] = measure_growth(axis, getattr(options, name), fixed, *settings)
        print(report_growth(axis, measured[axis]), flush=True)
    turns.write_results(options, growth=measured, devices=devices)


if __name__ == "__main__":
    main()
