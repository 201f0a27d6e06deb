"""State dicts are read without torch, and nothing in them is run."""

import builtins
import os
import pickle

import numpy as np
import pytest
from helpers.inception_golden import DATA
from helpers.torch_files import SMALL, WRITERS, assert_same, pickled, zipped

from gan.metrics.extractors.torch_pickle import read_state_dict


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_read_state_dict__made_by_hand(write):
    assert_same(read_state_dict(write(pickled(SMALL), SMALL)), SMALL)


@pytest.mark.parametrize("kind", WRITERS)
def test_read_state_dict__that_torch_wrote(kind):
    read = read_state_dict((DATA / f"torch_{kind}.pth").read_bytes())
    ordered = [np.arange(6).reshape(3, 2, 1, 1), *(np.arange(3) + 100 * i for i in range(1, 5))]
    names = ["0.weight", *(f"1.{x}" for x in ("weight", "bias", "running_mean", "running_var"))]
    expected = {k: x.astype(np.float32) for k, x in zip(names, ordered, strict=True)}
    expected |= {"1.num_batches_tracked": np.array(500)}
    expected |= {"transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T}
    assert_same(read, expected)


def test_read_state_dict__arrays_are_read_only():
    read = read_state_dict(zipped(pickled(SMALL), SMALL))
    with pytest.raises(ValueError, match="read-only"):
        read["a"][0, 0] = 1


class Evil:
    def __init__(self, function, command: str):
        self.call = function, (command,)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("function", [os.system, builtins.eval])
def test_read_state_dict__runs_nothing(tmp_path, function):
    marker = tmp_path / "marker"
    command = f"touch {marker}" if function is os.system else f"open({str(marker)!r}, 'w')"
    with pytest.raises(ValueError, match=rf"names \w+\.{function.__name__}"):
        read_state_dict(zipped(pickle.dumps({"a": Evil(function, command)}, 2), SMALL))
    assert not marker.exists()
