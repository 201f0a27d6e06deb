"""The report: one whole file that needs nothing else and has every part."""

import re

import pytest
from helpers import scored
from helpers.html_page import Page
from helpers.scored import few_rows

from gan.errors import ConfigError
from gan.evaluation.report.report import write_report

HOSTILE = "<script>alert(1)</script>\"&'$\\frac{$"
FD = f"FD-attr@{scored.HASH}"


def read(folder, protocol_id=None) -> str:
    return write_report(folder, protocol_id).read_text(encoding="utf-8")


def test_write_report__is_well_formed_and_has_every_part(folder):
    page = Page(read(folder))
    for title in (
        *("faces & <more>", "Scores over training", "Samples", "Attributes"),
        *("Changing one attribute", "Nearest training pictures", "All scores", "Protocol"),
        *("Training", "Configuration", "Environment", '"source": "faces"', "runs/<x>"),
    ):
        assert title in page.text, title
    assert page.tags.count("img") == 2
    assert page.tags.count("svg") == 2 + 1 + 3
    assert "script" not in page.tags


def test_write_report__needs_nothing_from_elsewhere(folder):
    text = read(folder)
    assert "//" not in re.sub(r'"data:[^"]*"', "", text)
    for name, value in Page(text).attributes:
        if name in ("src", "href", "xlink:href"):
            assert value.startswith(("data:image/png;base64,", "#"))
    assert not re.search(r"@import|url\((?!#)", text)


def test_write_report__has_each_id_once_and_all_that_are_referred_to(folder):
    text = read(folder)
    ids = [value for name, value in Page(text).attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(|href=")#([^")]*)', text)) == set(ids)


def test_write_report__escapes_names_whatever_they_hold(tmp_path):
    names = (HOSTILE, "b")
    rows = few_rows(2, names=names)
    for row in rows:
        row["protocol"]["data"] = HOSTILE
    scored.write_rest(scored.write(tmp_path, rows), 1000, names)
    (tmp_path / "config.json").write_text(HOSTILE)
    page = Page(read(tmp_path))
    assert "script" not in page.tags
    assert page.text.count(HOSTILE) == 1 + 2 + 1 + 1  # Table, matrix, protocol, configuration.


def test_write_report__gives_the_same_bytes_for_the_same_files(folder):
    assert read(folder) == read(folder)
    assert not [path for path in folder.iterdir() if "partial" in path.name]


@pytest.mark.parametrize(
    "missing", ["samples.png", "nearest.png", "swap.npy", "metrics.jsonl", "config.json"]
)
def test_write_report__leaves_out_what_is_missing(folder, missing):
    whole = Page(read(folder))
    next(folder.rglob(missing)).unlink()
    page = Page(read(folder))
    assert len(page.tags) < len(whole.tags)
    assert "All scores" in page.text


def test_write_report__tells_how_to_score_an_empty_folder(tmp_path):
    page = Page(read(tmp_path, "5e6f7a8b"))
    assert f"--mode=evaluate --workdir={tmp_path}" in page.text
    assert "svg" not in page.tags


def test_write_report__shows_the_checkpoint_of_best_json_else_the_best(folder):
    assert "the best is step 4,000" in Page(read(folder)).text
    best = {"step": 2000, "score": "swd", "value": 1.0, "protocol": "5e6f7a8b"}
    scored.write(folder, few_rows(), best)
    text = Page(read(folder)).text
    assert "the best is step 2,000 with swd" in text
    assert "Step 4,000." in text  # The caption of the pictures: the best step has none.


def test_write_report__ignores_the_best_by_another_protocol(tmp_path):
    rows = [*few_rows(2), *few_rows(2, about=scored.protocol("ffff"))]
    best = {"step": 1000, "score": "swd", "value": 1.0, "protocol": "ffff"}
    scored.write(tmp_path, rows, best)
    assert "the best is step 2,000 with FD-attr" in Page(read(tmp_path, "5e6f7a8b")).text
    assert "the best is step 1,000 with swd" in Page(read(tmp_path)).text


def lines_of_curves(html: str) -> list[list[float]]:
    """Heights of the points of each score's curve, in pixels from the top."""
    paths = re.findall(r'd="(M[^"zC]*)"[^>]*stroke: var\(--first\)', html)
    return [[float(y) for _, y in re.findall(r"([\d.]+) ([\d.]+)", path)] for path in paths]


def test_write_report__never_draws_two_protocols_in_one_curve(tmp_path):
    other = scored.protocol("ffff", images=7)
    rows = [scored.row(step, about=about) for step in (1000, 2000) for about in (None, other)]
    for value, row in zip((0.0, 3.0, 2.0, 1.0), rows, strict=True):
        row["scores"] = {FD: {"mean": value, "sd": 0.1, "floor": 0.0}}
    html = read(scored.write(tmp_path, rows), "5e6f7a8b")
    assert "7 (above: 2048)" in Page(html).text
    assert "2 checkpoints are scored;" in Page(html).text
    (first, last), (first_of_other, last_of_other) = lines_of_curves(html)
    assert first > last  # Rises.
    assert first_of_other < last_of_other
    rising, falling = lines_of_curves(read(tmp_path))[::-1]  # First the newest row's protocol.
    assert (rising, falling) == ([first, last], [first_of_other, last_of_other])


def test_write_report__refuses_an_unknown_protocol_and_names_those_there(folder):
    with pytest.raises(ConfigError, match="Did you mean '5e6f7a8b'"):
        write_report(folder, "5e6f7a8c")


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_write_report__shows_missing_numbers_as_dashes(tmp_path, missing):
    rows = [scored.row(step) for step in (1000, 2000)]
    for row in rows:
        row["scores"] = {name: dict.fromkeys(s, missing) for name, s in row["scores"].items()}
        row["attributes"] = {
            name: dict.fromkeys(found, None) | {"swap": missing, "real": {"f1": missing}}
            for name, found in row["attributes"].items()
        }
    page = Page(read(scored.write(tmp_path, rows)))
    assert "nan" not in page.text.lower()
    assert "svg" not in page.tags


def test_write_report__has_no_parts_about_attributes_where_there_are_none(tmp_path):
    scored.write_rest(scored.write(tmp_path, few_rows(2, names=())), 2000, names=())
    page = Page(read(tmp_path))
    assert "Changing one attribute" not in page.text
    assert "TPR" not in page.text
