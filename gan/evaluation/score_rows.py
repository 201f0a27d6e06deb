"""Reads and orders the rows of `scores.jsonl`, one for each checkpoint and protocol.

A row is {"step", "checkpoint", "scores", "attributes", "generated", "protocol"}. A score is
{"mean", "sd", "floor"}: its mean and standard deviation over the evaluation seeds, and its
baseline. A score of few cases also has their number, "cases". Rows of different protocols do not
compare.

"checkpoint" is the digest of what was scored. Rows of older versions, and of pictures that no
checkpoint drew, have none.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gan.metrics.scores import (
    FEATURES,
    PICTURES,
    base_name,
    better_direction,
    finite_number,
)
from gan.runtime.logs import log, read_rows
from gan.runtime.storage import Path
from gan.workdir.best import checkpoint_digest

Row = dict[str, Any]
# A checkpoint is chosen by the first of these that it has. FD-attr needs no weights from elsewhere.
DEFAULTS = ("FD-attr", "FID", "FD", "swd")
# The scores that come first, in this order, where there is no room for all.
MAIN = ("FID", "FD-attr", "accuracy_ratio", "swap", "precision", "recall", "swd")


def pictures_folder(folder: Path, protocol_id: str, step: int) -> Path:
    """Folder of the pictures and arrays that the evaluation of one checkpoint leaves."""
    return folder / "evaluation" / protocol_id / f"step_{step:08d}"


def read_score_rows(folder: Path) -> list[Row]:
    """Reads the rows of a run's `scores.jsonl`, in the order of the file; [] if it is not there.

    Rows of the first versions have no protocol. They are left out, and so are rows of checkpoints
    in whose place another one lies now, which is said.
    """
    rows = [row for row in read_rows(folder / "scores.jsonl") if is_row(row)]
    return drop_stale(folder, rows)


def is_row(row: Row) -> bool:
    """Whether a row has a protocol, scores and attributes as evaluations write them."""
    parts = (row.get("protocol"), row.get("scores"), row.get("attributes", {}))
    if not all(isinstance(part, dict) for part in parts):
        return False
    values = (*parts[1].values(), *parts[2].values())
    return isinstance(parts[0].get("id"), str) and all(isinstance(x, dict) for x in values)


def drop_stale(folder: Path, rows: Sequence[Row]) -> list[Row]:
    """Leaves out rows of checkpoints in whose place another one lies now, and says so."""
    there = {step: checkpoint_digest(folder, step) for step in {row["step"] for row in rows}}

    def is_stale(row: Row) -> bool:
        return "checkpoint" in row and there[row["step"]] not in (None, row["checkpoint"])

    if stale := sorted({row["step"] for row in rows if is_stale(row)}):
        log.warning(
            "%s: the scores of steps %s are left out: other checkpoints lie there now.",
            *(folder, ", ".join(map(str, stale))),
        )
    return [row for row in rows if not is_stale(row)]


def group_by_protocol(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Groups rows by their protocol's id and sorts each group by step.

    Of two rows of one step and protocol the later one counts.
    """
    groups: dict[str, dict[int, Row]] = {}
    for row in (row for row in rows if isinstance(row.get("protocol"), dict)):
        groups.setdefault(row["protocol"]["id"], {})[row["step"]] = row
    return {name: [group[step] for step in sorted(group)] for name, group in groups.items()}


def replace_row(rows: Sequence[Row], row: Row) -> list[Row]:
    """Appends `row` and drops an earlier row of the same step and protocol."""
    same = (row["step"], row["protocol"])
    return [x for x in rows if (x["step"], x.get("protocol")) != same] + [row]


def score_names(rows: Iterable[Row]) -> list[str]:
    """Names of all scores in these rows, each once, in the order in which they first occur."""
    return list(dict.fromkeys(name for row in rows for name in row["scores"]))


