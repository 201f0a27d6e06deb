"""The page on evaluation explains the scores that there are."""

import re

from helpers import pages

from gan.metrics.scores import BETTER, base_name

PAGE = pages.ROOT / "docs" / "evaluation.md"


def test_scores__are_all_explained():
    table = PAGE.read_text().split("| score | better | what it measures |")[1].split("\n\n")[0]
    first_cells = [line.split(" | ")[0] for line in table.splitlines()[2:]]
    named = {base_name(name) for cell in first_cells for name in re.findall(r"`([\w-]+)`", cell)}
    assert named == BETTER.keys()
