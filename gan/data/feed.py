"""Chooses the examples of each step and brings them to the devices.

The order of the examples is a pure function of (seed, step). So nothing of it is saved, and a run
resumes exactly, on any number of processes and with either feed:

    ResidentFeed   keeps the whole store in the devices' memory; only row numbers travel
    StreamFeed     gathers rows of the memory-mapped store by tf.data; the pictures travel
"""

import functools
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
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

WORKERS = 4  # Batches gathered at the same time, so that waits for the disk overlap.
SHARE = 0.4  # Part of a device's free memory for a resident store; the step needs the rest.
# By default, except on CPU, where a scan over steps is 14 times slower than single steps.
STEPS_PER_CALL = 25
KINDS = ("auto", "resident", "stream")
Span = tuple[int, int]  # Number of steps done before a call, and after it.


@functools.lru_cache(maxsize=2)  # A batch may lie in two epochs.
def epoch_order(seed: int, epoch: int, n: int) -> Int64[np.ndarray, "n"]:
    """Order of the `n` examples in an epoch: each index once. The array is read-only."""
    # NumPy promises the same raw stream of Philox in every version; `Generator.permutation` may
    # change.
    raw = np.random.Philox(key=[seed, epoch]).random_raw(n)
    indices = np.argsort(raw, kind="stable")
    indices.flags.writeable = False  # All callers share it.
    return indices


