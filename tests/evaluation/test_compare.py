"""Ranks of runs: order, ties, and rows of different protocols never compared."""

import shutil

import pytest
from helpers import scored

from gan.errors import ConfigError
from gan.evaluation.compare import compare_runs, rank_rows
from gan.evaluation.tables import WIDTH

FD = f"FD-attr@{scored.HASH}"


def score_run(folder, *means, name=FD, sd=0.1, about=None):
    """A run that was scored at steps 1000, 2000, ... with these means."""
    rows = [scored.row(1000 * (i + 1), about=about) for i in range(len(means))]
    for row, mean in zip(rows, means, strict=True):
        row["scores"][name] = {"mean": mean, "sd": sd, "floor": 1.0}
    return scored.write(folder, rows)


def lines_of(text, *folders):
    """The place and the rest of each run's line."""
    found = [line.split() for line in text.splitlines()]
    return {f.name: next(x for x in found if len(x) > 2 and x[1].endswith(f.name)) for f in folders}


def test_compare_runs__ranks_by_the_best_checkpoint(tmp_path):
    a, b, c = (
        score_run(tmp_path / n, *m) for n, m in {"a": (9, 5), "b": (3, 8), "c": (7,)}.items()
    )
    text = compare_runs([a, b, c])
    lines = lines_of(text, a, b, c)
    assert [lines[x][0] for x in "bac"] == ["1", "2", "3"]
    assert [lines[x][2] for x in "bac"] == ["1000", "2000", "1000"]
    assert "3.00 +- 0.10" in text
    assert text.index("/b ") < text.index("/a ") < text.index("/c ")


def test_compare_runs__ranks_the_highest_first_where_higher_is_better(tmp_path):
    name = f"accuracy_ratio-attr@{scored.HASH}"
    a, b = (
        score_run(tmp_path / n, m, name=name, sd=0.001) for n, m in {"a": 0.7, "b": 0.9}.items()
    )
    lines = lines_of(compare_runs([a, b], "accuracy_ratio"), a, b)
    assert (lines["b"][0], lines["a"][0]) == ("1", "2")


def test_rank_rows__ties_within_two_deviations_of_the_difference():
    def row(mean, sd):
        return {"scores": {"FD": {"mean": mean, "sd": sd}}}

    within, beyond = 2 * 0.5 * 0.99, 2 * 0.5 * 1.01  # hypot(.3, .4) is .5.
    assert rank_rows([row(5, 0.3), row(5 + within, 0.4)], "FD") == ["1", "1="]
    assert rank_rows([row(5, 0.3), row(5 + beyond, 0.4)], "FD") == ["1", "2"]
    assert rank_rows([row(5, None), row(5, None), row(5.01, None)], "FD") == ["1", "1=", "3"]
    # Each with the first of its place, so that a chain of ties does not reach from end to end.
    assert rank_rows([row(x, 0.5) for x in (1, 2, 3, 4)], "FD") == ["1", "1=", "3", "3="]
    assert rank_rows([], "FD") == []


def test_compare_runs__explains_ties_where_there_are_some(tmp_path):
    a, b, c = (score_run(tmp_path / n, m) for n, m in {"a": 5.0, "b": 5.2, "c": 9.0}.items())
    assert "= ties" in compare_runs([a, b, c])
    assert lines_of(compare_runs([a, b, c]), b)["b"][0] == "1="
    assert "= ties" not in compare_runs([a, c])


def test_compare_runs__ranks_protocols_apart_and_tells_their_difference(tmp_path):
    other = scored.protocol("ffff", images=10_000, split="test")
    a, b = score_run(tmp_path / "a", 9.0), score_run(tmp_path / "b", 3.0, about=other)
    text = compare_runs([a, b])
    differing, first, second = text.split("\n\n")
    assert "split (validation, test); images (2048, 10000)" in differing
    assert "crop" not in differing
    assert "/a " in first
    assert "/b " not in first
    assert lines_of(second, b)["b"][0] == "1"


