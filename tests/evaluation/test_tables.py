"""Tables of the terminal: their width, their marks, and what stands for missing numbers."""

import pytest
from helpers import scored

from gan.data.readers.celeba_labels import ATTRIBUTES
from gan.evaluation.score_rows import main_score_names, short_name
from gan.evaluation.tables import (
    FEW,
    WIDTH,
    align_columns,
    lay_out_attributes,
    lay_out_scores,
    summarize_row,
)
from gan.workdir.best import Best

FD = f"FD-attr@{scored.HASH}"


def widest(text: str) -> int:
    return max(map(len, text.splitlines()))


def test_lay_out_scores__has_a_line_a_checkpoint_the_best_marked_and_the_baselines_below():
    rows = [scored.row(1000 * i, i / 4) for i in range(1, 4)]
    best = Best(step=2000, score=FD, value=1.0, protocol="5e6f7a8b")
    lines = lay_out_scores(rows, best).splitlines()
    assert [line.split()[0] for line in lines[:6]] == [
        *("step", "(lower)", "1000", "*2000", "3000", "baseline")
    ]
    assert "FD-attr" in lines[0]
    assert "1.3" in lines[5]
    assert widest("\n".join(lines)) <= WIDTH


def test_lay_out_scores__does_not_mark_the_best_of_another_protocol():
    rows = [scored.row(1000), scored.row(1000, about=scored.protocol("ffff"))]
    best = Best(step=1000, score=FD, value=1.0, protocol="ffff")
    first, second = lay_out_scores(rows, best).split("\n\n")
    assert "*" not in first
    assert "*1000" in second


def test_lay_out_scores__goes_on_below_where_numbers_are_wide():
    row = scored.row(10**9)
    for score in row["scores"].values():
        score.update(mean=123456789.123, sd=0.000123)
    row["protocol"] |= {"split": "s" * 200}
    lines = lay_out_scores([row]).splitlines()
    assert widest("\n".join(lines)) <= WIDTH
    heads = [line.split() for line in lines if line.split()[0] == "step"]
    assert len(heads) > 1
    columns = [name for head in heads for name in head[1:]]
    assert columns == [short_name(name) for name in main_score_names([row])]
    numbers = [x for line in lines if line.startswith("1000000000") for x in line.split(" +- ")]
    assert len(numbers) == len(columns) + len(heads)


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_tables__show_missing_numbers_as_dashes(missing):
    row = scored.row(1000)
    row["scores"][FD] = {"mean": missing, "sd": missing, "floor": missing}
    row["scores"]["swd"] = None
    attribute = dict.fromkeys(row["attributes"]["Bald"], missing) | {"real": None, "tier": None}
    row["attributes"]["Bald"] = attribute | {"positives": None}
    scores, attributes = lay_out_scores([row]), lay_out_attributes(row)
    assert scores.splitlines()[2].split()[:2] == ["1000", "-"]
    assert next(x for x in attributes.splitlines() if "Bald" in x).split()[1:] == ["-"] * 9
    assert "nan" not in (scores + attributes).lower()


def test_tables__say_so_where_there_are_no_rows_or_attributes():
    assert "No checkpoint" in lay_out_scores([])
    assert "unconditional" in lay_out_attributes(scored.row(1000, names=()))


def test_lay_out_attributes__shows_the_worst_and_the_best_of_many():
    row = scored.row(1000, names=[*ATTRIBUTES, "long" * 20])
    table = lay_out_attributes(row)
    lines = table.splitlines()
    assert widest(table) <= WIDTH
    assert len(lines) == 2 + 2 * FEW
    gaps = [float(line.split()[6]) for line in lines[1:] if not line.startswith("...")]
    assert gaps == sorted(gaps)
    assert lines[1 + FEW] == f"... {41 - 2 * FEW} between them"


def test_summarize_row__is_a_line_of_the_main_scores():
    row = scored.row(1000)
    row["scores"] = {"swd": {"mean": 5.0, "sd": 0.2}, FD: {"mean": 9.14}, "KID": {"mean": 1.0}}
    assert summarize_row(row) == "FD-attr 9.140, swd 5.0 +- 0.2"


def test_lay_out_attributes__shows_all_of_few():
    assert len(lay_out_attributes(scored.row(1000)).splitlines()) == 1 + len(scored.NAMES)


def test_align_columns__pads_on_the_side_asked_for():
    assert align_columns([["a", "bb"], ["ccc", "d"]]) == ["  a  bb", "ccc   d"]
    assert align_columns([["a", "bb"], ["ccc", "d"]], left=1) == ["a    bb", "ccc   d"]
