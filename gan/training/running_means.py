"""Means of a step's metrics since the last row of the log; each by its name, whatever there is."""

from collections.abc import Mapping

import jax
import numpy as np
from clu.metrics import Average

Metrics = Mapping[str, Average]


@jax.jit
def merge(before: Metrics, update: Metrics) -> Metrics:
    """The means over both; a metric that only one of them has stays as it is."""
    both = before.keys() & update.keys()
    return {**before, **update, **{name: before[name].merge(update[name]) for name in both}}


def compute(metrics: Metrics) -> dict[str, float]:
    """The values, on the host."""
    found = jax.device_get(dict(metrics))
    return {name: float(average.compute()) for name, average in found.items()}


def to_json(metrics: Metrics | None) -> dict[str, list] | None:
    """Sum and number of each, for a checkpoint: a resumed run logs what an uninterrupted one does.

    Python prints a float32 such that the very same one is read back.
    """
    if metrics is None:
        return None
    found = jax.device_get(dict(metrics))
    return {name: [float(x.total), int(x.count)] for name, x in found.items()}


def from_json(values: Mapping[str, list] | None) -> Metrics | None:
    """Reads what `to_json` gave."""
    if values is None:
        return None
    return {
        name: Average(total=np.float32(total), count=np.int32(count))
        for name, (total, count) in values.items()
    }
