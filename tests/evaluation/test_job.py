"""The evaluation of runs: what is scored, kept, left out and refused."""

import contextlib
import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers import tiny
from helpers.scored import NUM, OPTIONS, value
from helpers.states import restore_state

from gan.config import to_json
from gan.errors import ConfigError, DataError, NotSaved
from gan.evaluation import job
from gan.evaluation.job import evaluate
from gan.evaluation.score_rows import pictures_folder
from gan.runtime.logs import read_rows
from gan.training.job import train
from gan.workdir.best import checkpoint_digest, read_best
from gan.workdir.checkpoints import Checkpoints


def test_evaluate__gives_each_checkpoint_a_row_that_says_all_it_depends_on(scored_run):
    rows = read_rows(scored_run / "scores.jsonl")
    assert [row["step"] for row in rows] == [2, 4]
    for row in rows:
        stamp = row["protocol"]
        assert (stamp["images"], stamp["split"], stamp["crop"]) == (NUM, "validation", "none")
        assert stamp["seeds"] == [0, 1]
        assert row["checkpoint"] == checkpoint_digest(scored_run, row["step"])
        (extractor,) = stamp["extractors"]
        assert extractor.startswith("attr@")
        assert {name.partition("@")[2] for name in row["scores"]} == {"", extractor[5:]}
        assert len(row["attributes"]) == 40
        assert row["attributes"]["Smiling"]["swap"] is not None


def test_evaluate__finds_noise_far_from_every_baseline(scored_run):
    for row in read_rows(scored_run / "scores.jsonl"):
        for name in ("swd", "FD-attr", "KD-attr", "MIND-attr"):
            assert value(row, name) > 3 * max(value(row, name, "floor"), 0), name
        assert value(row, "FJD-attr") >= value(row, "FD-attr")
        assert value(row, "coverage-attr") < value(row, "coverage-attr", "floor")
        assert value(row, "control-attr") < 0.5 < value(row, "control-attr", "floor")


def test_evaluate__leaves_pictures_and_a_report_beside_the_scores(scored_run):
    for step in (2, 4):
        shown = pictures_folder(scored_run, read_best(scored_run).protocol, step)
        assert {path.name for path in shown.iterdir()} == {"samples.png", "nearest.png", "swap.npy"}
        matrix = np.load(shown / "swap.npy")
        assert matrix.shape == (40, 40)
        assert 0 <= np.nanmin(matrix) <= np.nanmax(matrix) <= 1
    report = (scored_run / "report.html").read_text()
    assert "Wearing_Lipstick" in report


@pytest.mark.slow
def test_evaluate__ends_with_the_same_files_if_stopped(scored_run, copy):
    whole = {name: (scored_run / name).read_bytes() for name in ("scores.jsonl", "best.json")}
    path = copy / "scores.jsonl"
    path.write_bytes(whole["scores.jsonl"].splitlines(keepends=True)[0] + b'{"step": 4, "sc')
    (copy / "best.json").write_text(json.dumps({"scoring": 4}))
    evaluate([copy], OPTIONS)
    for name in whole:
        assert (copy / name).read_bytes() == whole[name]


def damage(checkpoint) -> None:
    for path in checkpoint.rglob("*"):
        if path.is_file():
            path.write_bytes(b"")


def test_evaluate__does_not_read_a_checkpoint_that_is_scored(copy, caplog):
    written = (copy / "scores.jsonl").read_bytes()
    for step in ("2", "4"):
        damage(copy / "checkpoints" / step)
    evaluate([copy], OPTIONS)
    assert (copy / "scores.jsonl").read_bytes() == written
    assert "2 checkpoints, all scored" in caplog.text
    assert "Not scored" not in caplog.text


@pytest.mark.slow
def test_evaluate__gives_another_protocol_rows_of_its_own(copy):
    before = read_best(copy)
    evaluate([copy], dataclasses.replace(OPTIONS, num_images=20, split="test", step="best"))
    rows = read_rows(copy / "scores.jsonl")
    assert len({row["protocol"]["id"] for row in rows}) == 2
    (new,) = (row for row in rows if row["protocol"]["split"] == "test")
    assert new["protocol"]["images"] == 20
    # Chosen on the validation split, shown on the test split: which chooses nothing.
    assert (new["step"], read_best(copy)) == (before.step, before)


def test_evaluate__leaves_nothing_of_a_run_whose_only_checkpoint_is_damaged(copy):
    (copy / "scores.jsonl").write_text('{"step": 2, "swd": 3.0, "swd_floor": 1.0}\n')  # Older.
    shutil.rmtree(copy / "checkpoints" / "2")
    damage(copy / "checkpoints" / "4")
    with pytest.raises(DataError, match="checkpoints/4"):
        evaluate([copy], OPTIONS)
    assert read_best(copy).scoring is None


