"""The report of a run: one HTML file with all that is known about it, to look at and to pass on."""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gan.errors import ConfigError, nearest
from gan.evaluation import score_rows
from gan.evaluation.report import figures, page, words
from gan.evaluation.report.page import Cell
from gan.evaluation.score_rows import Row, format_floor, format_number, format_score, percent
from gan.metrics.scores import better
from gan.runtime import storage
from gan.runtime.logs import read_rows
from gan.runtime.storage import Path

CURVES = {  # Of `metrics.jsonl`: charts, their lines in the order of the colours.
    "Loss": {"generator": "g_loss", "discriminator": "d_loss"},
    "Discriminator is right about": {"real": "d_real_accuracy", "generated": "d_fake_accuracy"},
    "Images a second": {"": "images_per_second"},
}
TIERS = ("sure", "fair", "unsure")


def write_report(folder: Path, protocol: str | None = None) -> Path:
    """Writes `folder / "report.html"` from what is there of scores, pictures and curves.

    The page is about one `protocol` (an id; by default that of `best.json`, else of the newest
    row); scores by others follow, apart. The same files give the same bytes. Raises ConfigError
    for a protocol by which nothing was scored.
    """
    path = folder / "report.html"
    storage.write(path, report(folder, protocol).encode())
    return path


def report(folder: Path, protocol: str | None = None) -> str:
    """The document that `write_report` writes."""
    rows, best = score_rows.read(folder), score_rows.read_best(folder) or {}
    groups = score_rows.by_protocol(rows)
    if groups and protocol is not None and protocol not in groups:
        raise ConfigError(
            f"protocol {protocol!r}: nothing in {folder} was scored by it."
            f"{nearest(protocol, groups)} There are: {', '.join(groups)}."
        )
    if groups and protocol is None:
        last = rows[-1]["protocol"]["id"]
        protocol = best["protocol"] if best.get("protocol") in groups else last
    parts = [*(of_protocol(folder, groups, protocol, best) if groups else not_scored(folder))]
    parts += [training(folder), *settings(folder)]
    name = folder.resolve().name
    return page.page(name, [page.heading(name), *parts])


def not_scored(folder: Path) -> list[str]:
    """Instead of scores."""
    command = f"python -m gan.main --mode=evaluate --workdir={folder}"
    return [page.paragraph(f"Not scored yet: {command}", "lead")]


def of_protocol(
    folder: Path, groups: Mapping[str, Sequence[Row]], protocol: str, best: Mapping[str, Any]
) -> Iterator[str]:
    """All that was found by one protocol, and what else was found."""
    rows = groups[protocol]
    name, chosen = choose(rows, best if best.get("protocol") == protocol else {})
    yield headline(rows, name, chosen)
    yield page.section("Scores over training", charts(rows, chosen))
    samples = sheet(folder, "samples.png", chosen)
    about = words.SAMPLES if chosen["attributes"] else ""
    yield page.section("Samples", samples and about and page.paragraph(about), samples)
    yield attributes(chosen)
    yield swaps(folder, chosen)
    pairs = sheet(folder, "nearest.png", chosen)
    yield page.section("Nearest training pictures", pairs and page.paragraph(words.NEAREST), pairs)
    yield calibration(folder)
    yield page.section("All scores", all_scores(rows, chosen))
    fields = ((field, text(value)) for field, value in rows[0]["protocol"].items())
    yield page.section("Protocol", page.terms(fields))
    others = (by_other(groups[other], rows) for other in groups if other != protocol)
    yield page.section("By other protocols", *others)


def choose(rows: Sequence[Row], best: Mapping[str, Any]) -> tuple[str | None, Row]:
    """The score to choose by, and the row it chooses: what `best.json` says, else the best."""
    there = {row["step"]: row for row in rows}
    if best.get("step") in there:
        return best["score"], there[best["step"]]
    name = score_rows.default_name(rows)
    return name, (score_rows.best_row(rows, name) if name else None) or rows[-1]


