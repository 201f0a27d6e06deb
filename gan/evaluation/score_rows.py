"""What evaluations found: the rows of `scores.jsonl`, their protocols, and the best of them.

A row has `step`, `scores` {name: {"mean", "sd", "floor"}}, `attributes` and `protocol`. Rows of
different protocols do not compare.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gan.metrics.scores import better
from gan.runtime.logs import read_rows
from gan.runtime.storage import Path
from gan.workdir import checkpoints

Row = Mapping[str, Any]
DEFAULTS = ("FD-attr", "FID", "FD", "swd")  # The first needs no weights from elsewhere.
# What is shown where there is not room for all, in this order.
MAIN = ("FID", "FD-attr", "accuracy_ratio", "swap", "precision", "recall", "swd")


def shown(folder: Path, protocol: str, step: int) -> Path:
    """Where the pictures of a checkpoint's evaluation lie."""
    return folder / "evaluation" / protocol / f"step_{step:08d}"


def read(folder: Path) -> list[Row]:
    """The scored checkpoints, in the order of the file; [] where there are none.

    Rows of older versions, which do not tell their protocol, are left out.
    """
    rows = read_rows(folder / "scores.jsonl")
    return [row for row in rows if isinstance(row.get("protocol"), dict)]


def read_best(folder: Path) -> dict[str, Any] | None:
    """`best.json`: {"step", "score", "value", "protocol"}, or None where there is none."""
    best = checkpoints.read_best(folder)
    return dataclasses.asdict(best) if best.step is not None else None


def by_protocol(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The rows of each protocol's id, by step; the later one where a step comes twice."""
    groups: dict[str, dict[int, Row]] = {}
    for row in (row for row in rows if isinstance(row.get("protocol"), dict)):
        groups.setdefault(row["protocol"]["id"], {})[row["step"]] = row
    return {name: [group[step] for step in sorted(group)] for name, group in groups.items()}


def names(rows: Iterable[Row]) -> list[str]:
    """Every score of these rows, in the order in which they come."""
    return list(dict.fromkeys(name for row in rows for name in row["scores"]))


def number(value: object) -> float | None:
    """A finite number; None for null, NaN and infinity."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def score(row: Row, name: str, kind: str = "mean") -> float | None:
    """The "mean", "sd" or "floor" of a score; None where there is none."""
    return number((row["scores"].get(name) or {}).get(kind))


def pick(base: str, there: Iterable[str]) -> str | None:
    """The first score called `base`: by its whole name, or without its extractor ("FD-attr", "FD").

    None where none is.
    """
    found = (x for x in there if base in (x, x.partition("@")[0], x.partition("-")[0]))
    return min(found, key=lambda name: name != base, default=None)


def main_names(rows: Sequence[Row]) -> list[str]:
    """The scores of `MAIN` that these rows have."""
    return [name for base in MAIN if (name := pick(base, names(rows)))]


def default_name(rows: Sequence[Row]) -> str | None:
    """The score to choose a checkpoint by: the first of `DEFAULTS`, or of all; None without any."""
    there = [name for name in names(rows) if any(score(row, name) is not None for row in rows)]
    wished = (pick(base, there) for base in DEFAULTS)
    return next((name for name in wished if name), next(iter(there), None))


def best_row(rows: Iterable[Row], name: str) -> Row | None:
    """The best under a score, the earliest of equals; None where none has it."""
    having = [row for row in rows if score(row, name) is not None]
    sign = 1 if better(name) == "lower" else -1
    return min(having, key=lambda row: (sign * score(row, name), row["step"]), default=None)


def differing(protocols: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The fields, but for the id, in which protocols differ, with each one's value."""
    fields = dict.fromkeys(field for protocol in protocols for field in protocol if field != "id")
    values = {field: [protocol.get(field) for protocol in protocols] for field in fields}
    return {field: v for field, v in values.items() if any(x != v[0] for x in v)}


def format_number(value: float | None, sd: float | None = None) -> str:
    """To the first digit of its deviation (the second after a 1), else to four digits; "-"."""
    if value is None:
        return "-"
    unit, digits = (sd, 1 + (f"{sd:e}"[0] == "1")) if sd else (value, 4)
    places = digits - 1 - math.floor(math.log10(abs(unit))) if unit else 1
    return f"{value:,.{min(max(places, 0), 6)}f}"


def format_score(row: Row, name: str, sign: str = "+-") -> str:
    """The mean, and its deviation over the seeds where that is known: "41.2 +- 0.3"."""
    mean, sd = score(row, name), score(row, name, "sd")
    if mean is None or not sd:
        return format_number(mean)
    return f"{format_number(mean, sd)} {sign} {format_number(sd, sd)}"


def format_floor(row: Row, name: str) -> str:
    """What real pictures get, to the digits of the mean."""
    return format_number(score(row, name, "floor"), score(row, name, "sd"))


def percent(value: object, signed: bool = False) -> str:
    """Of a share: "91.2"; "-" for null or NaN."""
    share = number(value)
    return "-" if share is None else f"{100 * share:{'+' if signed else ''}.1f}"


def gap(attribute: Mapping[str, Any]) -> float | None:
    """Balanced accuracy on generated faces less that on real ones: negative where control fails."""
    fake = number(attribute.get("balanced_accuracy"))
    real = number((attribute.get("real") or {}).get("balanced_accuracy"))
    return None if fake is None or real is None else fake - real


def worst_first(attributes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The attributes' names by their gap; those without one come last."""
    gaps = {name: gap(attribute) for name, attribute in attributes.items()}
    return sorted(gaps, key=lambda name: math.inf if gaps[name] is None else gaps[name])