@pytest.mark.slow
def test_evaluate__gives_other_seeds_rows_of_their_own(copy):
    before = read_rows(copy / "scores.jsonl")
    evaluate([copy], dataclasses.replace(OPTIONS, seeds=(5,)))
    rows = read_rows(copy / "scores.jsonl")
    assert [row["step"] for row in rows] == [2, 2, 4, 4]
    assert [row for row in rows if row in before] == before
    new = [row for row in rows if row not in before]
    for row, old in zip(new, before, strict=True):
        assert row["protocol"]["seeds"] == [5]
        assert value(row, "swd") != value(old, "swd")
        assert value(row, "swd", "floor") == value(old, "swd", "floor")


@pytest.mark.slow
def test_evaluate__other_numbers_of_pictures_choose_only_where_that_is_asked_for(copy, caplog):
    before = read_best(copy)
    few = dataclasses.replace(OPTIONS, num_images=20, seeds=(0,))
    evaluate([copy], few)
    assert read_best(copy) == before
    assert "do not choose the best checkpoint: those of 40 validation pictures do" in caplog.text
    evaluate([copy], dataclasses.replace(few, best="FD"))  # As the message says.
    rows = [row for row in read_rows(copy / "scores.jsonl") if row["protocol"]["images"] == 20]
    assert read_best(copy).protocol == rows[0]["protocol"]["id"] != before.protocol


@pytest.mark.slow
def test_evaluate__scores_a_checkpoint_again_that_was_trained_anew(copy, caplog):
    before = {row["step"]: row for row in read_rows(copy / "scores.jsonl")}
    state = restore_state(copy, 2)
    averages = jax.tree.map(lambda x: 3 * x, state.averages)
    shutil.rmtree(copy / "checkpoints" / "2")
    with Checkpoints(copy, keep_every=1) as checkpoints:
        checkpoints.save(state.replace(averages=averages), 2)
    evaluate([copy], OPTIONS)
    first, second = read_rows(copy / "scores.jsonl")
    assert second == before[4]
    assert first["checkpoint"] == checkpoint_digest(copy, 2) != before[2]["checkpoint"]
    assert value(first, "swd") != value(before[2], "swd")
    assert "the scores of steps 2 are left out" in caplog.text
    assert "2 checkpoints, all scored" not in caplog.text
    best = read_best(copy)
    assert best.value in (value(first, "FD-attr"), value(second, "FD-attr"))


@pytest.mark.slow
def test_evaluate__scores_again_what_older_versions_scored_and_keeps_their_rows(copy, caplog):
    rows = read_rows(copy / "scores.jsonl")
    older = [row | {"protocol": row["protocol"] | {"id": "old", "version": 1}} for row in rows]
    for row in older:
        del row["checkpoint"]
    (copy / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in older))
    evaluate([copy], OPTIONS)
    assert "an older version scored steps 2, 4 and did not note which bytes it saw" in caplog.text
    found = read_rows(copy / "scores.jsonl")
    assert [row for row in found if row["protocol"]["id"] == "old"] == older
    assert [row for row in found if row["protocol"]["id"] != "old"] == rows


@pytest.mark.slow
def test_evaluate__a_full_disk_ends_no_other_run(copy, make_disk, tmp_path, caplog):
    size = sum(path.stat().st_size + 4096 for path in copy.rglob("*"))  # And what is left of pages.
    full = make_disk(f"{size + 2**22}") / "run"
    shutil.copytree(copy, full)
    for folder in (copy, full):
        (folder / "scores.jsonl").unlink()
    filling = (full.parent / "filling").open("wb", buffering=0)
    with filling, contextlib.suppress(OSError):
        while True:
            filling.write(bytes(4096))
    with pytest.raises(NotSaved, match=rf"{full}/.* cannot be written \(No space.*Make room"):
        evaluate([full, copy], OPTIONS)
    assert "Left out" in caplog.text
    assert [row["step"] for row in read_rows(copy / "scores.jsonl")] == [2, 4]
    assert not [*full.rglob("*.partial")]
    (full.parent / "filling").unlink()
    evaluate([full], OPTIONS)  # As the message says.
    assert read_rows(full / "scores.jsonl") == read_rows(copy / "scores.jsonl")


@pytest.mark.slow
def test_evaluate__reads_attributes_off_unseen_pictures_where_the_training_split_is_compared(copy):
    evaluate([copy], dataclasses.replace(OPTIONS, split="train"))
    row = next(r for r in read_rows(copy / "scores.jsonl") if r["protocol"]["split"] == "train")
    assert row["protocol"]["floors"] == "validation"
    assert value(row, "FD-attr", "floor") > 0
    assert value(row, "authenticity-attr", "floor") is None
    known = next(r for r in read_rows(copy / "scores.jsonl") if r["protocol"]["split"] != "train")
    for name in ("Smiling", "Male"):  # As many held-out pictures as before: the same ones.
        real = [r["attributes"][name]["real"]["balanced_accuracy"] for r in (row, known)]
        assert real[0] == real[1]


