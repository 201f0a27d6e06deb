"""Seeds and checkpoints as they are asked for."""

import numpy as np
import pytest

from gan.data.attributes import AttributeTable
from gan.errors import ConfigError
from gan.sampling.requests import MAX_SEED, choose_step, describe_support, parse_seeds
from gan.workdir.best import Best, write_best


def test_parse_seeds__reads_numbers_and_ranges():
    assert parse_seeds("0-3,8, 5") == [0, 1, 2, 3, 8, 5]
    assert parse_seeds(str(MAX_SEED)) == [MAX_SEED]


@pytest.mark.parametrize(
    "text",
    ["", "a", "-1", "3-", "5-2", str(MAX_SEED + 1), "0-100000", "0-60000,0-60000", "9" * 5000],
)
def test_parse_seeds__refuses_anything_else_by_its_text(text):
    with pytest.raises(ConfigError, match="--seeds="):
        parse_seeds(text)


def test_choose_step__is_the_newest_or_the_one_asked_for(tmp_path):
    assert choose_step([2, 4], None, tmp_path) == 4
    assert choose_step([2, 4], "2", tmp_path) == 2
    write_best(tmp_path, Best(step=2, score="FD", value=1.0))
    assert choose_step([2, 4], "best", tmp_path) == 2


@pytest.mark.parametrize(
    ("steps", "wish", "message"),
    [
        ([], None, "no checkpoint yet"),
        ([2, 4], "3", r"--step=3 is not there; .* has steps \[2, 4\]"),
        ([2, 4], "last", "--step=last is not there"),
        ([2, 4], "9" * 5000, "is not there"),
        ([2, 4], "best", "no checkpoint is scored yet"),
    ],
)
def test_choose_step__says_what_is_not_there(tmp_path, steps, wish, message):
    with pytest.raises(ConfigError, match=message):
        choose_step(steps, wish, tmp_path)


def test_describe_support__counts_the_images_that_agree():
    rows = np.array([[0, 1], [1, 1], [1, 0]], np.uint8)
    table = AttributeTable(("a", "b"), rows, "0" * 64, "0" * 64)
    assert "a=1: 2 of 3 training images" in describe_support(table, {0: 1}, "a=1")
    assert "an extrapolation" in describe_support(table, {0: 0, 1: 0}, "a=0,b=0")
