"""Keeps what an evaluation found: pictures on disk, the best checkpoint, tables and the report."""

import contextlib
import dataclasses
import io
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from gan.evaluation import score_rows, tables
from gan.evaluation.report.report import write_report
from gan.evaluation.score_rows import Row
from gan.metrics.scores import find_score
from gan.runtime import storage
from gan.runtime.logs import log
from gan.runtime.pictures import write_png
from gan.runtime.storage import Path
from gan.workdir.best import Best, read_best, write_best


@contextlib.contextmanager
def hold_checkpoint(folder: Path, step: int) -> Iterator[None]:
    """Keeps the training from deleting a checkpoint while it is scored: it may be the best."""
    write_best(folder, dataclasses.replace(read_best(folder), scoring=step))
    try:
        yield
    finally:
        write_best(folder, dataclasses.replace(read_best(folder), scoring=None))


def choose_best(
    folder: Path, rows: Sequence[Row], protocol_id: str, wish: str | None, steps: Sequence[int]
) -> None:
    """Records the best of the checkpoints `steps`, which are those still there, in `best.json`.

    It is the best by the score `wish`; without a wish by the score that chose it before, else by
    the default one. Raises ConfigError where no row has the score wished for.
    """
    rows = [row for row in score_rows.group_by_protocol(rows)[protocol_id] if row["step"] in steps]
    names, before = score_rows.scores_with_numbers(rows), read_best(folder)
    name = find_score(wish, names) if wish else score_rows.pick_score(before.score or "", names)
    name = name or score_rows.default_score_name(rows)
    if row := score_rows.find_best_row(rows, name):
        value = score_rows.score_mean(row, name)
        best = Best(row["step"], name, value, protocol_id, row.get("checkpoint"), before.scoring)
        write_best(folder, best)


def announce_results(folder: Path, rows: Sequence[Row], protocol_id: str) -> None:
    """Prints the tables of one protocol and writes `report.html`."""
    rows, best = score_rows.group_by_protocol(rows)[protocol_id], read_best(folder)
    log.info("%s", tables.lay_out_scores(rows, best))
    row = next((row for row in rows if row["step"] == best.step), rows[-1])
    if row["attributes"]:
        log.info("Step %d:\n%s", row["step"], tables.lay_out_attributes(row))
    log.info("Report: %s", write_report(folder, protocol_id))


def write_arrays(folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes pictures (`.png`) and arrays (`.npy`) by their names, each whole or not at all."""
    for name, array in arrays.items():
        if name.endswith(".png"):
            write_png(folder / name, array)
        else:
            buffer = io.BytesIO()
            np.save(buffer, array, allow_pickle=False)
            storage.write_file(folder / name, buffer.getvalue())
