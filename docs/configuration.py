"""Writes `docs/configuration.md`: every setting with its default and meaning.

python -m docs.configuration
"""

from pathlib import Path

from gan.command_line import _meanings
from gan.config import Config, flatten

PAGE = Path(__file__).with_suffix(".md")
HEAD = """# Every setting

A setting goes on the command line as `--config.NAME=VALUE` after `--config=FILE`, or into a file of
`configs/`, which states only what differs from the defaults. `--help` shows the same.

This page is written by `python -m docs.configuration`; a test compares it with the code.
"""


def page() -> str:
    """The text of the page, a table for each group of settings."""
    defaults, meanings = flatten(Config()), _meanings()
    groups = dict.fromkeys(name.rpartition(".")[0] for name in defaults)
    parts = [HEAD]
    for group in groups:
        rows = [
            f"| `{name}` | `{defaults[name]}` | {meaning.replace('|', chr(92) + '|')} |"
            for name, meaning in meanings.items()
            if name.rpartition(".")[0] == group
        ]
        title = f"`{group}`" if group else "The run"
        parts.append(
            "\n".join(
                [f"## {title}\n", "| setting | default | meaning |", "|---|---|---|", *rows, ""]
            )
        )
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
