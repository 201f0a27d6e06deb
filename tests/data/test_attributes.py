"""The table of attributes: what can be asked for, what is drawn, what comes back from disk."""

import dataclasses
import functools

import numpy as np
import pytest

from gan.data.attributes import AttributeTable, split_names
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


AGES, SEXES = ("age=0-2", "age=20-29", "age=60-69"), ("sex=f", "sex=m")
GROUPED = AttributeTable(
    ("Hat", *AGES, *SEXES),
    np.array(
        [[0, 1, 0, 0, 1, 0]] * 3 + [[1, 0, 1, 0, 0, 1]] * 4 + [[0, 0, 0, 1, 0, 1]] * 2, np.uint8
    ),
    "0123abcd",
    "4567cdef",
    (AGES, SEXES),
)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("age=20-29", {2: 1}),
        ("age=20-29=1", {2: 1}),
        (" age = 20-29 , sex=f", {2: 1, 4: 1}),
        ("age=20-29=0", {2: 0}),
        ("age=20-29=0,age=0-2=0", {2: 0, 1: 0}),
        ("age=20-29,age=0-2=0,Hat=0", {2: 1, 1: 0, 0: 0}),
    ],
)
def test_parse__names_the_value_of_a_column(text, values):
    assert GROUPED.parse(text) == values


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("age=20-29,age=0-2", "age=20-29 exclude each other"),
        ("age=60-68", r"age has no value '60-68'. Did you mean '60-69'. It has: 0-2, 20-29, 60-69"),
        ("age=20-29=2", "age has no value '20-29=2'"),
        ("sex=f=0,sex=m=0", "nothing is left of sex=f"),
        ("Hat", "'Hat' must be Hat=1"),
        ("Hat=m", "'Hat=m' must be Hat=1"),
        ("size=L", "'size' is no attribute"),
    ],
)
def test_parse__refuses_what_no_picture_of_a_group_can_be(text, complaint):
    with pytest.raises(ConfigError, match=complaint):
        GROUPED.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "age=20-29",
        "age=20-29,sex=f",
        "age=20-29=0",
        "sex=m,age=0-2=0,age=20-29=0",
        "Hat=1,sex=f=0",
    ],
)
def test_draw__a_request_has_exactly_one_of_each_group(text):
    values = GROUPED.parse(text)
    rows = GROUPED.draw(values, range(40))
    for group in (AGES, SEXES):
        columns = [GROUPED.names.index(name) for name in group]
        np.testing.assert_array_equal(rows[:, columns].sum(axis=1), 1)
    for column, value in values.items():
        np.testing.assert_array_equal(rows[:, column], value)


def test_swap__changes_one_value_of_a_column_to_another():
    rows = GROUPED.draw({}, range(30))
    for column in range(len(GROUPED.names)):
        swapped = GROUPED.swap(rows, column)
        np.testing.assert_array_equal(swapped[:, column], 1 - rows[:, column])
        for group in (AGES, SEXES):
            columns = [GROUPED.names.index(name) for name in group]
            np.testing.assert_array_equal(swapped[:, columns].sum(axis=1), 1)
            if column not in columns:
                np.testing.assert_array_equal(swapped[:, columns], rows[:, columns])
    assert len({tuple(row) for row in GROUPED.swap(rows[rows[:, 1] == 1], 1)[:, 1:4]}) == 2


def test_swap__without_groups_only_flips():
    swapped = TABLE.swap(ROWS, 1)
    np.testing.assert_array_equal(swapped[:, 1], 1 - ROWS[:, 1])
    np.testing.assert_array_equal(np.delete(swapped, 1, 1), np.delete(ROWS, 1, 1))


def test_load__groups_come_back_and_older_tables_of_classes_have_theirs(tmp_path):
    GROUPED.save(tmp_path / "a.npz")
    assert AttributeTable.load(tmp_path / "a.npz").groups == GROUPED.groups
    classes = AttributeTable(("cat", "dog"), np.eye(2, dtype=np.uint8), "f", "p")
    classes.save(tmp_path / "b.npz")
    with np.load(tmp_path / "b.npz") as file:
        older = {name: file[name] for name in file if name != "groups"}
    np.savez_compressed(tmp_path / "b.npz", **older)
    assert AttributeTable.load(tmp_path / "b.npz").groups == (("cat", "dog"),)


NAMED = AttributeTable(
    ("Hat, red", "x=y", "a", "b", "a,b", "Zoe\u0308"), np.eye(6, dtype=np.uint8), "f", "p"
)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("Hat, red=1", {0: 1}),
        ("Hat,red=0,x=y=1", {0: 0, 1: 1}),
        ("x = y = 0, b=1", {1: 0, 3: 1}),
        ("b=1,a=1", {3: 1, 2: 1}),
        ("Zo\u00eb=1", {5: 1}),
    ],
)
def test_parse__names_may_have_commas_and_equal_signs(text, values):
    assert NAMED.parse(text) == values


def test_split_names__what_can_be_read_in_two_ways_is_refused():
    assert split_names("a, b ,c,d", ["a,b", "c"], "x") == ["a,b", "c", "d"]
    assert split_names("", ["a"], "x") == []
    with pytest.raises(ConfigError, match=r"^x: 'a,b' is one name.*another order"):
        split_names("a,b", ["a,b", "a", "b"], "x")