def test_compare_runs__ranks_a_run_of_two_protocols_in_both(tmp_path):
    rows = [scored.row(1000), scored.row(1000, about=scored.protocol("ffff", images=1))]
    assert compare_runs([scored.write(tmp_path / "a", rows)]).count("/a ") == 2


def test_compare_runs__takes_the_beginning_of_a_name_and_hints_at_a_typo(tmp_path):
    a = score_run(tmp_path / "a", 5.0)
    for name in ("FD", "FD-attr", FD):
        assert f"by {FD}" in compare_runs([a], name)
    with pytest.raises(ConfigError, match="mean 'accuracy_ratio-attr'"):
        compare_runs([a], "acuracy_ratio")


def test_compare_runs__goes_on_where_one_protocol_lacks_the_score(tmp_path):
    a = score_run(tmp_path / "a", 5.0)
    b = score_run(tmp_path / "b", 5.0, name="FID", about=scored.protocol("ffff", images=1))
    text = compare_runs([a, b], "FID")
    assert "no FID there" in text
    assert lines_of(text, b)["b"][0] == "1"


def test_compare_runs__lists_runs_without_scores_or_numbers(tmp_path):
    (tmp_path / "fresh").mkdir()
    a, empty = score_run(tmp_path / "a", 5.0), score_run(tmp_path / "empty", float("nan"))
    text = compare_runs([a, empty, tmp_path / "fresh"])
    assert f"--mode=evaluate --workdir={tmp_path / 'fresh'}" in text
    assert f"empty: no {FD} there" in text
    assert "nan" not in text.replace(str(tmp_path), "")
    only = compare_runs([tmp_path / "fresh"], "FID")
    assert only.startswith(f"{tmp_path / 'fresh'}: not scored yet")


def test_compare_runs__names_a_missing_folder(tmp_path):
    with pytest.raises(ConfigError, match="nowhere"):
        compare_runs([tmp_path / "nowhere"])


@pytest.mark.parametrize(
    ("split", "means", "warned"),
    [("validation", (5, 6), True), ("validation", (5,), False), ("test", (5, 6), True)],
)
def test_compare_runs__warns_that_the_best_of_several_looks_better(tmp_path, split, means, warned):
    a = score_run(tmp_path / "a", *means, about=scored.protocol(split=split))
    assert ("looks better" in compare_runs([a])) == warned


def test_compare_runs__fits_the_width(tmp_path):
    folder = score_run(tmp_path / ("long" * 30), 123456.789, sd=1e-9)
    lines = compare_runs([folder]).splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert any("...glonglong" in line for line in lines)  # Ends differ, beginnings seldom do.


def test_compare_runs__shows_the_baseline_and_the_number_of_few_cases(tmp_path):
    rows = [scored.row(1000)]
    rows[0]["scores"] = {
        "correct_unseen-attr": {"mean": 2 / 3, "sd": None, "floor": 1.0, "cases": 3}
    }
    text = compare_runs([scored.write(tmp_path / "a", rows)], "correct_unseen")
    head, line = text.splitlines()[1:3]
    assert "baseline" in head
    assert "0.67 of 3 cases     1.000" in line


def test_compare_runs__names_fields_of_protocols_in_todays_words(tmp_path):
    other = scored.protocol("ffff", floors="test", reals="1234")
    a, b = score_run(tmp_path / "a", 9.0), score_run(tmp_path / "b", 3.0, about=other)
    first = compare_runs([a, b]).splitlines()[0]
    assert "baseline split (None, test); reference set (None, 1234)" in first


def test_compare_command__finds_runs_by_a_pattern(run, scored_run, tmp_path):
    for name in ("one", "two"):
        shutil.copytree(scored_run, tmp_path / "runs" / name)
    (tmp_path / "runs" / "notes").mkdir()
    code, text = run(f"--workdir={tmp_path}/runs/*", "--mode=compare")
    assert code == 0
    assert "one" in text
    assert "two" in text
    assert "notes" not in text
    code, text = run(f"--workdir={tmp_path}/other/*", "--mode=compare")
    assert code == 64
    assert "no run matches" in text
