"""A store whose pictures spell their row, and what a feed brings of it."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from gan.data.batch import Batch
from gan.data.store import Meta, Rows, write_store
from gan.runtime.parallel import AXIS, Parallel

NUM, SIZE, BATCH = 23, 4, 8


def write_small_store(path: Path) -> Path:
    """Writes a store whose picture i is filled with i and whose attributes are the bits of i."""
    numbers = np.arange(NUM, dtype=np.uint8)
    images = np.broadcast_to(numbers[:, None, None, None], (NUM, SIZE, SIZE, 3))
    bits = numbers[:, None] >> np.arange(5, dtype=np.uint8) & 1
    meta = Meta(
        source="test",
        fingerprint="0",
        version=1,
        split="train",
        crop="none",
        resize="none",
        attribute_names=tuple("abcde"),
        image_size=SIZE,
        num=NUM,
    )
    write_store(path, meta, [Rows(images, bits, np.full(NUM, -1, np.int32))])
    return path


class Seen(Batch):
    """A batch in the place of a step's metrics."""

    def reduce(self):
        return self


def run_feed(feed, parallel: Parallel, start: int, stop: int, every=(11,)):
    """Returns the batches [steps b ...] of all calls, and the number of steps done after each."""

    def step(state, batch):
        if parallel.axis_name:
            batch = jax.tree.map(lambda x: jax.lax.all_gather(x, AXIS, tiled=True), batch)
        return state + 1, Seen(*batch)

    call = feed.compile(step)
    state = jax.device_put(jnp.int32(start), parallel.replicated)
    images, labels, done = [], [], []
    for number, item in feed.calls(start, stop, every):
        state, seen = call(state, item)
        assert int(state) == number
        images.append(np.asarray(seen.image).reshape(-1, BATCH, SIZE, SIZE, 3))
        labels.append(np.asarray(seen.attributes).reshape(-1, BATCH, 5))
        done.append(number)
    return Batch(np.concatenate(images), np.concatenate(labels)), done
