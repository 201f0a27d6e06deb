"""What is shown of a data set before it is trained on: shares, remarks and a sheet of faces."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from gan.data import summary
from gan.data.readers.celeba_labels import ATTRIBUTES
from gan.data.store import Store


def store(attributes, names, images=None, identity=None):
    num = len(attributes)
    if images is None:
        images = np.zeros((num, 8, 8, 3), np.uint8)
    return Store(
        source="test",
        fingerprint="0",
        version=1,
        digest="0",
        split="train",
        crop="none",
        resize="none",
        attribute_names=tuple(names),
        image_size=images.shape[1],
        num=num,
        path=Path(),
        images=images,
        attributes=np.asarray(attributes, np.uint8),
        identity=np.full(num, -1, np.int32) if identity is None else identity,
    )


def line(text, name):
    return next(row for row in text.splitlines() if row.startswith(name))


def test_shares_table__has_a_column_for_each_split():
    train = store(
        np.arange(200)[:, None] % 4 == 0, ["Hat"], identity=np.arange(200, dtype=np.int32) // 2
    )
    other = store(np.ones((10, 1)), ["Hat"])
    text = summary.shares_table({"train": train, "test": other})
    assert "200 train, 10 test; people: 100." in text
    assert "0.25 of the attributes on average" in text
    assert line(text, "Hat").split() == ["Hat", "25.00", "%", "100.00", "%"]


def test_attribute_remark__says_what_looks_wrong():
    columns = np.zeros((400, 4), np.uint8)
    columns[:3, 1] = columns[3:, 2] = columns[:200, 3] = 1
    text = summary.shares_table({"train": store(columns, ["none", "few", "most", "half"])})
    assert "the same in all" in line(text, "none")
    assert "only 3 pictures with" in line(text, "few")
    assert "only 3 pictures without" in line(text, "most")
    assert line(text, "half").endswith("50.00 %")


@pytest.mark.parametrize("turned", [False, True])
def test_attribute_remark__sees_labels_that_are_turned_round(turned):
    generator = np.random.default_rng(0)
    labels = generator.random((2000, 40)) < np.array(summary.CELEBA) / 100
    text = summary.shares_table({"train": store(labels ^ turned, ATTRIBUTES)})
    asked = "turned round?" in line(text, "Eyeglasses")
    assert asked == turned
    assert ("turned round?" in text) == turned
    other = summary.shares_table(
        {"train": store(labels ^ turned, [f"mine_{i}" for i in range(40)])}
    )
    assert "turned round?" not in other


def test_shares_table__without_attributes_is_one_line():
    text = summary.shares_table({"train": store(np.zeros((5, 0)), [])})
    assert text.endswith("No attributes: training is unconditional.")


@pytest.mark.parametrize(("size", "shown"), [(8, 64), (32, 64), (48, 96), (64, 64), (256, 96)])
def test_contact_sheet__each_row_shows_those_that_have_the_attribute(size, shown):
    num = 40
    images = np.empty((num, size, size, 3), np.uint8)
    images[:] = np.arange(num, dtype=np.uint8)[:, None, None, None]
    labels = np.stack([np.arange(num) >= 30, np.arange(num) == 7, np.zeros(num)], axis=1)
    sheet = summary.contact_sheet(store(labels, ["late", "seventh", "nobody"], images))
    side = sheet.shape[0] // 3
    assert side == shown
    faces = sheet[side // 2 :: side, -8 * side + side // 2 :: side, 0]
    np.testing.assert_array_equal(faces[0], np.linspace(30, 39, 8).astype(int))
    assert faces[1].tolist() == [7] + [255] * 7
    assert faces[2].tolist() == [255] * 8


def test_contact_sheet__without_attributes_shows_some():
    images = np.full((3, 64, 64, 3), 9, np.uint8)
    assert (summary.contact_sheet(store(np.zeros((3, 0)), [], images)) == 9).any()


def test_shares_table__says_how_many_pictures_were_changed():
    first, second = (store(np.ones((10, 1)), ["Hat"]) for _ in range(2))
    train = dataclasses.replace(first, changes={"grey to RGB": 7, "12 bits to 8": 7})
    test = dataclasses.replace(second, changes={"grey to RGB": 1, "enlarged to 8 px": 2})
    text = summary.shares_table({"train": train, "test": test})
    assert line(text, "grey to RGB").split()[-2:] == ["7", "1"]
    assert line(text, "12 bits to 8").split()[-2:] == ["7", "0"]
    assert line(text, "enlarged to 8 px").split()[-2:] == ["0", "2"]


def test_contact_sheet__of_many_attributes_shows_some_and_the_table_says_so():
    many = store(np.eye(600, dtype=np.uint8), [f"c{i}" for i in range(600)])
    assert len(summary.contact_sheet(many)) == summary.MANY_ROWS * 64
    text = summary.shares_table({"train": many})
    assert "... and 536 more, here and on the sheet." in text
