"""Which examples come at which step, and how they reach the devices.

The order is a pure function of (seed, step): nothing of it is saved, resuming is exact, and it does
not depend on how many processes take their share, nor on which of the two feeds brings them:

    Resident   the whole store lies in the devices' memory; only indices travel
    Stream     rows of the memory-mapped store are gathered by tf.data and travel
"""

import functools
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.sharding import NamedSharding
from jaxtyping import Array, Int32, Int64, UInt8

from gan.data.batch import Batch
from gan.data.store import Store
from gan.errors import ConfigError, DataError
from gan.runtime import cluster
from gan.runtime.parallel import Parallel, prefetch
from gan.runtime.tensorflow import import_tensorflow

WORKERS = 4  # Batches gathered at the same time, so that waiting for a disk overlaps.
SHARE = 0.4  # Of a device's free memory that a resident store may take; the rest is the step's.
STEPS_PER_CALL = 25  # A divisor of the usual intervals. On CPU a scan is 14 times slower than one.
KINDS = ("auto", "resident", "stream")
Span = tuple[int, int]  # Steps done before a call, and after it.


@functools.lru_cache(maxsize=2)  # A batch may straddle two epochs.
def epoch_order(seed: int, epoch: int, n: int) -> Int64[np.ndarray, "n"]:
    """The order of the `n` examples in an epoch, each once."""
    # NumPy promises that the raw stream of Philox stays as it is in all its versions; what
    # `Generator.permutation` makes of it may change.
    raw = np.random.Philox(key=[seed, epoch]).random_raw(n)
    indices = np.argsort(raw, kind="stable")
    indices.flags.writeable = False  # It is shared by all callers.
    return indices


