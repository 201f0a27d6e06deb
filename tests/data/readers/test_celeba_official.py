import concurrent.futures
import io
import re
import shutil
import zipfile

import numpy as np
import pytest
from helpers.small_celeba import MEMBERS, zip_folder

from gan.config import Data
from gan.data.decode import Recipe, decode_picture
from gan.data.readers import celeba_official
from gan.data.readers.celeba_labels import ATTRIBUTES
from gan.errors import ConfigError, DataError

ATTR, PARTITION, IDENTITY = "list_attr_celeba.txt", "list_eval_partition.txt", "identity_CelebA.txt"
ZIP, FOLDER = "img_align_celeba.zip", "img_align_celeba"


def read(root, on_bad="error"):
    return celeba_official.open_source(Data(source="celeba", path=str(root), on_bad=on_bad))


def splits(source):
    return {name: load() for name, load in source.splits.items()}


def read_all(root):
    """Reads every picture too, as preparing does."""
    source = read(root)
    recipe = Recipe(16, "center178", "bicubic", source.formats, source.frame)
    for split in splits(source).values():
        for index, name in enumerate(split.names):
            decode_picture(recipe, split.read(index), name)


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


def test_splits__have_the_rows_of_their_partition(make_celeba, labels):
    attributes, partition = labels
    source = read(make_celeba())
    assert list(source.splits) == ["train", "validation", "test"]
    assert source.attribute_names == ATTRIBUTES
    assert source.frame == (109, 89)
    for number, split in enumerate(splits(source).values()):
        rows = np.flatnonzero(partition == number)
        np.testing.assert_array_equal(split.attributes, attributes[rows])
        np.testing.assert_array_equal(split.identity, 100 + rows // 2)
        assert split.attributes.dtype == np.uint8
        assert split.identity.dtype == np.int32


@pytest.mark.parametrize("zipped", [True, False])
def test_read__pictures_are_those_of_the_rows(make_celeba, labels, jpeg, zipped):
    source = read(make_celeba(zipped=zipped))
    for number, split in enumerate(splits(source).values()):
        rows = np.flatnonzero(labels[1] == number)
        assert [split.read(i) for i in range(len(rows))] == [jpeg(r, 109, 89) for r in rows]


def test_splits__line_ends_final_newline_and_zeros_make_no_difference(make_celeba):
    crlf = read(make_celeba("crlf"))
    root = make_celeba("lf", line_end="\n")
    edit(ATTR, r"(?<= )-1", "0", count=0)(root)
    cut(PARTITION, -1)(root)
    lf = read(root)
    for name, split in splits(crlf).items():
        np.testing.assert_array_equal(split.attributes, lf.splits[name]().attributes)
        np.testing.assert_array_equal(split.identity, lf.splits[name]().identity)


def into_the_authors_folders(root):
    for folder, name in (
        *(("Anno", ATTR), ("Anno", IDENTITY), ("Eval", PARTITION)),
        ("Img", ZIP if (root / ZIP).exists() else FOLDER),
    ):
        (root / folder).mkdir(exist_ok=True)
        (root / name).rename(root / folder / name)


def test_open_source__the_authors_folders_are_found(make_celeba):
    flat, root = make_celeba("flat"), make_celeba("nested")
    into_the_authors_folders(root)
    assert read(root).fingerprint == read(flat).fingerprint


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("top", ["", "CelebA"])
def test_open_source__all_of_it_may_lie_in_one_zip(make_celeba, nested, top):
    root = make_celeba(zipped=False)
    expected = splits(read(root))
    pictures = {
        name: [split.read(i) for i in range(len(split.names))] for name, split in expected.items()
    }
    if nested:
        into_the_authors_folders(root)
    path = zip_folder(root, top)
    shutil.rmtree(root)
    assert celeba_official.recognise(path)
    source = read(path)
    assert "12 pictures of 89 x 109 in the zip" in source.found
    for name, split in splits(source).items():
        np.testing.assert_array_equal(split.attributes, expected[name].attributes)
        np.testing.assert_array_equal(split.identity, expected[name].identity)
        assert [split.read(i) for i in range(len(split.names))] == pictures[name]


def test_open_source__the_zip_of_pictures_may_lack_its_folder(make_celeba):
    root = make_celeba()
    expected = splits(read(root))["test"].read(0)
    with zipfile.ZipFile(root / ZIP) as archive:
        contents = {
            name.removeprefix(f"{FOLDER}/"): archive.read(name) for name in archive.namelist()
        }
    with zipfile.ZipFile(root / ZIP, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    assert splits(read(root))["test"].read(0) == expected


def test_open_source__a_zip_within_a_zip_is_refused_with_the_remedy(make_celeba):
    with pytest.raises(DataError, match=r"img_align_celeba.zip: a zip within a zip.*Unpack"):
        read(zip_folder(make_celeba()))


def test_open_source__pictures_alone_are_refused_with_the_folder_to_give(make_celeba):
    root = make_celeba()
    with pytest.raises(DataError, match=f"{ATTR} is not there.*It lies in {root}"):
        read(root / ZIP)


def test_recognise__the_layout_and_nothing_else(make_celeba, tmp_path):
    root = make_celeba()
    assert celeba_official.recognise(root)
    assert celeba_official.recognise(make_celeba("unpacked", zipped=False))
    assert not celeba_official.recognise(tmp_path / "nothing")
    assert not celeba_official.recognise(tmp_path / ("x" * 5000))
    assert not celeba_official.recognise(root / ATTR)  # A file, but no zip.
    assert not celeba_official.recognise(root / ZIP)  # Without labels.
    (root / ATTR).unlink()
    assert not celeba_official.recognise(root)


def test_splits__the_order_of_rows_makes_no_difference(make_celeba):
    root = make_celeba()
    expected = splits(read(root))
    for name in (PARTITION, IDENTITY):
        lines = (root / name).read_text().splitlines(keepends=True)
        (root / name).write_text("".join(np.random.default_rng(1).permutation(lines)))
    for name, split in splits(read(root)).items():
        assert split.names == expected[name].names
        np.testing.assert_array_equal(split.attributes, expected[name].attributes)
        np.testing.assert_array_equal(split.identity, expected[name].identity)


def test_splits__without_a_partition_one_person_stays_in_one(make_celeba):
    root = make_celeba()
    (root / PARTITION).unlink()
    source = read(root)
    assert "split by identity" in source.found
    people = [set(split.identity) for split in splits(source).values()]
    assert all(people)
    assert sum(map(len, people)) == len(set.union(*people)) == 6


def test_splits__without_partition_and_identity_they_are_by_picture(make_celeba):
    root = make_celeba()
    (root / PARTITION).unlink()
    (root / IDENTITY).unlink()
    source = read(root)
    assert "one person may be in several splits" in source.found
    assert "without identities" in source.found
    names = [name for split in splits(source).values() for name in split.names]
    assert sorted(names) == [f"{root / ZIP}: {FOLDER}/{member}" for member in MEMBERS]


def test_on_bad__skip_leaves_out_what_lacks_a_picture_or_a_row(make_celeba):
    root = make_celeba(line_end="\n")
    rezip("000003.jpg", None)(root)  # Of the validation split.
    rezip("000099.jpg", b"")(root)  # Of none.
    edit(IDENTITY, "000008.*\n", "")(root)  # Of the test split.
    edit(PARTITION, "000005.*\n", "")(root)
    with pytest.raises(DataError, match="on_bad=skip"):
        splits(read(root))
    found = splits(read(root, "skip"))
    left_out = {
        name: {file[-10:]: reason for file, reason in split.left_out}
        for name, split in found.items()
    }
    assert left_out["validation"] == {"000003.jpg": "no picture"}
    assert left_out["train"].pop("000099.jpg") == "no row of labels"
    assert PARTITION in left_out["train"].pop("000005.jpg")
    (reason,) = [split.pop("000008.jpg") for split in left_out.values() if "000008.jpg" in split]
    assert IDENTITY in reason
    assert left_out["train"] == left_out["test"] == {}
    names = {name[-10:] for split in found.values() for name in split.names}
    assert names == set(MEMBERS) - {"000003.jpg", "000005.jpg", "000008.jpg"}


def test_on_bad__skip_still_needs_some_pictures_with_labels(make_celeba):
    root = make_celeba(line_end="\n")
    edit(IDENTITY, "0000", "1000", 0)(root)
    with pytest.raises(DataError, match=rf"{ZIP}: not one of its 12 pictures"):
        splits(read(root, "skip"))


def test_on_bad__skip_starts_with_a_bad_first_picture(make_celeba):
    root = make_celeba()
    rezip("000001.jpg", b"")(root)
    assert read(root, "skip").frame == (109, 89)


def test_identity__may_be_missing(make_celeba):
    root = make_celeba()
    (root / IDENTITY).unlink()
    assert set(read(root).splits["train"]().identity) == {-1}


def test_attribute_names__may_be_ones_own_if_none_is_official(make_celeba):
    root = make_celeba()
    edit(ATTR, r"5_o_Clock.*Young", " ".join(f"mine_{i}" for i in range(40)))(root)
    assert read(root).attribute_names[3] == "mine_3"


@pytest.mark.parametrize("zipped", [True, False])
def test_fingerprint__changes_with_every_input(make_celeba, jpeg, zipped):
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


def test_read__works_from_many_threads(make_celeba, jpeg, labels):
    split = read(make_celeba()).splits["train"]()
    rows = np.flatnonzero(labels[1] == 0)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda i: split.read(i % len(rows)), range(400)))
    assert results == [jpeg(rows[i % len(rows)], 109, 89) for i in range(400)]


