"""Builds the report's HTML from pieces. All text is escaped here.

Each function returns the HTML of what it is named after; arguments called `parts`, `content` or
`figures` are HTML, all others are text.
"""

import base64
import html
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gan.runtime.storage import Path

escape = html.escape


class Cell(NamedTuple):
    """A cell of a table with a tinted background."""

    text: str
    tint: float | None = None  # In [-1, 1]: the strength of "good", below 0 that of "bad".


def document(title: str, parts: Iterable[str]) -> str:
    """The whole document, with its style in it."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def heading(title: str) -> str:
    """The heading of the page."""
    return f"<h1>{escape(title)}</h1>"


def subheading(title: str) -> str:
    """A heading within a section."""
    return f"<h3>{escape(title)}</h3>"


def section(title: str, *parts: str) -> str:
    """A heading with its parts below it; "" if all parts are empty."""
    if not any(parts):
        return ""
    return (
        f"<section>\n<h2>{escape(title)}</h2>\n" + "\n".join(filter(None, parts)) + "\n</section>"
    )


def paragraph(text: str, style: str = "", command: str = "") -> str:
    """A paragraph in the style "lead", "note" (small print) or the usual one.

    A `command` to type stands at its end.
    """
    typed = f" <code>{escape(command)}</code>" if command else ""
    kind = f' class="{style}"' if style else ""
    return f"<p{kind}>{escape(text)}{typed}</p>"


def folded(title: str, *parts: str) -> str:
    """Parts that are shown when their title is clicked."""
    body = "\n".join(filter(None, parts))
    return f"<details>\n<summary>{escape(title)}</summary>\n{body}\n</details>"


def table(head: Sequence[str], rows: Iterable[Sequence[str | Cell]]) -> str:
    """A table; on a narrow screen its first column stays while the others are scrolled."""
    lines = ["".join(f'<th scope="col">{escape(text)}</th>' for text in head)]
    for first, *others in rows:
        name = first.text if isinstance(first, Cell) else first
        cells = "".join(map(_cell, others))
        lines.append(f'<th scope="row">{escape(name)}</th>{cells}')
    body = "\n".join(f"<tr>{line}</tr>" for line in lines[1:])
    return (
        f'<div class="scroll"><table>\n<thead><tr>{lines[0]}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table></div>"
    )


def _cell(cell: str | Cell) -> str:
    if isinstance(cell, str) or cell.tint is None:
        return f"<td>{escape(cell if isinstance(cell, str) else cell.text)}</td>"
    colour, strength = ("good", cell.tint) if cell.tint >= 0 else ("bad", -cell.tint)
    style = f"background: rgb(var(--{colour}) / {min(strength, 1) / 2:.2f})"
    return f'<td style="{style}">{escape(cell.text)}</td>'


def terms(pairs: Iterable[tuple[str, str]]) -> str:
    """A list of terms, each with its meaning."""
    items = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in pairs)
    return f"<dl>{items}</dl>"


def card(name: str, value: str, below: str, meaning: str) -> str:
    """A value in large letters, with another one and its meaning below."""
    return (
        f'<div class="card"><h3>{escape(name)}</h3>'
        f"<b>{escape(value)}</b><small>{escape(below)}</small><p>{escape(meaning)}</p></div>"
    )


def cards(parts: Iterable[str]) -> str:
    """Cards side by side, as far as there is room."""
    return f'<div class="cards">{"".join(parts)}</div>'


def figure(content: str, caption: str, lines: Sequence[str] = ()) -> str:
    """A picture or chart with its caption and the names of a chart's two `lines`."""
    key = ", ".join(
        f'<i style="color: var(--{colour})">{escape(line)}</i>'
        for line, colour in zip(lines, ("first", "second"), strict=False)
    )
    return f"<figure>{content}<figcaption>{escape(caption)} {key}</figcaption></figure>"


def charts(figures: Iterable[str]) -> str:
    """Charts side by side, as far as there is room."""
    return f'<div class="charts">{"".join(figures)}</div>'


def wide(content: str, width: int) -> str:
    """Content that is `width` pixels wide; a narrow screen scrolls it."""
    return f'<div class="scroll"><div style="width: {width}px">{content}</div></div>'


def code(text: str) -> str:
    """Text in a typewriter font, its lines and spaces kept."""
    return f"<pre>{escape(text)}</pre>"


def picture(path: Path, description: str) -> str:
    """A PNG, embedded in the page; "" if it is not there."""
    if not path.exists():
        return ""
    data = base64.b64encode(path.read_bytes()).decode()
    image = f'<img alt="{escape(description)}" src="data:image/png;base64,{data}">'
    return f'<div class="scroll">{image}</div>'


