"""Feeds: the order of the examples, the batches on the devices, and the choice of a feed."""

import itertools
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.small_store import BATCH, NUM, run_feed, write_small_store
from jax.sharding import Mesh

from gan.data import feed
from gan.data.feed import (
    ResidentFeed,
    StreamFeed,
    agree_on_memory,
    cut_into_calls,
    free_memory,
    open_feed,
)
from gan.data.store import open_store
from gan.errors import ConfigError, DataError
from gan.runtime.parallel import AXIS, Parallel

TESTS = Path(__file__).parents[1]


@pytest.fixture
def store(tmp_path):
    return open_store(write_small_store(tmp_path / "train"))


def take(stream, num):
    return list(itertools.islice(stream, num))


def same(first, second):
    assert len(first) == len(second) > 0
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.attributes, other.attributes)


def meet(devices, mode):
    """Parallelism over so many of the devices."""
    return Parallel(mode, Mesh(np.array(jax.devices()[:devices]), (AXIS,)))


@pytest.mark.parametrize(("n", "batch"), [(12, 4), (13, 4), (5, 8), (3, 10), (7, 7), (1, 3)])
def test_example_indices__visit_each_example_once_an_epoch(n, batch):
    steps = 5 * n
    seen = np.concatenate([feed.example_indices(0, step, batch, n) for step in range(steps)])
    assert len(seen) == steps * batch
    for epoch in range(len(seen) // n):
        np.testing.assert_array_equal(np.sort(seen[epoch * n : (epoch + 1) * n]), np.arange(n))


def test_example_indices__do_not_depend_on_what_was_asked_before():
    steps = np.random.default_rng(0).permutation(40)
    asked = {step: feed.example_indices(3, int(step), 6, 17) for step in steps}
    feed.epoch_order.cache_clear()
    for step in range(40):
        np.testing.assert_array_equal(feed.example_indices(3, step, 6, 17), asked[step])


def test_example_indices__are_those_of_all_versions():
    # A change here changes which example comes at which step of every run that is resumed.
    assert feed.epoch_order(0, 0, 8).tolist() == [0, 2, 1, 5, 4, 3, 6, 7]
    assert feed.example_indices(1, 10**9, 4, 1000).tolist() == [691, 88, 274, 286]


def test_epoch_order__differs_between_epochs_and_seeds():
    orders = {tuple(feed.epoch_order(seed, epoch, 50)) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16


def test_epoch_order__is_shared_and_so_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        feed.epoch_order(0, 0, 8)[0] = 1


@pytest.mark.parametrize("start", [0, 1, 5])
def test_stream_batches__have_the_rows_of_their_steps(store, start):
    stream = feed.stream_batches(store, seed=1, batch=6, start=start, rows=slice(0, 6))
    for step, batch in enumerate(take(stream, 8), start):
        rows = feed.example_indices(1, step, 6, NUM)
        np.testing.assert_array_equal(batch.image, store.images[rows])
        np.testing.assert_array_equal(batch.attributes, store.attributes[rows])
        assert batch.image.dtype == batch.attributes.dtype == np.uint8


def test_stream_batches__shares_of_the_processes_make_up_the_batch(store):
    def share(rows):
        return take(feed.stream_batches(store, seed=2, batch=6, start=3, rows=rows), 5)

    shares = [share(slice(0, 2)), share(slice(2, 4)), share(slice(4, 6))]
    joined = [
        type(parts[0])(*map(np.concatenate, zip(*parts, strict=True)))
        for parts in zip(*shares, strict=True)
    ]
    same(joined, share(slice(0, 6)))


def test_stream_batches__left_running_do_not_stop_the_exit(tmp_path):
    script = f"""
from pathlib import Path
from gan.data import feed
from gan.data.store import open_store
store = open_store(Path({str(write_small_store(tmp_path / "train"))!r}))
stream = feed.stream_batches(store, seed=0, batch=6, start=0, rows=slice(0, 6))
dropped = feed.stream_batches(store, seed=0, batch=6, start=0, rows=slice(0, 6))
next(stream), next(dropped)
del dropped
"""
    subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(TESTS.parent)},
        timeout=120,
        check=True,
    )


