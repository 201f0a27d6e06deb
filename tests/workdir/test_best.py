"""What was found of a checkpoint counts for that one alone, and goes when it goes."""

import json
import shutil

import jax
import pytest
from helpers import scored
from helpers.states import make_state, save_two

from gan.runtime.logs import read_rows
from gan.workdir.best import (
    EVALUATING,
    Best,
    checkpoint_digest,
    forget_scores,
    read_best,
    write_best,
)
from gan.workdir.checkpoints import Checkpoints
from gan.workdir.folder import lock_workdir


@pytest.fixture
def folder(tmp_path):
    return save_two(tmp_path)


def save_again(folder, state, step=2) -> None:
    shutil.rmtree(folder / "checkpoints" / str(step))
    with Checkpoints(folder, keep=3) as checkpoints:
        checkpoints.save(state, step)


def test_checkpoint_digest__is_of_what_is_drawn_with(folder):
    before, state = checkpoint_digest(folder, 2), make_state(2)
    assert before != checkpoint_digest(folder, 1)
    save_again(folder, state.replace(discriminator=make_state(7).discriminator))
    assert checkpoint_digest(folder, 2) == before
    save_again(folder, state.replace(averages=jax.tree.map(lambda x: x + 1, state.averages)))
    assert checkpoint_digest(folder, 2) not in (before, None)


def test_checkpoint_digest__is_none_of_what_is_not_there_or_is_damaged(folder):
    assert checkpoint_digest(folder, 3) is None
    path = folder / "checkpoints" / "2" / "meta" / "metadata"
    path.write_bytes(path.read_bytes().replace(b'"sha256"', b'"sha255"'))
    assert checkpoint_digest(folder, 2) is None


def test_read_best__does_not_take_another_checkpoint_of_the_same_step(folder):
    best = Best(step=2, score="swd", value=1.0, checkpoint=checkpoint_digest(folder, 2))
    write_best(folder, best)
    assert read_best(folder) == best
    save_again(folder, make_state(3))
    assert read_best(folder) == Best()
    shutil.rmtree(folder / "checkpoints")  # A copy without checkpoints still says which was best.
    assert read_best(folder) == best


def test_read_best__reads_files_of_older_versions(folder):
    (folder / "best.json").write_text('{"step": 2, "score": "swd", "value": 1.0, "protocol": "f"}')
    assert read_best(folder) == Best(2, "swd", 1.0, "f")


def test_read_best__the_mark_of_a_dead_evaluation_counts_for_nothing(folder):
    write_best(folder, Best(step=2, scoring=1))
    with lock_workdir(folder, EVALUATING):
        assert read_best(folder) == Best(step=2, scoring=1)
    assert read_best(folder) == Best(step=2)


@pytest.mark.parametrize(("alive", "kept"), [(True, [1, 4, 5]), (False, [4, 5])])
def test_keep_best__keeps_what_a_living_evaluation_scores(folder, alive, kept):
    with lock_workdir(folder, EVALUATING if alive else ".other"):
        write_best(folder, Best(scoring=1))
        with Checkpoints(folder, keep=2, keep_every=1000) as checkpoints:
            for step in (3, 4, 5):
                checkpoints.save(make_state(step), step)
                checkpoints.wait()
            assert checkpoints.steps() == kept


def test_forget_scores__leaves_nothing_of_later_steps(tmp_path):
    rows = [scored.row(step) for step in (1000, 2000, 3000)]
    scored.write(tmp_path, rows, best={"step": 2000, "score": "swd"})
    (tmp_path / "report.html").write_text("old")
    for step in (1000, 2000):
        (tmp_path / "evaluation" / "5e6f7a8b" / f"step_{step:08d}").mkdir(parents=True)
    forget_scores(tmp_path, after=3000)
    assert read_rows(tmp_path / "scores.jsonl") == rows
    assert (tmp_path / "report.html").exists()
    forget_scores(tmp_path, after=1500)
    assert read_rows(tmp_path / "scores.jsonl") == rows[:1]
    assert read_best(tmp_path) == Best()
    assert not (tmp_path / "report.html").exists()
    assert [path.name for path in tmp_path.glob("evaluation/*/*")] == ["step_00001000"]
    forget_scores(tmp_path, after=0)
    assert read_rows(tmp_path / "scores.jsonl") == []


def test_forget_scores__does_nothing_where_nothing_was_scored(tmp_path):
    forget_scores(tmp_path, after=0)
    assert [*tmp_path.iterdir()] == []


def test_best_json__says_what_it_is_of(folder):
    write_best(folder, Best(step=2, checkpoint=checkpoint_digest(folder, 2)))
    assert len(json.loads((folder / "best.json").read_text())["checkpoint"]) == 16
