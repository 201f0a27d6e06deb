"""Writes the report of a run: one HTML file to look at and to pass on."""

from collections.abc import Iterator, Mapping, Sequence

from gan.errors import ConfigError, nearest
from gan.evaluation import score_rows
from gan.evaluation.report import figures, page
from gan.evaluation.report.picture_sections import (
    render_calibration,
    render_nearest_pairs,
    render_samples,
    render_swaps,
)
from gan.evaluation.report.score_sections import (
    choose_row,
    render_all_scores,
    render_attributes,
    render_charts,
    render_headline,
    render_other_protocol,
    render_protocol,
)
from gan.evaluation.score_rows import Row
from gan.metrics.scores import finite_number
from gan.runtime import storage
from gan.runtime.logs import read_rows
from gan.runtime.storage import Path
from gan.workdir.best import Best, read_best

# Charts of `metrics.jsonl`: the label and the key of each of their lines.
CURVES = {
    "Loss": {"generator": "g_loss", "discriminator": "d_loss"},
    "Discriminator is right about": {"real": "d_real_accuracy", "generated": "d_fake_accuracy"},
    "Images a second": {"": "images_per_second"},
}


def write_report(folder: Path, protocol_id: str | None = None) -> Path:
    """Writes `folder / "report.html"` from the scores, pictures and curves in `folder`.

    The page is about one protocol, by default that of `best.json`, else that of the newest row;
    scores by other protocols follow in a section of their own. The same files give the same bytes.
    Raises ConfigError for a protocol by which nothing was scored.
    """
    path = folder / "report.html"
    storage.write_file(path, compose_report(folder, protocol_id).encode())
    return path


def compose_report(folder: Path, protocol_id: str | None = None) -> str:
    """Composes the document that `write_report` writes."""
    rows, best = score_rows.read_score_rows(folder), read_best(folder)
    groups = score_rows.group_by_protocol(rows)
    if groups and protocol_id is not None and protocol_id not in groups:
        raise ConfigError(
            f"protocol {protocol_id!r}: nothing in {folder} was scored by it."
            f"{nearest(protocol_id, groups)} There are: {', '.join(groups)}."
        )
    if groups and protocol_id is None:
        last = rows[-1]["protocol"]["id"]
        protocol_id = best.protocol if best.protocol in groups else last
    name = folder.resolve().name
    parts = [page.heading(f"Evaluation of {name}")]
    if groups:
        parts += _compose_scores(folder, groups, protocol_id, best)
    else:
        command = f"python -m gan.main --mode=evaluate --workdir={folder}"
        parts.append(page.paragraph("Not scored yet. To score it:", "lead", command))
    parts += [render_training(folder), render_settings(folder)]
    return page.document(name, parts)


def _compose_scores(
    folder: Path, groups: Mapping[str, Sequence[Row]], protocol_id: str, best: Best
) -> Iterator[str]:
    rows = groups[protocol_id]
    name, shown = choose_row(rows, best if best.protocol == protocol_id else Best())
    yield render_headline(rows, name, shown)
    yield render_samples(folder, shown)
    yield page.section("Scores over training", render_charts(rows, shown))
    yield render_attributes(shown)
    yield render_swaps(folder, shown)
    yield render_nearest_pairs(folder, shown)
    yield render_calibration(folder)
    yield page.section("All scores", render_all_scores(rows, shown))
    yield render_protocol(rows[0]["protocol"])
    others = (group for other, group in groups.items() if other != protocol_id)
    yield page.section("By other protocols", *(render_other_protocol(x, rows) for x in others))


def render_training(folder: Path) -> str:
    """Renders the curves of `metrics.jsonl`."""
    rows = read_rows(folder / "metrics.jsonl")
    if len(rows) < 2:
        return ""
    steps, charts = [row["step"] for row in rows], []
    for title, lines in CURVES.items():
        curves = [[finite_number(row.get(key)) for row in rows] for key in lines.values()]
        if any(value is not None for curve in curves for value in curve):
            svg = figures.draw_training_curves(steps, curves)
            charts.append(page.figure(svg, title, [label for label in lines if label]))
    return page.section("Training", page.charts(charts)) if charts else ""


def render_settings(folder: Path) -> str:
    """Renders the configuration and the environment, folded, as they are on the disk."""
    names = {"config.json": "Configuration", "environment.json": "Environment"}
    there = {title: folder / name for name, title in names.items() if (folder / name).exists()}
    blocks = (page.folded(title, page.code(path.read_text())) for title, path in there.items())
    return page.section("Settings", *blocks)
