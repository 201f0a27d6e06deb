import io
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.small_celeba import LABELS, NUM, picture
from PIL import Image

from gan.config import Data
from gan.data.readers import celeba_parquet
from gan.data.readers.celeba_labels import ATTRIBUTES
from gan.errors import ConfigError, DataError

SHARDS = {  # The rows of each.
    "train-00000-of-00002": [0, 1, 2, 3],
    "train-00001-of-00002": [4, 5],
    "valid-00000-of-00001": [6, 7, 8],
    "test-00000-of-00001": [9, 10, 11],
}
FRAME = (109, 89)


def columns(rows, pictures=None, attributes=LABELS, names=ATTRIBUTES, kind=bool):
    """Returns columns as the real set has them, with the attributes in another order."""
    pictures = pictures or [picture(row, *FRAME) for row in rows]
    table = {
        "image": [
            {"bytes": data, "path": f"{row}.jpg"} for row, data in zip(rows, pictures, strict=True)
        ],
        "celeb_id": [100 + row // 2 for row in rows],
    }
    for column in reversed(range(len(names))):
        table[names[column]] = attributes[rows, column].astype(kind).tolist()
    return table


@pytest.fixture
def make(tmp_path):
    """Writes the shards; `edit(table, shard)` changes the columns of one."""

    def write(name="set", folder="", shards=SHARDS, edit=None, **options):
        path = tmp_path / name / folder
        path.mkdir(parents=True, exist_ok=True)
        for shard, rows in shards.items():
            table = columns(rows, **options)
            if edit:
                table = edit(table, shard) or table
            pq.write_table(pa.table(table), path / f"{shard}.parquet", row_group_size=3)
        return tmp_path / name

    return write


def read(path, **options):
    return celeba_parquet.open_source(Data(source="celeba_parquet", path=str(path), **options))


def read_all(path, **options):
    parts = {name: load() for name, load in read(path, **options).splits.items()}
    return parts, {name: list(split.stream()) for name, split in parts.items()}


@pytest.mark.parametrize("folder", ["", "data", "img_align+identity+attr"])
def test_splits__have_the_rows_of_their_shards(make, folder):
    path = make(folder=folder)
    source = read(path)
    assert list(source.splits) == ["train", "validation", "test"]
    assert source.attribute_names == ATTRIBUTES
    assert source.frame == FRAME
    assert source.formats == ("JPEG",)
    assert "12 pictures in 4 files; official splits; with identities" in source.found
    parts, pictures = read_all(path)
    for name, rows in (("train", range(6)), ("validation", range(6, 9)), ("test", range(9, 12))):
        np.testing.assert_array_equal(parts[name].attributes, LABELS[list(rows)])
        assert parts[name].identity.tolist() == [100 + row // 2 for row in rows]
        assert parts[name].attributes.dtype == np.uint8
        assert parts[name].identity.dtype == np.int32
        assert pictures[name] == [picture(row, *FRAME) for row in rows]
    assert parts["train"].names[4] == "train-00001-of-00002.parquet, row 0"


@pytest.mark.parametrize(
    "edit",
    [
        lambda table, shard: (
            table | {name: [2 * v - 1 for v in table[name]] for name in ATTRIBUTES}
        ),
        lambda table, shard: table | {name: [int(v) for v in table[name]] for name in ATTRIBUTES},
        lambda table, shard: table | {"image": [row["bytes"] for row in table["image"]]},
        lambda table, shard: table | {"image": [{"bytes": r["bytes"]} for r in table["image"]]},
        lambda table, shard: table | {"file": ["x"] * len(table["image"])},
    ],
)
def test_splits__other_ways_to_write_a_column_make_no_difference(make, edit):
    plain, pictures = read_all(make("plain"))
    other, others = read_all(make("other", edit=edit))
    assert pictures == others
    for name, split in plain.items():
        np.testing.assert_array_equal(split.attributes, other[name].attributes)


def test_found__columns_that_are_no_labels_are_said_to_be_left_alone(make):
    path = make(edit=lambda table, shard: table | {"caption": ["x"] * len(table["image"])})
    assert "left alone: caption" in read(path).found


def test_attribute_names__others_keep_their_order_and_have_no_frame(make):
    source = read(make(names=["Zebra", "Ape"]))
    assert source.attribute_names == ("Ape", "Zebra")  # As `columns` wrote them.
    assert source.frame is None
    assert source.formats == ("JPEG", "PNG")


def test_formats__png_is_read(make):
    file = io.BytesIO()
    Image.new("RGB", (89, 109)).save(file, "PNG")
    source = read(make(edit=lambda table, shard: with_picture(table, 0, file.getvalue())))
    assert source.formats == ("PNG",)


def with_picture(table, row, data):
    table["image"][row]["bytes"] = data
    return table


def without(*names):
    return lambda table, shard: {k: v for k, v in table.items() if k not in names}


@pytest.mark.parametrize("identities", [True, False])
def test_splits__train_alone_is_split_by_hash(make, identities):
    shards = {"train-00000-of-00001-0f3a": list(range(NUM))}
    path = make(shards=shards, edit=None if identities else without("celeb_id"))
    source = read(path)
    assert ("split by identity" if identities else "split by row") in source.found
    parts, pictures = read_all(path)
    assert all(len(split.names) for split in parts.values())
    seen = []
    for name, split in parts.items():
        rows = [int(name.rpartition(" ")[2]) for name in split.names]
        assert pictures[name] == [picture(row, *FRAME) for row in rows]
        np.testing.assert_array_equal(split.attributes, LABELS[rows])
        seen += rows
        if not identities:
            assert set(split.identity) == {-1}
    assert sorted(seen) == list(range(NUM))
    if identities:
        people = [set(split.identity.tolist()) for split in parts.values()]
        assert sum(map(len, people)) == len(set.union(*people))


def test_stream__pictures_are_read_in_parts(make):
    many = {**SHARDS, "train-00000-of-00002": [0] * 500}
    source = read(make(shards=many))
    first = next(source.splits["train"]().stream())
    assert first == picture(0, *FRAME)
    assert len(list(source.splits["train"]().stream())) == 502


def test_stream__a_row_without_a_picture_is_named_in_its_place(make):
    def edit(table, shard):
        return with_picture(table, 1, None) if shard.startswith("valid") else table

    pictures = read_all(make(edit=edit))[1]["validation"]
    assert [isinstance(p, DataError) for p in pictures] == [False, True, False]
    assert "valid-00000-of-00001.parquet, row 1" in str(pictures[1])


@pytest.mark.parametrize("data", [None, b"no picture"])
def test_on_bad__skip_starts_with_a_bad_first_picture(make, data):
    def edit(table, shard):
        return with_picture(table, 0, data) if shard.startswith("train-00000") else table

    path = make(edit=edit)
    with pytest.raises(DataError, match=r"train-00000-of-00002\.parquet, row 0"):
        read(path)
    assert read(path, on_bad="skip").frame == FRAME


def test_fingerprint__changes_with_every_input(make):
    def relabel(table, shard):
        return table | {"Male": [not v for v in table["Male"]]} if "test" in shard else table

    prints = [
        read(make("same")).fingerprint,
        read(make("labels", edit=relabel)).fingerprint,
        read(make("moved", shards={**SHARDS, "test-00000-of-00001": [9, 11, 10]})).fingerprint,
    ]
    assert len(set(prints)) == 3


def remove(name):
    return lambda root: (root / name).unlink()


def cut(name, size):
    return lambda root: (root / name).write_bytes((root / name).read_bytes()[:size])


def write(name, data):
    return lambda root: (root / name).write_bytes(data)


def overwrite(name, first, size):
    def action(root):
        data = bytearray((root / name).read_bytes())
        data[first : first + size] = b"\xff" * size
        (root / name).write_bytes(data)

    return action


def rename(name, new):
    return lambda root: (root / name).rename(root / new)


TRAIN, TEST = "train-00000-of-00002.parquet", "test-00000-of-00001.parquet"
DAMAGED = {
    "shard lost": (remove(TRAIN), ["of the 2 files", "00000", "Fetch"]),
    "split lost": (remove(TEST), ["none of test", "Fetch"]),
    "all lost": (
        lambda root: [path.unlink() for path in root.iterdir()],
        ["train-00000-of-00019.parquet", "There lie nothing"],
    ),
    "cut": (cut(TEST, 2000), [TEST, "breaks off", "2,000 bytes"]),
    "empty": (cut(TEST, 0), [TEST, "0 bytes"]),
    "html": (write(TEST, b"<!DOCTYPE html>"), [TEST, "no parquet", "<!DOCTYP"]),
    "pointer": (write(TEST, b"version https://git-lfs.github.com/spec/v1\n"), [TEST, "git lfs"]),
    "footer": (lambda root: overwrite(TEST, -500, 300)(root), [TEST, "damaged"]),
    "two downloads": (
        lambda root: (root / "train-00000-of-00003.parquet").write_bytes(b""),
        ["train-00000-of-00003.parquet", "not of one download"],
    ),
    "two folders": (
        lambda root: [
            (root / "a").mkdir(),
            (root / "b").mkdir(),
            *[path.rename(root / "a" / path.name) for path in root.glob("train*")],
            *[path.rename(root / "b" / path.name) for path in root.glob("*.parquet")],
        ],
        ["a, b all hold parquet", "--config.data.path="],
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_open_source__damage_is_named(make, name):
    damage, fragments = DAMAGED[name]
    root = make()
    damage(root)
    with pytest.raises(DataError) as caught:
        read_all(root)
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_stream__damaged_bytes_are_an_error_with_the_name_or_harmless(make):
    root = make()
    whole = read_all(root)[1]
    size = (root / TEST).stat().st_size
    data = (root / TEST).read_bytes()
    named = 0
    for first in range(4, size, max(1, size // 40)):
        (root / TEST).write_bytes(data[:first] + bytes([data[first] ^ 0xFF]) + data[first + 1 :])
        try:
            read_all(root)
        except DataError as error:
            assert "test-00000" in str(error)  # noqa: PT017
            named += 1
    (root / TEST).write_bytes(data)
    assert read_all(root)[1] == whole
    assert named


def only(shard, edit):
    return lambda table, name: edit(table) if name.startswith(shard) else table


WRONG = {
    "no image": (without("image"), ["no column 'image'", "celeb_id"]),
    "other image": (
        lambda t, s: without("image")(t | {"images": t["image"]}, s),
        ["Did you mean 'images'"],
    ),
    "misspelt": (
        lambda t, s: without("Male")(t | {"Mael": t["Male"]}, s),
        ["'Mael' is not an attribute", "Did you mean 'Male'"],
    ),
    "name lost": (without("Young"), ["Young", "missing"]),
    "another schema": (
        only("test", lambda t: t | {"celeb_id": [1.5] * 3}),
        [TEST, "columns", "celeb_id: double", "celeb_id: int64"],
    ),
    "value": (
        lambda t, s: t | {"Bald": [0] * (len(t["image"]) - 1) + [37]},
        ["train-00000-of-00002.parquet, row 3, column 'Bald': 37", "0 or 1"],
    ),
    "mixed": (
        lambda t, s: t | {"Bald": [-1] * (len(t["image"]) - 1) + [0]},
        ["train-00000-of-00002.parquet, row 3, column 'Bald': 0", "-1 or 1"],
    ),
    "null": (
        only("valid", lambda t: t | {"Bald": [True, None, True]}),
        ["valid-00000-of-00001.parquet, row 1", "'Bald'", "no value"],
    ),
    "identity": (
        lambda t, s: t | {"celeb_id": [2**40] * len(t["image"])},
        ["train-00000-of-00002.parquet, row 0", "celeb_id", "too large"],
    ),
    "least identity": (
        lambda t, s: t | {"celeb_id": [-(2**63)] * len(t["image"])},
        ["train-00000-of-00002.parquet, row 0", "celeb_id", "too large"],
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_open_source__wrong_columns_are_named(make, name):
    edit, fragments = WRONG[name]
    with pytest.raises(DataError) as caught:
        read_all(make(edit=edit))
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_recognise__shards_and_nothing_else(make, tmp_path):
    assert celeba_parquet.recognise(make())
    assert celeba_parquet.recognise(make("inner", folder="data"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "table.parquet").write_bytes(b"")
    assert not celeba_parquet.recognise(tmp_path / "other")
    assert not celeba_parquet.recognise(tmp_path / "other" / "table.parquet")
    assert not celeba_parquet.recognise(tmp_path / "nowhere")


def test_open_source__without_a_path_it_says_what_is_needed():
    with pytest.raises(ConfigError, match=r"config\.data\.path.*train-00000-of-00019"):
        celeba_parquet.open_source(Data(source="celeba_parquet"))


def test_pyarrow__is_imported_only_when_it_is_needed():
    code = "import sys, gan.data.readers.celeba_parquet; print('pyarrow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
