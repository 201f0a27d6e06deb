"""What a training writes between its steps."""

import dataclasses

import pytest
from helpers import tiny

from gan.config import Average
from gan.model.networks import dcgan
from gan.runtime.logs import read_rows
from gan.sampling.open_run import open_run
from gan.training.job import train


@pytest.fixture(scope="module")
def pairs(faces_cache, tmp_path_factory):
    """A run with a loss that has a metric of its own, and two averages."""
    folder = tmp_path_factory.mktemp("pairs")
    config = dataclasses.replace(
        tiny.get_config(),
        loss="relativistic",
        r1=0.5,
        r2=0.5,
        penalty="finite",
        network=dcgan.Settings(g_width=4, d_width=4, d_norm="none", film=True),
        average=Average(half_life=1.0, second_half_life=5_000.0),
    )
    config.data.cache_dir = str(faces_cache)
    return train(config, folder), folder


@pytest.mark.slow
def test_metrics__of_a_loss_reach_log_rows_and_tensorboard(pairs):
    _, folder = pairs
    rows = read_rows(folder / "metrics.jsonl")
    assert all(0 <= row["pair_accuracy"] <= 1 for row in rows)
    assert " of pairs | mem" in (folder / "log.txt").read_text()
    events = b"".join(path.read_bytes() for path in folder.glob("events*"))
    assert b"pair_accuracy" in events


@pytest.mark.slow
def test_averages__are_both_kept_and_drawn_with(pairs):
    state, folder = pairs
    assert {*state.averages} == {"ema", "ema2"}
    run = open_run(folder)
    first, second = (run.draw(range(2), average=name) for name in ("ema", "ema2"))
    assert (first != second).any()