def scores_with_numbers(rows: Sequence[Row]) -> list[str]:
    """Names of the scores that have a finite mean in at least one of these rows."""
    return [
        name for name in score_names(rows) if any(score_mean(r, name) is not None for r in rows)
    ]


def score_mean(row: Row, name: str) -> float | None:
    """Mean of a score over the evaluation seeds; None where the row has none."""
    return _score_field(row, name, "mean")


def score_deviation(row: Row, name: str) -> float | None:
    """Standard deviation of a score over the evaluation seeds; None where it is not known."""
    return _score_field(row, name, "sd")


def score_baseline(row: Row, name: str) -> float | None:
    """The score that real pictures get in place of the generated ones; None where there is none."""
    return _score_field(row, name, "floor")


def score_cases(row: Row, name: str) -> int | None:
    """Number of cases that a score of few cases is a share of; None for all other scores."""
    cases = _score_field(row, name, "cases")
    return None if cases is None else int(cases)


def _score_field(row: Row, name: str, field: str) -> float | None:
    return finite_number((row["scores"].get(name) or {}).get(field))


def pick_score(base: str, names: Iterable[str]) -> str | None:
    """Finds a score by its whole name or by a beginning of it; None where none is called so.

    "FD-attr" and "FD" both find "FD-attr@1a2b3c4d". A score whose whole name is "FD" comes first.
    """
    found = (x for x in names if base in (x, x.partition("@")[0], x.partition("-")[0]))
    return min(found, key=lambda name: name != base, default=None)


def short_name(name: str) -> str:
    """Name of a score without its extractor's fingerprint: "FD-attr" for "FD-attr@1a2b3c4d"."""
    return name.partition("@")[0]


def main_score_names(rows: Sequence[Row]) -> list[str]:
    """Names of the scores to show of these rows where there is no room for all.

    They are those of `MAIN`, then all others that are registered as main scores.
    """
    names = score_names(rows)
    first = [name for base in MAIN if (name := pick_score(base, names))]
    registered = (PICTURES | FEATURES).items()
    main = [base for base, score in registered if score.main]
    return list(dict.fromkeys([*first, *(name for name in names if base_name(name) in main)]))


def default_score_name(rows: Sequence[Row]) -> str | None:
    """Name of the score to choose a checkpoint by; None where no score has a number.

    It is the first of `DEFAULTS` that has numbers, else the first of all scores that have.
    """
    names = scores_with_numbers(rows)
    wished = (pick_score(base, names) for base in DEFAULTS)
    return next((name for name in wished if name), next(iter(names), None))


def find_best_row(rows: Iterable[Row], name: str) -> Row | None:
    """Finds the row that is best by a score, the earliest of equals; None where no row has it.

    Raises ConfigError for a name that is no score.
    """
    having = [row for row in rows if score_mean(row, name) is not None]
    sign = 1 if better_direction(name) == "lower" else -1
    return min(having, key=lambda row: (sign * score_mean(row, name), row["step"]), default=None)


def differing_fields(protocols: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Fields in which protocols differ, with the value of each protocol; the id does not count."""
    fields = dict.fromkeys(field for protocol in protocols for field in protocol if field != "id")
    values = {field: [protocol.get(field) for protocol in protocols] for field in fields}
    return {field: v for field, v in values.items() if any(x != v[0] for x in v)}


def accuracy_gap(attribute: Mapping[str, Any]) -> float | None:
    """Balanced accuracy on generated faces minus that on real ones, below 0 where control fails.

    `attribute` is one entry of a row's "attributes". None where either accuracy is not known.
    """
    generated = finite_number(attribute.get("balanced_accuracy"))
    real = finite_number((attribute.get("real") or {}).get("balanced_accuracy"))
    return None if generated is None or real is None else generated - real


def sort_worst_first(attributes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Names of a row's "attributes", the lowest `accuracy_gap` first, those without one last."""
    gaps = {name: accuracy_gap(attribute) for name, attribute in attributes.items()}
    return sorted(gaps, key=lambda name: math.inf if gaps[name] is None else gaps[name])