# Key to the colours of a matrix of shares, which grow with the square root of the share.
SCALE = (
    '<div class="scale">'
    + "".join(
        f'<span style="--strength: {share**0.5:.2f}">{share:.0%}</span>'
        for share in (0.01, 0.05, 0.2, 0.5, 1)
    )
    + "</div>"
)
STYLE = """
:root {
  --page: #fff; --ink: #1d2430; --soft: #5d6776; --line: #e2e5ea; --panel: #f6f7f9;
  --first: #2f64c8; --second: #c05a1c; --good: 58 115 209; --bad: 206 84 60;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171c; --ink: #e4e7ec; --soft: #98a2b1; --line: #2c323b; --panel: #1b2027;
    --first: #7fa8f5; --second: #eb9a63; --good: 80 136 232; --bad: 222 100 76;
  }
}
* { box-sizing: border-box }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif }
main { max-width: 1080px; margin: 0 auto; padding: 32px 20px 64px }
h1 { margin: 0; font-size: 1.75rem; line-height: 1.2; overflow-wrap: anywhere }
h2 { margin: 56px 0 12px; padding-top: 12px; border-top: 1px solid var(--line); font-size: 1.2rem }
h3 { margin: 24px 0 8px; font-size: 1rem }
p { max-width: 72ch; margin: 8px 0 }
.note, figcaption, dl, summary { color: var(--soft); font-size: .875rem }
.lead { font-size: 1.05rem; margin-top: 16px }
.cards, .charts { display: grid; gap: 16px; margin: 20px 0;
  grid-template-columns: repeat(auto-fill, minmax(min(290px, 100%), 1fr)) }
.card { padding: 14px 16px; background: var(--panel); border-radius: 8px; break-inside: avoid }
.card h3 { margin: 0; color: var(--soft); font-weight: 500; font-size: .875rem }
.card b { display: block; font-size: 1.6rem; font-weight: 600; line-height: 1.35;
  font-variant-numeric: tabular-nums }
.card small { display: block; min-height: 1.5em; font-size: .95rem; color: var(--soft) }
.card p { margin: 4px 0 0; font-size: .875rem; line-height: 1.4 }
figure { margin: 16px 0; break-inside: avoid }
.charts figure { margin: 0 }
.charts figcaption { order: -1 }
.charts figure { display: flex; flex-direction: column }
figcaption { max-width: 72ch; margin: 4px 0 }
figcaption i { font-style: normal; font-weight: 600 }
img { display: block; max-width: max(100%, 540px); height: auto; border-radius: 4px }
svg { display: block; width: 100%; height: auto; overflow: visible }
svg * { stroke-linejoin: round }
svg text { font-family: inherit !important }
.scroll { overflow-x: auto; margin: 12px 0 }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums }
th, td { padding: 4px 10px; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line) }
thead th { color: var(--soft); font-weight: 500; vertical-align: bottom }
th:first-child { position: sticky; left: 0; background: var(--page); text-align: left;
  font-weight: 500 }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 14px; margin: 12px 0;
  max-width: 84ch }
dt { color: var(--ink) }
dd { margin: 0; overflow-wrap: anywhere }
details { margin: 12px 0 }
summary { cursor: pointer; padding: 4px 0 }
code { display: inline-block; max-width: 100%; overflow-wrap: anywhere; color: var(--ink) }
pre { overflow-x: auto; padding: 12px 16px; background: var(--panel); border-radius: 8px;
  font-size: .8rem; line-height: 1.45 }
.scale { display: flex; flex-wrap: wrap; gap: 4px 14px; color: var(--soft); font-size: .8rem }
.scale span::before { content: ""; display: inline-block; width: 14px; height: 14px;
  margin-right: 5px; vertical-align: -2px; border: 1px solid var(--line);
  background: rgb(59 115 209 / var(--strength)) }
@media (max-width: 560px) {
  main { padding: 20px 14px 40px }
  dl { grid-template-columns: 1fr }
  dd { margin-bottom: 6px }
  th:first-child { max-width: 42vw; overflow: hidden; text-overflow: ellipsis }
}
@media print {
  body { font-size: 11pt }
  main { max-width: none; padding: 0 }
  img { max-width: 100% }
  .scroll { overflow: visible }
  .scroll > div { width: auto !important }
  table { font-size: 8.5pt }
  th, td { padding: 2px 6px }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact }
}
"""
