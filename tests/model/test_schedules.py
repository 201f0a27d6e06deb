"""Dials: constant where nothing changes them, a half cosine of images seen elsewhere."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan.config import Augment, Average, Config, Optimizer
from gan.model import schedules
from gan.model.schedules import Dials

CONFIG = Config(
    r1=2.0,
    r1_end=0.2,
    r2_end=1.0,
    gradient_penalty=3.0,
    burn_in=1000.0,
    augment=Augment(probability=0.0, probability_end=0.3),
    average=Average(half_life=0.0, half_life_end=500.0, second_half_life=7.0),
    g_optimizer=Optimizer(learning_rate=4e-4, learning_rate_end=1e-4, b2=0.9, b2_end=0.99),
)
ENDS = {
    "r1": (2.0, 0.2),
    "r2": (0.0, 1.0),
    "augment_probability": (0.0, 0.3),
    "average_half_life": (0.0, 500.0),
    "g_optimizer_learning_rate": (4e-4, 1e-4),
    "g_optimizer_b2": (0.9, 0.99),
}
CONSTANT = {
    "gradient_penalty": 3.0,
    "average_second_half_life": 7.0,
    "d_optimizer_learning_rate": 2e-4,
    "d_optimizer_b2": 0.999,
}


def test_dials__are_all_that_a_setting_declares():
    assert {*Dials._fields} >= ENDS.keys() | CONSTANT.keys()


@pytest.mark.parametrize("images", [0, 1, 250, 500, 999, 1000, 5000])
def test_at__goes_by_half_a_cosine_and_stays_at_the_end(images):
    dials = jax.jit(schedules.at(CONFIG))(jnp.float32(images))
    progress = min(images / 1000, 1)
    for name, (start, end) in ENDS.items():
        expected = end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
        np.testing.assert_allclose(getattr(dials, name), expected, rtol=1e-5, atol=1e-9)


def test_at__leaves_what_is_constant_a_plain_number():
    dials = schedules.at(CONFIG)(jnp.float32(300.0))
    for name, value in CONSTANT.items():
        assert isinstance(getattr(dials, name), float)
        assert getattr(dials, name) == value
    for value in schedules.at(Config())(jnp.float32(300.0)):
        assert isinstance(value, float)


def test_is_used__where_a_dial_is_ever_other_than_0():
    assert schedules.is_used(CONFIG, "r1")
    assert schedules.is_used(CONFIG, "r2")  # It starts at 0, and does not end there.
    assert not schedules.is_used(Config(), "r1")
