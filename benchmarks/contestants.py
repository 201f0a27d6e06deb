"""The steps that are timed, each told how many to do: ours, naive Flax's, PyTorch's."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.work import Work, player

IMAGE_SIZE, Z_DIM = 64, 100

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
    """`gan.model.step.train_step`, compiled, placed and called as `gan.training.job` does it."""
    import jax
    from jax import lax

    from gan.config import Augment, Config, Data
    from gan.data.batch import Batch
    from gan.data.feed import STEPS_PER_CALL
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
    init = compile_for_one_call(
        functools.partial(init_state, model, rules), out_shardings=parallel.replicated
    )
    state = init(jax.random.key(config.seed))
    attributes = np.zeros((per_call, batch, 1), np.uint8)  # Ignored, but there has to be one.
    real = parallel.put_batch(Batch(noise(per_call, batch), attributes), axis=1)
    one = functools.partial(train_step, model, rules)

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
