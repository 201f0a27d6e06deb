"""The two ways to compile: what they refuse, and which rows a process feeds."""

import jax
import numpy as np
import pytest

from gan.runtime.parallel import Parallel, prefetch


def test_create__refuses_pmap_with_several_processes_and_says_why(two_processes):
    for found in two_processes:
        assert "belong to one process" in found["pmap"]
        assert "Use config.parallel='jit'" in found["pmap"]


def test_local_rows__all_processes_feed_all_rows_once(two_processes):
    assert [found["rows"] for found in two_processes] == [[0, 6], [6, 12]]
    assert Parallel.create("jit").local_rows(12) == slice(0, 12)


def test_axis_name__is_there_under_pmap_alone():
    assert Parallel.create("jit").axis_name is None
    assert Parallel.create("pmap").axis_name == "data"


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_put_batch__splits_it_over_the_devices_in_order(mode):
    parallel = Parallel.create(mode)
    batch = np.arange(8 * 3).reshape(8, 3)
    put = parallel.put_batch(batch)
    assert len(put.sharding.device_set) == jax.device_count() == 4
    np.testing.assert_array_equal(np.asarray(put).reshape(8, 3), batch)


def test_prefetch__keeps_the_order_and_loses_nothing():
    sent = []
    items = prefetch(iter(range(5)), lambda x: sent.append(x) or x, size=2)
    assert next(items) == 0
    assert sent == [0, 1]
    assert list(items) == [1, 2, 3, 4]
    assert sent == [0, 1, 2, 3, 4]
