import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gan.data import feed
from gan.data.store import Meta, open_store, write_store

NUM, SIZE = 20, 4


def write(path):
    """A store whose picture i is filled with i and whose attributes are the bits of i."""
    images = np.broadcast_to(np.arange(NUM, dtype=np.uint8)[:, None, None, None], (NUM, 4, 4, 3))
    bits = np.arange(NUM, dtype=np.uint8)[:, None] >> np.arange(5, dtype=np.uint8) & 1
    meta = Meta(
        source="test",
        fingerprint="0",
        split="train",
        crop="none",
        resize="none",
        attribute_names=tuple("abcde"),
        image_size=SIZE,
        num=NUM,
    )
    write_store(path, meta, iter([images]), bits, np.full(NUM, -1, np.int32))
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
    seen = np.concatenate([feed.indices(0, step, batch, n) for step in range(steps)])
    assert len(seen) == steps * batch
    for epoch in range(len(seen) // n):
        np.testing.assert_array_equal(np.sort(seen[epoch * n : (epoch + 1) * n]), np.arange(n))


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = {tuple(feed.order(seed, epoch, 50)) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16


def test_indices_do_not_depend_on_what_was_asked_before():
    steps = np.random.default_rng(0).permutation(40)
    asked = {step: feed.indices(3, int(step), 6, 17) for step in steps}
    feed.order.cache_clear()
    for step in range(40):
        np.testing.assert_array_equal(feed.indices(3, step, 6, 17), asked[step])


def test_the_order_is_the_one_of_all_versions():
    # A change here changes which example comes at which step of every run that is resumed.
    assert feed.order(0, 0, 8).tolist() == [0, 2, 1, 5, 4, 3, 6, 7]
    assert feed.indices(1, 10**9, 4, 1000).tolist() == [691, 88, 274, 286]


def test_the_order_is_shared_and_so_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        feed.order(0, 0, 8)[0] = 1


def test_batches_are_the_rows_of_their_step(store):
    batches = take(feed.stream(store, seed=0, batch=6, start=0, rows=slice(0, 6)), 8)
    for step, batch in enumerate(batches):
        rows = feed.indices(0, step, 6, NUM)
        np.testing.assert_array_equal(batch.image, store.images[rows])
        np.testing.assert_array_equal(batch.attributes, store.attributes[rows])
        np.testing.assert_array_equal(batch.image[:, 0, 0, 0], rows)
        assert batch.image.dtype == batch.attributes.dtype == np.uint8


@pytest.mark.parametrize("start", [1, 5])
def test_starting_late_is_skipping(store, start):
    options = {"seed": 1, "batch": 6, "rows": slice(0, 6)}
    all_of_it = take(feed.stream(store, start=0, **options), start + 4)
    same(take(feed.stream(store, start=start, **options), 4), all_of_it[start:])


def test_shares_of_the_processes_make_up_the_batch(store):
    def share(rows):
        return take(feed.stream(store, seed=2, batch=6, start=3, rows=rows), 5)

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
stream = feed.stream(store, seed=0, batch=6, start=0, rows=slice(0, 6))
dropped = feed.stream(store, seed=0, batch=6, start=0, rows=slice(0, 6))
next(stream), next(dropped)
del dropped
"""
    root = Path(feed.__file__).parents[2]
    subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONPATH": str(root)}, timeout=120, check=True
    )
