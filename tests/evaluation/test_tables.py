"""Tables of the terminal: their width, their marks, and what stands for missing numbers."""

import pytest
from helpers import scored

from gan.data.readers.celeba_official import ATTRIBUTES
from gan.evaluation.tables import FEW, WIDTH, attribute_table, brief, layout, score_table

FD = f"FD-attr@{scored.HASH}"


def widest(text: str) -> int:
    return max(map(len, text.splitlines()))


def test_a_line_a_checkpoint_with_the_best_marked_and_the_floor_below():
    rows = [scored.row(1000 * i, i / 4) for i in range(1, 4)]
    best = {"step": 2000, "score": FD, "value": 1.0, "protocol": "5e6f7a8b"}
    lines = score_table(rows, best).splitlines()
    assert [line.split()[0] for line in lines[:6]] == [
        *("step", "(lower)", "1000", "*2000", "3000", "real")
    ]
    assert "FD-attr" in lines[0]
    assert "1.3" in lines[5]
    assert widest("\n".join(lines)) <= WIDTH


def test_the_best_of_another_protocol_is_not_marked():
    rows = [scored.row(1000), scored.row(1000, about=scored.protocol("ffff"))]
    best = {"step": 1000, "score": FD, "value": 1.0, "protocol": "ffff"}
    first, second = score_table(rows, best).split("\n\n")
    assert "*" not in first
    assert "*1000" in second


def test_wide_numbers_cost_columns_and_not_the_width():
    row = scored.row(10**9)
    for score in row["scores"].values():
        score.update(mean=123456789.123, sd=0.000123)
    row["protocol"] |= {"split": "s" * 200}
    table = score_table([row])
    assert widest(table) <= WIDTH
    assert "FD-attr" in table


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_missing_numbers_are_dashes(missing):
    row = scored.row(1000)
    row["scores"][FD] = {"mean": missing, "sd": missing, "floor": missing}
    row["scores"]["swd"] = None
    attribute = dict.fromkeys(row["attributes"]["Bald"], missing) | {"real": None, "tier": None}
    row["attributes"]["Bald"] = attribute | {"positives": None}
    scores, attributes = score_table([row]), attribute_table(row)
    assert scores.splitlines()[2].split()[:2] == ["1000", "-"]
    assert next(x for x in attributes.splitlines() if "Bald" in x).split()[1:] == ["-"] * 9
    assert "nan" not in (scores + attributes).lower()


def test_no_rows_and_no_attributes():
    assert "No checkpoint" in score_table([])
    assert "unconditional" in attribute_table(scored.row(1000, names=()))


def test_many_attributes_show_the_worst_and_the_best():
    row = scored.row(1000, names=[*ATTRIBUTES, "long" * 20])
    table = attribute_table(row)
    lines = table.splitlines()
    assert widest(table) <= WIDTH
    assert len(lines) == 2 + 2 * FEW
    gaps = [float(line.split()[6]) for line in lines[1:] if not line.startswith("...")]
    assert gaps == sorted(gaps)
    assert lines[1 + FEW] == f"... {41 - 2 * FEW} between them"


def test_a_checkpoint_in_a_line():
    row = scored.row(1000)
    row["scores"] = {"swd": {"mean": 5.0, "sd": 0.2}, FD: {"mean": 9.14}, "KID": {"mean": 1.0}}
    assert brief(row) == "FD-attr 9.140, swd 5.0 +- 0.2"


def test_few_attributes_show_all():
    assert len(attribute_table(scored.row(1000)).splitlines()) == 1 + len(scored.NAMES)


def test_columns_are_aligned():
    assert layout([["a", "bb"], ["ccc", "d"]]) == ["  a  bb", "ccc   d"]
    assert layout([["a", "bb"], ["ccc", "d"]], left=1) == ["a    bb", "ccc   d"]
