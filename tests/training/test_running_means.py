"""Means of whatever metrics there are, kept bit for bit in a checkpoint."""

import json

import jax.numpy as jnp
import pytest
from clu.metrics import Average

from gan.training.running_means import compute, from_json, merge, to_json


def metrics(**values):
    return {name: Average.from_model_output(jnp.float32(x)) for name, x in values.items()}


def test_merge__averages_over_both():
    both = merge(metrics(a=1.0, b=2.0), metrics(a=4.0, b=2.5))
    assert compute(both) == {"a": 2.5, "b": 2.25}


def test_merge__leaves_what_only_one_has_as_it_is():
    both = merge(metrics(a=1.0, gone=7.0), metrics(a=2.0, new=9.0))
    assert compute(both) == {"a": 1.5, "gone": 7.0, "new": 9.0}


def test_to_json__comes_back_bit_for_bit():
    sums = merge(metrics(a=0.1, b=1e-30), metrics(a=1e7 / 3, b=3.3))
    text = json.dumps(to_json(sums))
    back = from_json(json.loads(text))
    assert compute(back) == compute(sums)
    assert compute(merge(back, metrics(a=0.7, b=0.9))) == compute(
        merge(sums, metrics(a=0.7, b=0.9))
    )


@pytest.mark.parametrize("convert", [to_json, from_json])
def test_none__stays_none(convert):
    assert convert(None) is None
