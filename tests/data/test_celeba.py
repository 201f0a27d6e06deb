import concurrent.futures
import re
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from gan.config import Data
from gan.data import celeba
from gan.errors import ConfigError, DataError

ATTR, PARTITION, IDENTITY = "list_attr_celeba.txt", "list_eval_partition.txt", "identity_CelebA.txt"
ZIP, FOLDER = "img_align_celeba.zip", "img_align_celeba"


def read(root):
    return celeba.source(Data(source="celeba", path=str(root)))


def splits(source):
    return {name: load() for name, load in source.splits.items()}


def read_all(root):
    """Also every picture, as preparing does."""
    for split in splits(read(root)).values():
        for index in range(len(split.attributes)):
            split.read(index)


def edit(name, old, new, count=1):
    """An action on the data set: replaces text in one of its files."""

    def action(root):
        text = (root / name).read_text()
        assert re.search(old, text)
        (root / name).write_text(re.sub(old, new, text, count=count))

    return action


def rezip(member, data, compression=zipfile.ZIP_STORED):
    """An action on the data set: another content of one member; None takes it out."""

    def action(root):
        with zipfile.ZipFile(root / ZIP) as archive:
            contents = {name: archive.read(name) for name in archive.namelist()}
        contents[f"{FOLDER}/{member}"] = data
        with zipfile.ZipFile(root / ZIP, "w", compression) as archive:
            for name, content in contents.items():
                if content is not None:
                    archive.writestr(name, content)

    return action


def flip_a_bit(root):
    data = bytearray((root / ZIP).read_bytes())
    with zipfile.ZipFile(root / ZIP) as archive:
        info = archive.getinfo(f"{FOLDER}/000007.jpg")
    data[info.header_offset + 30 + len(info.filename) + info.file_size // 2] ^= 1
    (root / ZIP).write_bytes(data)


def twice(root):
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(root / ZIP, "a") as archive:
        archive.writestr(f"{FOLDER}/000003.jpg", b"")


def replace(name, data):
    return lambda root: (root / name).write_bytes(data)


def cut(name, size):
    return lambda root: (root / name).write_bytes((root / name).read_bytes()[:size])


def test_each_split_has_the_rows_of_its_partition(make_celeba, labels):
    attributes, partition = labels
    source = read(make_celeba())
    assert list(source.splits) == ["train", "validation", "test"]
    assert source.attribute_names == celeba.ATTRIBUTES
    assert source.frame == (109, 89)
    for number, split in enumerate(splits(source).values()):
        rows = np.flatnonzero(partition == number)
        np.testing.assert_array_equal(split.attributes, attributes[rows])
        np.testing.assert_array_equal(split.identity, 100 + rows // 2)
        assert split.attributes.dtype == np.uint8
        assert split.identity.dtype == np.int32


@pytest.mark.parametrize("zipped", [True, False])
def test_pictures_are_those_of_the_rows(make_celeba, labels, jpeg, zipped):
    source = read(make_celeba(zipped=zipped))
    for number, split in enumerate(splits(source).values()):
        rows = np.flatnonzero(labels[1] == number)
        assert [split.read(i) for i in range(len(rows))] == [jpeg(r, 109, 89) for r in rows]


def test_line_ends_final_newline_and_zeros_make_no_difference(make_celeba):
    crlf = read(make_celeba("crlf"))
    root = make_celeba("lf", line_end="\n")
    edit(ATTR, r"(?<= )-1", "0", count=0)(root)
    cut(PARTITION, -1)(root)
    lf = read(root)
    for name, split in splits(crlf).items():
        np.testing.assert_array_equal(split.attributes, lf.splits[name]().attributes)
        np.testing.assert_array_equal(split.identity, lf.splits[name]().identity)


def test_the_authors_folders_are_found(make_celeba):
    flat, root = make_celeba("flat"), make_celeba("nested")
    for folder, name in (("Anno", ATTR), ("Anno", IDENTITY), ("Eval", PARTITION), ("Img", ZIP)):
        (root / folder).mkdir(exist_ok=True)
        (root / name).rename(root / folder / name)
    assert read(root).fingerprint == read(flat).fingerprint


def test_identity_may_be_missing(make_celeba):
    root = make_celeba()
    (root / IDENTITY).unlink()
    assert set(read(root).splits["train"]().identity) == {-1}


def test_own_names_are_fine_if_none_is_official(make_celeba):
    root = make_celeba()
    edit(ATTR, r"5_o_Clock.*Young", " ".join(f"mine_{i}" for i in range(40)))(root)
    assert read(root).attribute_names[3] == "mine_3"


@pytest.mark.parametrize("zipped", [True, False])
def test_fingerprint_changes_with_every_input(make_celeba, jpeg, zipped):
    prints = [read(make_celeba(zipped=zipped)).fingerprint]
    for number, action in enumerate(
        [
            edit(ATTR, r"000002.jpg -1", "000002.jpg  1"),
            edit(PARTITION, r"000002.jpg 0", "000002.jpg 2"),
            edit(IDENTITY, r"000002.jpg 100", "000002.jpg 101"),
            rezip("000002.jpg", jpeg(9, 109, 89))
            if zipped
            else replace(f"{FOLDER}/000002.jpg", jpeg(9, 109, 89)),
        ]
    ):
        root = make_celeba(str(number), zipped=zipped)
        action(root)
        prints.append(read(root).fingerprint)
    assert len(set(prints)) == 5


def test_reading_from_many_threads(make_celeba, jpeg, labels):
    split = read(make_celeba()).splits["train"]()
    rows = np.flatnonzero(labels[1] == 0)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda i: split.read(i % len(rows)), range(400)))
    assert results == [jpeg(rows[i % len(rows)], 109, 89) for i in range(400)]