def zip_of(name):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, b"")
    return file.getvalue()


def celeba_picture(root):
    with zipfile.ZipFile(root / ZIP) as archive:
        return archive.read(f"{FOLDER}/000006.jpg")


BAD = {
    "count": (edit(ATTR, r"^12", "13"), [ATTR, "line 1", "13", "12"]),
    "rows lost": (edit(ATTR, "000012.*\n", ""), [ATTR, "line 1: says 12", "11 rows"]),
    "cut": (cut(ATTR, -3), [ATTR, "line 14", "39 values", "000012.jpg"]),
    "no count": (edit(ATTR, r"^12\n", "x\n"), [ATTR, "line 1", "number of pictures"]),
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
        rezip("000008.jpg", bytes(65 * 2**20), zipfile.ZIP_DEFLATED),
        [ZIP, "000008.jpg", "68,157,440 bytes", "at most"],
    ),
    "html": (replace(ZIP, b"<!DOCTYPE html><html>Quota exceeded"), [ZIP, "HTML page"]),
    "zip cut": (cut(ZIP, 5000), [ZIP, "breaks off", "5,000"]),
    "no zip": (replace(ZIP, b"Rar!\x1a\x07"), [ZIP, "not a zip", "rar!"]),
    "empty zip": (lambda root: zipfile.ZipFile(root / ZIP, "w").close(), [ZIP, "nothing"]),
    "picture empty": (rezip("000009.jpg", b""), [ZIP, "000009.jpg", "not a JPEG"]),
    "picture cut": (
        lambda root: rezip("000006.jpg", celeba_picture(root)[:-2])(root),
        [ZIP, "000006.jpg", "breaks off"],
    ),
    "first picture": (rezip("000001.jpg", b"GIF89a"), [ZIP, "000001.jpg", "not a JPEG", "GIF89a"]),
    "pictures under other names": (
        lambda root: (root / ZIP).write_bytes(zip_of("img_align_celeba/000001.png")),
        [ZIP, "official", "000001.png"],
    ),
    "the folder of pictures is empty": (
        lambda root: [(root / ZIP).unlink(), (root / FOLDER).mkdir()],
        [FOLDER, "official", "nothing"],
    ),
    "attributes missing": (
        lambda root: (root / ATTR).rename(root / "list_atr_celeba.txt"),
        [ATTR, "Did you mean 'list_atr_celeba.txt'", ZIP],
    ),
    "zip missing": (lambda root: (root / ZIP).unlink(), [ZIP, "or the unpacked folder", ATTR]),
    "identity of another set": (
        edit(IDENTITY, "0000", "1000", 0),
        [IDENTITY, "12 of the 12", "and 7 more", "--config.data.on_bad=skip"],
    ),
    "path missing": (shutil.rmtree, ["config.data.path", "does not exist", ATTR]),
}


