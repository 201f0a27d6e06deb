"""Ranks runs by what their evaluations found: only what was measured alike is compared."""

import math
from collections.abc import Mapping, Sequence

from gan.errors import ConfigError
from gan.evaluation import score_rows
from gan.evaluation.score_rows import Row
from gan.evaluation.tables import WIDTH, layout, shorten
from gan.metrics.scores import better, find
from gan.runtime.storage import Path

NAME = 36  # Letters, of a run's folder.
VALUE = 20  # Letters, of a protocol's field.
TIE = 2  # Standard deviations of a difference.
Runs = Mapping[Path, Sequence[Row]]  # The rows of one protocol, by the run's folder.


def compare(folders: Sequence[Path], score: str | None = None) -> str:
    """A table for each protocol: every run by its best checkpoint, the best run first.

    `score` is a name or its beginning ("FID", "control"); by default FD-attr, else the first there
    is. Raises ConfigError for a folder that is not there and for a score that no run has.
    """
    groups: dict[str, dict[Path, list[Row]]] = {}
    missing = []
    for folder in dict.fromkeys(folders):
        if not folder.is_dir():
            raise ConfigError(f"--workdir={folder}: no such folder. Name the folders of runs.")
        found = score_rows.by_protocol(score_rows.read(folder))
        for protocol, rows in found.items():
            groups.setdefault(protocol, {})[folder] = rows
        if not found:
            missing.append(folder)
    if score is not None and groups:
        find(score, dict.fromkeys(name for runs in groups.values() for name in _names(runs)))
    parts = [_differing(groups)] if len(groups) > 1 else []
    parts += [_group(protocol, runs, score) for protocol, runs in groups.items()]
    parts += [
        f"{folder}: not scored yet: python -m gan.main --mode=evaluate --workdir={folder}"
        for folder in missing
    ]
    return "\n\n".join(parts)


def ranks(rows: Sequence[Row], name: str) -> list[str]:
    """Of rows from best to worst: "1", "1=" for a tie with that one, "3", ...

    A tie is a difference of at most 2 sqrt(sd1^2 + sd2^2); without a deviation, of 0.
    """
    places: list[str] = []
    first = 0
    for i, row in enumerate(rows):
        spread = math.hypot(*(score_rows.score(x, name, "sd") or 0 for x in (rows[first], row)))
        difference = abs(score_rows.score(rows[first], name) - score_rows.score(row, name))
        tied = i > first and difference <= TIE * spread
        first = first if tied else i
        places.append(f"{first + 1}=" if tied else f"{i + 1}")
    return places


def _group(protocol: str, runs: Runs, wanted: str | None) -> str:
    fields = next(iter(runs.values()))[0]["protocol"]
    split = fields.get("split", "?")
    about = f"Protocol {protocol}: {fields.get('images', '?')} pictures, split {split}"
    there = _names(runs)
    if wanted is None:
        name = score_rows.default_name([row for rows in runs.values() for row in rows])
    else:
        name = score_rows.pick(wanted, there)
    if name is None:
        return f"{about}; no {wanted or 'score'} there."
    best = {folder: score_rows.best_row(rows, name) for folder, rows in runs.items()}
    sign = 1 if better(name) == "lower" else -1
    order = sorted(
        (folder for folder, row in best.items() if row),
        key=lambda folder: sign * score_rows.score(best[folder], name),
    )
    places = ranks([best[folder] for folder in order], name)
    control = score_rows.pick("accuracy_ratio", there) or "accuracy_ratio"
    cells = [["", "run", "step", name.partition("@")[0], "real", "accuracy_ratio"]]
    for place, folder in zip(places, order, strict=True):
        row = best[folder]
        values = (score_rows.format_score(row, name), score_rows.format_floor(row, name))
        line = [
            place,
            _end(folder),
            str(row["step"]),
            *values,
            score_rows.format_score(row, control),
        ]
        cells.append(line)
    lines = [
        f"{about}; by {name}, {better(name)} is better.",
        *layout(cells, left=2),
        *(f"{_end(folder)}: no {name} there." for folder, row in best.items() if row is None),
    ]
    if any(place.endswith("=") for place in places):
        lines.append("= ties: nearer than twice the spread over evaluation seeds (not training's).")
    if any(len(rows) > 1 for rows in runs.values()):
        lines.append(
            f"The best of several checkpoints, chosen and shown on the {split} split, looks better "
            "than it is."
        )
    return "\n".join(shorten(line, WIDTH) for line in lines)


def _names(runs: Runs) -> list[str]:
    return score_rows.names(row for rows in runs.values() for row in rows)


def _differing(groups: Mapping[str, Runs]) -> str:
    protocols = [next(iter(runs.values()))[0]["protocol"] for runs in groups.values()]
    fields = [
        f"{field} ({', '.join(shorten(str(value), VALUE) for value in values)})"
        for field, values in score_rows.differing(protocols).items()
    ]
    return f"{len(groups)} protocols, which do not compare. They differ in {'; '.join(fields)}."


def _end(folder: Path) -> str:
    """The end of a long path, where names differ."""
    text = str(folder)
    return text if len(text) <= NAME else f"...{text[3 - NAME :]}"
