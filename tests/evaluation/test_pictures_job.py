"""Anybody's pictures: the scores of the same pictures, with and without labels."""

import dataclasses

import numpy as np
import pytest
from helpers.scored import OPTIONS, value

from gan.data.readers.folder import load_pictures
from gan.errors import ConfigError
from gan.evaluation.pictures_job import count_kinds, evaluate_pictures, split_sets
from gan.evaluation.score_checkpoint import GeneratedPictures
from gan.metrics.scores import MIN_PICTURES
from gan.runtime.logs import read_rows
from gan.runtime.pictures import write_png
from gan.sampling.open_run import open_run
from gan.sampling.sampler import Sampler


def test_evaluate_pictures__gives_the_same_pictures_the_scores_of_a_run(
    scored_run, reference, tmp_path
):
    """Lossless files with the attributes in a CSV: only their order is another."""
    run, options = open_run(scored_run), OPTIONS
    params = run.restore(4)
    sampler = Sampler(run.model, run.table)
    generated = GeneratedPictures(run, sampler, params, reference, options.seeds)
    images, attributes = next(generated.draw_sets())
    lines = ["picture," + ",".join(run.table.names)]
    for i, (image, row) in enumerate(zip(images, attributes, strict=True)):
        write_png(tmp_path / "pictures" / f"{i:03d}.png", image)
        lines.append(f"{i:03d}.png," + ",".join(map(str, row)))
    (tmp_path / "pictures" / "labels.csv").write_text("\n".join(lines))
    evaluate_pictures(tmp_path / "pictures", run.config, tmp_path / "theirs", options)
    (theirs,) = read_rows(tmp_path / "theirs" / "scores.jsonl")
    assert theirs["protocol"] == read_rows(scored_run / "scores.jsonl")[-1]["protocol"]
    ours = reference.score(reference.extract(images, attributes))
    assert theirs["scores"].keys() == ours.keys()
    for name, found in theirs["scores"].items():
        close = 0.05 if name == "swd" else 1e-6  # Its patches are cut out of other pictures.
        assert found["mean"] == pytest.approx(ours[name], rel=close, abs=1e-6), name
    with pytest.raises(ConfigError, match="holds a run of its own"):
        evaluate_pictures(tmp_path / "pictures", run.config, scored_run, options)


def test_evaluate_pictures__says_how_many_are_needed(scored_run, tmp_path):
    config = open_run(scored_run).config
    for i in range(MIN_PICTURES):
        if i == MIN_PICTURES - 1:
            with pytest.raises(ConfigError, match=r"--images=.*few: 5 pictures.*at least 6.*Add"):
                evaluate_pictures(tmp_path / "few", config, tmp_path / "scores", OPTIONS)
        write_png(tmp_path / "few" / f"{i}.png", np.full((32, 32, 3), 40 * i, np.uint8))
    evaluate_pictures(tmp_path / "few", config, tmp_path / "scores", OPTIONS)
    (row,) = read_rows(tmp_path / "scores" / "scores.jsonl")
    assert row["protocol"]["images"] == MIN_PICTURES
    assert not (tmp_path / "scores" / "best.json").exists()  # There is nothing to choose among.


def test_count_kinds__counts_files_by_extension(tmp_path):
    for name in ("a.png", "b/c.PNG", "d.jpg", "labels.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert count_kinds(tmp_path) == {".jpg": 1, ".png": 2}


def test_split_sets__mixes_files_that_are_sorted_by_class(scored_run, tmp_path):
    for name, level in (("a", 0), ("b", 128), ("c", 255)):
        for i in range(20):
            image = np.full((32, 32, 3), level, np.uint8)
            write_png(tmp_path / "pictures" / name / f"{i}.png", image)
    data = dataclasses.replace(open_run(scored_run).config.data, path=str(tmp_path / "pictures"))
    given = load_pictures(dataclasses.replace(data, source="folder"))
    assert len(given.images) == 60
    for images, requests in split_sets(given, (), 20, 3):
        assert requests is None
        assert len(np.unique(images)) == 3


def test_evaluate_pictures__compares_pictures_without_labels_as_pictures(
    scored_run, tmp_path, caplog
):
    run = open_run(scored_run)
    rng = np.random.default_rng(0)
    for i in range(50):
        write_png(tmp_path / "noise" / f"{i}.png", rng.integers(0, 256, (24, 24, 3), np.uint8))
    # The labels of the data that a run was trained on are not those of these pictures.
    (tmp_path / "labels.csv").write_text(
        "picture,Smiling\n" + "".join(f"{i}.png,1\n" for i in range(50))
    )
    labels = {"labels": str(tmp_path / "labels.csv"), "on_bad": "skip"}
    config = dataclasses.replace(run.config, data=dataclasses.replace(run.config.data, **labels))
    evaluate_pictures(tmp_path / "noise", config, tmp_path / "theirs", OPTIONS)
    (row,) = read_rows(tmp_path / "theirs" / "scores.jsonl")
    assert row["attributes"] == {}
    said = "50 .png; 50 enlarged to 32 px; scored in 1 set"
    assert said in caplog.text
    assert said in (tmp_path / "theirs" / "report.html").read_text()
    assert row["protocol"] == read_rows(scored_run / "scores.jsonl")[0]["protocol"]
    assert value(row, "swd") > 3 * value(row, "swd", "floor")
    assert not any(name.startswith(("FJD", "control")) for name in row["scores"])
    write_png(tmp_path / "noise" / "0.png", np.zeros((48, 48, 3), np.uint8))
    with pytest.raises(ConfigError, match="holds the scores of other pictures"):
        evaluate_pictures(tmp_path / "noise", run.config, tmp_path / "theirs", OPTIONS)