def headline(rows: Sequence[Row], name: str | None, chosen: Row) -> str:
    """The newest and the best checkpoint, and what the main numbers of the best say."""
    protocol = chosen["protocol"]
    images, split = (protocol.get(key, "?") for key in ("images", "split"))
    text = f"Scored checkpoints: {len(rows)}; the newest is step {rows[-1]['step']:,}"
    if name:
        text += (
            f", the best step {chosen['step']:,} with {short(name)} at "
            f"{format_score(chosen, name, '±')} ({better(name)} is better)"
        )
    text += (
        f". The numbers are those of step {chosen['step']:,}: {images} generated pictures beside "
        f"real ones of the {split} split. “Real” is what as many real pictures get in place of the "
        "generated ones, as a perfect generator would."
    )
    note = ""
    if name and len(rows) > 1:
        note = page.paragraph(
            f"The best of several checkpoints was chosen on the {split} split and is shown on it: "
            "that looks a little better than it is. To publish a number, choose on the validation "
            "split, then score that one alone: --mode=evaluate --split=test --step=best.",
            "note",
        )
    cards = page.cards(card(chosen, name) for name in score_rows.main_names(rows))
    return f"{page.paragraph(text, 'lead')}{note}{cards}"


def card(row: Row, name: str) -> str:
    """A score, large, and what it means."""
    floor = format_floor(row, name)
    beside = "" if floor == "-" else f"real {floor}"
    text = f"{meaning(name)} {better(name).title()} is better."
    return page.card(short(name), format_score(row, name, "±"), beside, text)


def charts(rows: Sequence[Row], chosen: Row) -> str:
    """A chart for each score, over the steps."""
    if len(rows) < 2:
        return page.paragraph("One checkpoint is no curve yet.", "note")
    steps, found = [row["step"] for row in rows], []
    for name in score_rows.names(rows):
        means, sds = (
            [score_rows.score(row, name, kind) for row in rows] for kind in ("mean", "sd")
        )
        if any(mean is not None for mean in means):
            floor = score_rows.score(chosen, name, "floor")
            svg = figures.curve(steps, means, sds, floor, chosen["step"])
            found.append(page.figure(svg, f"{short(name)} ({better(name)} is better)"))
    key = (
        "Line: mean over the evaluation seeds, with a band of one standard deviation. Dashed: real "
    )
    key += f"pictures. Large dot: step {chosen['step']:,}."
    return page.paragraph(key, "note") + page.charts(found)


def attributes(row: Row) -> str:
    """A table of all, the tiers apart, the worst first."""
    found = row["attributes"]
    if not found:
        return ""
    distances = any(score_rows.number(x.get("distance")) is not None for x in found.values())
    head = ["Attribute", "With it", "TPR", "TNR", "Balanced", "Real", "Gap", "F1", "Swap"]
    head += ["Distance", "Real"] * distances + ["Tier"]
    tiers = {name: str(x.get("tier") or "-") for name, x in found.items()}
    order = score_rows.worst_first(found)
    order.sort(key=lambda name: TIERS.index(tiers[name]) if tiers[name] in TIERS else len(TIERS))
    lines = []
    for name in order:
        x, real = found[name], found[name].get("real") or {}
        gap, positives = score_rows.gap(x), score_rows.number(x.get("positives"))
        line = [
            name,
            "-" if positives is None else f"{positives:,.0f}",
            *(share(x.get(k), 0.5) for k in ("true_positive", "true_negative")),
            share(x.get("balanced_accuracy"), 0.5),
            percent(real.get("balanced_accuracy")),
            Cell(percent(gap, signed=True), None if gap is None else 8 * min(gap, 0)),
            share(x.get("f1")),
            share(x.get("swap")),
        ]
        if distances:
            line += [format_number(score_rows.number(of.get("distance"))) for of in (x, real)]
        lines.append([*line, tiers[name]])
    text = (
        f"Of step {row['step']:,}, in percent: the sure tier first, in each the largest gap first."
    )
    return page.section(
        "Attributes",
        page.paragraph(text),
        page.table(head, lines),
        page.terms(x for x in words.ATTRIBUTES if distances or x[0] != "Distance"),
    )


def share(value: object, least: float = 0.0) -> Cell:
    """In percent, tinted from `least` (nothing) to 1."""
    number = score_rows.number(value)
    return Cell(percent(number), None if number is None else max(number - least, 0) / (1 - least))


