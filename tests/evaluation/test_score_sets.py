"""Sets of pictures: their scores, and the protocol that tells what these depend on."""

import dataclasses

import numpy as np
import pytest
from helpers.scored import NUM

from gan.data.prepare import prepare
from gan.evaluation.score_sets import (
    COLUMNS,
    describe_protocol,
    draw_nearest_pairs,
    make_score,
    score_sets,
)
from gan.sampling.open_run import open_run


@pytest.fixture(scope="module")
def config(scored_run):
    return open_run(scored_run).config


def test_describe_protocol__tells_apart_runs_that_learnt_fewer_attributes(
    config, references, reference
):
    whole = describe_protocol(reference, (0,))
    few = dataclasses.replace(config.data, attributes="Smiling,Male")
    some = describe_protocol(references.make(prepare(few), NUM, ("Smiling", "Male")), (0,))
    none = describe_protocol(references.make(prepare(config.data), NUM, ()), (0,))
    assert some["id"] != whole["id"] == none["id"]


def test_describe_protocol__tells_apart_crops_numbers_and_seeds(reference):
    cropped = {n: dataclasses.replace(x, crop="center140") for n, x in reference.stores.items()}
    others = [dataclasses.replace(reference, **x) for x in ({"stores": cropped}, {"num": NUM - 1})]
    found = {describe_protocol(x, (0,))["id"] for x in (reference, *others)}
    assert len(found | {describe_protocol(reference, (0, 1))["id"]}) == 4


def test_score_sets__draws_directions_for_each_set_anew(reference):
    """Else a deviation over sets would not have that of the directions in it."""
    real = reference.baseline_pictures
    row, _ = score_sets(reference, iter([(real.images, None)] * 2))
    deviations = {name.partition("-")[0]: x["sd"] for name, x in row["scores"].items()}
    assert deviations["MIND"] > 0
    assert deviations["swd"] > 0
    assert deviations["FD"] == 0


def test_make_score__is_the_mean_and_deviation_of_the_sets():
    assert make_score([1.0, 3.0], 0.5) == {"mean": 2.0, "sd": 2**0.5, "floor": 0.5}
    assert make_score([1.0]) == {"mean": 1.0, "sd": None, "floor": None}
    assert make_score([np.nan], np.inf, 0) == {"mean": None, "sd": None, "floor": None, "cases": 0}


def test_score_sets__finds_real_pictures_at_the_baseline(reference):
    real = reference.baseline_pictures
    row, last = score_sets(reference, iter([(real.images, real.attributes)]))
    for name in ("swd", "precision", "FD"):
        (score,) = (x for key, x in row["scores"].items() if key.partition("-")[0] == name)
        assert score["mean"] == pytest.approx(score["floor"]), name
    assert row["attributes"]["Smiling"]["positives"] == real.attributes.sum(axis=0)[31]
    np.testing.assert_array_equal(last.images, real.images)


def test_draw_nearest_pairs__enlarges_copies_above_their_originals(reference):
    rows = np.arange(COLUMNS)
    copies = np.asarray(reference.stores["train"].images[rows])
    sheet = draw_nearest_pairs(reference, reference.extract(copies, None))
    pictures = sheet[:, -64 * COLUMNS :]  # Of 32 pixels, shown at twice their size.
    assert len(pictures) == 2 * 64
    np.testing.assert_array_equal(pictures[:64], pictures[64:])
    shown = pictures[:64:2, ::2].reshape(32, COLUMNS, 32, 3).swapaxes(0, 1)
    assert {x.tobytes() for x in shown} == {x.tobytes() for x in copies}
