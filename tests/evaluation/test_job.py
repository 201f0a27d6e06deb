"""Scoring checkpoints and other people's pictures: what is compared, kept, shown and refused."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from helpers import tiny
from helpers.states import restore_state

from gan.config import to_json
from gan.data.readers.folder import load_pictures
from gan.errors import ConfigError, DataError
from gan.evaluation import job, score_checkpoint, score_rows
from gan.evaluation.job import Options, evaluate, evaluate_pictures
from gan.evaluation.score_checkpoint import Drawn
from gan.runtime.logs import read_rows
from gan.runtime.pictures import write_png
from gan.sampling.open_run import open_run
from gan.sampling.sampler import Sampler
from gan.training.job import train
from gan.workdir.best import Best, read_best
from gan.workdir.checkpoints import Checkpoints

NUM = 40  # Pictures: no multiple of what is drawn at a time.
OPTIONS = Options(num_images=NUM, seeds=(0, 1))


@pytest.fixture(autouse=True, scope="module")
def less_work():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(score_checkpoint, "LAW", 20_000)
        patch.setattr(score_checkpoint, "SWAPS", 1)  # And so 8 of each.
        patch.setattr(job, "tensorboard_is_installed", lambda: False)
        score_checkpoint.law.cache_clear()
        yield
        score_checkpoint.law.cache_clear()


@pytest.fixture(scope="module")
def scored(finished, tmp_path_factory):
    """A copy of the finished run, evaluated."""
    folder = tmp_path_factory.mktemp("scored") / "run"
    shutil.copytree(finished[1], folder)
    (folder / "scores.jsonl").unlink(missing_ok=True)
    evaluate([folder], OPTIONS)
    return folder


@pytest.fixture
def copy(scored, tmp_path):
    return shutil.copytree(scored, tmp_path / "copy")


def value(row: dict, name: str, kind: str = "mean") -> float:
    (found,) = (x for key, x in row["scores"].items() if name in (key, key.split("@")[0]))
    return found[kind]


def test_each_checkpoint_gets_a_row_that_says_all_that_it_depends_on(scored):
    rows = read_rows(scored / "scores.jsonl")
    assert [row["step"] for row in rows] == [2, 4]
    for row in rows:
        stamp = row["protocol"]
        assert (stamp["images"], stamp["split"], stamp["crop"]) == (NUM, "validation", "none")
        assert row["generated"]["seeds"] == [0, 1]
        (extractor,) = stamp["extractors"]
        assert extractor.startswith("attr@")
        assert {name.partition("@")[2] for name in row["scores"]} == {"", extractor[5:]}
        assert len(row["attributes"]) == 40
        assert row["attributes"]["Smiling"]["swap"] is not None


def test_a_generator_of_noise_is_far_above_every_floor(scored):
    for row in read_rows(scored / "scores.jsonl"):
        for name in ("swd", "FD-attr", "KD-attr", "MIND-attr"):
            assert value(row, name) > 3 * max(value(row, name, "floor"), 0), name
        assert value(row, "FJD-attr") >= value(row, "FD-attr")
        assert value(row, "coverage-attr") < value(row, "coverage-attr", "floor")
        assert value(row, "control-attr") < 0.5 < value(row, "control-attr", "floor")


def test_what_is_shown_lies_beside_the_scores(scored):
    for step in (2, 4):
        shown = score_rows.shown(scored, read_best(scored).protocol, step)
        assert {path.name for path in shown.iterdir()} == {"samples.png", "nearest.png", "swap.npy"}
        matrix = np.load(shown / "swap.npy")
        assert matrix.shape == (40, 40)
        assert 0 <= np.nanmin(matrix) <= np.nanmax(matrix) <= 1
    report = (scored / "report.html").read_text()
    assert "Wearing_Lipstick" in report


@pytest.mark.slow
def test_a_stopped_evaluation_ends_with_the_same_files(scored, copy):
    whole = {name: (scored / name).read_bytes() for name in ("scores.jsonl", "best.json")}
    path = copy / "scores.jsonl"
    path.write_bytes(whole["scores.jsonl"].splitlines(keepends=True)[0] + b'{"step": 4, "sc')
    (copy / "best.json").write_text(json.dumps({"scoring": 4}))
    evaluate([copy], OPTIONS)
    for name in whole:
        assert (copy / name).read_bytes() == whole[name]


def test_what_is_scored_is_not_scored_again(copy, monkeypatch):
    written = (copy / "scores.jsonl").read_bytes()
    monkeypatch.setattr(job, "judge_checkpoint", None)  # Nobody may call it.
    evaluate([copy], OPTIONS)
    assert (copy / "scores.jsonl").read_bytes() == written


@pytest.mark.slow
def test_another_protocol_gets_rows_of_its_own(copy):
    before = read_best(copy)
    evaluate([copy], dataclasses.replace(OPTIONS, num_images=20, split="test", step="best"))
    rows = read_rows(copy / "scores.jsonl")
    assert len({row["protocol"]["id"] for row in rows}) == 2
    (new,) = (row for row in rows if row["protocol"]["split"] == "test")
    assert new["protocol"]["images"] == 20
    # Chosen on the validation split, shown on the test split: which chooses nothing.
    assert (new["step"], read_best(copy)) == (before.step, before)


def test_a_run_that_learnt_fewer_attributes_has_a_protocol_of_its_own(scored):
    run = open_run(scored)
    job_ = job.Job(OPTIONS)
    stores = job.prepare(run.config.data)
    whole = score_checkpoint.protocol(job_.reference_set(stores, NUM, run.table.names))
    few = dataclasses.replace(run.config.data, attributes="Smiling,Male")
    some = score_checkpoint.protocol(job_.reference_set(job.prepare(few), NUM, ("Smiling", "Male")))
    none = score_checkpoint.protocol(job_.reference_set(stores, NUM, ()))
    assert some["id"] != whole["id"] == none["id"]


def test_another_crop_or_another_number_is_another_protocol(scored):
    reference = job.Job(OPTIONS).reference_set(job.prepare(open_run(scored).config.data), NUM, ())
    cropped = {n: dataclasses.replace(x, crop="center140") for n, x in reference.stores.items()}
    others = [dataclasses.replace(reference, **x) for x in ({"stores": cropped}, {"num": NUM - 1})]
    assert len({score_checkpoint.protocol(x)["id"] for x in (reference, *others)}) == 3


def test_few_pictures_for_inception_are_warned_of(scored, caplog):
    reference = job.Job(OPTIONS).reference_set(job.prepare(open_run(scored).config.data), NUM, ())
    assert "few for" not in caplog.text
    inception = reference.classifier._replace(name="inception")
    dataclasses.replace(reference, extractors=(*reference.extractors, inception))
    assert "40 pictures are few for a distance of Inception's features" in caplog.text


def test_nothing_is_left_of_a_run_whose_only_checkpoint_is_damaged(copy):
    (copy / "scores.jsonl").write_text('{"step": 2, "swd": 3.0, "swd_floor": 1.0}\n')  # Older.
    shutil.rmtree(copy / "checkpoints" / "2")
    for path in (copy / "checkpoints" / "4").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with pytest.raises(DataError, match="checkpoints/4"):
        evaluate([copy], OPTIONS)
    assert read_best(copy).scoring is None


@pytest.mark.slow
def test_other_seeds_are_other_pictures_in_the_same_rows(copy):
    before = read_rows(copy / "scores.jsonl")
    evaluate([copy], dataclasses.replace(OPTIONS, seeds=(5,)))
    rows = read_rows(copy / "scores.jsonl")
    assert [row["step"] for row in rows] == [2, 4]
    for row, old in zip(rows, before, strict=True):
        assert row["protocol"] == old["protocol"]
        assert value(row, "swd") != value(old, "swd")
        assert value(row, "swd", "floor") == value(old, "swd", "floor")


@pytest.mark.slow
def test_with_the_training_split_as_reals_attributes_are_still_judged_on_others(copy):
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


def test_the_reference_is_every_chosen_picture_as_it_is_stored(scored):
    run = open_run(scored)
    reference = job.Job(OPTIONS).reference_set(job.prepare(run.config.data), NUM, run.table.names)
    store = reference.stores["validation"]
    assert len(reference.held_out.images) == NUM == len(set(reference.rows))
    np.testing.assert_array_equal(reference.held_out.images, store.images[reference.rows])
    np.testing.assert_array_equal(reference.held_out.attributes, store.attributes[reference.rows])
    for extracted in reference.held_out.extracted.values():
        assert len(extracted.features) == NUM


def test_any_number_of_devices_draws_and_sees_the_same(scored, monkeypatch):
    run = open_run(scored)
    params = run.restore(4)
    rows = np.asarray(run.table.rows[:130])
    several = Sampler(run.model, run.table)(params, range(130), rows)
    device = jax.local_devices()[0]
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    np.testing.assert_array_equal(Sampler(run.model, run.table)(params, range(130), rows), several)


@pytest.mark.slow
def test_a_damaged_checkpoint_is_told_and_left_out(copy, caplog):
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
def test_of_several_runs_a_broken_one_does_not_stop_the_others(copy, tmp_path, caplog):
    (copy / "scores.jsonl").unlink()
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{")
    with pytest.raises(DataError, match=r"broken.config\.json"):
        evaluate([broken, copy], OPTIONS)
    assert [row["step"] for row in read_rows(copy / "scores.jsonl")] == [2, 4]
    assert "Left out" in caplog.text


@pytest.mark.slow
def test_a_watch_scores_what_comes_until_the_training_has_ended(
    scored, faces_cache, tmp_path, monkeypatch
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
    assert read_rows(tmp_path / "run" / "scores.jsonl") == read_rows(scored / "scores.jsonl")


def test_the_best_checkpoint_is_kept_and_drawn_with(finished, copy, run, tmp_path):
    state = finished[0]
    best = read_best(copy)
    assert (best.step in (2, 4), best.scoring) == (True, None)
    (copy / "best.json").write_text(json.dumps(dataclasses.asdict(Best(step=2, scoring=4))))
    with Checkpoints(copy, keep=2, keep_every=1000) as checkpoints:
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


@pytest.mark.slow
def test_best_is_by_the_score_that_was_asked_for(copy):
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
    with pytest.raises(ConfigError, match="no score.*Did you mean 'recall'"):
        dataclasses.replace(OPTIONS, best="recal")
    with pytest.raises(ConfigError, match="no such score there"):
        evaluate([copy], dataclasses.replace(OPTIONS, best="FID"))


def test_other_peoples_pictures_get_the_scores_of_the_same_pictures(scored, tmp_path):
    """Lossless files with the attributes in a CSV: only their order is another."""
    run, options = open_run(scored), dataclasses.replace(OPTIONS, seeds=(0,))
    reference = job.Job(options).reference_set(job.prepare(run.config.data), NUM, run.table.names)
    params = run.restore(4)
    drawn = Drawn(run, Sampler(run.model, run.table), params, reference, (0,))
    ((images, attributes),) = drawn.sets()
    lines = ["picture," + ",".join(run.table.names)]
    for i, (image, row) in enumerate(zip(images, attributes, strict=True)):
        write_png(tmp_path / "pictures" / f"{i:03d}.png", image)
        lines.append(f"{i:03d}.png," + ",".join(map(str, row)))
    (tmp_path / "pictures" / "labels.csv").write_text("\n".join(lines))
    evaluate_pictures(tmp_path / "pictures", run.config, tmp_path / "theirs", options)
    (theirs,) = read_rows(tmp_path / "theirs" / "scores.jsonl")
    assert theirs["protocol"] == read_rows(scored / "scores.jsonl")[-1]["protocol"]
    ours = reference.score(reference.extract(images, attributes))
    assert theirs["scores"].keys() == ours.keys()
    for name, found in theirs["scores"].items():
        close = 0.05 if name == "swd" else 1e-6  # Its patches are cut out of other pictures.
        assert found["mean"] == pytest.approx(ours[name], rel=close, abs=1e-6), name
    with pytest.raises(ConfigError, match="holds a run of its own"):
        evaluate_pictures(tmp_path / "pictures", run.config, scored, options)


def test_files_sorted_by_class_do_not_make_sets_of_a_class_each(scored, tmp_path):
    for name, level in (("a", 0), ("b", 128), ("c", 255)):
        for i in range(20):
            image = np.full((32, 32, 3), level, np.uint8)
            write_png(tmp_path / "pictures" / name / f"{i}.png", image)
    data = dataclasses.replace(open_run(scored).config.data, path=str(tmp_path / "pictures"))
    given = load_pictures(dataclasses.replace(data, source="folder"))
    assert len(given.images) == 60
    for images, asked in job.parts(given, (), 20, 3):
        assert asked is None
        assert len(np.unique(images)) == 3


def test_pictures_without_labels_are_compared_as_pictures(scored, tmp_path):
    run = open_run(scored)
    rng = np.random.default_rng(0)
    for i in range(50):
        write_png(tmp_path / "noise" / f"{i}.png", rng.integers(0, 256, (48, 48, 3), np.uint8))
    # The labels of the data that a run was trained on are not those of these pictures.
    (tmp_path / "labels.csv").write_text(
        "picture,Smiling\n" + "".join(f"{i}.png,1\n" for i in range(50))
    )
    labels = {"labels": str(tmp_path / "labels.csv"), "on_bad": "skip"}
    config = dataclasses.replace(run.config, data=dataclasses.replace(run.config.data, **labels))
    evaluate_pictures(tmp_path / "noise", config, tmp_path / "theirs", OPTIONS)
    (row,) = read_rows(tmp_path / "theirs" / "scores.jsonl")
    assert row["attributes"] == {}
    assert row["protocol"] == read_rows(scored / "scores.jsonl")[0]["protocol"]
    assert value(row, "swd") > 3 * value(row, "swd", "floor")
    assert not any(name.startswith(("FJD", "control")) for name in row["scores"])
    write_png(tmp_path / "noise" / "0.png", np.zeros((48, 48, 3), np.uint8))
    with pytest.raises(ConfigError, match="holds the scores of other pictures"):
        evaluate_pictures(tmp_path / "noise", run.config, tmp_path / "theirs", OPTIONS)


USAGE = {
    ("--images=x",): "--images=FOLDER needs --config=FILE",
    ("--config=tests/helpers/tiny.py",): "--config goes with --images",
    ("--inception=nowhere.pth",): "--inception=nowhere.pth: no such file",
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
}


@pytest.mark.parametrize("wish", USAGE, ids=str)
def test_a_wrong_command_is_named(run, scored, wish):
    code, text = run(f"--workdir={scored}", "--mode=evaluate", *wish)
    assert code == 64
    assert USAGE[wish] in text


def test_runs_are_found_by_a_pattern_and_compared(run, scored, tmp_path):
    for name in ("one", "two"):
        shutil.copytree(scored, tmp_path / "runs" / name)
    (tmp_path / "runs" / "notes").mkdir()
    code, text = run(f"--workdir={tmp_path}/runs/*", "--mode=compare")
    assert code == 0
    assert "one" in text
    assert "two" in text
    assert "notes" not in text
    code, text = run(f"--workdir={tmp_path}/other/*", "--mode=compare")
    assert code == 64
    assert "no run matches" in text
