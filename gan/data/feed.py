"""Which examples come at which step, and how they get there.

The order is a pure function of (seed, step): nothing of it is saved, resuming is exact, and it does
not depend on how many processes take their share.
"""

import functools
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int64

from gan.data.store import Store
from gan.lazy import tensorflow
from gan.state import Batch

PARALLEL = 4  # Batches gathered at the same time, so that waiting for a disk overlaps.


@functools.lru_cache(maxsize=2)  # A batch may straddle two epochs.
def order(seed: int, epoch: int, n: int) -> Int64[np.ndarray, "n"]:
    """The order of the `n` examples in an epoch, each once."""
    # NumPy promises that the raw stream of Philox stays as it is in all its versions; what
    # `Generator.permutation` makes of it may change.
    raw = np.random.Philox(key=[seed, epoch]).random_raw(n)
    indices = np.argsort(raw, kind="stable")
    indices.flags.writeable = False  # It is shared by all callers.
    return indices


def indices(seed: int, step: int, batch: int, n: int) -> Int64[np.ndarray, "batch"]:
    """The examples of the 0-based `step`: the next `batch` of all epochs one after another."""
    start, stop = step * batch, (step + 1) * batch
    epochs = range(start // n, (stop - 1) // n + 1)
    return np.concatenate([order(seed, e, n)[max(start - e * n, 0) : stop - e * n] for e in epochs])


def stream(store: Store, *, seed: int, batch: int, start: int, rows: slice) -> Iterator[Batch]:
    """Endless batches from the 0-based step `start` on: the part `rows` of the `batch` examples.

    uint8 arrays of NumPy; image [r s s 3], attributes [r a], for r = length of `rows`.
    """
    tf = tensorflow()
    n = len(store.images)

    def gather(step: np.int64) -> tuple[np.ndarray, np.ndarray]:
        mine = indices(seed, int(step), batch, n)[rows]
        return store.images[mine], store.attributes[mine]

    @tf.autograph.experimental.do_not_convert
    def batch_at(step: tf.Tensor) -> Batch:
        return Batch(*tf.numpy_function(gather, [step], [tf.uint8, tf.uint8]))

    steps = tf.data.Dataset.range(start, tf.int64.max)
    batches = steps.map(batch_at, PARALLEL, deterministic=True).prefetch(PARALLEL)
    return batches.as_numpy_iterator()
