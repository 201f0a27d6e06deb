"""Matching labels with pictures, and splitting a data set that has no splits of its own."""

import numpy as np
import pytest

from gan.data.source import (
    HELD_OUT,
    SPLITS,
    Split,
    hash_splits,
    match_names,
    narrow_identity,
    share_splits,
)
from gan.errors import DataError


def test_match_names__keeps_the_labels_order():
    names, left_out = match_names("labels", ["b", "a", "c"], "pictures", {"a", "b", "c"}, "error")
    assert names == ["b", "a", "c"]
    assert left_out == []


@pytest.mark.parametrize(
    ("labelled", "there", "fragments"),
    [
        (["a", "b", "c"], ["a", "c"], ["pictures: 1 of the 3", "in labels", "b", "on_bad=skip"]),
        (["a"], ["a", "c"], ["labels: 1 of the 2", "in pictures", "c", "on_bad=skip"]),
        (list("abcdefgh"), [], ["pictures: 8 of the 8", "a, b, c, d, e and 3 more"]),
    ],
)
def test_match_names__names_what_does_not_agree(labelled, there, fragments):
    with pytest.raises(DataError) as caught:
        match_names("labels", labelled, "pictures", there, "error")
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_match_names__skip_leaves_both_kinds_out_and_says_why():
    names, left_out = match_names("labels", ["c", "b", "a"], "pictures", ["a", "c", "d"], "skip")
    assert names == ["c", "a"]
    assert left_out == [("b", "no picture"), ("d", "no row of labels")]


def rows_of(keys):
    splits = hash_splits(keys)
    assert tuple(splits) == SPLITS
    return splits


def test_hash_splits__every_row_is_in_one_split_and_a_key_in_no_two():
    keys = [str(i % 300) for i in range(1000)]
    splits = rows_of(keys)
    assert sorted(np.concatenate(list(splits.values()))) == list(range(1000))
    people = [{keys[row] for row in rows} for rows in splits.values()]
    assert sum(map(len, people)) == 300


def test_hash_splits__shares_are_those_that_are_promised():
    splits = rows_of([str(i) for i in range(20_000)])
    for name in ("validation", "test"):
        share = len(splits[name]) / 20_000
        assert abs(share - HELD_OUT) < 5 * np.sqrt(HELD_OUT * (1 - HELD_OUT) / 20_000)


def test_hash_splits__a_key_stays_in_its_split_when_others_come_and_rows_move():
    keys = [str(i) for i in range(1000)]
    before = {keys[row]: name for name, rows in rows_of(keys).items() for row in rows}
    more = [str(i) for i in reversed(range(1500))]
    after = {more[row]: name for name, rows in rows_of(more).items() for row in rows}
    assert before.items() <= after.items()


@pytest.mark.parametrize("number", [3, 4, 5, 10, 30])
def test_hash_splits__few_keys_still_fill_each_split(number):
    for start in range(20):
        splits = rows_of([str(start + i) for i in range(number)])
        sizes = [len(rows) for rows in splits.values()]
        assert min(sizes) >= 1
        assert sum(sizes) == number
        assert sizes[0] >= max(sizes[1:])


@pytest.mark.parametrize("keys", [[], ["a"], ["a", "b", "a", "b"]])
def test_hash_splits__too_few_keys_are_refused(keys):
    with pytest.raises(DataError, match="cannot be split into train, validation, test"):
        hash_splits(keys)


def test_share_splits__reads_once_and_only_when_asked():
    calls = []

    def load_all():
        calls.append(1)
        rows = np.zeros((1, 2), np.uint8)
        return {name: Split(rows + i, np.zeros(1, np.int32)) for i, name in enumerate(SPLITS)}

    splits = share_splits(load_all)
    assert calls == []
    assert [int(splits[name]().attributes[0, 0]) for name in SPLITS] == [0, 1, 2]
    assert calls == [1]


def test_narrow_identity__keeps_what_fits_and_names_the_row_of_what_does_not():
    names = ["a", "b", "c"]
    fits = np.array([-1, 2**31 - 1, 1 - 2**31])
    narrow = narrow_identity(fits, "person", names)
    assert narrow.dtype == np.int32
    np.testing.assert_array_equal(narrow, fits)
    for large in (2**31, -(2**31), 2**40, -(2**63)):
        with pytest.raises(DataError, match=f"^b: 'person' is {large}, too large"):
            narrow_identity(np.array([0, large, 0]), "person", names)
