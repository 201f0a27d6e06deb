import numpy as np
import pytest
from helpers.small_celeba import LABELS, MEMBERS, NUM, PARTITION, picture
from helpers.small_kaggle import ATTR, IDENTITIES, INNER, PARTITIONS, contents, write

from gan.config import Data
from gan.data.readers import celeba_kaggle, celeba_official
from gan.data.readers.celeba_labels import ATTRIBUTES
from gan.errors import ConfigError, DataError

SPLITS = ["train", "validation", "test"]


def read(path, **options):
    return celeba_kaggle.open_source(Data(source="celeba_kaggle", path=str(path), **options))


def splits(source):
    return {name: load() for name, load in source.splits.items()}


def check(source):
    """Each split has the rows and pictures of its partition."""
    assert source.name == "celeba_kaggle"
    assert list(source.splits) == SPLITS
    assert source.attribute_names == ATTRIBUTES
    assert source.frame == (109, 89)
    assert source.formats == ("JPEG",)
    for number, split in enumerate(splits(source).values()):
        rows = np.flatnonzero(np.array(PARTITION) == number)
        np.testing.assert_array_equal(split.attributes, LABELS[rows])
        assert [split.read(i) for i in range(len(rows))] == [picture(r, 109, 89) for r in rows]
        assert [name[-10:] for name in split.names] == [MEMBERS[row] for row in rows]


@pytest.mark.parametrize("place", ["set", "archive.zip", "set/archive.zip"])
@pytest.mark.parametrize("folder", [INNER, "img_align_celeba"])
def test_open_source__folder_zip_and_zip_in_a_folder_are_read_alike(tmp_path, place, folder):
    write(tmp_path / place, contents(folder))
    path = tmp_path / place.removesuffix("/archive.zip")
    assert celeba_kaggle.recognise(path)
    source = read(path)
    check(source)
    assert "12 pictures" in source.found
    assert "without identities" in source.found
    assert {int(i) for split in splits(source).values() for i in split.identity} == {-1}


def test_open_source__a_zip_may_hold_all_in_one_folder(tmp_path):
    path = write(tmp_path / "celeba-dataset.zip", contents(), top="celeba-dataset/")
    assert celeba_kaggle.recognise(path)
    check(read(path))


@pytest.mark.parametrize(
    "options", [{"first": "id"}, {"first": ""}, {"negative": "0"}, {"negative": "-1.0"}]
)
def test_open_source__tables_may_be_written_in_other_ways(tmp_path, options):
    check(read(write(tmp_path / "set", contents(**options))))


def test_open_source__a_table_without_attributes_is_refused(tmp_path):
    table = "image_id\n" + "".join(f"{member}\n" for member in MEMBERS)
    path = write(tmp_path / "set", contents() | {ATTR: table.encode()})
    with pytest.raises(DataError, match=r"list_attr_celeba\.csv, line 1 names no attribute"):
        read(path)


