"""What the report shows of pictures: those of the row shown, else of the newest step."""

import numpy as np
from helpers import scored

from gan.evaluation.report import picture_sections


def test_render_swaps__leaves_out_a_matrix_of_other_attributes(folder):
    row = scored.row(4000)
    assert "Changing one attribute" in picture_sections.render_swaps(folder, row)
    np.save(next(folder.rglob("swap.npy")), np.eye(3))
    assert picture_sections.render_swaps(folder, row) == ""


def test_find_artifact__takes_the_newest_step_where_the_row_has_none(folder):
    for step in (1000, 2000):
        scored.write_rest(folder, step)
    found = [
        picture_sections.find_artifact(folder, "samples.png", scored.row(s)) for s in (2000, 3000)
    ]
    assert [step for step, _ in found] == [2000, 4000]
    assert picture_sections.find_artifact(folder, "other.png", scored.row(2000)) is None


def test_render_samples__explains_rows_only_where_there_are_attributes(folder):
    assert "column" in picture_sections.render_samples(folder, scored.row(4000))
    text = picture_sections.render_samples(folder, scored.row(4000, names=()))
    assert "<img" in text
    assert "column" not in text


def test_render_calibration__is_left_out_where_nothing_was_measured(folder):
    assert picture_sections.render_calibration(folder) == ""
    (folder / "evaluation" / "calibration.png").write_bytes(b"png")
    assert "Calibration" in picture_sections.render_calibration(folder)
