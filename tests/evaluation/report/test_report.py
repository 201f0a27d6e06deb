"""The report: one whole file that needs nothing else, says what was found, and mixes nothing."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from helpers import scored

from gan.errors import ConfigError
from gan.evaluation.report import figures
from gan.evaluation.report.report import write_report

VOID = {"meta", "img", "br", "hr", "link", "input"}
HOSTILE = "<script>alert(1)</script>\"&'$\\frac{$"
FD = f"FD-attr@{scored.HASH}"


class Page(HTMLParser):
    """Its tags, checked to close in order; its text; its ids."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.text, self.attributes = [], [], "", []
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.handle_startendtag(tag, attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data


def few(steps=4, **options) -> list[dict]:
    """Rows of few scores: charts take their time."""
    rows = [scored.row(1000 * i, i / 5, **options) for i in range(1, steps + 1)]
    for row in rows:
        row["scores"] = {name: row["scores"][name] for name in ("swd", FD)}
    return rows


@pytest.fixture
def folder(tmp_path):
    scored.write(tmp_path / "faces & <more>", few())
    return scored.write_rest(tmp_path / "faces & <more>", 4000)


def read(folder, **options) -> str:
    return write_report(folder, **options).read_text(encoding="utf-8")


def test_it_is_well_formed_and_has_every_part(folder):
    page = Page(read(folder))
    for title in (
        *("faces & <more>", "Scores over training", "Samples", "Attributes"),
        *("Turning one attribute", "Nearest training pictures", "All scores", "Protocol"),
        *("Training", "Configuration", "Environment", '"source": "faces"', "runs/<x>"),
    ):
        assert title in page.text, title
    assert page.tags.count("img") == 2
    assert page.tags.count("svg") == 2 + 1 + 3
    assert "script" not in page.tags


def test_nothing_comes_from_elsewhere(folder):
    text = read(folder)
    assert "//" not in re.sub(r'"data:[^"]*"', "", text)
    for name, value in Page(text).attributes:
        if name in ("src", "href", "xlink:href"):
            assert value.startswith(("data:image/png;base64,", "#"))
    assert not re.search(r"@import|url\((?!#)", text)


def test_ids_are_one_of_a_kind_and_all_that_is_referred_to_is_there(folder):
    text = read(folder)
    ids = [value for name, value in Page(text).attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(|href=")#([^")]*)', text)) == set(ids)


def test_names_are_text_whatever_they_hold(tmp_path):
    names = (HOSTILE, "b")
    rows = few(2, names=names)
    for row in rows:
        row["protocol"]["data"] = HOSTILE
    scored.write_rest(scored.write(tmp_path, rows), 1000, names)
    (tmp_path / "config.json").write_text(HOSTILE)
    page = Page(read(tmp_path))
    assert "script" not in page.tags
    assert page.text.count(HOSTILE) == 1 + 2 + 1 + 1  # Table, matrix, protocol, configuration.


def test_the_same_files_give_the_same_bytes(folder):
    assert read(folder) == read(folder)
    assert not [path for path in folder.iterdir() if "partial" in path.name]


@pytest.mark.parametrize(
    "missing", ["samples.png", "nearest.png", "swap.npy", "metrics.jsonl", "config.json"]
)
def test_what_is_missing_is_left_out(folder, missing):
    whole = Page(read(folder))
    next(folder.rglob(missing)).unlink()
    page = Page(read(folder))
    assert len(page.tags) < len(whole.tags)
    assert "All scores" in page.text


def test_an_empty_folder_is_told_how_to_score(tmp_path):
    page = Page(read(tmp_path, protocol="5e6f7a8b"))
    assert f"--mode=evaluate --workdir={tmp_path}" in page.text
    assert "svg" not in page.tags


