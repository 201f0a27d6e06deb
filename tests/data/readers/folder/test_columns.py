"""Columns of labels: what becomes an attribute, a group of them, a question or an error."""

import numpy as np
import pytest

from gan.data.readers.csv_labels import CsvTable
from gan.data.readers.folder.columns import encode_columns
from gan.errors import DataError


def table(**columns):
    num = len(next(iter(columns.values())))
    return CsvTable("t.csv", range(2, num + 2), [f"{i}.png" for i in range(num)], columns)


def encode(attributes=None, classes=(), **columns):
    return encode_columns(table(**columns), list(columns), attributes, classes)


def test_encode_columns__words_become_attributes_of_which_each_picture_has_one():
    found = encode(Hat=[*"0110"], age=["20-29", "3-9 ", "20-29", "3-9"], sex=[*"mffm"])
    assert found.names == ("Hat", "age=3-9", "age=20-29", "sex=f", "sex=m")
    assert found.groups == (("age=3-9", "age=20-29"), ("sex=f", "sex=m"))
    assert found.attributes.dtype == np.uint8
    np.testing.assert_array_equal(
        found.attributes, [[0, 0, 1, 0, 1], [1, 1, 0, 1, 0], [1, 0, 1, 1, 0], [0, 1, 0, 0, 1]]
    )


@pytest.mark.parametrize("pair", [("0", "1"), ("-1", "1"), ("no", "YES"), ("false", "True")])
def test_encode_columns__words_for_0_and_1_stay_one_attribute(pair):
    found = encode(Hat=[*pair, *pair])
    assert (found.names, found.groups) == (("Hat",), ())
    assert found.attributes[:, 0].tolist() == [0, 1, 0, 1]


def test_encode_columns__one_word_in_all_rows_is_an_attribute_without_a_group():
    found = encode(kind=["cat"] * 4)
    assert (found.names, found.groups) == (("kind=cat",), ())


def test_encode_columns__what_is_not_asked_for_need_not_be_read():
    columns = {"Hat": [*"0101"], "age": [*"3456"], "text": ["a b", "c d", "e f", ""]}
    found = encode("Hat", **columns)
    assert (found.names, found.aside) == (("Hat",), ("age", "text"))
    with pytest.raises(DataError, match=r"column 'age': '3'.*--config\.data\.attributes=Hat\."):
        encode(**columns)
    with pytest.raises(DataError, match=r"t\.csv, line 5, column 'text': ''"):
        encode("Hat,text", **columns)


def test_encode_columns__numbers_are_classes_where_that_is_asked_for():
    columns = {"Hat": [*"0101"], "age": [*"3434"]}
    found = encode("Hat,age", **columns)
    assert found.groups == (("age=3", "age=4"),)
    assert (found.settled, found.doubts) == (("age",), ())
    assert encode("age=3", **columns).names == ("Hat", "age=3", "age=4")
    (doubt,) = encode(**columns).doubts
    assert "2 different numbers, which would become classes: age=3 (2), age=4 (2)" in doubt.guess
    assert [*doubt.settings] == [f"--config.data.attributes={x}" for x in ("Hat,age", "Hat")]
    assert encode(classes=["age"], **columns).doubts == ()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["1", "0", "1", "x"], r"line 5, column 'c': 'x', but each value is -1 or 1"),
        (["a", "", "a", "b"], r"line 3, column 'c': '', but a value is needed"),
        (["Male", "Male", "male", "x"], r"line 4, column 'c': 'male', but line 2 has 'Male'"),
        (["a", "b", "c", "d"], r"4 different values in 4 rows are no groups of pictures"),
        (["0.5", "1.5", "0.5", "1.5"], r"'0.5', but each value is 0 or 1, or a word"),
        (["3", "4", "5", "6"], r"write groups such as 20-29 in place of numbers"),
    ],
)
def test_encode_columns__what_cannot_be_learnt_is_named_with_the_remedies(values, message):
    with pytest.raises(DataError, match=message) as caught:
        encode(Hat=[*"0101"], c=values)
    assert "--config.data.attributes=Hat" in str(caught.value)
    assert "--config.data.labels=none" in str(caught.value)


def test_encode_columns__two_columns_of_one_name_are_refused():
    with pytest.raises(DataError, match=r"two columns make a=b\."):
        encode(**{"a": [*"bcbc"], "a=b": [*"0101"]})


def test_encode_columns__ranges_that_became_dates_are_told(caplog):
    found = encode(age=["03-Sep", "Oct-19", "20-29", "0-2"] * 2)
    assert found.names == ("age=0-2", "age=03-Sep", "age=20-29", "age=Oct-19")
    assert "03-Sep and Oct-19 look" in caplog.text.replace("looks", "look")