def swaps(folder: Path, row: Row) -> str:
    """The matrix of what turns with what."""
    found = artifact(folder, "swap.npy", row)
    names = [*row["attributes"]]
    if not found or not names:
        return ""
    step, path = found
    matrix = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
    if matrix.shape != (len(names), len(names)):
        return ""
    caption = f"Step {step:,}. The colour grows with the root of the share."
    svg = page.wide(figures.matrix(matrix, names), 15 * min(len(names), figures.LARGEST) + 110)
    return page.section(
        "Turning one attribute",
        page.paragraph(words.SWAP),
        page.figure(svg + page.SCALE, caption),
    )


def calibration(folder: Path) -> str:
    """How the scores answer known faults, where `benchmarks/calibration.py` has measured that."""
    path = folder / "evaluation" / "calibration.png"
    if not path.exists():
        return ""
    figure = page.figure(page.picture(path, "calibration.png"), words.CALIBRATED)
    return page.section("Calibration", figure)


def sheet(folder: Path, name: str, chosen: Row) -> str:
    """A picture of the evaluation, with its step."""
    found = artifact(folder, name, chosen)
    if not found:
        return ""
    return page.figure(page.picture(found[1], f"{name}, step {found[0]:,}"), f"Step {found[0]:,}.")


def artifact(folder: Path, name: str, chosen: Row) -> tuple[int, Path] | None:
    """A file of the evaluation of this row, else of the newest that has it; None where none has."""
    path = score_rows.shown(folder, chosen["protocol"]["id"], chosen["step"]) / name
    there = sorted(path.parents[1].glob(f"step_[0-9]*/{name}"))
    by_step = {int(path.parent.name.removeprefix("step_")): path for path in there}
    if not by_step:
        return None
    step = chosen["step"] if chosen["step"] in by_step else max(by_step)
    return step, by_step[step]


def all_scores(rows: Sequence[Row], chosen: Row) -> str:
    """Every number of the best and of the newest checkpoint, and what it means."""
    newest = rows[-1]
    names = score_rows.names([chosen, newest])
    shown = list({row["step"]: row for row in (chosen, newest)}.values())
    lines = [
        [
            name,
            *(format_score(row, name, "±") for row in shown),
            format_floor(chosen, name),
            better(name),
        ]
        for name in names
    ]
    head = ["Score", *(f"Step {row['step']:,}" for row in shown), "Real", "Better"]
    meanings = {short(name): meaning(name) for name in names}
    return page.table(head, lines) + page.folded("What they mean", page.terms(meanings.items()))


def by_other(rows: Sequence[Row], main: Sequence[Row]) -> str:
    """What was found by another protocol, and how that differs."""
    protocol = rows[0]["protocol"]
    different = score_rows.differing([protocol, main[0]["protocol"]])
    name, chosen = choose(rows, {})
    return page.folded(
        f"Protocol {protocol['id']}: {len(rows)} checkpoints",
        page.paragraph("These numbers do not compare with those above. It differs in:", "note"),
        page.terms((field, f"{text(a)} (above: {text(b)})") for field, (a, b) in different.items()),
        charts(rows, chosen),
        all_scores(rows, chosen),
    )


def training(folder: Path) -> str:
    """What `metrics.jsonl` tells."""
    rows = read_rows(folder / "metrics.jsonl")
    if len(rows) < 2:
        return ""
    found = []
    for title, lines in CURVES.items():
        curves = [[score_rows.number(row.get(key)) for row in rows] for key in lines.values()]
        if any(value is not None for curve in curves for value in curve):
            svg = figures.training([row["step"] for row in rows], curves)
            found.append(page.figure(svg, title, [line for line in lines if line]))
    return page.section("Training", page.charts(found)) if found else ""


def settings(folder: Path) -> Iterator[str]:
    """The configuration and the environment, as they are on the disk."""
    names = {"config.json": "Configuration", "environment.json": "Environment"}
    there = {title: folder / name for name, title in names.items() if (folder / name).exists()}
    blocks = (page.folded(title, page.code(path.read_text())) for title, path in there.items())
    yield page.section("Settings", *blocks)


def text(value: object) -> str:
    """A value of a protocol."""
    return value if isinstance(value, str) else json.dumps(value)


def short(name: str) -> str:
    """Of a score, without the extractor's fingerprint."""
    return name.partition("@")[0]


def meaning(name: str) -> str:
    """What a score says."""
    text = words.SCORES.get(name.partition("-")[0], "")
    return f"{text} {words.UNVERIFIED}" if "-unverified" in name else text