def example_indices(seed: int, step: int, batch: int, n: int) -> Int64[np.ndarray, "batch"]:
    """Indices of the examples of the 0-based `step`: epochs follow one another without a gap."""
    start, stop = step * batch, (step + 1) * batch
    epochs = range(start // n, (stop - 1) // n + 1)
    return np.concatenate(
        [epoch_order(seed, e, n)[max(start - e * n, 0) : stop - e * n] for e in epochs]
    )


def choose_steps_per_call(most: int, every: Sequence[int]) -> int:
    """Returns the number of steps in a call: at most `most`, and so that few calls end early.

    It is the largest divisor of all intervals `every`, unless that is less than a third of `most`.
    """
    common = math.gcd(*every)
    divisor = max(d for d in range(1, most + 1) if common % d == 0)
    return divisor if 3 * divisor >= most else min(most, *every)


def cut_into_calls(start: int, stop: int, per_call: int, every: Sequence[int]) -> Iterator[Span]:
    """Cuts the steps from `start` to `stop` into calls of `per_call` steps.

    Where a multiple of some interval of `every` comes first, there are calls of a single step up to
    it. The cuts depend on the step only, so a resumed run makes the same calls: a call of another
    length is another program, which may round otherwise.
    """
    while start < stop:
        end = min([(start // n + 1) * n for n in (per_call, *every)] + [stop])
        if end - start == per_call:
            yield start, end
        else:
            yield from ((step, step + 1) for step in range(start, end))
        start = end


class StreamFeed:
    """A feed that gathers batches from the store on disk, ahead of their step."""

    def __init__(self, store: Store, parallel: Parallel, *, seed: int, batch: int):
        """Prepares to read `batch` examples a step over all processes; each reads its own share."""
        self.text = f"stream: {store.images.nbytes / 1e6:,.0f} MB stay on disk"
        self.per_call = 1
        self._store, self._parallel, self._seed, self._batch = store, parallel, seed, batch

    def calls(self, start: int, stop: int, every: Sequence[int]) -> Iterator[tuple[int, Batch]]:
        """Yields what each call needs beside the state, after the number of steps done then.

        The calls go from step `start` to `stop`, and some end at every multiple of an interval in
        `every`.
        """
        rows = self._parallel.local_rows(self._batch)
        batches = stream_batches(
            self._store, seed=self._seed, batch=self._batch, start=start, stop=stop, rows=rows
        )
        steps = range(start + 1, stop + 1)
        return zip(steps, prefetch(batches, self._parallel.put_batch), strict=True)

    def compile(self, step: Callable[[Any, Batch], tuple[Any, Any]]) -> Callable:
        """Compiles `step(state, batch)` as a function (state, item of `calls`).

        It consumes its state.
        """
        return self._parallel.compile(step)


def stream_batches(
    store: Store, *, seed: int, batch: int, start: int, rows: slice, stop: int = 2**62
) -> Iterator[Batch]:
    """Yields the batches of the 0-based steps from `start` to `stop`.

    Of the `batch` examples, each has the share `rows`: uint8 arrays of NumPy, image [r s s 3] and
    attributes [r a], where r is the length of `rows`.
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


class ResidentFeed:
    """A feed that keeps the whole store on the devices and runs several steps in one call."""

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
        """Copies the store to the devices: all of it to each, or if `sharded`, a share to each.

        `batch` is the number of examples a step, over all devices.
        """
        self.text = f"resident: {store.images.nbytes / 1e6:,.0f} MB"
        if sharded:
            self.text += f", a share on each of {parallel.mesh.size} devices"
        self.per_call = per_call
        self._parallel, self._seed, self._batch = parallel, seed, batch
        self._num, self._shape = len(store.images), store.images.shape[1:]
        # Flat, because a TPU would pad a last axis of 3 channels to 128.
        self._data = tuple(
            parallel.place_rows(rows.reshape(self._num, -1), choose_sharding(parallel, sharded))
            for rows in (store.images, store.attributes)
        )

    def calls(self, start: int, stop: int, every: Sequence[int]) -> Iterator[tuple[int, Array]]:
        """Yields what each call needs beside the state, after the number of steps done then.

        The calls go from step `start` to `stop`, and some end at every multiple of an interval in
        `every`.
        """
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
        """Compiles `step(state, batch)` as a function (state, item of `calls`).

        It consumes its state.
        """
        call = compile_resident(self._parallel, step, self._shape, self._data)
        return lambda state, rows: call(state, rows, *self._data)


def compile_resident(
    parallel: Parallel,
    step: Callable[[Any, Batch], tuple[Any, Any]],
    shape: tuple[int, ...],
    data: Sequence[jax.Array | jax.ShapeDtypeStruct],
) -> Callable:
    """Compiles `step(state, batch)` as a call (state, indices [k b], *data) of k steps.

    `data` are the flat images [n p] and the attributes [n a], as arrays or as their shapes; `shape`
    is that of an image. The call consumes its state, and returns the last one and `reduce()` of all
    metrics.
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
        return state, reduce_metrics(updates)

    return parallel.compile(call, 1, data)


def reduce_metrics(updates: Any) -> Any:
    """Merges the metrics of several steps, each with a leading axis, by their own `reduce()`."""
    return jax.tree.map(lambda x: x.reduce(), updates, is_leaf=lambda x: hasattr(x, "reduce"))


def choose_sharding(parallel: Parallel, sharded: bool) -> NamedSharding:
    """Returns the sharding of a resident store: all rows on each device, or a share on each."""
    return parallel.by_rows if sharded else parallel.replicated


def choose_feed(kind: str, size: int, free: int, parallel: Parallel) -> str:
    """Returns the feed for a store of `size` bytes: "stream", "resident" or "sharded".

    `kind` is one of KINDS, `free` the number of bytes free on a device. Raises ConfigError if
    "resident" is asked for and does not fit.
    """
    room = SHARE * free
    if kind != "stream" and size <= room:
        return "resident"
    # To gather from a sharded store takes XLA's communication, which pmap cannot use.
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
    """Largest number of steps in a call: `asked`, or for 0 the number that is fast here."""
    return asked or (1 if parallel.platform == "cpu" else STEPS_PER_CALL)


def open_feed(
    kind: str,
    store: Store,
    parallel: Parallel,
    *,
    seed: int,
    batch: int,
    steps_per_call: int = 0,
    free: int | None = None,
) -> ResidentFeed | StreamFeed:
    """Opens the feed of this `kind` (one of KINDS); its `text` explains what "auto" chose.

    `batch` is the number of examples a step, over all devices; `free` the number of bytes free on a
    device, by default as measured. Raises ConfigError if "resident" does not fit, DataError unless
    all processes prepared the same pictures.
    """
    size = store.images.nbytes + store.attributes.nbytes
    mine = json.dumps([store.digest, free_memory() if free is None else free])
    free = agree_on_memory(store.path, cluster.gather_texts("store", mine))
    chosen = choose_feed(kind, size, free, parallel)
    if chosen == "stream":
        feed = StreamFeed(store, parallel, seed=seed, batch=batch)
    else:
        per_call = most_steps_per_call(steps_per_call, parallel)
        options = dict(seed=seed, batch=batch, per_call=per_call)
        feed = ResidentFeed(store, parallel, **options, sharded=chosen == "sharded")
    feed.text += (
        f"; it may take {SHARE:.0%} of the {free / 1e6:,.0f} MB free on a device; steps a call: "
        f"{feed.per_call}."
    )
    return feed


def agree_on_memory(path: Path, said: Sequence[str]) -> int:
    """Returns the least number of free bytes; raises DataError unless all stores are the same.

    Each process has `said` the JSON of [digest of its store, bytes free]; `path` is this store's.
    """
    answers = [json.loads(text) for text in said]
    for process, (digest, _) in enumerate(answers):
        if digest != answers[0][0]:
            raise DataError(
                f"{path}: process {process} has prepared other pictures than process 0. "
                "Delete this folder on all hosts but one and copy it from there, or share it "
                "between them by --config.data.cache_dir=FOLDER."
            )
    return min(free for _, free in answers)


def free_memory(devices: Sequence[Any] | None = None, meminfo: Path = Path("/proc/meminfo")) -> int:
    """Number of bytes that are free on the fullest of the `devices` (this process's by default).

    Devices that do not know, such as CPUs, have the memory that Linux says is available; where the
    file `meminfo` is missing, half of the machine's.
    """
    stats = [device.memory_stats() for device in devices or jax.local_devices()]
    if all(s and "bytes_limit" in s for s in stats):
        return min(s["bytes_limit"] - s["bytes_in_use"] for s in stats)
    try:
        lines = dict(line.split(":") for line in meminfo.read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):  # Not on Linux.
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
