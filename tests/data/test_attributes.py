"""The table of attributes: what can be asked for, what is drawn, what comes back from disk."""

import dataclasses
import functools

import numpy as np
import pytest

from gan.data.attributes import AttributeTable
from gan.errors import ConfigError, DataError

NAMES = ("Male", "Smiling", "Bald", "Person", "Alien")
# Bald implies Male; all are persons, none is an alien.
ROWS = np.array(
    [[1, 1, 1, 1, 0]] * 1 + [[1, 0, 0, 1, 0]] * 3 + [[0, 1, 0, 1, 0]] * 4 + [[0, 0, 0, 1, 0]] * 2,
    np.uint8,
)
TABLE = AttributeTable(NAMES, ROWS, "0123abcd", "4567cdef")


def random_table(num: int, names: int, seed: int = 0) -> AttributeTable:
    rows = np.random.default_rng(seed).integers(0, 2, (num, names), dtype=np.uint8)
    return AttributeTable(tuple(f"a{i}" for i in range(names)), rows, "random", "random")


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("Smiling=1", {1: 1}),
        ("Smiling=1,Male=0", {1: 1, 0: 0}),
        (" Smiling = 1 ,, Male=0, ", {1: 1, 0: 0}),
        ("Male=1,Male=1", {0: 1}),
        ("Person=1,Alien=0", {3: 1, 4: 0}),
    ],
)
def test_parse__reads_named_values(text, values):
    assert TABLE.parse(text) == values


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("Smilling=1", "'Smilling' is no attribute.*Did you mean 'Smiling'.*Male, Smiling, Bald"),
        ("smiling=1", "'smiling' is no attribute.*Did you mean 'Smiling'"),
        ("1", "'1' is no attribute"),
        ("Smiling=1;Male=0", "'Smiling=1;Male=0' must be Smiling=1"),
        ("Smiling=2", "'Smiling=2' must be Smiling=1 .* or Smiling=0"),
        ("Smiling", "'Smiling' must be"),
        ("Smiling=", "'Smiling=' must be"),
        ("Smiling=-1", "'Smiling=-1' must be"),
        ("Smiling=yes", "'Smiling=yes' must be"),
        ("Male=1,Smiling=1,Male=0", "Male is given as 0 and as 1"),
        ("Person=0", "Person=0 cannot be drawn: all 10 training images have Person=1"),
        ("Alien=1", "Alien=1 cannot be drawn: all 10 training images have Alien=0"),
    ],
)
def test_parse__refuses_by_name_what_cannot_be_drawn(text, complaint):
    with pytest.raises(ConfigError, match=complaint):
        TABLE.parse(text)


def test_marginals__are_shares_and_constant_attributes_do_not_vary():
    np.testing.assert_allclose(TABLE.marginals, [0.4, 0.5, 0.1, 1, 0])
    assert TABLE.varying == [0, 1, 2]


@pytest.mark.parametrize(
    ("values", "support"), [({}, 10), ({0: 1}, 4), ({0: 1, 1: 0}, 3), ({0: 0, 2: 1}, 0)]
)
def test_support__counts_the_rows_that_agree_in_all(values, support):
    assert TABLE.support(values) == support


def test_draw__takes_training_rows_where_some_agree():
    for values in ({}, {0: 1}, {1: 1, 0: 0}):
        drawn = TABLE.draw(values, range(50))
        there = {tuple(row) for row in ROWS if all(row[i] == v for i, v in values.items())}
        assert {tuple(row) for row in drawn} == there


def test_draw__unnamed_attributes_follow_their_distribution_given_the_named():
    table, num = random_table(9, 6), 4_000
    values = {2: 1}
    agreeing = table.rows[table.rows[:, 2] == 1]
    assert 2 < len(agreeing) < 9
    drawn = table.draw(values, range(num))
    for row in np.unique(agreeing, axis=0):
        expected = (agreeing == row).all(axis=1).mean()
        actual = (drawn == row).all(axis=1).mean()
        assert abs(actual - expected) < 4 * (expected * (1 - expected) / num) ** 0.5


def test_draw__depends_on_the_seed_alone():
    table = random_table(200, 12)
    together = table.draw({3: 1}, range(20))
    for seed in (0, 7, 19):
        np.testing.assert_array_equal(table.draw({3: 1}, [seed]), together[[seed]])
    np.testing.assert_array_equal(table.draw({3: 1}, [5, 5, 2]), together[[5, 5, 2]])
    assert len(np.unique(together, axis=0)) > 10


def test_draw__is_the_same_on_any_machine():
    # Row i spells i. The numbers are Philox's, as they were when this was written.
    rows = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
    table = AttributeTable(tuple("abcdefgh"), rows, "binary", "binary")
    drawn = np.packbits(table.draw({}, [0, 1, 2, 2**31]), axis=1)[:, 0]
    assert drawn.tolist() == [155, 223, 22, 59]


