"""The sheet of samples: the same faces in each row, and one attribute that all of a row have."""

import logging

import numpy as np

from gan.data.attributes import AttributeTable
from gan.sampling.attribute_sheet import COLUMNS, MOST_ROWS, AttributeSheet
from gan.sampling.sampler import Sampler

ROWS = np.random.default_rng(0).integers(0, 2, (200, 3), dtype=np.uint8)
TABLE = AttributeTable(("a", "b", "c"), ROWS, "0" * 64, "0" * 64)


class Recorder(Sampler):
    """Stands for a sampler, and draws the seed and the attributes into each picture."""

    def __init__(self, conditional=True):
        self.conditional = conditional

    def __call__(self, params, seeds, attributes):
        self.seeds, self.attributes = np.asarray(seeds), attributes
        return np.zeros((len(self.seeds), 32, 32, 3), np.uint8)


def test_sheet__has_the_same_latents_in_each_row_and_all_of_a_row_have_its_attribute():
    sampler = Recorder()
    picture = AttributeSheet(sampler, TABLE)(None)
    assert (sampler.seeds.reshape(-1, COLUMNS) == np.arange(COLUMNS)).all()
    rows = sampler.attributes.reshape(4, COLUMNS, 3)  # As they come, then a, b, c.
    for column in range(3):
        assert rows[1 + column, :, column].all()
    assert picture.shape[0] % 4 == 0


def test_sheet__shows_only_what_is_wished_for():
    sampler = Recorder()
    AttributeSheet(sampler, TABLE, [("b", 0)])(None)
    rows = sampler.attributes.reshape(2, COLUMNS, 3)
    assert not rows[1, :, 1].any()


def test_sheet__of_an_unconditional_model_is_a_square_of_latents():
    sampler = Recorder(conditional=False)
    AttributeSheet(sampler, TABLE)(None)
    assert sampler.seeds.tolist() == list(range(COLUMNS**2))


def test_sheet__of_many_attributes_shows_some_and_says_so(caplog):
    caplog.set_level(logging.INFO, "gan")
    rows = np.eye(600, dtype=np.uint8)
    table = AttributeTable(tuple(map("c{}".format, range(600))), rows, "0", "0")
    picture = AttributeSheet(Recorder(), table)(None)
    assert picture.shape[0] == (1 + MOST_ROWS) * 64
    assert f"first {MOST_ROWS} of 600 attributes" in caplog.text
    wishes = [(name, 1) for name in table.names[:100]]
    assert AttributeSheet(Recorder(), table, wishes)(None).shape[0] == 101 * 64


def test_sheet__enlarges_small_pictures():
    picture = AttributeSheet(Recorder(), TABLE)(None)
    assert picture.shape[0] == 4 * 64
