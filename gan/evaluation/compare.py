"""Ranks runs by their scores; only rows of one protocol are compared."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gan.errors import ConfigError
from gan.evaluation import score_rows
from gan.evaluation.formats import field_name, format_baseline, format_score
from gan.evaluation.score_rows import Row, score_deviation, score_mean, short_name
from gan.evaluation.tables import WIDTH, align_columns, shorten
from gan.metrics.scores import better_direction, find_score
from gan.runtime.storage import Path

NAME = 36  # Letters of a run's folder.
VALUE = 20  # Letters of a field of a protocol.
TIE = 2  # A difference of at most so many of its standard deviations is a tie.
RunRows = Mapping[Path, Sequence[Row]]  # Rows of one protocol, by the folder of the run.


def compare_runs(folders: Sequence[Path], score: str | None = None) -> str:
    """Lays out a table for each protocol: every run by its best checkpoint, the best run first.

    `score` is a name or its beginning ("FID", "control"); by default it is FD-attr, else the first
    score that there is. Raises ConfigError for a folder that is not there and for a score that no
    run has.
    """
    groups, unscored = read_runs(folders)
    if score is not None and groups:
        find_score(score, dict.fromkeys(name for runs in groups.values() for name in _names(runs)))
    parts = [_tell_differences(groups)] if len(groups) > 1 else []
    parts += [_lay_out_ranking(protocol, runs, score) for protocol, runs in groups.items()]
    parts += [
        f"{folder}: not scored yet: python -m gan.main --mode=evaluate --workdir={folder}"
        for folder in unscored
    ]
    return "\n\n".join(parts)


def read_runs(folders: Sequence[Path]) -> tuple[dict[str, dict[Path, list[Row]]], list[Path]]:
    """Reads the rows of runs by protocol and folder, and lists the folders without any row.

    Raises ConfigError for a folder that is not there.
    """
    groups: dict[str, dict[Path, list[Row]]] = {}
    unscored = []
    for folder in dict.fromkeys(folders):
        if not folder.is_dir():
            raise ConfigError(f"--workdir={folder}: no such folder. Name the folders of runs.")
        found = score_rows.group_by_protocol(score_rows.read_score_rows(folder))
        for protocol, rows in found.items():
            groups.setdefault(protocol, {})[folder] = rows
        if not found:
            unscored.append(folder)
    return groups, unscored


def rank_rows(rows: Sequence[Row], name: str) -> list[str]:
    """Numbers rows that are sorted from best to worst: "1", "1=" for a tie with it, "3", ...

    A tie is a difference of at most 2 sqrt(sd1^2 + sd2^2) from the first row of that rank. Without
    deviations only equal rows tie.
    """
    places: list[str] = []
    first = 0
    for i, row in enumerate(rows):
        spread = math.hypot(*(score_deviation(x, name) or 0 for x in (rows[first], row)))
        difference = abs(score_mean(rows[first], name) - score_mean(row, name))
        tied = i > first and difference <= TIE * spread
        first = first if tied else i
        places.append(f"{first + 1}=" if tied else f"{i + 1}")
    return places


def _lay_out_ranking(protocol: str, runs: RunRows, wanted: str | None) -> str:
    fields = next(iter(runs.values()))[0]["protocol"]
    split = fields.get("split", "?")
    about = f"Protocol {protocol}: {fields.get('images', '?')} pictures, split {split}"
    if wanted is None:
        name = score_rows.default_score_name([row for rows in runs.values() for row in rows])
    else:
        name = score_rows.pick_score(wanted, _names(runs))
    if name is None:
        return f"{about}; no {wanted or 'score'} there."
    best = {folder: score_rows.find_best_row(rows, name) for folder, rows in runs.items()}
    ranked = _rank_runs(best, name)
    lines = [
        f"{about}; by {name}, {better_direction(name)} is better.",
        *align_columns(_ranking_cells(ranked, name, _names(runs)), left=2),
        *(f"{_end_of(folder)}: no {name} there." for folder, row in best.items() if row is None),
    ]
    if any(run.place.endswith("=") for run in ranked):
        lines.append("= ties: nearer than twice the spread over evaluation seeds (not training's).")
    if any(len(rows) > 1 for rows in runs.values()):
        lines.append(
            f"The best of several checkpoints, chosen and shown on the {split} split, looks better "
            "than it is."
        )
    return "\n".join(shorten(line, WIDTH) for line in lines)


class _RankedRun(NamedTuple):
    place: str
    folder: Path
    row: Row  # The best checkpoint's.


def _rank_runs(best: Mapping[Path, Row | None], name: str) -> list[_RankedRun]:
    sign = 1 if better_direction(name) == "lower" else -1
    having = [(folder, row) for folder, row in best.items() if row]
    having.sort(key=lambda item: sign * score_mean(item[1], name))
    places = rank_rows([row for _, row in having], name)
    return [_RankedRun(place, *item) for place, item in zip(places, having, strict=True)]


def _ranking_cells(ranked: Sequence[_RankedRun], name: str, names: list[str]) -> list[list[str]]:
    control = score_rows.pick_score("accuracy_ratio", names) or "accuracy_ratio"
    head = ["", "run", "step", short_name(name), "baseline", "accuracy_ratio"]
    return [head] + [
        [
            place,
            _end_of(folder),
            str(row["step"]),
            format_score(row, name),
            format_baseline(row, name),
            format_score(row, control),
        ]
        for place, folder, row in ranked
    ]


def _names(runs: RunRows) -> list[str]:
    return score_rows.score_names(row for rows in runs.values() for row in rows)


def _tell_differences(groups: Mapping[str, RunRows]) -> str:
    protocols = [next(iter(runs.values()))[0]["protocol"] for runs in groups.values()]
    fields = [
        f"{field_name(field)} ({', '.join(shorten(str(value), VALUE) for value in values)})"
        for field, values in score_rows.differing_fields(protocols).items()
    ]
    return f"{len(groups)} protocols, which do not compare. They differ in {'; '.join(fields)}."


def _end_of(folder: Path) -> str:
    """End of a long path: the ends of the names of runs differ more than their beginnings."""
    text = str(folder)
    return text if len(text) <= NAME else f"...{text[3 - NAME :]}"