@pytest.mark.slow
def test_evaluate__scores_the_moving_average_and_not_the_raw_weights(copy):
    before = [row for row in read_rows(copy / "scores.jsonl") if row["step"] == 4]
    state = restore_state(copy, 4)
    raw = jax.tree.map(lambda x: x * np.nan, state.generator.params)
    (copy / "scores.jsonl").unlink()
    shutil.rmtree(copy / "checkpoints")
    with Checkpoints(copy) as checkpoints:
        checkpoints.save(state.replace(generator=state.generator.replace(params=raw)), 4)
    evaluate([copy], OPTIONS)
    assert read_rows(copy / "scores.jsonl") == before


@pytest.mark.slow
def test_evaluate__tells_and_leaves_out_a_damaged_checkpoint(copy, caplog):
    (copy / "scores.jsonl").unlink()
    for path in (copy / "checkpoints" / "2").rglob("*"):
        if path.is_file() and path.stat().st_size > 10_000:
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 255
            path.write_bytes(data)
    evaluate([copy], OPTIONS)
    assert [row["step"] for row in read_rows(copy / "scores.jsonl")] == [4]
    assert "Not scored" in caplog.text


@pytest.mark.slow
def test_evaluate__goes_on_with_other_runs_after_a_broken_one(copy, tmp_path, caplog):
    (copy / "scores.jsonl").unlink()
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{")
    with pytest.raises(DataError, match=r"broken.config\.json"):
        evaluate([broken, copy], OPTIONS)
    assert [row["step"] for row in read_rows(copy / "scores.jsonl")] == [2, 4]
    assert "Left out" in caplog.text


@pytest.mark.slow
def test_evaluate__watches_until_the_training_has_ended(
    scored_run, faces_cache, tmp_path, monkeypatch, caplog
):
    config = tiny.get_config()
    config.data.cache_dir = str(faces_cache)
    naps = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 2:  # At first there is not even a run.
            train(dataclasses.replace(config, steps=2), tmp_path / "run")
            (tmp_path / "run" / "config.json").write_text(to_json(config))
        if len(naps) == 3:
            train(config, tmp_path / "run")

    monkeypatch.setattr(job.time, "sleep", sleep)
    evaluate([tmp_path / "run"], dataclasses.replace(OPTIONS, watch=True))
    assert len(naps) == 3
    assert "Waiting for a run in" in caplog.text
    assert "run is at step 2 of 4, and no training runs there: start it again" in caplog.text
    assert read_rows(tmp_path / "run" / "scores.jsonl") == read_rows(scored_run / "scores.jsonl")


@pytest.mark.slow
def test_evaluate__chooses_the_best_by_the_score_asked_for(copy):
    rows = read_rows(copy / "scores.jsonl")
    for name, sign in (("swd", 1), ("recall", -1), ("FJD-attr", 1)):
        evaluate([copy], dataclasses.replace(OPTIONS, best=name))
        values = {
            row["step"]: sign
            * next(x["mean"] for key, x in row["scores"].items() if key.startswith(name))
            for row in rows
        }
        best = read_best(copy)
        assert best.score.startswith(name)
        assert values[best.step] == min(values.values())
    evaluate([copy], OPTIONS)
    assert read_best(copy).score.startswith("FJD-attr")  # As before.
    with pytest.raises(ConfigError, match="no such score there"):
        evaluate([copy], dataclasses.replace(OPTIONS, best="FID"))


USAGE = {
    ("--images=x",): "--images=FOLDER needs --config=FILE",
    ("--config=tests/helpers/tiny.py",): "--config goes with --images",
    ("--inception=nowhere.pth",): f"--inception={Path('nowhere.pth').absolute()}: no such file",
    ("--resize=clean",): "needs --inception=FILE",
    ("--resize=cleen",): "Did you mean 'clean'?",
    ("--split=tests",): "Did you mean 'test'?",
    ("--seeds=a",): "--seeds=a",
    ("--num_images=0",): "num_images",
    ("--num_images=3",): "at least 6",
    ("--seeds=0,0",): "there twice",
    ("--seeds=4000000000",): "at most",
    ("--step=3",): "has steps [2, 4]",
    ("--best=recal",): "Did you mean 'recall'?",
    ("--images=x", "--config=tests/helpers/tiny.py", "--watch"): "does not go with --images",
    ("--watch", "--step=2"): "leave one of them out",
}


@pytest.mark.parametrize("wish", USAGE, ids=str)
def test_evaluate_command__names_what_is_wrong(run, scored_run, wish):
    code, text = run(f"--workdir={scored_run}", "--mode=evaluate", *wish)
    assert code == 64
    assert USAGE[wish] in text
