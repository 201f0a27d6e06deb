"""The table of settings is the one that the code has."""

from docs import configuration


def test_page__is_what_the_settings_say():
    remedy = "python -m docs.configuration writes it anew"
    assert configuration.PAGE.read_text() == configuration.page(), remedy
