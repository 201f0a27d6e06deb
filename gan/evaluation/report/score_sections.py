"""Renders what the report says about scores, as HTML: headline, charts and tables."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from gan.evaluation import score_rows
from gan.evaluation.formats import (
    describe_given,
    field_name,
    format_baseline,
    format_number,
    format_percent,
    format_score,
)
from gan.evaluation.report import figures, page, words
from gan.evaluation.report.page import Cell
from gan.evaluation.score_rows import (
    Row,
    accuracy_gap,
    score_baseline,
    score_deviation,
    score_mean,
    short_name,
)
from gan.metrics.scores import better_direction, finite_number
from gan.workdir.best import Best

TIERS = ("sure", "fair", "unsure")


def choose_row(rows: Sequence[Row], best: Best) -> tuple[str | None, Row]:
    """Chooses the row to show: that of `best`, else the best one by the default score.

    Returns the name of the score that chose it as well, None where no score has a number: then the
    newest row is shown.
    """
    by_step = {row["step"]: row for row in rows}
    if best.step in by_step:
        return best.score, by_step[best.step]
    name = score_rows.default_score_name(rows)
    return name, (score_rows.find_best_row(rows, name) if name else None) or rows[-1]


def render_headline(rows: Sequence[Row], name: str | None, shown: Row) -> str:
    """Renders the newest and the best checkpoint, and the main scores of the one that is shown."""
    protocol = shown["protocol"]
    images, split = (protocol.get(key, "?") for key in ("images", "split"))
    count = f"{len(rows)} checkpoint{'s are' if len(rows) > 1 else ' is'} scored"
    text = f"{count}; the newest is step {rows[-1]['step']:,}"
    if name:
        text += (
            f", and the best is step {shown['step']:,} with {short_name(name)} at "
            f"{format_score(shown, name, '±')} ({better_direction(name)} is better)"
        )
    text += (
        f". The numbers are those of step {shown['step']:,}, whose {images} generated pictures are "
        f"compared with real ones of the {split} split. {words.BASELINE}"
    )
    note = ""
    if name and len(rows) > 1:
        note = page.paragraph(
            f"The best of several checkpoints was chosen on the {split} split and is shown on the "
            "same split, so it looks a little better than it is. To publish a number, choose on "
            "the validation split, then score that checkpoint alone on the test split:",
            "note",
            "--mode=evaluate --split=test --step=best",
        )
    given = describe_given(shown.get("generated") or {})
    about = page.paragraph(f"The pictures: {given}.", "note") if given else ""
    cards = page.cards(_render_card(shown, name) for name in score_rows.main_score_names(rows))
    return f"{page.paragraph(text, 'lead')}{about}{note}{cards}"


def _render_card(row: Row, name: str) -> str:
    baseline = format_baseline(row, name)
    below = "no baseline" if baseline == "-" else f"baseline {baseline}"
    return page.card(short_name(name), format_score(row, name, "±"), below, explain_score(name))


def explain_score(name: str) -> str:
    """Says in words what a score measures, which direction is better and what its baseline is."""
    direction = f"{better_direction(name).title()} is better"
    meaning = words.SCORES.get(name.partition("-")[0])
    text = f"{meaning.measures} {direction}; {meaning.baseline}" if meaning else f"{direction}."
    return f"{text} {words.UNVERIFIED}" if "-unverified" in name else text


def render_charts(rows: Sequence[Row], shown: Row) -> str:
    """Renders a chart over the steps for each score, under the question that it answers."""
    if len(rows) < 2:
        return page.paragraph("One checkpoint makes no curve yet.", "note")
    names = score_rows.scores_with_numbers(rows)
    key = page.paragraph(f"{words.CHARTS} The large dot is step {shown['step']:,}.", "note")
    parts = (
        page.subheading(question) + page.charts(_render_chart(rows, shown, name) for name in some)
        for question, some in group_by_question(names)
    )
    return key + "".join(parts)


def group_by_question(names: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """Groups scores by `words.QUESTIONS` and sorts each group as it is there; others come last."""
    rest = [*names]
    for question, bases in words.QUESTIONS.items():
        found = [name for base in bases for name in rest if name.partition("-")[0] == base]
        rest = [name for name in rest if name not in found]
        if found:
            yield question, found
    if rest:
        yield "Other scores", rest


def _render_chart(rows: Sequence[Row], shown: Row, name: str) -> str:
    svg = figures.draw_score_curve(
        steps=[row["step"] for row in rows],
        means=[score_mean(row, name) for row in rows],
        deviations=[score_deviation(row, name) for row in rows],
        baseline=score_baseline(shown, name),
        best=shown["step"],
    )
    return page.figure(svg, f"{short_name(name)} ({better_direction(name)} is better)")


def render_attributes(row: Row) -> str:
    """Renders a table of all attributes, the sure tier first, in a tier the largest gap first."""
    found = row["attributes"]
    if not found:
        return ""
    distances = any(finite_number(x.get("distance")) is not None for x in found.values())
    terms = {
        term: meaning
        for term, meaning in words.ATTRIBUTES.items()
        if distances or term not in ("Distance", "Baseline")
    }
    order = score_rows.sort_worst_first(found)
    order.sort(
        key=lambda name: TIERS.index(t) if (t := _tier(found[name])) in TIERS else len(TIERS)
    )
    lines = [[name, *_attribute_cells(found[name], distances)] for name in order]
    text = (
        f"Shares of step {row['step']:,} in percent. The attributes on which the classifier is "
        "sure come first; within a tier, the largest gap comes first."
    )
    return page.section(
        "Attributes",
        page.paragraph(text),
        page.table(["Attribute", *terms], lines),
        page.terms(terms.items()),
    )


def _tier(attribute: Mapping[str, Any]) -> str:
    return str(attribute.get("tier") or "-")


def _attribute_cells(attribute: Mapping[str, Any], distances: bool) -> list[str | Cell]:
    real = attribute.get("real") or {}
    gap, positives = accuracy_gap(attribute), finite_number(attribute.get("positives"))
    cells = [
        "-" if positives is None else f"{positives:,.0f}",
        *(_share_cell(attribute.get(rate), 0.5) for rate in ("true_positive", "true_negative")),
        _share_cell(attribute.get("balanced_accuracy"), 0.5),
        format_percent(real.get("balanced_accuracy")),
        Cell(format_percent(gap, signed=True), None if gap is None else 8 * min(gap, 0)),
        _share_cell(attribute.get("f1")),
        _share_cell(attribute.get("swap")),
    ]
    if distances:
        cells += [format_number(finite_number(x.get("distance"))) for x in (attribute, real)]
    return [*cells, _tier(attribute)]


def _share_cell(value: object, least: float = 0.0) -> Cell:
    """A share in percent, with a tint that grows from none at `least` to the full one at 1."""
    share = finite_number(value)
    return Cell(
        format_percent(share), None if share is None else max(share - least, 0) / (1 - least)
    )


def render_all_scores(rows: Sequence[Row], shown: Row) -> str:
    """Renders every score of the shown and of the newest checkpoint, and what each score means."""
    newest = rows[-1]
    names = score_rows.score_names([shown, newest])
    columns = list({row["step"]: row for row in (shown, newest)}.values())
    lines = [
        [
            name,
            *(format_score(row, name, "±") for row in columns),
            format_baseline(shown, name),
            better_direction(name),
        ]
        for name in names
    ]
    head = ["Score", *(f"Step {row['step']:,}" for row in columns), "Baseline", "Better"]
    meanings = page.terms((short_name(name), explain_score(name)) for name in names)
    return page.table(head, lines) + page.folded("What the scores mean", meanings)


def render_protocol(protocol: Mapping[str, Any]) -> str:
    """Renders the fields of a protocol."""
    fields = page.terms((field_name(name), format_field(x)) for name, x in protocol.items())
    return page.section("Protocol", page.paragraph(words.PROTOCOL), fields)


def render_other_protocol(rows: Sequence[Row], main: Sequence[Row]) -> str:
    """Renders the scores by one protocol, folded, and how it differs from that of `main`."""
    protocol = rows[0]["protocol"]
    differing = score_rows.differing_fields([protocol, main[0]["protocol"]])
    _, shown = choose_row(rows, Best())
    return page.folded(
        f"Protocol {protocol['id']}: {len(rows)} checkpoint{'s' * (len(rows) > 1)}",
        page.paragraph("These numbers do not compare with those above. They differ in:", "note"),
        page.terms(
            (field_name(name), f"{format_field(a)} (above: {format_field(b)})")
            for name, (a, b) in differing.items()
        ),
        render_charts(rows, shown),
        render_all_scores(rows, shown),
    )


def format_field(value: object) -> str:
    """Writes the value of a protocol's field: text as it is, other values as JSON."""
    return value if isinstance(value, str) else json.dumps(value)
