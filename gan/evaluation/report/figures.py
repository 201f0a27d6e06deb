"""Draws the report's figures, as SVG that takes its colours and its font from the page."""

import hashlib
import io
import re
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The page decides on the colours (light or dark). Matplotlib draws in these, which are replaced.
INK, FIRST, SECOND = "#010203", "#010204", "#010205"
COLOURS = {INK: "currentColor", FIRST: "var(--first)", SECOND: "var(--second)"}
HEAT = (0.23, 0.45, 0.82)  # Colour of the matrix, a picture: legible on white and on black.
POINTS = 300  # Points of a training curve at most: more could not be told apart.
LARGEST = 100  # Attributes in the matrix at most.
Values = Sequence[int | float | None]


def draw_score_curve(
    steps: Sequence[int],
    means: Values,
    deviations: Values,
    baseline: float | None,
    best: int | None,
) -> str:
    """Draws a score over the steps in a band of one standard deviation.

    The baseline is a dashed line, and the value at step `best` has a large dot.
    """
    axes = _make_axes()
    mean, deviation = (np.array(values, float) for values in (means, deviations))
    deviation = np.nan_to_num(deviation)
    axes.fill_between(
        steps, mean - deviation, mean + deviation, color=FIRST, alpha=0.2, linewidth=0
    )
    axes.plot(steps, mean, color=FIRST, linewidth=1.5)
    axes.plot(steps, mean, ".", color=FIRST, markersize=4)
    for step, value in zip(steps, mean, strict=True):
        if step == best:
            axes.plot(step, value, "o", color=FIRST, markersize=6.5)
    if baseline is not None:
        axes.axhline(baseline, color=INK, linewidth=0.9, dashes=(4, 3), alpha=0.7)
    if not np.any(mean) and not baseline:
        axes.set_ylim(-0.05, 1)  # All is 0: Matplotlib would show values below 0, too.
    return to_svg(axes.figure)


def draw_training_curves(steps: Sequence[int], curves: Sequence[Values]) -> str:
    """Draws one or two curves over the steps; each point is a mean of neighbouring rows."""
    axes = _make_axes()
    size = -(-len(steps) // POINTS)
    for values, colour in zip(curves, (FIRST, SECOND), strict=False):
        axes.plot(
            average_neighbours(steps, size),
            average_neighbours(values, size),
            color=colour,
            linewidth=1.1,
        )
    return to_svg(axes.figure)


def average_neighbours(values: Values, size: int) -> Float[np.ndarray, " m"]:
    """Means of each `size` neighbouring values; NaN where one of them is missing."""
    array = np.array(values, float)
    return np.array([array[i : i + size].mean() for i in range(0, len(array), size)])


def draw_matrix(values: Float[np.ndarray, "a a"], names: Sequence[str]) -> str:
    """Draws shares in [0, 1] as colours by their square root, with names on the left and on top.

    Only the first `LARGEST` attributes are drawn.
    """
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm
    from matplotlib.figure import Figure

    values, names = values[:LARGEST, :LARGEST], names[:LARGEST]
    axes = Figure(figsize=(0.16 * len(names), 0.16 * len(names))).add_axes((0, 0, 1, 1))
    # From transparent to the colour, so that it goes with any background.
    colours = LinearSegmentedColormap.from_list("heat", [(*HEAT, 0.0), (*HEAT, 1.0)])
    axes.imshow(values, colours, PowerNorm(0.5, 0, 1), interpolation="none")
    text = {"parse_math": False, "fontsize": 7, "color": INK}
    axes.set_xticks(range(len(names)), names, rotation=90, **text)
    axes.set_yticks(range(len(names)), names, **text)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    for spine in axes.spines.values():
        spine.set(color=INK, alpha=0.3, linewidth=0.6)
    return to_svg(axes.figure, bbox_inches="tight", pad_inches=0.05)


def to_svg(figure: "Figure", **options: Any) -> str:
    """Turns a figure into an `<svg>` element that refers to nothing outside of it.

    Equal figures give equal bytes. The options are those of Matplotlib's `savefig`.
    """
    import matplotlib

    file = io.StringIO()
    metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    settings = {"svg.fonttype": "none", "svg.hashsalt": "gan"}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Its font lacks some letters; the page's font has them.
        figure.savefig(file, format="svg", transparent=True, metadata=metadata, **options)
    text = file.getvalue()
    box = re.search(r'viewBox="([^"]*)"', text)[1]
    text = text[text.index(">", text.index("<svg")) + 1 :]
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, count=1, flags=re.DOTALL)
    for stand_in, colour in COLOURS.items():
        text = text.replace(stand_in, colour)
    # A page holds many figures: unused ids are dropped, and the others made unique by a prefix.
    used = set(re.findall(r'(?:url\(|href=")#([^")]*)', text))
    prefix = hashlib.sha256(text.encode()).hexdigest()[:8]
    text = re.sub(r' id="([^"]*)"', lambda m: f' id="{prefix}{m[1]}"' if m[1] in used else "", text)
    text = re.sub(r'(url\(|href=")#', rf"\g<1>#{prefix}", text)
    return f'<svg role="img" viewBox="{box}">{text}'


def _make_axes() -> "Axes":
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    axes = Figure(figsize=(3.2, 1.8)).add_axes((0.15, 0.13, 0.82, 0.83))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(lambda x, _: f"{x / 1000:g}k" if x >= 1000 else f"{x:g}")
    axes.tick_params(length=0, labelsize=7.5, labelcolor=INK)
    axes.grid(axis="y", color=INK, alpha=0.15, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set(color=INK, alpha=0.4)
    return axes
