"""The two compilations: what they refuse, and which rows a process feeds."""

import jax
import numpy as np
import pytest

from gan.errors import ConfigError
from gan.runtime.parallel import Parallel, prefetch


def test_pmap_refuses_several_processes_and_says_why(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ConfigError, match="belong to one process.*Use config.parallel='jit'"):
        Parallel.create("pmap")
    assert Parallel.create("jit").axis_name is None


def test_processes_feed_all_rows_once(monkeypatch):
    parallel = Parallel.create("jit")
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    rows = []
    for process in range(4):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        rows += list(range(12))[parallel.local_rows(12)]
    assert rows == list(range(12))


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_a_batch_is_split_over_the_devices_in_order(mode):
    parallel = Parallel.create(mode)
    batch = np.arange(8 * 3).reshape(8, 3)
    put = parallel.put_batch(batch)
    assert len(put.sharding.device_set) == jax.device_count() == 4
    np.testing.assert_array_equal(np.asarray(put).reshape(8, 3), batch)


def test_prefetch_keeps_order_and_loses_nothing():
    sent = []
    items = prefetch(iter(range(5)), lambda x: sent.append(x) or x, size=2)
    assert next(items) == 0
    assert sent == [0, 1]
    assert list(items) == [1, 2, 3, 4]
    assert sent == [0, 1, 2, 3, 4]
