"""A run is opened in a line and drawn with in another."""

import dataclasses
import shutil

import numpy as np
import pytest

from gan.errors import ConfigError, DataError
from gan.sampling.open_run import open_run


@pytest.fixture(scope="module")
def run(finished):
    return open_run(str(finished[1]))


def test_draw__gives_pictures_and_the_same_for_the_same_seed(run):
    several = run.draw(seeds=range(3), attributes="Smiling=1,Male=0")
    assert (several.shape, several.dtype) == ((3, 32, 32, 3), np.uint8)
    np.testing.assert_array_equal(run.draw([2], "Smiling=1,Male=0")[0], several[2])
    assert (run.draw([2], "Smiling=0,Male=1")[0] != several[2]).any()


def test_draw__takes_the_checkpoint_that_is_asked_for(run):
    assert run.choose_step() == 4
    assert (run.draw([0], step="2") != run.draw([0])).any()
    with pytest.raises(ConfigError, match=r"--step=3 is not there; .* has steps \[2, 4\]"):
        run.draw([0], step="3")


def test_draw__refuses_unknown_attributes_and_averages(run):
    with pytest.raises(ConfigError, match="Did you mean 'Smiling'"):
        run.draw([0], "Smilin=1")
    with pytest.raises(ConfigError, match="--average=ema2: this run keeps ema"):
        run.draw([0], average="ema2")


def test_parse__refuses_attributes_where_a_run_knows_none(run):
    model = dataclasses.replace(run.model, conditional=False)
    unconditional = dataclasses.replace(run, model=model)
    assert unconditional.parse("") == {}
    with pytest.raises(ConfigError, match=r"config\.conditional=False"):
        unconditional.parse("Smiling=1")


def test_restore__reads_a_checkpoint_once(run):
    assert run.restore(4) is run.restore(4)


def test_draw__names_a_whole_checkpoint_where_one_is_damaged(finished, tmp_path):
    shutil.copytree(finished[1], tmp_path / "run")
    run = open_run(tmp_path / "run")
    shutil.rmtree(run.folder / "checkpoints/4/state")
    with pytest.raises(DataError, match=r"checkpoints/4 .*Step 2 is whole.*--step=2"):
        run.draw([0])
    assert run.draw([0], step="2").shape == (1, 32, 32, 3)
    shutil.rmtree(run.folder / "checkpoints/2/state")
    with pytest.raises(DataError, match="No other checkpoint is whole"):
        open_run(run.folder).draw([0])


def test_open_run__says_what_is_missing_or_damaged(finished, tmp_path):
    with pytest.raises(ConfigError, match="holds no run"):
        open_run(tmp_path)
    shutil.copytree(finished[1], tmp_path / "run")
    (tmp_path / "run/attributes.npz").write_bytes(b"no zip")
    with pytest.raises(DataError, match="attributes.npz"):
        open_run(tmp_path / "run")
