"""Renders what an evaluation drew, as HTML: samples, nearest pictures, the matrix of swaps."""

import io

import numpy as np

from gan.evaluation import score_rows
from gan.evaluation.report import figures, page, words
from gan.evaluation.score_rows import Row
from gan.runtime.storage import Path


def render_samples(folder: Path, shown: Row) -> str:
    """Renders the sheet of samples."""
    sheet = _render_sheet(folder, "samples.png", shown)
    about = page.paragraph(words.SAMPLES) if sheet and shown["attributes"] else ""
    return page.section("Samples", about, sheet)


def render_nearest_pairs(folder: Path, shown: Row) -> str:
    """Renders the generated pictures that are nearest to the training set."""
    sheet = _render_sheet(folder, "nearest.png", shown)
    return page.section("Nearest training pictures", sheet and page.paragraph(words.NEAREST), sheet)


def render_swaps(folder: Path, shown: Row) -> str:
    """Renders the matrix of which attributes change when one is changed in the request.

    Leaves it out where the matrix on disk is not one of this row's attributes.
    """
    found = find_artifact(folder, "swap.npy", shown)
    names = [*shown["attributes"]]
    if not found or not names:
        return ""
    step, path = found
    matrix = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
    if matrix.shape != (len(names), len(names)):
        return ""
    caption = f"Step {step:,}. The colour grows with the square root of the share."
    width = 15 * min(len(names), figures.LARGEST) + 110
    svg = page.wide(figures.draw_matrix(matrix, names), width)
    return page.section(
        "Changing one attribute",
        page.paragraph(words.SWAP),
        page.figure(svg + page.SCALE, caption),
    )


def render_calibration(folder: Path) -> str:
    """Renders how the scores answer known faults, if `benchmarks/calibration.py` measured that."""
    path = folder / "evaluation" / "calibration.png"
    if not path.exists():
        return ""
    figure = page.figure(page.picture(path, "calibration.png"), words.CALIBRATED)
    return page.section("Calibration", figure)


def _render_sheet(folder: Path, name: str, shown: Row) -> str:
    found = find_artifact(folder, name, shown)
    if not found:
        return ""
    step, path = found
    return page.figure(page.picture(path, f"{name}, step {step:,}"), f"Step {step:,}.")


def find_artifact(folder: Path, name: str, shown: Row) -> tuple[int, Path] | None:
    """Finds a file that the evaluation of this row left, or that of the newest step which has it.

    Returns its step and its path; None where no step of the row's protocol has it.
    """
    path = score_rows.pictures_folder(folder, shown["protocol"]["id"], shown["step"]) / name
    there = sorted(path.parents[1].glob(f"step_[0-9]*/{name}"))
    by_step = {int(path.parent.name.removeprefix("step_")): path for path in there}
    if not by_step:
        return None
    step = shown["step"] if shown["step"] in by_step else max(by_step)
    return step, by_step[step]
