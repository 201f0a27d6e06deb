import itertools
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from gan.data import feed
from gan.data.batch import Batch
from gan.data.feed import Resident, Stream, cut_into_calls, open_feed
from gan.data.store import Meta, Rows, open_store, write_store
from gan.errors import ConfigError, DataError
from gan.runtime.parallel import AXIS, Parallel

NUM, SIZE, BATCH = 23, 4, 8


def write(path):
    """A store whose picture i is filled with i and whose attributes are the bits of i."""
    images = np.broadcast_to(np.arange(NUM, dtype=np.uint8)[:, None, None, None], (NUM, 4, 4, 3))
    bits = np.arange(NUM, dtype=np.uint8)[:, None] >> np.arange(5, dtype=np.uint8) & 1
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


@pytest.fixture
def store(tmp_path):
    return open_store(write(tmp_path / "train"))


def take(stream, num):
    return list(itertools.islice(stream, num))


def same(first, second):
    assert len(first) == len(second) > 0
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.attributes, other.attributes)


@pytest.mark.parametrize(("n", "batch"), [(12, 4), (13, 4), (5, 8), (3, 10), (7, 7), (1, 3)])
def test_every_epoch_visits_each_example_once(n, batch):
    steps = 5 * n
    seen = np.concatenate([feed.example_indices(0, step, batch, n) for step in range(steps)])
    assert len(seen) == steps * batch
    for epoch in range(len(seen) // n):
        np.testing.assert_array_equal(np.sort(seen[epoch * n : (epoch + 1) * n]), np.arange(n))


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = {tuple(feed.epoch_order(seed, epoch, 50)) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16


def test_indices_do_not_depend_on_what_was_asked_before():
    steps = np.random.default_rng(0).permutation(40)
    asked = {step: feed.example_indices(3, int(step), 6, 17) for step in steps}
    feed.epoch_order.cache_clear()
    for step in range(40):
        np.testing.assert_array_equal(feed.example_indices(3, step, 6, 17), asked[step])


def test_the_order_is_the_one_of_all_versions():
    # A change here changes which example comes at which step of every run that is resumed.
    assert feed.epoch_order(0, 0, 8).tolist() == [0, 2, 1, 5, 4, 3, 6, 7]
    assert feed.example_indices(1, 10**9, 4, 1000).tolist() == [691, 88, 274, 286]


def test_the_order_is_shared_and_so_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        feed.epoch_order(0, 0, 8)[0] = 1


@pytest.mark.parametrize("start", [0, 1, 5])
def test_a_stream_has_the_rows_of_its_steps(store, start):
    stream = feed.stream_batches(store, seed=1, batch=6, start=start, rows=slice(0, 6))
    for step, batch in enumerate(take(stream, 8), start):
        rows = feed.example_indices(1, step, 6, NUM)
        np.testing.assert_array_equal(batch.image, store.images[rows])
        np.testing.assert_array_equal(batch.attributes, store.attributes[rows])
        assert batch.image.dtype == batch.attributes.dtype == np.uint8


def test_shares_of_the_processes_make_up_the_batch(store):
    def share(rows):
        return take(feed.stream_batches(store, seed=2, batch=6, start=3, rows=rows), 5)

    shares = [share(slice(0, 2)), share(slice(2, 4)), share(slice(4, 6))]
    joined = [
        type(parts[0])(*map(np.concatenate, zip(*parts, strict=True)))
        for parts in zip(*shares, strict=True)
    ]
    same(joined, share(slice(0, 6)))


def test_a_stream_that_is_left_running_does_not_stop_the_exit(tmp_path):
    script = f"""
from pathlib import Path
from gan.data import feed
from gan.data.store import open_store
store = open_store(Path({str(write(tmp_path / "train"))!r}))
stream = feed.stream_batches(store, seed=0, batch=6, start=0, rows=slice(0, 6))
dropped = feed.stream_batches(store, seed=0, batch=6, start=0, rows=slice(0, 6))
next(stream), next(dropped)
del dropped
"""
    root = Path(feed.__file__).parents[2]
    subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONPATH": str(root)}, timeout=120, check=True
    )


class Seen(Batch):
    """A batch in the place of a step's metrics."""

    def reduce(self):
        return self


def show(parallel):
    """A step that counts, and returns the whole batch that it was given."""

    def step(state, batch):
        if parallel.axis_name:
            batch = jax.tree.map(lambda x: jax.lax.all_gather(x, AXIS, tiled=True), batch)
        return state + 1, Seen(*batch)

    return step


def run(source, parallel, start, stop, every=(11,)):
    """Batches [steps b ...] of all calls, and the steps done after each."""
    call = source.compile(show(parallel))
    state = jax.device_put(jnp.int32(start), parallel.replicated)
    images, labels, done = [], [], []
    for step, item in source.calls(start, stop, every):
        state, seen = call(state, item)
        assert int(state) == step
        images.append(np.asarray(seen.image).reshape(-1, BATCH, SIZE, SIZE, 3))
        labels.append(np.asarray(seen.attributes).reshape(-1, BATCH, 5))
        done.append(step)
    return Batch(np.concatenate(images), np.concatenate(labels)), done


def meet(devices, mode):
    """Parallelism over so many of the devices."""
    return Parallel(mode, Mesh(np.array(jax.devices()[:devices]), (AXIS,)))


@pytest.mark.parametrize("devices", [1, 2, 4])
@pytest.mark.parametrize("mode", ["jit", "pmap"])
@pytest.mark.parametrize("kind", ["stream", "resident", "resident, 4 steps a call", "sharded"])
def test_all_feeds_bring_the_rows_of_the_step(store, kind, mode, devices):
    if kind == "sharded" and mode == "pmap":
        pytest.skip("pmap has no sharded store")
    parallel = meet(devices, mode)
    options = dict(seed=5, batch=BATCH)
    if kind == "stream":
        source = Stream(store, parallel, **options)
    else:
        per_call = 4 if "4" in kind else 1
        sharded = kind == "sharded"
        source = Resident(store, parallel, **options, per_call=per_call, sharded=sharded)
    batches, done = run(source, parallel, 3, 17)
    rows = np.stack([feed.example_indices(5, step, BATCH, NUM) for step in range(3, 17)])
    np.testing.assert_array_equal(batches.image, store.images[rows])
    np.testing.assert_array_equal(batches.attributes, store.attributes[rows])
    assert done == ([4, 8, 9, 10, 11, 12, 16, 17] if "4" in kind else list(range(4, 18)))


def test_a_sharded_store_is_never_gathered_whole(store):
    parallel = meet(4, "jit")
    source = Resident(store, parallel, seed=0, batch=BATCH, per_call=1, sharded=True)
    images, _ = source._data
    assert {shard.data.shape for shard in images.addressable_shards} == {(6, 48)}
    call = parallel.compile(
        lambda state, rows, images: (state, images[rows[0]].sum(axis=1)), 1, (images,)
    )
    rows = parallel.put_batch(np.zeros((1, BATCH), np.int32), axis=1)
    text = call.lower(jnp.int32(0), rows, images).compile().as_text()
    assert "u8[24,48]" not in text  # The padded whole.


def test_on_cpu_a_resident_store_is_the_map_itself(store):
    source = Resident(store, meet(2, "jit"), seed=0, batch=BATCH, per_call=1)
    for shard in source._data[0].addressable_shards:
        assert shard.data.unsafe_buffer_pointer() == store.images.ctypes.data


@pytest.mark.parametrize(
    ("per_call", "every"), [(1, (3,)), (4, (10, 6)), (25, (100, 7)), (5, (5,))]
)
def test_spans_are_whole_and_end_where_something_happens(per_call, every):
    pieces = list(cut_into_calls(0, 211, per_call, every))
    assert [step for piece in pieces for step in range(*piece)] == list(range(211))
    assert {stop - start for start, stop in pieces} <= {1, per_call}
    ends = {stop for _, stop in pieces}
    assert ends >= {step for n in every for step in range(n, 212, n)}


def test_spans_of_a_resumed_run_are_those_it_would_have_had():
    pieces = list(cut_into_calls(0, 200, 8, (30, 50)))
    for start, _ in pieces:
        assert list(cut_into_calls(start, 200, 8, (30, 50))) == [p for p in pieces if p[0] >= start]


def test_a_call_is_never_longer_than_the_shortest_interval(store):
    parallel = meet(1, "jit")
    source = Resident(store, parallel, seed=0, batch=BATCH, per_call=25)
    assert [step for step, _ in source.calls(0, 12, (6, 4))] == [4, 5, 6, 7, 8, 12]


@pytest.mark.parametrize(
    ("most", "every", "steps"),
    [
        (25, (100, 1000), 25),
        (25, (30, 1000), 10),  # Rather than 25, and then five of one step.
        (25, (97, 1000), 25),  # Rather than 97 of one step.
        (25, (7, 100), 7),
        (1, (100,), 1),
        (50, (100, 1000, 500), 50),
    ],
)
def test_few_calls_end_early(most, every, steps):
    assert feed.choose_steps_per_call(most, every) == steps


@pytest.mark.parametrize(
    ("mode", "free", "kind", "text"),
    [
        ("jit", 1e9, Resident, "resident: 0 MB; it may take 40% of the 1,000 MB free"),
        ("jit", 1300, Resident, "a share on each of 4 devices"),
        ("pmap", 1300, Stream, "stream"),  # Sharding is for jit alone.
        ("jit", 700, Stream, "stream"),
    ],
)
def test_resident_where_it_fits(store, monkeypatch, mode, free, kind, text):
    monkeypatch.setattr(feed, "free_memory", lambda: int(free))
    chosen = open_feed("auto", store, Parallel.create(mode), seed=0, batch=BATCH)
    assert type(chosen) is kind
    assert text in chosen.text
    assert chosen.per_call == 1  # This is a CPU.


def test_what_is_asked_for_is_done(store, monkeypatch):
    monkeypatch.setattr(feed, "free_memory", lambda: 1)
    parallel, options = meet(2, "jit"), dict(seed=0, batch=BATCH, steps_per_call=3)
    with pytest.raises(ConfigError, match=r"feed='resident': 0 MB do not fit.*feed=stream"):
        open_feed("resident", store, parallel, **options)
    monkeypatch.setattr(feed, "free_memory", lambda: 10**9)
    assert type(open_feed("resident", store, parallel, **options)) is Resident
    assert open_feed("resident", store, parallel, **options).per_call == 3
    assert type(open_feed("stream", store, parallel, **options)) is Stream


def test_processes_with_other_pictures_are_stopped(store, monkeypatch):
    less = lambda _, text: [text, text.replace("100", "99")]  # noqa: E731
    monkeypatch.setattr(feed.cluster, "gather_texts", less)
    assert feed.agree_on_memory(store, 100) == 99
    other = lambda _, text: [text, text.replace(store.digest, "0" * 64)]  # noqa: E731
    monkeypatch.setattr(feed.cluster, "gather_texts", other)
    with pytest.raises(DataError, match="process 1 has prepared other pictures than process 0"):
        feed.agree_on_memory(store, 100)


def test_there_is_memory():
    assert 2**20 < feed.free_memory() < 2**50


PROCESS = """
import sys
import jax
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 1)
port, process = sys.argv[1], int(sys.argv[2])
jax.distributed.initialize(f"127.0.0.1:{port}", 2, process)
from pathlib import Path
import numpy as np
sys.path.insert(0, sys.argv[4])
from gan.data.feed import open_feed
from gan.data.store import open_store
from gan.runtime.parallel import Parallel
from test_feed import run
parallel = Parallel.create("jit")
store = open_store(Path(sys.argv[3]) / "train")
results = {}
for kind in ("stream", "resident"):
    source = open_feed(kind, store, parallel, seed=5, batch=8, steps_per_call=3)
    results[kind] = run(source, parallel, 3, 10)[0].image
np.savez(Path(sys.argv[3]) / f"{process}.npz", **results)
"""


@pytest.mark.slow
def test_two_processes_bring_what_one_does(store, tmp_path):
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    here = Path(__file__).parent
    command = [sys.executable, "-c", PROCESS, port]
    processes = [
        subprocess.Popen([*command, str(i), str(tmp_path), str(here)], cwd=here.parents[1])
        for i in range(2)
    ]
    assert [process.wait(120) for process in processes] == [0, 0]
    rows = np.stack([feed.example_indices(5, step, BATCH, NUM) for step in range(3, 10)])
    for i in range(2):
        with np.load(tmp_path / f"{i}.npz") as results:
            for kind in ("stream", "resident"):
                np.testing.assert_array_equal(results[kind], store.images[rows])
