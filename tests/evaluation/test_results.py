"""What an evaluation keeps: the best checkpoint, held while it is scored; arrays on disk."""

import dataclasses
import json

import numpy as np
import pytest
from helpers import scored

from gan.evaluation.results import choose_best, hold_checkpoint, write_arrays
from gan.workdir.best import EVALUATING, Best, read_best, write_best
from gan.workdir.checkpoints import Checkpoints
from gan.workdir.folder import lock_workdir


def test_best_json__keeps_its_checkpoint_and_draws_with_it(finished, copy, run, tmp_path):
    state = finished[0]
    best = read_best(copy)
    assert (best.step in (2, 4), best.scoring) == (True, None)
    (copy / "best.json").write_text(json.dumps(dataclasses.asdict(Best(step=2, scoring=4))))
    with (
        lock_workdir(copy, EVALUATING),
        Checkpoints(copy, keep=2, keep_every=1000) as checkpoints,
    ):
        for step in (6, 8, 10):
            checkpoints.save(state, step)
            checkpoints.wait()
        assert checkpoints.steps() == [2, 4, 8, 10]
    out = f"--out={tmp_path / 'faces.png'}"
    code, text = run(f"--workdir={copy}", "--mode=sample", "--step=best", "--seeds=0", out)
    assert code == 0
    assert "1 faces of step" in text
    (copy / "best.json").unlink()
    code, text = run(f"--workdir={copy}", "--mode=sample", "--step=best", "--seeds=0", out)
    assert code == 64
    assert "--mode=evaluate" in text


def test_hold_checkpoint__lets_go_after_an_error(tmp_path):
    best = Best(step=2, score="swd", value=1.0, protocol="ffff")
    write_best(tmp_path, best)
    held = []

    def fail() -> None:
        with hold_checkpoint(tmp_path, 4):
            held.append(read_best(tmp_path))
            raise OSError("full")

    with lock_workdir(tmp_path, EVALUATING), pytest.raises(OSError, match="full"):
        fail()
    assert held == [dataclasses.replace(best, scoring=4)]
    assert read_best(tmp_path) == best


def test_choose_best__chooses_only_among_checkpoints_that_are_there(tmp_path):
    rows = [scored.row(step, progress) for step, progress in ((1000, 0.9), (2000, 0.5))]
    choose_best(tmp_path, rows, "5e6f7a8b", None, steps=[1000, 2000])
    assert read_best(tmp_path).step == 1000
    choose_best(tmp_path, rows, "5e6f7a8b", None, steps=[2000])
    assert read_best(tmp_path).step == 2000
    assert read_best(tmp_path).score.startswith("FD-attr")


def test_choose_best__keeps_the_score_that_chose_before(tmp_path):
    write_best(tmp_path, Best(step=1, score="swd", value=1.0, protocol="ffff", scoring=7))
    with lock_workdir(tmp_path, EVALUATING):
        choose_best(tmp_path, [scored.row(1000)], "5e6f7a8b", None, steps=[1000])
        best = read_best(tmp_path)
    assert (best.step, best.score, best.protocol, best.scoring) == (1000, "swd", "5e6f7a8b", 7)


def test_write_arrays__writes_pictures_and_arrays(tmp_path):
    array = np.arange(4.0).reshape(2, 2)
    write_arrays(tmp_path, {"a.npy": array, "b.png": np.zeros((2, 2, 3), np.uint8)})
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), array)
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")
