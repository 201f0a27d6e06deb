"""Lays out what an evaluation prints to the terminal; no line is longer than `WIDTH`."""

from collections.abc import Mapping, Sequence
from typing import Any

from gan.evaluation.formats import format_baseline, format_percent, format_score
from gan.evaluation.score_rows import (
    Row,
    accuracy_gap,
    group_by_protocol,
    main_score_names,
    short_name,
    sort_worst_first,
)
from gan.metrics.scores import better_direction
from gan.workdir.best import Best

WIDTH = 100  # Letters of a line.
GAP = "  "  # Between columns.
FEW = 5  # Attributes shown at either end of a long attribute table.
NAME = 24  # Letters of an attribute's name.


def lay_out_scores(rows: Sequence[Row], best: Best | None = None) -> str:
    """Lays out a table for each protocol: a line a checkpoint, a column a score.

    The last line has the baselines. The checkpoint of `best` is marked with a star.
    """
    if not rows:
        return "No checkpoint is scored yet."
    groups = group_by_protocol(rows).values()
    return "\n\n".join(_lay_out_protocol(group, best or Best()) for group in groups)


def _lay_out_protocol(rows: Sequence[Row], best: Best) -> str:
    protocol, columns = rows[0]["protocol"], main_score_names(rows)
    best_step = best.step if best.protocol == protocol["id"] else None
    cells = [
        ["step", *map(short_name, columns)],
        ["", *(f"({better_direction(name)})" for name in columns)],
    ]
    for row in rows:
        mark = "*" if row["step"] == best_step else ""
        cells.append([f"{mark}{row['step']}", *(format_score(row, name) for name in columns)])
    cells.append(["baseline", *(format_baseline(rows[-1], name) for name in columns)])
    notes = [
        f"Protocol {protocol['id']}: {protocol.get('images', '?')} pictures, split "
        f"{protocol.get('split', '?')}. Baseline: as many real pictures, scored in the same way."
    ]
    if best_step is not None:
        notes.append(f"* the best by {best.score}")
    lines = [line for block in _fold(cells) for line in align_columns(block)]
    return "\n".join([*lines, *(shorten(note, WIDTH) for note in notes)])


def _fold(cells: Sequence[Sequence[str]]) -> list[list[list[str]]]:
    """Splits a table by its columns into tables that fit `WIDTH`; all have the first column."""
    first, *others = zip(*cells, strict=True)
    blocks = [[first]]
    for column in others:
        widths = [max(map(len, x)) + len(GAP) for x in (*blocks[-1], column)]
        if sum(widths) - len(GAP) > WIDTH and len(blocks[-1]) > 1:
            blocks.append([first])
        blocks[-1].append(column)
    return [[list(row) for row in zip(*block, strict=True)] for block in blocks]


def lay_out_attributes(row: Row) -> str:
    """Lays out the attributes that faces show least and most as requested, in percent.

    The column "real" is the balanced accuracy on real pictures.
    """
    attributes = row["attributes"]
    if not attributes:
        return "No attributes: the run is unconditional."
    order = sort_worst_first(attributes)
    cells = [
        ["attribute", "with it", "TPR", "TNR", "balanced", "real", "gap", "F1", "swap", "tier"],
        *(_attribute_cells(name, attributes[name]) for name in order),
    ]
    lines = align_columns(cells, left=1)
    if len(order) > 2 * FEW:
        lines[1 + FEW : -FEW] = [f"... {len(order) - 2 * FEW} between them"]
    return "\n".join(lines)


def _attribute_cells(name: str, found: Mapping[str, Any]) -> list[str]:
    positives, real = found.get("positives"), found.get("real") or {}
    rates = ("true_positive", "true_negative", "balanced_accuracy")
    return [
        shorten(name, NAME),
        "-" if positives is None else f"{positives:,}",
        *(format_percent(found.get(rate)) for rate in rates),
        format_percent(real.get("balanced_accuracy")),
        format_percent(accuracy_gap(found), signed=True),
        *(format_percent(found.get(key)) for key in ("f1", "swap")),
        shorten(str(found.get("tier") or "-"), 10),
    ]


def summarize_row(row: Row) -> str:
    """Writes the main scores of one checkpoint in a line."""
    names = main_score_names([row])
    return ", ".join(f"{short_name(name)} {format_score(row, name)}" for name in names)


def align_columns(cells: Sequence[Sequence[str]], left: int = 0) -> list[str]:
    """Pads cells to lines of aligned columns, the first `left` columns to the left.

    Columns that would go beyond `WIDTH` are left out, the last ones first.
    """
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    while sum(widths) + len(GAP) * (len(widths) - 1) > WIDTH:
        widths.pop()
    lines = []
    for row in cells:
        columns = enumerate(zip(row, widths, strict=False))
        aligned = (f"{x:<{w}}" if i < left else f"{x:>{w}}" for i, (x, w) in columns)
        lines.append(GAP.join(aligned).rstrip())
    return lines


def shorten(text: str, width: int) -> str:
    """Cuts a text to `width` letters, the last three of them dots where something is cut off."""
    return text if len(text) <= width else f"{text[: width - 3]}..."