@pytest.mark.parametrize("devices", [1, 2, 4])
@pytest.mark.parametrize("mode", ["jit", "pmap"])
@pytest.mark.parametrize("kind", ["stream", "resident", "resident, 4 steps a call", "sharded"])
def test_feeds__all_bring_the_rows_of_the_step(store, kind, mode, devices):
    if kind == "sharded" and mode == "pmap":
        pytest.skip("pmap has no sharded store")
    parallel = meet(devices, mode)
    options = dict(seed=5, batch=BATCH)
    if kind == "stream":
        opened = StreamFeed(store, parallel, **options)
    else:
        per_call = 4 if "4" in kind else 1
        sharded = kind == "sharded"
        opened = ResidentFeed(store, parallel, **options, per_call=per_call, sharded=sharded)
    batches, done = run_feed(opened, parallel, 3, 17)
    rows = np.stack([feed.example_indices(5, step, BATCH, NUM) for step in range(3, 17)])
    np.testing.assert_array_equal(batches.image, store.images[rows])
    np.testing.assert_array_equal(batches.attributes, store.attributes[rows])
    assert done == ([4, 8, 9, 10, 11, 12, 16, 17] if "4" in kind else list(range(4, 18)))


def test_resident_feed__never_gathers_a_sharded_store_whole(store):
    parallel = meet(4, "jit")
    opened = ResidentFeed(store, parallel, seed=0, batch=BATCH, per_call=1, sharded=True)
    images, _ = opened._data
    assert {shard.data.shape for shard in images.addressable_shards} == {(6, 48)}
    call = parallel.compile(
        lambda state, rows, images: (state, images[rows[0]].sum(axis=1)), 1, (images,)
    )
    rows = parallel.put_batch(np.zeros((1, BATCH), np.int32), axis=1)
    text = call.lower(jnp.int32(0), rows, images).compile().as_text()
    assert "u8[24,48]" not in text  # The padded whole.


def test_resident_feed__on_cpu_is_the_map_itself(store):
    opened = ResidentFeed(store, meet(2, "jit"), seed=0, batch=BATCH, per_call=1)
    for shard in opened._data[0].addressable_shards:
        assert shard.data.unsafe_buffer_pointer() == store.images.ctypes.data


def test_resident_feed__no_call_is_longer_than_the_shortest_interval(store):
    opened = ResidentFeed(store, meet(1, "jit"), seed=0, batch=BATCH, per_call=25)
    assert [step for step, _ in opened.calls(0, 12, (6, 4))] == [4, 5, 6, 7, 8, 12]


@pytest.mark.parametrize(
    ("per_call", "every"), [(1, (3,)), (4, (10, 6)), (25, (100, 7)), (5, (5,))]
)
def test_cut_into_calls__leaves_out_no_step_and_no_interval(per_call, every):
    pieces = list(cut_into_calls(0, 211, per_call, every))
    assert [step for piece in pieces for step in range(*piece)] == list(range(211))
    assert {stop - start for start, stop in pieces} <= {1, per_call}
    ends = {stop for _, stop in pieces}
    assert ends >= {step for n in every for step in range(n, 212, n)}


def test_cut_into_calls__a_resumed_run_makes_the_calls_it_would_have_made():
    pieces = list(cut_into_calls(0, 200, 8, (30, 50)))
    for start, _ in pieces:
        assert list(cut_into_calls(start, 200, 8, (30, 50))) == [p for p in pieces if p[0] >= start]


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
def test_choose_steps_per_call__lets_few_calls_end_early(most, every, steps):
    assert feed.choose_steps_per_call(most, every) == steps


@pytest.mark.parametrize(
    ("mode", "free", "kind", "text"),
    [
        ("jit", 1e9, ResidentFeed, "resident: 0 MB; it may take 40% of the 1,000 MB free"),
        ("jit", 1300, ResidentFeed, "a share on each of 4 devices"),
        ("pmap", 1300, StreamFeed, "stream"),  # Sharding is for jit alone.
        ("jit", 700, StreamFeed, "stream"),
    ],
)
def test_open_feed__is_resident_where_the_store_fits(store, mode, free, kind, text):
    parallel = Parallel.create(mode)
    chosen = open_feed("auto", store, parallel, seed=0, batch=BATCH, free=int(free))
    assert type(chosen) is kind
    assert text in chosen.text
    assert chosen.per_call == 1  # This is a CPU.


