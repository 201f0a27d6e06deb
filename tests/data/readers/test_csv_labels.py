import numpy as np
import pytest

from gan.data.files import Folder
from gan.data.readers.csv_labels import read_column_names, read_csv
from gan.errors import DataError

PLAIN = "image_id,Male,Smiling\na.jpg,-1,1\nb.jpg,1,1\nc.jpg,-1,-1\n"


@pytest.fixture
def table(tmp_path):
    """Reads a file of this content."""

    def read(text):
        (tmp_path / "t.csv").write_bytes(text.encode() if isinstance(text, str) else text)
        files = Folder(tmp_path)
        whole = read_csv(files, "t.csv")
        assert read_column_names(files, "t.csv") == tuple(whole.columns)
        return whole

    return read


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        PLAIN.replace(",", ", "),
        PLAIN.replace("\n", "\r\n"),
        PLAIN.removesuffix("\n"),
        PLAIN.replace("\n", "\r\n").removesuffix("\r\n"),
        PLAIN + "\n\n",
        "\ufeff" + PLAIN,
        "sep=;\n" + PLAIN.replace(",", ";"),
        '\ufeff"sep=,"\r\n' + PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("-1", "0"),
        PLAIN.replace("-1", "False").replace("1", "TRUE"),
        PLAIN.replace("-1", "no").replace("1", "Yes"),
        PLAIN.replace("1", "1.0"),
        PLAIN.replace("-1", "0").replace("0", "0.0").replace(",1", ",1.0"),
        PLAIN.replace("a.jpg,-1", "a.jpg,-1.0"),
        PLAIN.replace("image_id", '"image_id"').replace("a.jpg", '"a.jpg"').replace("-1", '"-1"'),
        PLAIN.replace("image_id", "id"),
        PLAIN.replace("image_id", ""),
        ",image_id,Male,Smiling\n0,a.jpg,0,1\n1,b.jpg,1,1\n2,c.jpg,0,0\n",
        "Unnamed: 0;image_id;Male;Smiling\n1;a.jpg;0;1\n2;b.jpg;1;1\n3;c.jpg;0;0\n",
    ],
)
def test_read_csv__all_ways_to_write_a_table_are_the_same_table(table, text):
    whole = table(text)
    assert whole.pictures == ["a.jpg", "b.jpg", "c.jpg"]
    assert list(whole.columns) == ["Male", "Smiling"]
    np.testing.assert_array_equal(whole.binary("Male"), [0, 1, 0])
    np.testing.assert_array_equal(whole.binary("Smiling"), [1, 1, 0])
    assert whole.binary("Male").dtype == np.uint8


def test_read_csv__names_may_hold_separators_quotes_and_any_letter(table):
    whole = table('picture,"Hat, red"\n"a, b.jpg",1\n"the ""best"".png",0\nÄ ö/日本.jpg,1\n')
    assert whole.pictures == ["a, b.jpg", 'the "best".png', "Ä ö/日本.jpg"]
    assert list(whole.columns) == ["Hat, red"]


def test_binary__a_column_of_one_value_is_understood(table):
    whole = table("p,a,b,c\n1.jpg,1,0,-1\n2.jpg,1,0,-1\n")
    assert [whole.binary(name).tolist() for name in "abc"] == [[1, 1], [0, 0], [0, 0]]


def test_whole__numbers_are_returned_or_named(table):
    whole = table("p,n\na.jpg,2\nb.jpg,0\n")
    assert whole.whole("n").tolist() == [2, 0]
    with pytest.raises(DataError, match=r"t\.csv, line 2, column 'n': '2', but .* 0 to 1"):
        whole.whole("n", 2)


@pytest.mark.parametrize("value", ["", "x", "-1", "1.5", "9999999999", "²"])
def test_whole__other_values_are_named(table, value):
    with pytest.raises(DataError, match=r"line 3, column 'n'"):
        table(f"p,n\na.jpg,2\nb.jpg,{value}\n").whole("n")


