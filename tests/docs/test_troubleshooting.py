"""Each message that the page explains is one that the program can give."""

import ast
import re

import pytest
from helpers import pages

PAGE = pages.ROOT / "docs" / "troubleshooting.md"
HEADER = "| message | what it means | what to do |\n|---|---|---|\n"


def explained() -> list[str]:
    """The messages in the first column of the page's tables."""
    tables = [part.split("\n\n")[0] for part in PAGE.read_text().split(HEADER)[1:]]
    rows = [line for table in tables for line in table.splitlines()]
    return [message for row in rows for message in re.findall("`(.*?)`", row.split(" | ")[0])]


def given() -> list[str]:
    """The texts in the code, with "..." for what is filled in."""
    texts = [path.read_text() for path in (pages.ROOT / "launch").glob("*.sh")]
    for path in (pages.ROOT / "gan").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [x.value if isinstance(x, ast.Constant) else "..." for x in node.values]
                texts.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(re.sub(r"%[.\d]*[sdf]", "...", node.value))
    return texts


GIVEN = given()


@pytest.mark.parametrize("message", explained())
def test_message__is_one_of_the_program(message):
    pattern = ".*".join(map(re.escape, message.strip(". ").split("...")))
    assert any(re.search(pattern, text) for text in GIVEN)


def test_page__explains_many():
    assert len(explained()) >= 25