BAD = {
    "count": (edit(ATTR, r"^12", "13"), [ATTR, "line 1", "13", "12"]),
    "rows lost": (edit(ATTR, "000012.*\n", ""), [ATTR, "line 1: says 12", "11 rows"]),
    "cut": (cut(ATTR, -3), [ATTR, "line 14", "39 values", "000012.jpg"]),
    "no count": (edit(ATTR, r"^12\n", ""), [ATTR, "line 1", "number of pictures"]),
    "no rows": (cut(ATTR, 20), [ATTR, "2 lines"]),
    "misspelt": (edit(ATTR, "Eyeglasses", "Eyeglases"), ["line 2", "Did you mean 'Eyeglasses'"]),
    "name missing": (edit(ATTR, " Young ", " "), ["line 2", "Young", "is missing"]),
    "name twice": (edit(ATTR, " Young ", " Male "), ["line 2", "Male", "twice"]),
    "value": (edit(ATTR, r"(000004.jpg.*) -?1\n", r"\1 2\n"), [ATTR, "line 6", "'2'"]),
    "mixed": (edit(ATTR, r"(000004.jpg.*) -?1\n", r"\1 0\n"), [ATTR, "line 6", "-1 and 0"]),
    "value lost": (edit(ATTR, r"(000004.jpg.*) -?1\n", r"\1\n"), ["line 6", "39 values", "40"]),
    "twice": (edit(ATTR, "000004.jpg", "000003.jpg"), [ATTR, "line 6", "000003.jpg", "line 5"]),
    "path": (edit(ATTR, "000004.jpg", "../../4.jpg"), [ATTR, "line 6", "../../4.jpg"]),
    "not text": (replace(ATTR, b"\xff\xfe\x00"), [ATTR, "byte 0", "text"]),
    "no text": (lambda root: [(root / ATTR).unlink(), (root / ATTR).mkdir()], [ATTR, "read"]),
    "partition": (edit(PARTITION, "03.jpg 1", "03.jpg 3"), [PARTITION, "line 3", "'3'", "0 to 2"]),
    "no test": (edit(PARTITION, "jpg 2", "jpg 1", 0), [PARTITION, "2 (test)"]),
    "partition row lost": (
        edit(PARTITION, "000002.jpg 0\n", ""),
        [PARTITION, "1 of the 12", "000002.jpg"],
    ),
    "attribute row lost": (
        lambda root: [edit(ATTR, "000002.*\n", "")(root), edit(ATTR, "^12", "11")(root)],
        [ATTR, "000002.jpg"],
    ),
    "identity": (edit(IDENTITY, "000002.jpg 100", "000002.jpg x"), [IDENTITY, "line 2", "'x'"]),
    "identity row lost": (edit(IDENTITY, "000005.*\n", ""), [IDENTITY, "000005.jpg"]),
    "picture lost": (rezip("000002.jpg", None), [ZIP, "1 of the 12", ATTR, "000002.jpg"]),
    "picture more": (rezip("000013.jpg", b""), [ATTR, "1 of the 13", ZIP, "000013.jpg"]),
    "picture twice": (twice, [ZIP, "000003.jpg", "twice"]),
    "flipped bit": (flip_a_bit, [ZIP, "000007.jpg", "CRC"]),
    "zip bomb": (
        rezip("000008.jpg", bytes(9 * 2**20), zipfile.ZIP_DEFLATED),
        [ZIP, "000008.jpg", "9,437,184 bytes", "at most"],
    ),
    "html": (replace(ZIP, b"<!DOCTYPE html><html>Quota exceeded"), [ZIP, "HTML page"]),
    "zip cut": (cut(ZIP, 5000), [ZIP, "breaks off", "5,000"]),
    "no zip": (replace(ZIP, b"Rar!\x1a\x07"), [ZIP, "not a zip", "rar!"]),
    "empty zip": (lambda root: zipfile.ZipFile(root / ZIP, "w").close(), [ZIP, "nothing"]),
    "picture empty": (rezip("000009.jpg", b""), [ZIP, "000009.jpg", "not a JPEG"]),
    "attributes missing": (
        lambda root: (root / ATTR).rename(root / "list_atr_celeba.txt"),
        [ATTR, "Did you mean 'list_atr_celeba.txt'", ZIP],
    ),
    "zip missing": (lambda root: (root / ZIP).unlink(), [ZIP, "or the unpacked folder", ATTR]),
    "path missing": (shutil.rmtree, ["config.data.path", "does not exist", ATTR]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(make_celeba, name):
    damage, fragments = BAD[name]
    root = make_celeba(line_end="\n")
    read_all(root)  # Without the damage there is nothing to complain about.
    damage(root)
    with pytest.raises(DataError) as caught:
        read_all(root)
    for fragment in fragments:
        assert fragment in str(caught.value)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("damage", "fragments"),
    [
        (lambda data, jpeg: data[:-2], ["breaks off"]),
        (lambda data, jpeg: b"\x89PNG" + data, ["not a JPEG", "PNG"]),
        (lambda data, jpeg: data[:2] + data[-2:], ["no header"]),
        (lambda data, jpeg: jpeg(0, 110, 89), ["89 x 110", "89 x 109"]),
    ],
)
def test_bad_picture_is_named(make_celeba, jpeg, zipped, damage, fragments):
    root = make_celeba(zipped=zipped)
    data = damage(jpeg(5, 109, 89), jpeg)
    action = rezip("000006.jpg", data) if zipped else replace(f"{FOLDER}/000006.jpg", data)
    action(root)
    with pytest.raises(DataError, match="000006.jpg") as caught:
        read_all(root)
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_cmyk_is_refused_and_grey_is_not(make_celeba):
    root = make_celeba(zipped=False)
    Image.new("L", (89, 109)).save(root / FOLDER / "000002.jpg")
    read_all(root)
    Image.new("CMYK", (89, 109)).save(root / FOLDER / "000002.jpg")
    with pytest.raises(DataError, match=r"000002.jpg has 4 colour channels"):
        read_all(root)


@pytest.mark.parametrize("frame", [(218, 178), (109, 89), (122, 100)])
def test_frames_in_proportion_are_accepted(make_celeba, frame):
    assert read(make_celeba(frame=frame)).frame == frame


@pytest.mark.parametrize("frame", [(178, 178), (111, 89), (1090, 890)])
def test_other_frames_are_refused(make_celeba, frame):
    with pytest.raises(DataError, match=f"000001.jpg is {frame[1]} x {frame[0]}"):
        read(make_celeba(frame=frame))


def test_without_a_path_it_says_how_to_get_one():
    with pytest.raises(ConfigError, match=r"--config.data.path=FOLDER.*Liu et al"):
        celeba.source(Data(source="celeba"))
