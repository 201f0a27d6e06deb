"""Checkpoints: what was saved comes back, or it is said that it does not."""

import gc

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from gan.checkpoint import Checkpoints, digests
from gan.errors import ConfigError, DataError
from gan.state import NetState, TrainState

pytestmark = [
    # Orbax leaves unfinished coroutines behind when a restore fails, as it is meant to here.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning"),
]


@pytest.fixture(autouse=True)
def leave_nothing():
    """Collects them here, where they are expected, and not in some later test."""
    yield
    gc.collect()


def make_state(seed: int, width: int = 3) -> TrainState:
    key = jax.random.key(seed)
    net = NetState({"w": jax.random.normal(key, (width, 400))}, {}, (jnp.float32(seed),))
    return TrainState(jnp.int32(seed), key, net, net, {"w": jnp.full((width,), 1.0 + seed)})


@pytest.fixture
def folder(tmp_path):
    with Checkpoints(tmp_path, keep=3) as checkpoints:
        for step in (1, 2):
            checkpoints.save(make_state(step), step)
    return tmp_path


def like(width: int = 3) -> TrainState:
    return jax.tree.map(ocp.utils.to_shape_dtype_struct, make_state(0, width))


def same(a: TrainState, b: TrainState) -> bool:
    return digests(a) == digests(b)


def test_the_newest_comes_back_bit_for_bit(folder):
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.steps() == [1, 2]
        restored = checkpoints.restore_newest(like())
        assert same(restored, make_state(2))
        assert same(checkpoints.restore(like(), 1), make_state(1))


def test_the_newest_few_and_every_nth_are_kept(tmp_path):
    with Checkpoints(tmp_path, keep=2, keep_every=4) as checkpoints:
        for step in range(1, 11):
            checkpoints.save(make_state(step), step)
        checkpoints.wait()
        assert checkpoints.steps() == [4, 8, 9, 10]


def data_files(folder, step):
    return [p for p in (folder / f"checkpoints/{step}/state").rglob("d/*") if p.is_file()]


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "meta"])
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_used(folder, damage):
    largest = max(data_files(folder, 2), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        largest.write_bytes(content)
    elif damage == "cut":
        largest.write_bytes(content[: len(content) // 2])
    elif damage == "meta":
        (folder / "checkpoints/2/meta/metadata").write_text("{}")
    else:
        largest.unlink()
    with Checkpoints(folder, keep=3) as checkpoints:
        with pytest.raises(DataError, match="checkpoints/2"):
            checkpoints.restore(like(), 2)
        assert same(checkpoints.restore_newest(like()), make_state(1))
        assert checkpoints.steps() == [1]
        assert list((folder / "checkpoints").glob("2.damaged-*"))
        checkpoints.save(make_state(7), 2)  # Orbax would skip it, were the damaged one still there.
        checkpoints.wait()
        assert same(checkpoints.restore_newest(like()), make_state(7))


def test_where_none_is_whole_nothing_starts_over(folder):
    for step in (1, 2):
        for path in data_files(folder, step):
            path.unlink()
    with Checkpoints(folder) as checkpoints:
        with pytest.raises(DataError, match="no checkpoint is whole"):
            checkpoints.restore_newest(like())
        assert checkpoints.steps() == [1, 2]


def test_another_model_is_said_to_be_one_and_nothing_is_set_aside(folder):
    with Checkpoints(folder) as checkpoints:
        with pytest.raises(ConfigError, match="another model"):
            checkpoints.restore_newest(like(width=4))
        assert checkpoints.steps() == [1, 2]


def test_none_where_there_is_none(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.restore_newest(like()) is None


def test_digests_see_type_and_shape():
    zeros = np.zeros((2, 2), np.float32)
    trees = [zeros, zeros.reshape(4), zeros.view(np.int32), jax.random.key(0), jax.random.key(1)]
    assert len({digests(jnp.asarray(tree))[""] for tree in trees}) == len(trees)
