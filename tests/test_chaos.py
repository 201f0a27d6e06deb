"""Commands that a fault comes to at any moment end, run again, as undisturbed ones do."""

import os
import re

import pytest
from helpers import chaos


@pytest.mark.skipif(bool(os.geteuid()), reason="mounting a small disk takes root")
@pytest.mark.parametrize(
    ("rounds", "modes"),
    [
        pytest.param(6, ("prepare", "export"), marks=pytest.mark.slow),  # The quickest ones.
        pytest.param(200, tuple(chaos.BEFORE), marks=pytest.mark.series),
    ],
)
def test_commands__end_as_undisturbed_whatever_happens_to_them(tmp_path, capsys, rounds, modes):
    counts = chaos.series(tmp_path, rounds, seed=rounds, modes=modes)
    said = capsys.readouterr().out
    assert len(re.findall(r"^ *\d+ \w+ ", said, re.M)) == rounds
    assert {verdict for _, verdict in counts} == {"as undisturbed"}, said