def test_draw__takes_the_closest_where_no_row_agrees_and_keeps_the_named_values():
    table = random_table(12, 8)
    values = {0: 1, 1: 1, 2: 0, 3: 1, 4: 1}
    assert table.support(values) == 0
    columns = list(values)
    missed = (table.rows[:, columns] != list(values.values())).sum(axis=1)
    closest = table.rows[missed == missed.min()].copy()
    closest[:, columns] = list(values.values())
    drawn = table.draw(values, range(200))
    assert {tuple(row) for row in drawn} == {tuple(row) for row in closest}


def test_draw__leaves_the_table_as_it_was():
    table = random_table(12, 8)
    before = table.rows.copy()
    table.draw({0: 1, 1: 0, 2: 1, 3: 1}, range(30))
    np.testing.assert_array_equal(table.rows, before)


@pytest.mark.parametrize("value", [0, 1])
def test_nearest_with__has_the_attribute_and_no_other_row_is_nearer(value):
    table = random_table(30, 9)
    rows = random_table(20, 9, seed=1).rows
    for column in table.varying:
        having = table.rows[table.rows[:, column] == value]
        found = table.nearest_with(rows, table.names[column], value)
        for row, nearest_row in zip(rows, found, strict=True):
            assert nearest_row[column] == value
            assert (having == nearest_row).all(axis=1).any()
            assert (nearest_row != row).sum() == (having != row).sum(axis=1).min()


@pytest.mark.parametrize("width", [3, 8, 13])
def test_nearest_with__takes_the_first_in_order_of_rows_as_near(width):
    table = random_table(200, width)
    rows = random_table(30, width, seed=1).rows
    for order in (slice(None), slice(None, None, -1)):
        turned = dataclasses.replace(table, rows=np.asfortranarray(table.rows[order]))
        for column in table.varying:
            having = np.unique(table.rows[table.rows[:, column] == 1], axis=0)
            expected = [having[np.argmin((having != row).sum(axis=1))] for row in rows]
            found = turned.nearest_with(rows, table.names[column], 1)
            np.testing.assert_array_equal(found, expected)


def test_nearest_with__a_row_that_has_the_attribute_is_its_own_nearest():
    rows = ROWS[ROWS[:, 1] == 1]
    np.testing.assert_array_equal(TABLE.nearest_with(rows, TABLE.names[1], 1), rows)


@pytest.mark.parametrize("names", [0, 1, 8, 13, 40])
def test_load__reads_what_was_saved(tmp_path, names):
    table = random_table(21, names)
    table.save(tmp_path / "attributes.npz")
    loaded = AttributeTable.load(tmp_path / "attributes.npz")
    assert (loaded.names, loaded.fingerprint) == (table.names, table.fingerprint)
    assert loaded.rows.dtype == np.uint8
    np.testing.assert_array_equal(loaded.rows, table.rows)
    assert [path.name for path in tmp_path.iterdir()] == ["attributes.npz"]


def flip_a_byte(data: bytes, share: float) -> bytes:
    place = int(share * len(data))
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


DAMAGE = {
    "empty": lambda data: b"",
    "other": lambda data: b"not a table at all",
    "half": lambda data: data[: len(data) // 2],
    "torn": lambda data: data[:-30],
    "rotten": lambda data: flip_a_byte(data, 0.5),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_load__a_damaged_file_is_a_data_error_that_names_it(tmp_path, damage):
    path = tmp_path / "attributes.npz"
    random_table(500, 8).save(path)
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    with pytest.raises(DataError, match=r"attributes\.npz cannot be read"):
        AttributeTable.load(path)


def test_load__a_missing_file_and_one_without_rows_are_data_errors(tmp_path):
    path = tmp_path / "attributes.npz"
    with pytest.raises(DataError, match=r"attributes\.npz cannot be read"):
        AttributeTable.load(path)
    np.savez(path, names=np.array(NAMES), fingerprint=np.array("x"))
    with pytest.raises(DataError, match=r"attributes\.npz cannot be read.*rows"):
        AttributeTable.load(path)


def test_describe__is_what_same_data_compares():
    about = TABLE.describe()
    assert about["images"] == 10
    assert [about[f"attribute {name}"] for name in NAMES] == [0, 1, 2, 3, 4]
    assert about["pictures"] == {"source": "0123abcd", "pixels": "4567cdef"}
    other = dataclasses.replace(TABLE, rows=1 - ROWS).describe()
    assert {key for key in about if about[key] != other[key]} == {"labels"}


def test_same_data__knows_the_pictures_by_their_source_or_their_digest():
    change = functools.partial(dataclasses.replace, TABLE)
    assert TABLE.same_data(change(fingerprint="copied"))
    assert TABLE.same_data(change(pictures="drawn on another device"))
    assert not TABLE.same_data(change(fingerprint="other", pictures="other"))
    assert not TABLE.same_data(change(rows=1 - ROWS))
    assert not TABLE.same_data(change(names=NAMES[::-1]))
