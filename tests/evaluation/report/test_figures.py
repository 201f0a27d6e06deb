"""Figures of the report: their ids, their points, their axes."""

import re

import numpy as np

from gan.evaluation.report import figures


def test_to_svg__has_ids_of_its_own_and_only_those_referred_to():
    curves = [figures.draw_score_curve([1, 2], [x, 2.0], [0.1, 0.1], 0.5, 2) for x in (1.0, 5.0)]
    ids = [set(re.findall(r' id="([^"]*)"', svg)) for svg in curves]
    for svg, own in zip(curves, ids, strict=True):
        assert own
        assert len(re.findall(r' id="', svg)) == len(own)
        assert set(re.findall(r'(?:url\(|href=")#([^")]*)', svg)) == own
    assert not ids[0] & ids[1]


def test_average_neighbours__misses_where_one_is_missing():
    values = [1, 2, 3, 4, 5, None, 7]
    np.testing.assert_array_equal(figures.average_neighbours(values, 2), [1.5, 3.5, np.nan, 7])


def test_draw_score_curve__labels_steps_as_people_write_them():
    def labels(*steps):
        svg = figures.draw_score_curve(steps, [0.0] * len(steps), [None] * len(steps), None, None)
        return re.findall(r"<text[^>]*>([^<]*)</text>", svg)

    assert {"40", "80", "120"} <= {*labels(40, 80, 120)}
    assert {"2k", "4k"} <= {*labels(2000, 4000)}


def test_draw_score_curve__starts_at_0_where_all_is_0():
    svg = figures.draw_score_curve([1, 2], [0.0, 0.0], [0.0, 0.0], None, None)
    labels = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert not [x for x in labels if x.startswith(("-", "\N{MINUS SIGN}"))]