def example_indices(seed: int, step: int, batch: int, n: int) -> Int64[np.ndarray, "batch"]:
    """The examples of the 0-based `step`: the next `batch` of all epochs one after another."""
    start, stop = step * batch, (step + 1) * batch
    epochs = range(start // n, (stop - 1) // n + 1)
    return np.concatenate(
        [epoch_order(seed, e, n)[max(start - e * n, 0) : stop - e * n] for e in epochs]
    )


def choose_steps_per_call(most: int, every: Sequence[int]) -> int:
    """Steps of a call, so that few end early: a divisor of all intervals if there is a fair one."""
    common = math.gcd(*every)
    divisor = max(d for d in range(1, most + 1) if common % d == 0)
    return divisor if 3 * divisor >= most else min(most, *every)


def cut_into_calls(start: int, stop: int, per_call: int, every: Sequence[int]) -> Iterator[Span]:
    """Cuts the steps from `start` to `stop` into calls of `per_call` steps, or one where they end
    at a multiple of some `every` before that.

    Where a call is cut depends on its step alone, so a resumed run makes the same calls: another
    length is another program, which may round otherwise.
    """
    while start < stop:
        end = min([(start // n + 1) * n for n in (per_call, *every)] + [stop])
        if end - start == per_call:
            yield start, end
        else:
            yield from ((step, step + 1) for step in range(start, end))
        start = end


class Stream:
    """Batches gathered from the store on disk, on their way to the devices ahead of their step."""

    def __init__(self, store: Store, parallel: Parallel, *, seed: int, batch: int):
        """`batch` examples a step, over all processes; each reads only its own."""
        self.text = f"stream: {store.images.nbytes / 1e6:,.0f} MB stay on disk"
        self.per_call = 1
        self._store, self._parallel, self._seed, self._batch = store, parallel, seed, batch

    def calls(self, start: int, stop: int, every: Sequence[int]) -> Iterator[tuple[int, Batch]]:
        """What each call of the step needs, and the number of steps done after it."""
        rows = self._parallel.local_rows(self._batch)
        batches = stream_batches(
            self._store, seed=self._seed, batch=self._batch, start=start, stop=stop, rows=rows
        )
        steps = range(start + 1, stop + 1)
        return zip(steps, prefetch(batches, self._parallel.put_batch), strict=True)

    def compile(self, step: Callable[[Any, Batch], tuple[Any, Any]]) -> Callable:
        """`step(state, batch)` as a call (state, what `calls` yields); it consumes its state."""
        return self._parallel.compile(step)


def stream_batches(
    store: Store, *, seed: int, batch: int, start: int, rows: slice, stop: int = 2**62
) -> Iterator[Batch]:
    """Batches of the 0-based steps from `start` to `stop`: the part `rows` of the `batch` examples.

    uint8 arrays of NumPy; image [r s s 3], attributes [r a], for r = length of `rows`.
    """
    tf = import_tensorflow()
    n = len(store.images)

    def gather(step: np.int64) -> tuple[np.ndarray, np.ndarray]:
        mine = example_indices(seed, int(step), batch, n)[rows]
        return store.images[mine], store.attributes[mine]

    @tf.autograph.experimental.do_not_convert
    def batch_at(step: tf.Tensor) -> Batch:
        return Batch(*tf.numpy_function(gather, [step], [tf.uint8, tf.uint8]))

    steps = tf.data.Dataset.range(start, stop)
    batches = steps.map(batch_at, WORKERS, deterministic=True).prefetch(WORKERS)
    return batches.as_numpy_iterator()


class Resident:
    """Batches gathered on the devices, where the whole store lies; several steps in one call."""

    def __init__(
        self,
        store: Store,
        parallel: Parallel,
        *,
        seed: int,
        batch: int,
        per_call: int,
        sharded: bool = False,
    ):
        """Brings the store to the devices: all of it to each, or `sharded`, to each its rows."""
        self.text = f"resident: {store.images.nbytes / 1e6:,.0f} MB"
        if sharded:
            self.text += f", a share on each of {parallel.mesh.size} devices"
        self.per_call = per_call
        self._parallel, self._seed, self._batch = parallel, seed, batch
        self._num, self._shape = len(store.images), store.images.shape[1:]
        # Flat: with 3 channels last, a TPU would pad each pixel to 128.
        self._data = tuple(
            parallel.place_rows(rows.reshape(self._num, -1), choose_sharding(parallel, sharded))
            for rows in (store.images, store.attributes)
        )

    def calls(self, start: int, stop: int, every: Sequence[int]) -> Iterator[tuple[int, Array]]:
        """What each call of the step needs, and the number of steps done after it."""
        mine = self._parallel.local_rows(self._batch)

        def put(span: Span) -> tuple[int, Array]:
            rows = [
                example_indices(self._seed, s, self._batch, self._num)[mine] for s in range(*span)
            ]
            return span[1], self._parallel.put_batch(np.stack(rows).astype(np.int32), axis=1)

        return prefetch(
            cut_into_calls(start, stop, choose_steps_per_call(self.per_call, every), every), put
        )

    def compile(self, step: Callable[[Any, Batch], tuple[Any, Any]]) -> Callable:
        """`step(state, batch)` as a call (state, what `calls` yields); it consumes its state."""
        call = compile_resident(self._parallel, step, self._shape, self._data)
        return lambda state, rows: call(state, rows, *self._data)


def compile_resident(
    parallel: Parallel,
    step: Callable[[Any, Batch], tuple[Any, Any]],
    shape: tuple[int, ...],
    data: Sequence[jax.Array | jax.ShapeDtypeStruct],
) -> Callable:
    """`step(state, batch)` as a call (state, indices [k b], *data) of k steps, as `Resident`'s.

    `data`, or what they are like: images of this `shape`, flat [n p], and attributes [n a].
    """

    def call(
        state: Any,
        rows: Int32[Array, "k b"],
        images: UInt8[Array, "n p"],
        attributes: UInt8[Array, "n a"],
    ) -> tuple[Any, Any]:
        def one(state: Any, rows: Int32[Array, "b"]) -> tuple[Any, Any]:
            image, labels = (x.at[rows].get(mode="promise_in_bounds") for x in (images, attributes))
            return step(state, Batch(image.reshape(-1, *shape), labels))

        if rows.shape[0] == 1:
            return one(state, rows[0])
        state, updates = lax.scan(one, state, rows)
        is_metric = lambda x: hasattr(x, "reduce")  # noqa: E731
        return state, jax.tree.map(lambda x: x.reduce(), updates, is_leaf=is_metric)

    return parallel.compile(call, 1, data)


def choose_sharding(parallel: Parallel, sharded: bool) -> NamedSharding:
    """Where the rows of a resident store lie: all of them on each device, or a share."""
    return parallel.by_rows if sharded else parallel.replicated


def choose_feed(kind: str, size: int, free: int, parallel: Parallel) -> str:
    """Which feed is meant, of a store of `size` bytes: "stream", "resident" or "sharded".

    `free` are the bytes free on a device. Raises ConfigError where "resident" cannot be.
    """
    room = SHARE * free
    if kind != "stream" and size <= room:
        return "resident"
    # Rows on several devices meet in XLA's communication, which pmap's slices do not see.
    if kind != "stream" and parallel.mode == "jit" and size <= room * parallel.mesh.size:
        return "sharded"
    if kind == "resident":
        raise ConfigError(
            f"config.data.feed='resident': {size / 1e6:,.0f} MB do not fit into {SHARE:.0%} of the "
            f"{free / 1e6:,.0f} MB free on each of {parallel.mesh.size} devices"
            + (" (under pmap, each needs all of it)" if parallel.mode == "pmap" else "")
            + ". Use config.data.feed=stream."
        )
    return "stream"


def most_steps_per_call(asked: int, parallel: Parallel) -> int:
    """Steps of a resident feed's call at most: as asked, or what is fast on these devices."""
    return asked or (1 if parallel.platform == "cpu" else STEPS_PER_CALL)


def open_feed(
    kind: str, store: Store, parallel: Parallel, *, seed: int, batch: int, steps_per_call: int = 0
) -> Resident | Stream:
    """The feed of this `kind`; "auto" is resident where the store fits, which `text` explains.

    `batch` is the number of examples a step, over all devices.
    """
    size, free = (
        store.images.nbytes + store.attributes.nbytes,
        agree_on_memory(store, free_memory()),
    )
    chosen = choose_feed(kind, size, free, parallel)
    if chosen == "stream":
        feed = Stream(store, parallel, seed=seed, batch=batch)
    else:
        per_call = most_steps_per_call(steps_per_call, parallel)
        options = dict(seed=seed, batch=batch, per_call=per_call)
        feed = Resident(store, parallel, **options, sharded=chosen == "sharded")
    feed.text += (
        f"; it may take {SHARE:.0%} of the {free / 1e6:,.0f} MB free on a device; steps a call: "
        f"{feed.per_call}."
    )
    return feed


def agree_on_memory(store: Store, free: int) -> int:
    """The least `free` of all processes; DataError unless all prepared the same pictures."""
    said = [
        json.loads(text) for text in cluster.gather_texts("store", json.dumps([store.digest, free]))
    ]
    for process, (digest, _) in enumerate(said):
        if digest != said[0][0]:
            raise DataError(
                f"{store.path}: process {process} has prepared other pictures than process 0. "
                "Delete this folder on all hosts but one and copy it from there, or share it "
                "between them by --config.data.cache_dir=FOLDER."
            )
    return min(free for _, free in said)


def free_memory() -> int:
    """Bytes that are free on the fullest device of this process."""
    stats = [device.memory_stats() for device in jax.local_devices()]
    if all(s and "bytes_limit" in s for s in stats):
        return min(s["bytes_limit"] - s["bytes_in_use"] for s in stats)
    try:
        with open("/proc/meminfo") as file:
            lines = dict(line.split(":") for line in file)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):  # Not on Linux.
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
