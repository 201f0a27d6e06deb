"""Scores as text: the digits that are known, deviations, numbers of cases, dashes."""

import pytest

from gan.evaluation.formats import format_baseline, format_number, format_percent, format_score


@pytest.mark.parametrize(
    ("value", "sd", "text"),
    [
        (None, None, "-"),
        (0.0, None, "0.0"),
        (41.234, None, "41.23"),
        (-0.00012, None, "-0.000120"),
        (12345.6, None, "12,346"),
        (41.234, 0.34, "41.2"),
        (41.234, 0.14, "41.23"),
        (41.234, 0.0, "41.23"),
        (1234.5, 34.0, "1,234"),
    ],
)
def test_format_number__has_as_many_digits_as_are_known(value, sd, text):
    assert format_number(value, sd) == text


@pytest.mark.parametrize(
    ("score", "text"),
    [
        ({"mean": 41.234, "sd": 0.34}, "41.2 +- 0.3"),
        ({"mean": 41.234, "sd": None}, "41.23"),
        ({"mean": 0.2, "sd": 3e-17}, "0.2000"),  # Rounding, no deviation.
        ({"mean": 0.2, "sd": 6e-7}, "0.200000 +- 0.000001"),
        ({"mean": 2 / 3, "sd": None, "cases": 3}, "0.67 of 3 cases"),
        ({"mean": 0.0, "sd": None, "cases": 1}, "0.00 of 1 case"),
        ({"mean": 0.71239, "sd": None, "cases": 2045}, "0.7124 of 2,045 cases"),
        ({"mean": None, "sd": None, "cases": 0}, "-"),
        ({"mean": float("nan"), "sd": 1.0}, "-"),
        (None, "-"),
    ],
)
def test_format_score__tells_the_deviation_or_the_number_of_cases(score, text):
    assert format_score({"scores": {"swd": score}}, "swd") == text


def test_format_baseline__has_the_digits_of_the_mean():
    row = {"scores": {"swd": {"mean": 41.234, "sd": 0.34, "floor": 1.3333}, "swap": {"mean": 0.5}}}
    assert format_baseline(row, "swd") == "1.3"
    assert format_baseline(row, "swap") == "-"


def test_format_percent__signs_where_asked():
    found = [format_percent(0.123), format_percent(0.123, signed=True), format_percent(None)]
    assert found == ["12.3", "+12.3", "-"]
