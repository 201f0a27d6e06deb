"""Moving averages: half-lives in images, a warm-up, two at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan.config import Average, Config
from gan.model import schedules
from gan.model.averages import decay, init_averages, names, update_averages

PARAMS = {"w": jnp.array([1.0, 2.0])}


def dials(**average):
    return schedules.at(Config(average=Average(**average)))(jnp.zeros(()))


def test_names__are_two_where_a_second_is_kept():
    assert names(second=False) == ("ema",)
    assert names(second=True) == ("ema", "ema2")


def test_init__copies_since_no_buffer_may_be_in_a_state_twice():
    kept = init_averages(PARAMS, names(second=True))
    buffers = {x.unsafe_buffer_pointer() for x in jax.tree.leaves((PARAMS, kept))}
    assert len(buffers) == 3


@pytest.mark.parametrize("half_life", [40.0, jnp.float32(40.0)])
def test_decay__halves_after_the_half_life(half_life):
    np.testing.assert_allclose(decay(half_life, 10) ** 4, 0.5, rtol=1e-6)


@pytest.mark.parametrize("half_life", [0.0, jnp.float32(0.0)])
def test_decay__forgets_all_at_half_life_0(half_life):
    assert decay(half_life, 10) == 0


def test_update__keeps_two_of_different_half_lives():
    kept = init_averages(PARAMS, names(second=True))
    new = {"w": jnp.array([5.0, 2.0])}
    long = jnp.float32(1e6)  # Updates: the warm-up is over.
    kept = update_averages(kept, new, dials(half_life=8.0, second_half_life=16.0), 8, long)
    np.testing.assert_allclose(kept["ema"]["w"], [3.0, 2.0], rtol=1e-5)
    np.testing.assert_allclose(kept["ema2"]["w"], [5 - 4 * 0.5**0.5, 2.0], rtol=1e-5)


def test_update__is_early_over_the_few_updates_there_are():
    kept = init_averages(PARAMS, names(second=False))
    kept = update_averages(kept, {"w": jnp.zeros(2)}, dials(half_life=1e9), 8, jnp.float32(1.0))
    np.testing.assert_allclose(kept["ema"]["w"], [0.1, 0.2], rtol=1e-5)