@pytest.mark.parametrize(
    ("values", "line", "value"),
    [
        (["-1", "1", "0"], 4, "0"),
        (["0", "1", "1", "-1"], 5, "-1"),
        (["1", "1", "37"], 4, "37"),
        (["yes", "no", "1"], 4, "1"),
        (["true", ""], 3, ""),
        (["1.0", "0.0", ""], 4, ""),
        (["0.0", "-1.0"], 3, "-1.0"),
        (["0.0", "1.5"], 3, "1.5"),
        (["cat", "dog"], 2, "cat"),
    ],
)
def test_binary__the_first_value_that_does_not_fit_is_named(table, values, line, value):
    rows = "".join(f"{i}.jpg,{value}\n" for i, value in enumerate(values))
    with pytest.raises(DataError, match=f"line {line}, column 'Age': '{value}', .*remove the col"):
        table(f"picture,Age\n{rows}").binary("Age")


BAD = {
    "empty": ("", ["line 1", "empty"]),
    "names only": ("image_id,Male\n", ["image_id,Male", "empty"]),
    "no names": ("a.jpg,1\nb.jpg,0\n", ["line 1", "'1' is a value"]),
    "no names but floats": ("a.jpg,1.0\nb.jpg,0.0\n", ["line 1", "'1.0' is a value"]),
    "no name": ("image_id,Male,\na.jpg,1,\n", ["line 1: column 3 has no name"]),
    "name twice": ("image_id,Male,Male\na.jpg,1,1\n", ["line 1", "Male", "twice"]),
    "value lost": (PLAIN.replace("b.jpg,1,1", "b.jpg,1"), ["line 3: 2 values", "3 columns"]),
    "value more": (PLAIN.replace("b.jpg,1,1", "b.jpg,1,1,1"), ["line 3: 4 values"]),
    "first row lost": (PLAIN.replace("a.jpg,-1,1", "a.jpg,-1"), ["line 2: 2 values"]),
    "empty line": (PLAIN.replace("b.jpg", "\nb.jpg"), ["line 3: 0 values"]),
    "picture twice": (PLAIN.replace("c.jpg", "a.jpg"), ["line 4: 'a.jpg'", "after line 2"]),
    "no picture": (PLAIN.replace("c.jpg", " "), ["line 4", "no picture is named"]),
    "count skips": (",p,m\n0,a.jpg,1\n2,b.jpg,1\n", ["line 3: '2'", "count the rows: 1"]),
    "empty first line": ("\n" + PLAIN, ["line 1", "empty"]),
    "only a count": ("Unnamed: 0\n0\n1\n", ["line 1", "no column names the pictures"]),
    "open quote": (PLAIN.replace("b.jpg", '"b.jpg'), ["line 4", "not CSV"]),
    "text after quote": (PLAIN.replace("b.jpg", '"b".jpg'), ["line 3", "not CSV"]),
    "not text": (b"\xff\xfe\x00", ["byte 0", "text"]),
    "carriage returns": (PLAIN.replace("\n", "\r"), ["line 1", "not CSV"]),
}


@pytest.mark.parametrize("name", BAD)
def test_read_csv__bad_tables_are_named(table, name):
    text, fragments = BAD[name]
    with pytest.raises(DataError, match=r"t\.csv") as caught:
        table(text)
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_lines__are_those_of_the_file_also_after_a_value_of_two_lines(table):
    whole = table('p,m\n"a\nb.jpg",1\nc.jpg,2\n')
    with pytest.raises(DataError, match="line 4, column 'm': '2'"):
        whole.binary("m")


def test_read_csv__lines_are_counted_from_that_of_the_separator(table):
    with pytest.raises(DataError, match="line 4, column 'm': '2'"):
        table("sep=;\np;m\na.jpg;1\nb.jpg;2\n").binary("m")
    with pytest.raises(DataError, match="line 1"):
        table("sep=;\n")