def test_open_feed__does_what_is_asked_for(store):
    parallel, options = meet(2, "jit"), dict(seed=0, batch=BATCH, steps_per_call=3)
    with pytest.raises(ConfigError, match=r"feed='resident': 0 MB do not fit.*feed=stream"):
        open_feed("resident", store, parallel, **options, free=1)
    resident = open_feed("resident", store, parallel, **options, free=10**9)
    assert type(resident) is ResidentFeed
    assert resident.per_call == 3
    assert type(open_feed("stream", store, parallel, **options, free=10**9)) is StreamFeed


def test_agree_on_memory__takes_the_least_and_stops_processes_with_other_pictures(store):
    said = [json.dumps(["ab12", free]) for free in (100, 99, 101)]
    assert agree_on_memory(store.path, said) == 99
    said[1] = json.dumps(["cd34", 99])
    with pytest.raises(DataError, match="process 1 has prepared other pictures than process 0"):
        agree_on_memory(store.path, said)


def device(limit=None, in_use=None):
    """A device that knows its memory, or one that does not."""
    stats = {"bytes_limit": limit, "bytes_in_use": in_use} if limit else None
    return SimpleNamespace(memory_stats=lambda: stats)


def test_free_memory__is_that_of_the_fullest_device(tmp_path):
    (tmp_path / "meminfo").write_text("MemAvailable: 1 kB\n")
    devices = [device(900, 100), device(900, 850), device(500, 0)]
    assert free_memory(devices, tmp_path / "meminfo") == 50


@pytest.mark.parametrize("devices", [[device()], [device(900, 100), device()]])
def test_free_memory__of_devices_that_do_not_know_is_the_machines(tmp_path, devices):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       16265456 kB\nMemAvailable:    1234567 kB\n")
    assert free_memory(devices, meminfo) == 1234567 * 1024
    half = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    assert free_memory(devices, tmp_path / "none") == half
    meminfo.write_text("MemTotal: 16265456 kB\n")
    assert free_memory(devices, meminfo) == half


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="only Linux says what is available")
def test_free_memory__of_this_process_is_what_linux_says():
    meminfo = Path("/proc/meminfo").read_text()
    (said,) = [int(line.split()[1]) for line in meminfo.splitlines() if "MemAvailable" in line]
    assert free_memory() == pytest.approx(said * 1024, rel=0.2)


PROCESS = """
import sys
import jax
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 1)
port, process = sys.argv[1], int(sys.argv[2])
jax.distributed.initialize(f"127.0.0.1:{port}", 2, process)
from pathlib import Path
import numpy as np
from helpers.small_store import run_feed
from gan.data.feed import open_feed
from gan.data.store import open_store
from gan.runtime.parallel import Parallel
parallel = Parallel.create("jit")
store = open_store(Path(sys.argv[3]) / "train")
results = {}
for kind in ("stream", "resident"):
    opened = open_feed(kind, store, parallel, seed=5, batch=8, steps_per_call=3)
    results[kind] = run_feed(opened, parallel, 3, 10)[0].image
np.savez(Path(sys.argv[3]) / f"{process}.npz", **results)
"""


@pytest.mark.slow
def test_feeds__two_processes_bring_what_one_does(store, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-c", PROCESS, port]
    paths = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    processes = [
        subprocess.Popen([*command, str(i), str(tmp_path)], env=os.environ | {"PYTHONPATH": paths})
        for i in range(2)
    ]
    assert [process.wait(120) for process in processes] == [0, 0]
    rows = np.stack([feed.example_indices(5, step, BATCH, NUM) for step in range(3, 10)])
    for i in range(2):
        with np.load(tmp_path / f"{i}.npz") as results:
            for kind in ("stream", "resident"):
                np.testing.assert_array_equal(results[kind], store.images[rows])
