"""Writes scores as text, for the terminal and for the report."""

import math
from collections.abc import Mapping
from typing import Any

from gan.evaluation.score_rows import (
    Row,
    score_baseline,
    score_cases,
    score_deviation,
    score_mean,
)
from gan.metrics.scores import finite_number

FIELDS = {"reals": "reference set", "floors": "baseline split"}
PLACES = 6  # Decimals at most; a deviation that would not show in them is rounding, and left out.
FEW = 100  # Two decimals are enough for a share of fewer cases than this.


def format_number(value: float | None, deviation: float | None = None) -> str:
    """Rounds a number to the digits that are known: "41.2" where the deviation is 0.3.

    That is up to the first digit of the deviation, or up to its second digit after a 1. Without a
    deviation it is four digits. None gives "-".
    """
    if value is None:
        return "-"
    deviation = _visible(deviation)
    leads_with_one = deviation and f"{deviation:e}"[0] == "1"
    unit, digits = (deviation, 1 + leads_with_one) if deviation else (value, 4)
    places = digits - 1 - math.floor(math.log10(abs(unit))) if unit else 1
    return f"{value:,.{min(max(places, 0), PLACES)}f}"


def format_score(row: Row, name: str, sign: str = "+-") -> str:
    """Writes a score with what is known of its certainty: "41.2 +- 0.3", or "0.67 of 3 cases"."""
    mean, deviation, cases = (f(row, name) for f in (score_mean, score_deviation, score_cases))
    if mean is None:
        return format_number(None)
    if cases is not None:
        number = f"{mean:.2f}" if cases < FEW else format_number(mean)
        return f"{number} of {cases:,} case{'s' * (cases != 1)}"
    deviation = _visible(deviation)
    if not deviation:
        return format_number(mean)
    return f"{format_number(mean, deviation)} {sign} {format_number(deviation, deviation)}"


def _visible(deviation: float | None) -> float | None:
    return deviation if deviation and deviation >= 0.5 * 10**-PLACES else None


def format_baseline(row: Row, name: str) -> str:
    """Writes the baseline of a score, rounded as the score's mean is; "-" where there is none."""
    return format_number(score_baseline(row, name), score_deviation(row, name))


def format_percent(value: object, signed: bool = False) -> str:
    """Writes a share in percent: "91.2", or "+91.2" with `signed`; "-" for null or NaN."""
    share = finite_number(value)
    return "-" if share is None else f"{100 * share:{'+' if signed else ''}.1f}"


def describe_given(generated: Mapping[str, Any]) -> str:
    """Says what pictures that no checkpoint drew are, and what was done to them; "" for others.

    `generated` is that of their row.
    """
    files = generated.get("files") or {}
    parts = [f"{num:,} {kind}" for kind, num in files.items()]
    if lossy := [kind for kind in files if kind.startswith(".j")]:
        parts.append(f"what {' and '.join(lossy)} files have lost counts in the scores")
    parts += [f"{num:,} {change}" for change, num in (generated.get("changes") or {}).items()]
    if sets := generated.get("sets"):
        parts.append(f"scored in {sets} set{'s' * (sets > 1)}")
    return "; ".join(parts)


def field_name(field: str) -> str:
    """Name of a protocol's field for readers; files keep the names of the first version."""
    return FIELDS.get(field, field)
