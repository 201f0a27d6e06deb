"""What the report says about scores: order, explanations, warnings."""

import re

import pytest
from helpers import scored
from helpers.scored import few_rows

from gan.evaluation.report import score_sections, words
from gan.metrics.scores import BETTER


def test_render_attributes__puts_sure_ones_first_and_in_each_tier_the_worst():
    row = few_rows()[-1]
    text = score_sections.render_attributes(row)
    order = re.findall(r'<th scope="row">(\w+)</th>', text)
    found = row["attributes"]
    gap = {n: x["balanced_accuracy"] - x["real"]["balanced_accuracy"] for n, x in found.items()}
    key = {"sure": 0, "fair": 1, "unsure": 2}
    assert order == sorted(found, key=lambda n: (key[found[n]["tier"]], gap[n]))


@pytest.mark.parametrize("distance", [2.5, None])
def test_render_attributes__explains_each_column(distance):
    row = few_rows()[-1]
    for attribute in row["attributes"].values():
        attribute["distance"] = distance
    text = score_sections.render_attributes(row)
    columns = re.findall(r'<th scope="col">(\w+ ?\w*)</th>', text)
    assert columns[1:] == re.findall(r"<dt>(\w+ ?\w*)</dt>", text)
    assert ("Distance" in columns) == (distance is not None)
    widths = [line.count("<td") for line in text.splitlines() if 'scope="row"' in line]
    assert set(widths) == {len(columns) - 1}


@pytest.mark.parametrize("name", BETTER)
def test_explain_score__says_measure_direction_and_baseline(name):
    text = score_sections.explain_score(f"{name}-attr@{scored.HASH}")
    sentences = re.findall(r"[A-Z][^.]*(?:\.\d[^.]*)*\.", text)
    assert len(sentences) == 2
    assert sentences[1].startswith(f"{BETTER[name].title()} is better; ")
    assert "baseline" in sentences[1]


def test_explain_score__warns_of_unverified_weights():
    assert "not known" in score_sections.explain_score("FID-unverified@1a2b3c4d")
    assert "not known" not in score_sections.explain_score("FID")


def test_group_by_question__asks_each_score_once():
    names = [f"{name}-attr" for name in BETTER] + ["mine"]
    groups = dict(score_sections.group_by_question(names))
    assert [*groups] == [*words.QUESTIONS, "Other scores"]
    assert sorted(name for group in groups.values() for name in group) == sorted(names)
    assert groups["Other scores"] == ["mine"]
    assert groups["Are they copies of training pictures?"][0] == "authenticity-attr"
    found = dict(score_sections.group_by_question(["recall-x", "FD-x"]))
    assert found == {"Do the pictures look like real ones?": ["FD-x", "recall-x"]}


def test_render_headline__says_that_the_best_was_chosen_on_the_split_shown():
    rows = few_rows()
    text = score_sections.render_headline(rows, "swd", rows[-1])
    assert "chosen on the validation split" in text
    assert "chosen on" not in score_sections.render_headline(rows[:1], "swd", rows[0])


def test_render_headline__shows_baselines_beside_scores():
    rows = few_rows()
    assert "baseline 5.1" in score_sections.render_headline(rows, "swd", rows[-1])


def test_render_all_scores__shows_the_number_of_few_cases():
    row = scored.row(1000)
    row["scores"] = {"correct_unseen-attr": {"mean": 0.5, "sd": None, "floor": 1.0, "cases": 2}}
    assert "0.50 of 2 cases" in score_sections.render_all_scores([row], row)
