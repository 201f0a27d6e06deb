"""Ranks of runs: order, ties, and nothing compared that was not measured alike."""

import pytest
from helpers import scored

from gan.errors import ConfigError
from gan.evaluation.compare import compare, ranks
from gan.evaluation.tables import WIDTH

FD = f"FD-attr@{scored.HASH}"


def run(folder, *means, name=FD, sd=0.1, about=None):
    """A run that was scored at steps 1000, 2000, ... with these means."""
    rows = [scored.row(1000 * (i + 1), about=about) for i in range(len(means))]
    for row, mean in zip(rows, means, strict=True):
        row["scores"][name] = {"mean": mean, "sd": sd, "floor": 1.0}
    return scored.write(folder, rows)


def lines_of(text, *folders):
    """The place and the rest of each run's line."""
    found = [line.split() for line in text.splitlines()]
    return {f.name: next(x for x in found if len(x) > 2 and x[1].endswith(f.name)) for f in folders}


def test_runs_rank_by_their_best_checkpoint(tmp_path):
    a, b, c = (run(tmp_path / n, *m) for n, m in {"a": (9, 5), "b": (3, 8), "c": (7,)}.items())
    text = compare([a, b, c])
    lines = lines_of(text, a, b, c)
    assert [lines[x][0] for x in "bac"] == ["1", "2", "3"]
    assert [lines[x][2] for x in "bac"] == ["1000", "2000", "1000"]
    assert "3.00 +- 0.10" in text
    assert text.index("/b ") < text.index("/a ") < text.index("/c ")


def test_a_higher_score_ranks_the_other_way(tmp_path):
    name = f"accuracy_ratio-attr@{scored.HASH}"
    a, b = (run(tmp_path / n, m, name=name, sd=0.001) for n, m in {"a": 0.7, "b": 0.9}.items())
    lines = lines_of(compare([a, b], "accuracy_ratio"), a, b)
    assert (lines["b"][0], lines["a"][0]) == ("1", "2")


def test_ties_are_within_two_deviations_of_the_difference():
    def row(mean, sd):
        return {"scores": {"FD": {"mean": mean, "sd": sd}}}

    within, beyond = 2 * 0.5 * 0.99, 2 * 0.5 * 1.01  # hypot(.3, .4) is .5.
    assert ranks([row(5, 0.3), row(5 + within, 0.4)], "FD") == ["1", "1="]
    assert ranks([row(5, 0.3), row(5 + beyond, 0.4)], "FD") == ["1", "2"]
    assert ranks([row(5, None), row(5, None), row(5.01, None)], "FD") == ["1", "1=", "3"]
    # Each with the first of its place, so that a chain of ties does not reach from end to end.
    assert ranks([row(x, 0.5) for x in (1, 2, 3, 4)], "FD") == ["1", "1=", "3", "3="]
    assert ranks([], "FD") == []


def test_ties_are_told_and_only_then(tmp_path):
    a, b, c = (run(tmp_path / n, m) for n, m in {"a": 5.0, "b": 5.2, "c": 9.0}.items())
    assert "= ties" in compare([a, b, c])
    assert lines_of(compare([a, b, c]), b)["b"][0] == "1="
    assert "= ties" not in compare([a, c])


def test_protocols_are_ranked_apart_and_their_difference_is_told(tmp_path):
    other = scored.protocol("ffff", images=10_000, split="test")
    a, b = run(tmp_path / "a", 9.0), run(tmp_path / "b", 3.0, about=other)
    text = compare([a, b])
    differing, first, second = text.split("\n\n")
    assert "split (validation, test); images (2048, 10000)" in differing
    assert "crop" not in differing
    assert "/a " in first
    assert "/b " not in first
    assert lines_of(second, b)["b"][0] == "1"


def test_a_run_of_two_protocols_stands_in_both_groups(tmp_path):
    rows = [scored.row(1000), scored.row(1000, about=scored.protocol("ffff", images=1))]
    assert compare([scored.write(tmp_path / "a", rows)]).count("/a ") == 2


def test_the_beginning_of_a_name_is_enough_and_a_typo_gets_a_hint(tmp_path):
    a = run(tmp_path / "a", 5.0)
    for name in ("FD", "FD-attr", FD):
        assert f"by {FD}" in compare([a], name)
    with pytest.raises(ConfigError, match="mean 'accuracy_ratio-attr'"):
        compare([a], "acuracy_ratio")


def test_a_score_that_one_group_lacks_does_not_stop_the_others(tmp_path):
    a = run(tmp_path / "a", 5.0)
    b = run(tmp_path / "b", 5.0, name="FID", about=scored.protocol("ffff", images=1))
    text = compare([a, b], "FID")
    assert "no FID there" in text
    assert lines_of(text, b)["b"][0] == "1"


def test_runs_without_scores_or_numbers_are_listed(tmp_path):
    (tmp_path / "fresh").mkdir()
    a, empty = run(tmp_path / "a", 5.0), run(tmp_path / "empty", float("nan"))
    text = compare([a, empty, tmp_path / "fresh"])
    assert f"--mode=evaluate --workdir={tmp_path / 'fresh'}" in text
    assert f"empty: no {FD} there" in text
    assert "nan" not in text.replace(str(tmp_path), "")
    only = compare([tmp_path / "fresh"], "FID")
    assert only.startswith(f"{tmp_path / 'fresh'}: not scored yet")


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match="nowhere"):
        compare([tmp_path / "nowhere"])


@pytest.mark.parametrize(
    ("split", "means", "warned"),
    [("validation", (5, 6), True), ("validation", (5,), False), ("test", (5, 6), True)],
)
def test_the_best_of_several_is_said_to_look_better(tmp_path, split, means, warned):
    a = run(tmp_path / "a", *means, about=scored.protocol(split=split))
    assert ("looks better" in compare([a])) == warned


def test_lines_fit(tmp_path):
    folder = run(tmp_path / ("long" * 30), 123456.789, sd=1e-9)
    lines = compare([folder]).splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert any("...glonglong" in line for line in lines)  # Ends differ, beginnings seldom do.