@pytest.mark.parametrize("name", ["identity_CelebA.txt", "identity_CelebA.csv"])
def test_open_source__identities_beside_it_are_used(tmp_path, name):
    data = IDENTITIES
    if name.endswith(".csv"):
        data = b"image_id,identity\r\n" + IDENTITIES.replace(b" ", b",")
    source = read(write(tmp_path / "set", contents() | {name: data}))
    check(source)
    for number, split in enumerate(splits(source).values()):
        assert (
            split.identity.tolist()
            == (100 + np.flatnonzero(np.array(PARTITION) == number) // 2).tolist()
        )


@pytest.mark.parametrize("identities", [True, False])
def test_open_source__without_a_partition_it_is_split_by_hash(tmp_path, identities):
    files = contents() | ({"identity_CelebA.txt": IDENTITIES} if identities else {})
    del files[PARTITIONS]
    source = read(write(tmp_path / "set", files))
    assert ("split by identity" if identities else "split by file") in source.found
    parts = splits(source).values()
    assert all(len(split.names) for split in parts)
    assert sorted(name[-10:] for split in parts for name in split.names) == MEMBERS
    if identities:
        people = [set(split.identity.tolist()) for split in parts]
        assert sum(map(len, people)) == NUM // 2


def test_fingerprint__changes_with_every_input(tmp_path):
    files = contents()
    others = [
        files,
        files | {ATTR: files[ATTR].replace(b"000002.jpg,-1", b"000002.jpg,1")},
        files | {PARTITIONS: files[PARTITIONS].replace(b"000002.jpg,0", b"000002.jpg,2")},
        files | {"identity_CelebA.txt": IDENTITIES},
        files | {f"{INNER}/000002.jpg": picture(9, 109, 89)},
    ]
    prints = [read(write(tmp_path / f"{i}.zip", o)).fingerprint for i, o in enumerate(others)]
    assert len(set(prints)) == 5


def test_recognise__nothing_else(tmp_path, make_celeba):
    assert not celeba_kaggle.recognise(make_celeba())
    assert not celeba_official.recognise(write(tmp_path / "set", contents()))
    assert not celeba_kaggle.recognise(tmp_path / "nowhere")
    assert not celeba_kaggle.recognise(write(tmp_path / "other.zip", {"a.csv": b""}))
    (tmp_path / "broken.zip").write_bytes(b"PK")
    assert not celeba_kaggle.recognise(tmp_path / "broken.zip")


def change(name, old, new):
    return lambda files: files | {name: files[name].replace(old, new)}


def remove(name):
    return lambda files: {key: data for key, data in files.items() if key != name}


BAD = {
    "misspelt": (
        change(ATTR, b"Eyeglasses", b"Eyeglases"),
        [ATTR, "line 1", "'Eyeglases'", "Did you mean 'Eyeglasses'"],
    ),
    "name lost": (
        lambda files: files | {ATTR: b"image_id,Male\n000001.jpg,1\n"},
        [ATTR, "line 1", "missing"],
    ),
    "value": (
        change(ATTR, b"000004.jpg,1", b"000004.jpg,2"),
        [ATTR, "line 5", "5_o_Clock_Shadow", "'2'"],
    ),
    "mixed": (
        change(ATTR, b"000004.jpg,1", b"000004.jpg,0"),
        [ATTR, "line 5", "5_o_Clock_Shadow", "'0'"],
    ),
    "twice": (change(ATTR, b"000004", b"000003"), [ATTR, "line 5: '000003.jpg'", "line 4"]),
    "partition": (
        change(PARTITIONS, b"000003.jpg,1", b"000003.jpg,3"),
        [PARTITIONS, "line 4, column 'partition': '3'", "0 to 2"],
    ),
    "partition columns": (
        change(PARTITIONS, b"partition", b"partition,more"),
        [PARTITIONS, "line 2: 2 values"],
    ),
    "no test": (change(PARTITIONS, b"jpg,2", b"jpg,1"), [PARTITIONS, "2 (test)"]),
    "partition row lost": (
        change(PARTITIONS, b"000002.jpg,0\r\n", b""),
        [PARTITIONS, "1 of the 12", "000002.jpg"],
    ),
    "picture lost": (remove(f"{INNER}/000002.jpg"), ["1 of the 12", ATTR, "000002.jpg"]),
    "picture more": (
        lambda files: files | {f"{INNER}/000013.jpg": b""},
        [ATTR, "1 of the 13", "000013.jpg"],
    ),
    "attributes lost": (remove(ATTR), [ATTR]),
    "another frame": (
        lambda files: files | {f"{INNER}/000001.jpg": picture(0, 100, 100)},
        ["000001.jpg is 100 x 100"],
    ),
}


@pytest.mark.parametrize("place", ["set", "archive.zip"])
@pytest.mark.parametrize("name", BAD)
def test_open_source__bad_input_is_named(tmp_path, place, name):
    change, fragments = BAD[name]
    files = contents()
    changed = change(files)
    assert changed != files
    with pytest.raises(DataError) as caught:
        splits(read(write(tmp_path / place, changed)))
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_on_bad__skip_leaves_out_what_lacks_a_picture(tmp_path):
    path = write(tmp_path / "set", remove(f"{INNER}/000003.jpg")(contents()))
    parts = splits(read(path, on_bad="skip"))
    assert [len(split.names) for split in parts.values()] == [6, 2, 3]
    assert parts["validation"].left_out[0][0].endswith("000003.jpg")


def test_open_source__two_zips_are_one_too_many(tmp_path):
    write(tmp_path / "set" / "archive.zip", contents())
    write(tmp_path / "set" / "copy.zip", contents())
    with pytest.raises(DataError, match=r"archive\.zip, copy\.zip.*--config\.data\.path="):
        read(tmp_path / "set")


def test_open_source__without_a_path_it_says_how_to_get_one():
    with pytest.raises(ConfigError, match=r"--config\.data\.path=.*archive\.zip"):
        celeba_kaggle.open_source(Data(source="celeba_kaggle"))
