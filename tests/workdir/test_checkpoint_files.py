"""Tests of `gan.workdir.checkpoint_files`."""

import jax
import numpy as np
import pytest
from orbax.checkpoint import checkpoint_managers as policies

from gan.errors import DataError
from gan.workdir import checkpoint_files


def test_read_state__an_array_that_is_not_there_is_damage(tmp_path):
    policy = policies.AnyPreservationPolicy([policies.LatestN(1)])
    written = {"a": np.arange(3), "b": np.float32(1)}
    checkpoint_files.write(tmp_path, 1, written, {}, policy)
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), written)
    found = checkpoint_files.read_state(tmp_path / "1", like)
    np.testing.assert_equal(found, written)
    with pytest.raises(DataError, match=r"1 cannot be read \(\['c'\] is not there\)"):
        checkpoint_files.read_state(tmp_path / "1", like | {"c": like["a"]})
