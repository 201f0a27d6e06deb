"""What the documentation says: its pages, their commands and their links."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from helpers import unoptimised

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [README, *DOCS, *(ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md"))]
LINKED = [*PAGES, ROOT / "launch" / "README.md", ROOT / "benchmarks" / "README.md"]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language, in the page's order."""
    return [text for kind, text in FENCE.findall(page.read_text()) if kind == language]


def commands(page: Path) -> list[str]:
    """The lines of all bash blocks."""
    return [line for block in blocks(page, "bash") for line in block.splitlines() if line]


def arguments(command: str) -> list[str]:
    """What follows `python -m gan.main`."""
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "gan.main"], command
    return words[3:]


def links(page: Path) -> Iterator[str]:
    """The targets of all links and pictures, without those to other sites."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not target.startswith("http"):
            yield target


def paths(page: Path) -> set[str]:
    """The files and folders of the repository that the page names."""
    rooms = "gan|docs|tests|launch|configs|benchmarks|notebooks|[.]ci"
    named = re.findall(rf"(?<![\w/.(=])((?:{rooms})/[\w./-]*)", page.read_text())
    return {path.rstrip(".") for path in named}


def anchors(page: Path) -> set[str]:
    """The names by which the page's headings are linked to, as GitHub makes them."""
    text = FENCE.sub("", page.read_text())
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def environment(home: Path) -> dict[str, str]:
    """Variables for a command that finds this package, and `home` as the user's folder."""
    return {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(ROOT / ".pytest_cache"),  # Compiled programs, from test to test.
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        **unoptimised.FLAGS,
    }
