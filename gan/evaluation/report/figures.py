"""The report's figures: SVG that takes its colours and its font from the page."""

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

# Matplotlib wants colours, the page decides on them (light or dark): these stand in.
INK, FIRST, SECOND = "#010203", "#010204", "#010205"
COLOURS = {INK: "currentColor", FIRST: "var(--first)", SECOND: "var(--second)"}
HEAT = (0.23, 0.45, 0.82)  # Of the matrix, which is a picture; legible on white and on black.
POINTS = 300  # Of a training curve: more could not be seen.
LARGEST = 100  # Attributes in the matrix.
Values = Sequence[int | float | None]


def curve(
    steps: Sequence[int], means: Values, sds: Values, floor: float | None, best: int | None
) -> str:
    """A score over the steps with a band of one deviation; dashed: `floor`; dot: step `best`."""
    axes = _axes()
    mean, sd = (np.array(values, float) for values in (means, sds))
    sd = np.nan_to_num(sd)
    axes.fill_between(steps, mean - sd, mean + sd, color=FIRST, alpha=0.2, linewidth=0)
    axes.plot(steps, mean, color=FIRST, linewidth=1.5)
    axes.plot(steps, mean, ".", color=FIRST, markersize=4)
    for step, value in zip(steps, mean, strict=True):
        if step == best:
            axes.plot(step, value, "o", color=FIRST, markersize=6.5)
    if floor is not None:
        axes.axhline(floor, color=INK, linewidth=0.9, dashes=(4, 3), alpha=0.7)
    return svg(axes.figure)


def training(steps: Sequence[int], curves: Sequence[Values]) -> str:
    """One or two curves over the steps, each point a mean of neighbouring rows."""
    axes = _axes()
    size = -(-len(steps) // POINTS)
    for values, colour in zip(curves, (FIRST, SECOND), strict=False):
        axes.plot(thin(steps, size), thin(values, size), color=colour, linewidth=1.1)
    return svg(axes.figure)


def thin(values: Values, size: int) -> Float[np.ndarray, " m"]:
    """Means of `size` neighbours; NaN where one has no value."""
    array = np.array(values, float)
    return np.array([array[i : i + size].mean() for i in range(0, len(array), size)])


def matrix(values: Float[np.ndarray, "a a"], names: Sequence[str]) -> str:
    """Shares in [0, 1] as colours (by their root), row by row, the names on the left and on top.

    Of more than `LARGEST` attributes, the first.
    """
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm
    from matplotlib.figure import Figure

    values, names = values[:LARGEST, :LARGEST], names[:LARGEST]
    axes = Figure(figsize=(0.16 * len(names), 0.16 * len(names))).add_axes((0, 0, 1, 1))
    # From nothing to the colour, so that it goes with any background.
    colours = LinearSegmentedColormap.from_list("heat", [(*HEAT, 0.0), (*HEAT, 1.0)])
    axes.imshow(values, colours, PowerNorm(0.5, 0, 1), interpolation="none")
    text = {"parse_math": False, "fontsize": 7, "color": INK}
    axes.set_xticks(range(len(names)), names, rotation=90, **text)
    axes.set_yticks(range(len(names)), names, **text)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    for spine in axes.spines.values():
        spine.set(color=INK, alpha=0.3, linewidth=0.6)
    return svg(axes.figure, bbox_inches="tight", pad_inches=0.05)


def svg(figure: "Figure", **options: Any) -> str:
    """An `<svg>` to stand in a page: the same bytes each time, and nothing from elsewhere."""
    import matplotlib

    file = io.StringIO()
    metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    settings = {"svg.fonttype": "none", "svg.hashsalt": "gan"}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of letters that its font lacks: the page's has them.
        figure.savefig(file, format="svg", transparent=True, metadata=metadata, **options)
    text = file.getvalue()
    box = re.search(r'viewBox="([^"]*)"', text)[1]
    text = text[text.index(">", text.index("<svg")) + 1 :]
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, count=1, flags=re.DOTALL)
    for stand_in, colour in COLOURS.items():
        text = text.replace(stand_in, colour)
    # A page holds many figures: ids that are not referred to go, the others become its own.
    used = set(re.findall(r'(?:url\(|href=")#([^")]*)', text))
    own = hashlib.sha256(text.encode()).hexdigest()[:8]
    text = re.sub(r' id="([^"]*)"', lambda m: f' id="{own}{m[1]}"' if m[1] in used else "", text)
    text = re.sub(r'(url\(|href=")#', rf"\g<1>#{own}", text)
    return f'<svg role="img" viewBox="{box}">{text}'


def _axes() -> "Axes":
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    axes = Figure(figsize=(3.2, 1.8)).add_axes((0.15, 0.13, 0.82, 0.83))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(lambda step, _: f"{step / 1000:g}k" if step else "0")
    axes.tick_params(length=0, labelsize=7.5, labelcolor=INK)
    axes.grid(axis="y", color=INK, alpha=0.15, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set(color=INK, alpha=0.4)
    return axes
