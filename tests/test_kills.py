"""A training that is killed again and again ends as one that never was."""

import pytest

from benchmarks import kills


@pytest.mark.slow
@pytest.mark.parametrize("num", [1, 2])
def test_killed_at_any_moment_a_run_ends_with_the_same_bits(tmp_path, num):
    found = kills.series(num, kills=4, folder=tmp_path, seed=num)
    assert found.kills == 4
    assert found.runs >= 1
    assert found.wrong == 0
