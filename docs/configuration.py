"""Writes `docs/configuration.md`: every setting with its default and meaning.

python -m docs.configuration
"""

from pathlib import Path

from gan.config import Config, Setting, allowed, settings

PAGE = Path(__file__).with_suffix(".md")
HEAD = """# Every setting

A setting goes on the command line as `--config.NAME=VALUE` after `--config=FILE`, or into a file of
`configs/`, which states only what differs from the defaults. `--help` shows the same. A star
marks those that may change between two starts of one run.

This page is written by `python -m docs.configuration`; a test compares it with the code.
"""


def page() -> str:
    """The text of the page, a table for each group of settings."""
    known = settings(Config())
    parts = [HEAD]
    for group in dict.fromkeys(name.rpartition(".")[0] for name in known):
        title = f"`{group}`" if group else "The run"
        rows = [row(name, x) for name, x in known.items() if name.rpartition(".")[0] == group]
        columns = ["| setting | default | allowed | meaning |", "|---|---|---|---|"]
        parts.append("\n".join([f"## {title}\n", *columns, *rows, ""]))
    return "\n".join(parts)


def row(name: str, known: Setting) -> str:
    """The line of one setting."""
    name = f"`{name}`" + (" *" if known.may_change else "")
    cells = (name, f"`{known.default}`", allowed(known), known.meaning)
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


if __name__ == "__main__":
    PAGE.write_text(page())
