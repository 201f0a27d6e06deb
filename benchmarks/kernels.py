"""Measures what XLA's own kernels save on CPU, against those that this version of JAX takes itself.

    python -m benchmarks.kernels

`gan.runtime.parallel.OWN_KERNELS` names the versions where they save time.
"""

import functools
from collections.abc import Callable

import jax
import numpy as np

from benchmarks import turns
from gan.data.batch import Batch
from gan.experiments import load_config
from gan.model.state import TrainState
from gan.model.step import build, init_state, train_step
from gan.runtime.parallel import OWN_KERNELS_OPTION

CONFIGS = ("configs/quickstart.py", "configs/celeba64.py:narrow")
ATTRIBUTES, STEPS = 40, 4


def compile_step(name: str, size: int) -> dict[str, Callable[[], TrainState]]:
    """Compiles the step of a configuration at a batch size both ways; a call does `STEPS` steps."""
    config = load_config(name)
    config.data.batch_size = size
    model, rules = build(config, (0.5,) * ATTRIBUTES)
    draw, side = np.random.default_rng(0), model.image_size
    images = draw.integers(0, 256, (rules.images, side, side, 3), np.uint8)
    batch = Batch(images, draw.integers(0, 2, (rules.images, ATTRIBUTES), np.uint8))
    start = jax.jit(functools.partial(init_state, model, rules))(jax.random.key(0))

    def compile_with(options: dict[str, str]) -> Callable[[], TrainState]:
        step = jax.jit(functools.partial(train_step, model, rules), compiler_options=options)
        step = step.lower(start, batch).compile()

        def run() -> TrainState:
            state = start
            for _ in range(STEPS):
                state, _ = step(state, batch)
            return jax.block_until_ready(state)

        return run

    return {"as JAX comes": compile_with({}), "own kernels": compile_with(OWN_KERNELS_OPTION)}


def main() -> None:
    """Prints a table for each configuration."""
    numbers = {"rounds": (6, "in each, both have their turn"), "batch": (64, "images a step")}
    options = turns.make_parser(__doc__, numbers).parse_args()
    found = {}
    for name in CONFIGS:
        contestants = compile_step(name, options.batch)
        found[name] = turns.rate_in_turns(contestants, options.batch * STEPS, options.rounds)
        print(turns.format_rates(f"{name}, jax {jax.__version__}", found[name], "as JAX comes"))
    turns.write_results(options, images_per_second=found)


if __name__ == "__main__":
    main()
