"""What an evaluation tells the terminal; no line is longer than `WIDTH`."""

from collections.abc import Mapping, Sequence
from typing import Any

from gan.evaluation.score_rows import (
    Row,
    by_protocol,
    format_floor,
    format_score,
    gap,
    main_names,
    percent,
    worst_first,
)
from gan.metrics.scores import better

WIDTH = 100
FEW = 5  # Attributes, at each end of the table.
NAME = 24  # Letters, of an attribute's name.


def score_table(rows: Sequence[Row], best: Mapping[str, Any] | None = None) -> str:
    """A line a checkpoint, a column a score, below them the floors; a table for each protocol.

    `best` is what `best.json` holds: its checkpoint is marked.
    """
    if not rows:
        return "No checkpoint is scored yet."
    return "\n\n".join(_score_table(group, best) for group in by_protocol(rows).values())


def _score_table(rows: Sequence[Row], best: Mapping[str, Any] | None) -> str:
    protocol, columns = rows[0]["protocol"], main_names(rows)
    best = best if best and best.get("protocol") == protocol["id"] else None
    cells = [
        ["step", *(name.partition("@")[0] for name in columns)],
        ["", *(f"({better(name)})" for name in columns)],
    ]
    for row in rows:
        mark = "*" if best and row["step"] == best["step"] else ""
        cells.append([f"{mark}{row['step']}", *(format_score(row, name) for name in columns)])
    cells.append(["real", *(format_floor(rows[-1], name) for name in columns)])
    notes = [
        f"Protocol {protocol['id']}: {protocol.get('images', '?')} pictures, split "
        f"{protocol.get('split', '?')}. real: what as many real pictures get."
    ]
    if best:
        notes.append(f"* the best by {best['score']}")
    return "\n".join([*layout(cells), *(shorten(note, WIDTH) for note in notes)])


def attribute_table(row: Row) -> str:
    """The attributes that faces show least and most as asked, beside real pictures; in percent."""
    attributes = row["attributes"]
    if not attributes:
        return "No attributes: the run is unconditional."
    order = worst_first(attributes)
    cells = [
        ["attribute", "with it", "TPR", "TNR", "balanced", "real", "gap", "F1", "swap", "tier"],
        *(_attribute(name, attributes[name]) for name in order),
    ]
    lines = layout(cells, left=1)
    if len(order) > 2 * FEW:
        lines[1 + FEW : -FEW] = [f"... {len(order) - 2 * FEW} between them"]
    return "\n".join(lines)


def _attribute(name: str, found: Mapping[str, Any]) -> list[str]:
    positives = found.get("positives")
    return [
        shorten(name, NAME),
        "-" if positives is None else f"{positives:,}",
        *(percent(found.get(k)) for k in ("true_positive", "true_negative", "balanced_accuracy")),
        percent((found.get("real") or {}).get("balanced_accuracy")),
        percent(gap(found), signed=True),
        *(percent(found.get(key)) for key in ("f1", "swap")),
        shorten(str(found.get("tier") or "-"), 10),
    ]


def brief(row: Row) -> str:
    """The main scores of one checkpoint, in a line."""
    names = main_names([row])
    return ", ".join(f"{name.partition('@')[0]} {format_score(row, name)}" for name in names)


def layout(cells: Sequence[Sequence[str]], left: int = 0) -> list[str]:
    """Lines of aligned columns, the first `left` of them to the left.

    Columns beyond `WIDTH` are left out, so the first come first.
    """
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    while sum(widths) + 2 * (len(widths) - 1) > WIDTH:
        widths.pop()
    lines = []
    for row in cells:
        columns = enumerate(zip(row, widths, strict=False))
        aligned = (f"{x:<{w}}" if i < left else f"{x:>{w}}" for i, (x, w) in columns)
        lines.append("  ".join(aligned).rstrip())
    return lines


def shorten(text: str, width: int) -> str:
    """At most `width` letters of it."""
    return text if len(text) <= width else f"{text[: width - 3]}..."
