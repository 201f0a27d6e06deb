"""Commands that a fault comes to at any moment end, run again, as undisturbed ones do."""

import os
import re

import pytest
from helpers import chaos


@pytest.mark.skipif(bool(os.geteuid()), reason="mounting a small disk takes root")
@pytest.mark.parametrize(
    "rounds",
    [pytest.param(4, marks=pytest.mark.slow), pytest.param(200, marks=pytest.mark.series)],
)
def test_commands__end_as_undisturbed_whatever_happens_to_them(tmp_path, capsys, rounds):
    counts = chaos.series(tmp_path, rounds, seed=rounds)
    said = capsys.readouterr().out
    assert len(re.findall(r"^ *\d+ \w+ ", said, re.M)) == rounds
    assert {verdict for _, verdict in counts} == {"as undisturbed"}, said
