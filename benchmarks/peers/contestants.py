"""The training steps that are timed: ours, PyTorch's and naive Flax's.

Each function builds one for a worker process of `benchmarks.step`; frameworks are imported there.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.work import Work, measure_network

IMAGE_SIZE, Z_DIM = 64, 100

Action = Callable[[], None]


class Contestant(NamedTuple):
    """A training step, ready to be timed."""

    # Does at least so many steps, waits for the last one, and returns how many it did.
    run: Callable[[int], int]
    work: Work
    flops: int | None  # FLOPs of a step, counted in the program itself; None where nobody counts.
    xla: dict[str, float]  # FLOPs and bytes of a step as XLA counts them; empty for PyTorch.
    device: str  # Name of the device.
    device_memory: Callable[[], int | None]  # Most bytes of the device in use; None on CPU.
    # Makes two calls: a product of matrices [side, side], and adding 1 to `size` float32 in place.
    yardsticks: Callable[[int, str, int], tuple[Action, Action]]


class Options(NamedTuple):
    """Options of the command line that describe the step."""

    batch: int
    width: int
    dtype: str
    steps_per_call: int


def build_ours(options: Options) -> Contestant:
    """Builds `gan.model.step.train_step`, compiled, placed and called as training does it."""
    import jax
    from jax import lax

    from gan.config import Augment, Config, Data
    from gan.data.batch import Batch
    from gan.data.feed import STEPS_PER_CALL, reduce_metrics
    from gan.model import flops
    from gan.model.networks import dcgan
    from gan.model.state import TrainState
    from gan.model.step import build, init_state, train_step
    from gan.runtime.parallel import Parallel, compile_for_one_call

    batch, width = options.batch, options.width
    default = 1 if jax.default_backend() == "cpu" else STEPS_PER_CALL
    per_call = options.steps_per_call or default
    config = Config(
        data=Data(image_size=IMAGE_SIZE, batch_size=batch),
        augment=Augment(flip=False),
        z_dim=Z_DIM,
        conditional=False,
        dtype=options.dtype,
        network=dcgan.Settings(g_width=width, d_width=width),
    )
    parallel = Parallel.create(config.parallel)
    model, rules = build(config, marginals=(0.5,), axis_name=parallel.axis_name)
    init = functools.partial(init_state, model, rules)
    init = compile_for_one_call(init, out_shardings=parallel.replicated)
    state = init(jax.random.key(config.seed))
    attributes = np.zeros((per_call, batch, 1), np.uint8)  # Ignored, but there has to be one.
    real = parallel.put_batch(Batch(make_noise(per_call, batch), attributes), axis=1)
    one = functools.partial(train_step, model, rules)

    def several(state: TrainState, real: Batch) -> tuple[TrainState, Any]:
        if per_call == 1:  # On CPU a scan is many times slower.
            return one(state, jax.tree.map(lambda x: x[0], real))
        state, metrics = lax.scan(one, state, real)
        return state, reduce_metrics(metrics)

    call = parallel.compile(several, axis=1).lower(state, real).compile()

    def run(steps: int) -> int:
        nonlocal state
        calls = -(-steps // per_call)
        for _ in range(calls):
            state, metrics = call(state, real)
        jax.block_until_ready((state, metrics))
        return calls * per_call

    players = state.generator.params, state.discriminator.params
    counted = flops.count(one, state, jax.tree.map(lambda x: x[0], real))
    return _in_jax(run, players, call, counted)


def build_naive_flax(options: Options) -> Contestant:
    """Builds DCGAN as a newcomer writes it in Flax; in float32, whatever the others compute in."""
    from benchmarks.peers.naive_flax import Game

    game = Game(as_floats(make_noise(options.batch)), Z_DIM, options.width)
    players = game.generator.params, game.discriminator.params
    return _in_jax(game.run, players, game.step, None)


def _in_jax(
    run: Callable[[int], int], players: tuple[Any, Any], compiled: Any, flops: int | None
) -> Contestant:
    """Returns a contestant that runs a `compiled` program of JAX."""
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
    sizes = (measure_network(jax.tree.leaves(params)) for params in players)
    return Contestant(
        run=run,
        work=Work(*sizes, jax.default_backend()),
        flops=flops,
        xla={name: cost[key] for name, key in names.items() if key in cost},
        device=jax.devices()[0].device_kind,
        device_memory=device_memory,
        yardsticks=yardsticks,
    )


def build_pytorch(options: Options, *, tuned: bool) -> Contestant:
    """Builds PyTorch's DCGAN example: as its users run it, or `tuned`."""
    import torch

    from benchmarks.peers.pytorch_dcgan import Game, count_flops

    real = as_floats(make_noise(options.batch)).transpose(0, 3, 1, 2)
    flops = options.batch * count_flops(Z_DIM, options.width, tuned)
    game = Game(real, Z_DIM, options.width, tuned, options.dtype)
    sizes = (measure_network(net.parameters()) for net in (game.generator, game.discriminator))
    kind = game.device.type.replace("cuda", "gpu")
    return Contestant(
        run=game.run,
        work=Work(*sizes, kind),
        flops=flops,
        xla={},
        device=torch.cuda.get_device_name() if kind == "gpu" else kind,
        device_memory=game.device_memory,
        yardsticks=game.yardsticks,
    )


CONTESTANTS = {
    "ours": build_ours,
    "eager": functools.partial(build_pytorch, tuned=False),
    "tuned": functools.partial(build_pytorch, tuned=True),
    "naive_flax": build_naive_flax,
}


def make_noise(*leading: int) -> np.ndarray:
    """Returns noise in the place of photographs: a step takes as long whatever they show."""
    shape = (*leading, IMAGE_SIZE, IMAGE_SIZE, 3)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def as_floats(images: np.ndarray) -> np.ndarray:
    """Maps 0..255 to [-1, 1]: the peers' data loaders normalise, while our step does so itself."""
    return images.astype(np.float32) / 127.5 - 1