def test_the_checkpoint_is_the_one_of_best_json_else_the_best(folder):
    assert "the best step 4,000" in Page(read(folder)).text
    best = {"step": 2000, "score": "swd", "value": 1.0, "protocol": "5e6f7a8b"}
    scored.write(folder, few(), best)
    text = Page(read(folder)).text
    assert "the best step 2,000 with swd" in text
    assert "Step 4,000." in text  # Of the pictures: the best one has none.


def test_the_best_by_another_protocol_is_not_this_ones(tmp_path):
    rows = [*few(2), *few(2, about=scored.protocol("ffff"))]
    best = {"step": 1000, "score": "swd", "value": 1.0, "protocol": "ffff"}
    scored.write(tmp_path, rows, best)
    assert "the best step 2,000 with FD-attr" in Page(read(tmp_path, protocol="5e6f7a8b")).text
    assert "the best step 1,000 with swd" in Page(read(tmp_path)).text


def test_protocols_never_share_a_curve(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        figures, "curve", lambda *a: drawn.append([*zip(a[0], a[1], strict=True)]) or ""
    )
    other = scored.protocol("ffff", images=7)
    rows = [scored.row(step, about=about) for step in (1000, 2000) for about in (None, other)]
    for value, row in enumerate(rows):
        row["scores"] = {FD: {"mean": float(value), "sd": 0.1, "floor": 0.0}}
    scored.write(tmp_path, rows)
    page = Page(read(tmp_path, protocol="5e6f7a8b"))
    assert drawn == [[(1000, 0.0), (2000, 2.0)], [(1000, 1.0), (2000, 3.0)]]
    assert "7 (above: 2048)" in page.text
    assert "Scored checkpoints: 2;" in page.text
    drawn.clear()
    read(tmp_path)  # About the newest row's.
    assert drawn[0] == [(1000, 1.0), (2000, 3.0)]


def test_an_unknown_protocol_is_refused_with_those_there(folder):
    with pytest.raises(ConfigError, match="Did you mean '5e6f7a8b'"):
        write_report(folder, protocol="5e6f7a8c")


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_missing_numbers_are_dashes(tmp_path, missing):
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


def test_runs_without_attributes_have_no_parts_about_them(tmp_path):
    scored.write_rest(scored.write(tmp_path, few(2, names=())), 2000, names=())
    page = Page(read(tmp_path))
    assert "Turning" not in page.text
    assert "TPR" not in page.text


def test_sure_attributes_come_first_and_in_each_tier_the_worst(folder):
    text = read(folder)
    table = text[text.index("<h2>Attributes") :]
    order = re.findall(r'<th scope="row">(\w+)</th>', table[: table.index("</table>")])
    found = scored.row(4000, 4 / 5)["attributes"]
    gap = {n: x["balanced_accuracy"] - x["real"]["balanced_accuracy"] for n, x in found.items()}
    key = {"sure": 0, "fair": 1, "unsure": 2}
    assert order == sorted(found, key=lambda n: (key[found[n]["tier"]], gap[n]))


def test_fid_of_unknown_weights_says_so(tmp_path):
    for name, said in {"FID": False, "FID-unverified": True}.items():
        row = scored.row(1000)
        row["scores"] = {name: {"mean": 9.0, "sd": 0.1, "floor": 1.0}}
        text = Page(read(scored.write(tmp_path, [row]))).text
        assert ("not known" in text) == said


def test_a_matrix_of_other_attributes_is_not_shown(folder):
    np.save(next(folder.rglob("swap.npy")), np.eye(3))
    assert "Turning" not in read(folder)


def test_choosing_on_the_split_shown_is_said(folder):
    assert "chosen on the validation split" in Page(read(folder)).text
    scored.write(folder, few(1))
    assert "chosen on" not in Page(read(folder)).text


def test_neighbouring_rows_are_averaged():
    values = [1, 2, 3, 4, 5, None, 7]
    np.testing.assert_array_equal(figures.thin(values, 2), [1.5, 3.5, np.nan, 7])
