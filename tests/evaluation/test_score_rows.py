"""Scores on disk: which rows count, how they fall into protocols, which is best."""

import json

import pytest
from helpers import scored

from gan.errors import ConfigError
from gan.evaluation import score_rows

FD, CONTROL = f"FD-attr@{scored.HASH}", f"accuracy_ratio-attr@{scored.HASH}"


def test_rows_without_a_protocol_and_cut_lines_do_not_count(tmp_path):
    rows = [scored.row(1000), {"step": 500, "swd": 3.0}]
    folder = scored.write(tmp_path, rows)
    with (folder / "scores.jsonl").open("a") as file:
        file.write(json.dumps(scored.row(2000))[:-20])
    assert [row["step"] for row in score_rows.read(folder)] == [1000]
    assert score_rows.read(tmp_path / "nowhere") == []


def test_protocols_are_kept_apart_by_step_and_a_later_row_replaces():
    other = scored.protocol("ffff")
    rows = [scored.row(2000), scored.row(1000), scored.row(1000, about=other)]
    again = scored.row(2000, progress=0.9)
    groups = score_rows.by_protocol([*rows, again])
    assert groups == {"5e6f7a8b": [rows[1], again], "ffff": [rows[2]]}


@pytest.mark.parametrize(("name", "best"), [(FD, 3000), (CONTROL, 1000)])
def test_best_goes_by_the_scores_direction_and_past_nulls(name, best):
    values = {1000: 9.0, 2000: None, 3000: 1.0, 4000: float("nan"), 5000: 1.0, 6000: 9.0}
    rows = [scored.row(step) for step in values]
    for row in rows:
        row["scores"][name]["mean"] = values[row["step"]]
    assert score_rows.best_row(rows, name)["step"] == best
    assert score_rows.best_row(rows[1:2], name) is None


def test_the_default_score_is_fd_of_attributes_else_the_first_with_a_number():
    row = scored.row(1000)
    assert score_rows.default_name([row]) == FD
    row["scores"] = {"swd": None, "KID": {"mean": None}, "recall-x": {"mean": 0.5}}
    assert score_rows.default_name([row]) == "recall-x"
    row["scores"] = {}
    assert score_rows.default_name([row]) is None


def test_fid_of_unknown_weights_is_not_fid_in_the_main_columns():
    row = scored.row(1000)
    row["scores"] = {"FID-unverified": {"mean": 9.0}, "FID": {"mean": 3.0}}
    assert score_rows.main_names([row]) == ["FID"]
    row["scores"] = {"FID-unverified": {"mean": 9.0}}
    assert score_rows.main_names([row]) == ["FID-unverified"]  # Under its whole name.


def test_protocols_differ_in_fields_but_not_in_the_id():
    a, b = scored.protocol(), scored.protocol("ffff", images=10, new="x")
    assert score_rows.differing([a, b]) == {"images": [2048, 10], "new": [None, "x"]}
    assert score_rows.differing([a]) == {}


@pytest.mark.parametrize(
    ("value", "sd", "text"),
    [
        (None, None, "-"),
        (0.0, None, "0.0"),
        (41.234, None, "41.23"),
        (-0.00012, None, "-0.000120"),
        (12345.6, None, "12,346"),
        (41.234, 0.34, "41.2"),
        (41.234, 0.14, "41.23"),
        (41.234, 0.0, "41.23"),
        (1234.5, 34.0, "1,234"),
    ],
)
def test_numbers_have_as_many_digits_as_are_known(value, sd, text):
    assert score_rows.format_number(value, sd) == text


def test_gap_orders_attributes_and_unknown_ones_come_last():
    def of(fake, real):
        return {"balanced_accuracy": fake, "real": {"balanced_accuracy": real}}

    attributes = {"a": of(0.9, 0.9), "b": of(None, 0.9), "c": of(0.5, 0.9), "d": {}}
    assert score_rows.worst_first(attributes)[:2] == ["c", "a"]
    assert score_rows.gap(attributes["c"]) == pytest.approx(-0.4)
    assert score_rows.gap(attributes["d"]) is None


def test_an_unknown_score_has_no_best():
    row = scored.row(1000)
    row["scores"]["mine"] = {"mean": 1.0}
    with pytest.raises(ConfigError, match="mine"):
        score_rows.best_row([row], "mine")
