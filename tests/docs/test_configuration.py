"""The table of settings is the one that the code has, and the pages name settings that exist."""

import re

import pytest
from helpers import pages

from docs import configuration
from gan.command_line import OPTIONS
from gan.config import Config, flatten

GROUPS = {name.rpartition(".")[0] for name in flatten(Config())} - {""}
# The first is made of settings; the others name new ones and old ones.
EXCEPT = ("configuration.md", "extending.md", "CHANGELOG.md")


def test_page__is_what_the_settings_say():
    remedy = "python -m docs.configuration writes it anew"
    assert configuration.PAGE.read_text() == configuration.page(), remedy


@pytest.mark.parametrize("page", [page for page in pages.PAGES if page.name not in EXCEPT], ids=str)
def test_pages__name_settings_and_options_that_exist(page):
    text = page.read_text()
    named = re.findall(r"--config\.([a-z][\w.]*\w)", text)
    named += re.findall(rf"`((?:{'|'.join(GROUPS)})\.\w+)\b", text)
    assert set(named) <= flatten(Config()).keys()
    assert set(re.findall(r"`--(\w+)", text)) - {"config"} <= OPTIONS.keys()