@pytest.mark.parametrize("name", BAD)
def test_open_source__bad_input_is_named(make_celeba, name):
    damage, fragments = BAD[name]
    root = make_celeba(line_end="\n")
    read_all(root)  # Without the damage there is nothing to complain about.
    damage(root)
    with pytest.raises(DataError) as caught:
        read_all(root)
    for fragment in fragments:
        assert fragment in str(caught.value)


@pytest.mark.parametrize("frame", [(218, 178), (109, 89), (122, 100)])
def test_frame__in_proportion_is_accepted(make_celeba, frame):
    assert read(make_celeba(frame=frame)).frame == frame


@pytest.mark.parametrize("frame", [(178, 178), (111, 89), (1090, 890)])
def test_frame__others_are_refused(make_celeba, frame):
    with pytest.raises(DataError, match=f"000001.jpg is {frame[1]} x {frame[0]}"):
        read(make_celeba(frame=frame))


def test_open_source__without_a_path_it_says_how_to_get_one():
    with pytest.raises(ConfigError, match=r"--config.data.path=PATH.*Liu et al"):
        celeba_official.open_source(Data(source="celeba"))


def test_open_source__the_line_with_the_count_may_be_missing(make_celeba):
    whole, root = read(make_celeba("whole")), make_celeba("headless", line_end="\n")
    edit(ATTR, r"^12\n", "")(root)
    headless = read(root)
    assert headless.attribute_names == whole.attribute_names
    for name, split in splits(whole).items():
        np.testing.assert_array_equal(headless.splits[name]().attributes, split.attributes)
    cut(ATTR, -1000)(root)
    with pytest.raises(DataError, match="list_attr_celeba.txt"):
        read_all(root)


def test_on_bad__a_part_without_pictures_of_a_split_is_split_anew(make_celeba, caplog):
    root = make_celeba(zipped=False)
    for number in (3, 4, 7, 8, 11, 12):  # All that are not of "train".
        (root / FOLDER / f"{number:06d}.jpg").unlink()
    with pytest.raises(DataError, match="on_bad=skip"):
        splits(read(root))
    parts = splits(
        celeba_official.open_source(Data(source="celeba", path=str(root), on_bad="skip"))
    )
    assert "validation or test, so they are split anew by identity" in caplog.text
    assert sum(len(part.attributes) for part in parts.values()) == 6
    people = [set(part.identity) for part in parts.values()]
    assert all(people)
    assert sum(map(len, people)) == len(set.union(*people))
    assert len(parts["train"].left_out) == 6
