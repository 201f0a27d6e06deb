"""Rows of scores: which count, how they group by protocol, which is best."""

import json

import pytest
from helpers import scored
from helpers.states import save_two

from gan.errors import ConfigError
from gan.evaluation import score_rows
from gan.workdir.best import checkpoint_digest

FD, CONTROL = f"FD-attr@{scored.HASH}", f"accuracy_ratio-attr@{scored.HASH}"


def test_read_score_rows__leaves_out_rows_without_a_protocol_and_cut_lines(tmp_path):
    rows = [scored.row(1000), {"step": 500, "swd": 3.0}]
    folder = scored.write(tmp_path, rows)
    with (folder / "scores.jsonl").open("a") as file:
        file.write(json.dumps(scored.row(2000))[:-20])
    assert [row["step"] for row in score_rows.read_score_rows(folder)] == [1000]
    assert score_rows.read_score_rows(tmp_path / "nowhere") == []


def test_read_score_rows__leaves_out_scores_of_other_checkpoints(tmp_path, caplog):
    save_two(tmp_path)
    digests = {1: checkpoint_digest(tmp_path, 1), 2: "another", 3: "deleted meanwhile"}
    rows = [scored.row(step) | {"checkpoint": digest} for step, digest in digests.items()]
    rows.append(scored.row(2, about=scored.protocol("old")))  # Of a version that noted no digest.
    scored.write(tmp_path, rows)
    found = score_rows.read_score_rows(tmp_path)
    assert found == [rows[0], rows[2], rows[3]]
    assert "the scores of steps 2 are left out: other checkpoints lie there now" in caplog.text


def test_group_by_protocol__sorts_by_step_and_a_later_row_counts():
    other = scored.protocol("ffff")
    rows = [scored.row(2000), scored.row(1000), scored.row(1000, about=other)]
    again = scored.row(2000, progress=0.9)
    groups = score_rows.group_by_protocol([*rows, again])
    assert groups == {"5e6f7a8b": [rows[1], again], "ffff": [rows[2]]}


@pytest.mark.parametrize(("name", "best"), [(FD, 3000), (CONTROL, 1000)])
def test_find_best_row__goes_by_the_direction_of_the_score_and_past_nulls(name, best):
    values = {1000: 9.0, 2000: None, 3000: 1.0, 4000: float("nan"), 5000: 1.0, 6000: 9.0}
    rows = [scored.row(step) for step in values]
    for row in rows:
        row["scores"][name]["mean"] = values[row["step"]]
    assert score_rows.find_best_row(rows, name)["step"] == best
    assert score_rows.find_best_row(rows[1:2], name) is None


def test_default_score_name__is_fd_of_attributes_else_the_first_with_a_number():
    row = scored.row(1000)
    assert score_rows.default_score_name([row]) == FD
    row["scores"] = {"swd": None, "KID": {"mean": None}, "recall-x": {"mean": 0.5}}
    assert score_rows.default_score_name([row]) == "recall-x"
    row["scores"] = {}
    assert score_rows.default_score_name([row]) is None


def test_main_score_names__prefer_fid_of_known_weights():
    row = scored.row(1000)
    row["scores"] = {"FID-unverified": {"mean": 9.0}, "FID": {"mean": 3.0}}
    assert score_rows.main_score_names([row]) == ["FID"]
    row["scores"] = {"FID-unverified": {"mean": 9.0}}
    assert score_rows.main_score_names([row]) == ["FID-unverified"]  # Under its whole name.


def test_main_score_names__end_with_the_main_scores_of_other_extractors():
    row = scored.row(1000)
    row["scores"] |= {name: {"mean": 1.0} for name in ("FD-blocks", "KD-blocks", "recall-blocks")}
    names = [score_rows.short_name(name) for name in score_rows.main_score_names([row])]
    first = ["FD-attr", "accuracy_ratio-attr", "swap-attr", "precision-attr", "recall-attr", "swd"]
    assert names == [*first, "FD-blocks"]


def test_differing_fields__leave_out_the_id():
    a, b = scored.protocol(), scored.protocol("ffff", images=10, new="x")
    assert score_rows.differing_fields([a, b]) == {"images": [2048, 10], "new": [None, "x"]}
    assert score_rows.differing_fields([a]) == {}


def test_sort_worst_first__puts_unknown_gaps_last():
    def of(fake, real):
        return {"balanced_accuracy": fake, "real": {"balanced_accuracy": real}}

    attributes = {"a": of(0.9, 0.9), "b": of(None, 0.9), "c": of(0.5, 0.9), "d": {}}
    assert score_rows.sort_worst_first(attributes)[:2] == ["c", "a"]
    assert score_rows.accuracy_gap(attributes["c"]) == pytest.approx(-0.4)
    assert score_rows.accuracy_gap(attributes["d"]) is None


def test_find_best_row__refuses_an_unknown_score():
    row = scored.row(1000)
    row["scores"]["mine"] = {"mean": 1.0}
    with pytest.raises(ConfigError, match="mine"):
        score_rows.find_best_row([row], "mine")


def test_replace_row__replaces_only_the_row_of_the_same_step_and_protocol():
    rows = [scored.row(1000), scored.row(2000), scored.row(1000, about=scored.protocol("ffff"))]
    again = scored.row(1000, progress=0.9)
    assert score_rows.replace_row(rows, again) == [rows[1], rows[2], again]


def test_pick_score__prefers_the_whole_name():
    assert score_rows.pick_score("FD", [FD, "FD"]) == "FD"
    assert score_rows.pick_score("FD", ["swd", FD]) == FD
    assert score_rows.pick_score("F", [FD]) is None
