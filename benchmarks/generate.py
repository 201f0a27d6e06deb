"""Measures how fast a generator draws faces with chosen attributes.

    python -m benchmarks.generate --json=generate.json

Weights are random, since drawing takes as long whatever they are. Calls of different sizes take
turns, round by round.
"""

import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import turns
from gan.config import Config, Data
from gan.data.attributes import AttributeTable
from gan.data.faces import dataset
from gan.model.averages import EMA
from gan.model.generate import batch_statistics, generate
from gan.model.networks import dcgan
from gan.model.step import build, init_state
from gan.runtime.parallel import compile_for_one_call, compiler_options
from gan.sampling.sampler import CHUNK, MEASURED, Sampler

START = "import jax, gan.sampling.job; jax.devices()"


class Drawing:
    """A generator with random weights, conditional on as many attributes as faces have."""

    def __init__(self, size: int, width: int, dtype: str):
        """Compiles and runs the calibration of batch statistics, as `Sampler` does at first."""
        self.dtype = dtype
        rows = np.random.default_rng(0).integers(0, 2, (1024, len(dataset.ATTRIBUTES)), np.uint8)
        self.table = AttributeTable(tuple(dataset.ATTRIBUTES), rows, "0" * 64, "0" * 64)
        network = dcgan.Settings(g_width=width, d_width=4, film=True)
        config = Config(data=Data(image_size=size), dtype=dtype, network=network)
        self.model, rules = build(config, self.table.marginals)
        init = compile_for_one_call(functools.partial(init_state, self.model, rules))
        self.params = init(jax.random.key(0)).averages[EMA]
        inputs = self.params, self.draw_attributes(MEASURED)
        calibration = self._compile(batch_statistics, *inputs)
        self.calibration_flops, _ = turns.count_cost(calibration)
        self._variables = calibration(*inputs)

    def draw_attributes(self, num: int) -> jax.Array:
        """Draws attributes [num a] to ask for, as frequent as in the training set."""
        return jnp.asarray(self.table.draw({}, range(num)))

    def compile_generator(self, batch: int) -> tuple[float, Callable[[], Any]]:
        """Compiles the generator alone for one batch; returns its FLOPs, and the call."""
        z = jnp.zeros((batch, self.model.z_dim))
        inputs = self.params, self._variables, z, self.draw_attributes(batch)
        compiled = self._compile(generate, *inputs)
        return turns.count_cost(compiled)[0], lambda: jax.block_until_ready(compiled(*inputs))

    def _compile(self, function: Callable, *inputs: Any) -> Any:
        call = jax.jit(functools.partial(function, self.model), compiler_options=compiler_options())
        return call.lower(*inputs).compile()


def measure(drawing: Drawing, sizes: list[int], rounds: int) -> dict[str, Any]:
    """Measures `Sampler`, and the generator alone, for calls of each of these sizes."""
    sampler = Sampler(drawing.model, drawing.table)
    alone = {num: drawing.compile_generator(num) for num in sizes}
    chunk, _ = alone.get(CHUNK) or drawing.compile_generator(CHUNK)
    flops = {num: drawing.calibration_flops + -(-num // CHUNK) * chunk for num in sizes}

    def call(num: int) -> Callable[[], Any]:
        return functools.partial(
            sampler, drawing.params, range(num), np.asarray(drawing.draw_attributes(num))
        )

    calls = {num: (flops[num], call(num)) for num in sizes}
    begin = time.perf_counter()
    calls[sizes[0]][1]()
    first = time.perf_counter() - begin
    sampled = measure_rates(calls, drawing.dtype, rounds)
    later = sizes[0] / statistics.median(sampled[str(sizes[0])]["images_per_second"])
    return {
        "compile_seconds": first - later,
        "sampler": sampled,
        "generator_alone": measure_rates(alone, drawing.dtype, rounds),
    }


def measure_rates(
    calls: dict[int, tuple[float, Callable[[], Any]]], dtype: str, rounds: int
) -> dict[str, dict[str, Any]]:
    """Measures images/s of calls, beside the images/s that their FLOPs would allow.

    `calls` has, for each number of pictures, the FLOPs of a call and the call.
    """
    for _, run in calls.values():
        run()  # Compiles.
    seconds = turns.time_in_turns({str(num): run for num, (_, run) in calls.items()}, rounds)
    return {
        str(num): {
            "images_per_second": [num / s for s in seconds[str(num)]],
            "floor": num * turns.measure_matmul_rate(dtype) / flops,
        }
        for num, (flops, _) in calls.items()
    }


def report(title: str, measured: dict[str, dict[str, Any]]) -> str:
    """Returns a table with a row for each number of pictures."""
    rows = [("pictures", "images/s (range)", "floor", "share of the floor")]
    for name, row in measured.items():
        share = statistics.median(row["images_per_second"]) / row["floor"]
        speed = turns.format_spread(row["images_per_second"])
        rows.append((name, speed, f"{row['floor']:,.0f}", f"{share:.0%}"))
    return turns.format_columns(title, rows)


def main() -> None:
    """Prints two tables."""
    numbers = {
        "size": (64, "pixels"),
        "width": (64, "channels of the generator's last hidden layer"),
        "rounds": (5, "in each, every size of a call has its turn"),
    }
    parser = turns.make_parser(__doc__, numbers)
    sizes = "1,8,64,512"
    parser.add_argument("--pictures", type=turns.parse_numbers, default=sizes, help=sizes)
    parser.add_argument("--dtype", default="float32")
    options = parser.parse_args()
    start_up = turns.time_start_up(START)
    drawing = Drawing(options.size, options.width, options.dtype)
    results = measure(drawing, options.pictures, options.rounds)
    compiling = results["compile_seconds"]
    print(f"Start-up (imports, device) {start_up:.2f} s, compiling {compiling:.2f} s")
    title = f"Sampler: calibrates, then draws in batches of {CHUNK}; pictures asked for at a time"
    print(report(title, results["sampler"]))
    print(report("The generator alone, by the size of a batch", results["generator_alone"]))
    turns.write_results(options, start_up_seconds=start_up, **results)


if __name__ == "__main__":
    main()
