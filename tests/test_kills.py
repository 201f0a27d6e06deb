"""A training that is killed again and again ends as one that never was."""

import pytest

from benchmarks import kills


@pytest.mark.slow
@pytest.mark.parametrize(("num", "times"), [(1, 4), (2, 2)])
def test_killed_at_any_moment_a_run_ends_with_the_same_bits(tmp_path, num, times):
    found = kills.series(num, kills=times, folder=tmp_path, seed=num)
    assert found.kills == times
    assert found.runs >= 1
    assert found.wrong == 0
