"""Small states of every kind of array, for tests of checkpoints."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan.data.attributes import AttributeTable
from gan.model.state import Adaptive, NetState, TrainState
from gan.model.step import abstract_state, build
from gan.workdir.checkpoints import Checkpoints
from gan.workdir.folder import read_config
from gan.workdir.manifest import digests

# Orbax leaves unfinished coroutines behind when it fails, as it is meant to in some tests.
ORBAX_FAILS = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning"),
    pytest.mark.usefixtures("leave_nothing"),
]


def make_state(seed: int, width: int = 3, dtype: Any = jnp.float32) -> TrainState:
    key = jax.random.key(seed)
    params = {"w": jax.random.normal(key, (width, 400), dtype), "b": jnp.zeros((width,))}
    statistics = {"batch_stats": {"mean": jnp.arange(5.0) + seed}}
    net = NetState(params, statistics, (jnp.int32(seed), {"mu": jnp.float32(seed)}, ()))
    averages = {"ema": {"w": jnp.full((width,), 1.0 + seed)}}
    adaptive = Adaptive(jnp.float32(0.5), jnp.float32(seed))
    return TrainState(jnp.int32(seed), key, net, net.replace(variables={}), averages, adaptive)


def like(width: int = 3, dtype: Any = jnp.float32) -> TrainState:
    struct = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)  # noqa: E731
    return jax.tree.map(struct, make_state(0, width, dtype))


def make_metrics(seed: int) -> dict[str, list]:
    random = np.random.default_rng(seed)
    return {name: [float(random.normal()), seed + 1] for name in ("d_loss", "g_loss")}


def save_two(folder: Path) -> Path:
    """Steps 1 and 2 are there."""
    with Checkpoints(folder, keep=3) as checkpoints:
        for step in (1, 2):
            checkpoints.save(make_state(step), step)
    return folder


def same(a: Any, b: Any) -> bool:
    return digests(a) == digests(b)


def restore_state(folder: Path, step: int) -> TrainState:
    """The whole state of a run's checkpoint, on one device."""
    table = AttributeTable.load(folder / "attributes.npz")
    built = build(read_config(folder), table.marginals)
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    with Checkpoints(folder, read_only=True) as checkpoints:
        return checkpoints.restore(abstract_state(*built, here), step)
