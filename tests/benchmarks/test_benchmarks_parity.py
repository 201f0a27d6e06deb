"""Scores of the same features are those of other packages, where these are installed."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # `benchmarks` is not installed.


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Peers warn of how they call one another.
def test_scores_of_the_same_features_are_the_peers():
    pytest.importorskip("pytorch_fid", reason="pip install -e '.[peer]'")
    from benchmarks import parity

    for real, fake in (
        parity.synthetic(50, 16),
        parity.singular(50, 16),
        parity.synthetic(20, 32),
    ):
        for row in parity.same_features("", real, fake):
            for peer, difference in row["differences"].items():
                assert difference < parity.TOLERANCE, (row["score"], peer)
