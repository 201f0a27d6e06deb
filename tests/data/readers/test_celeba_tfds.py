import concurrent.futures
import dataclasses
import json
import os
import re
import shutil

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter
from helpers.small_tfds import NUMS, encoded, make_source, table
from tensorflow_datasets.proto import tf_example_pb2

from gan.config import Data
from gan.data import build_store
from gan.data.export_tfds import export_tfds
from gan.data.readers import celeba_tfds, tfds_files
from gan.data.readers.celeba_labels import ATTRIBUTES
from gan.errors import DataError
from gan.runtime.tensorflow import import_tensorflow

pytestmark = pytest.mark.usefixtures("no_network")


@pytest.fixture(scope="module", params=tfds_files.FORMATS)
def exported(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    export_tfds(make_source(), root, request.param)
    return root


@pytest.fixture
def root(exported, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(exported, tmp_path / "data")


def read(root):
    return celeba_tfds.open_source(Data(path=str(root)))


def read_all(root):
    return {name: table(load()) for name, load in read(root).splits.items()}


def shard(root, split="train"):
    return next((root / "celeb_a/2.1.0").glob(f"celeb_a-{split}.*"))


def edit(root, name, old, new):
    path = root / "celeb_a/2.1.0" / name
    text = path.read_text()
    assert re.search(old, text)
    path.write_text(re.sub(old, new, text, count=1))


def test_open_source__each_of_the_three_folders_is_found(exported):
    for path in (exported, exported / "celeb_a", exported / "celeb_a/2.1.0"):
        assert celeba_tfds.recognise(path)
        assert read(path).fingerprint == read(exported).fingerprint
    assert not celeba_tfds.recognise(exported / "nothing")
    assert not celeba_tfds.recognise(shard(exported))


def test_open_source__without_a_path_it_lies_where_tfds_puts_it(exported, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(exported))
    assert celeba_tfds.open_source(Data()).fingerprint == read(exported).fingerprint


def test_found__says_what_lies_there(exported):
    for part in ("celeb_a 2.1.0", "record)", "16 pictures of 89 x 109", "with identities"):
        assert part in read(exported).found


def test_open_source__the_newest_version_is_taken(root):
    newer = shutil.copytree(root / "celeb_a/2.1.0", root / "celeb_a/2.10.0")
    info = newer / "dataset_info.json"
    info.write_text(info.read_text().replace('"2.1.0"', '"2.10.0"'))
    assert "2.10.0" in read(root).found
    assert "2.10.0" not in read(root / "celeb_a/2.1.0").found


def test_read__works_from_many_threads(exported):
    split = read(exported).splits["train"]()
    if split.read is None:
        assert list(split.stream()) == list(split.stream())
        return
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda i: split.read(i % 9), range(400)))
    assert results == [encoded(split.identity[i % 9] - 100) for i in range(400)]


def test_names__say_the_file_and_the_record(exported):
    split = read(exported).splits["test"]()
    assert list(split.names) == [f"{shard(exported, 'test')}, record {i}" for i in range(3)]


def test_frame__is_that_of_the_first_picture_where_the_features_leave_it_open(root):
    edit(root, "features.json", r'"dimensions": \[\s*"\d+",\s*"\d+"', '"dimensions": ["-1", "-1"')
    assert read(root).frame == (109, 89)


def test_fingerprint__changes_with_every_file(root):
    prints = [read(root).fingerprint]
    for path in sorted((root / "celeb_a/2.1.0").iterdir()):
        if path.name == "metadata.json":
            continue
        if path.suffix == ".json":
            path.write_text(path.read_text() + "\n")
        else:
            os.utime(path, ns=(1, 1))
        prints.append(read(root).fingerprint)
    assert len(set(prints)) == 6


def test_open_source__a_lost_shard_is_named(root):
    path = shard(root, "validation")
    path.unlink()
    with pytest.raises(DataError, match=re.escape(path.name)) as caught:
        read(root)
    assert "Copy or build" in str(caught.value)


@pytest.mark.parametrize("share", [0, 0.3, 0.7, 0.999])
def test_open_source__a_cut_shard_is_named(root, share):
    path = shard(root)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(DataError, match=re.escape(str(path))) as caught:
        read_all(root)
    assert "Copy or build" in str(caught.value)


def test_open_source__a_shard_cut_between_two_records_is_named_with_both_counts(root):
    path, other = shard(root), shard(root, "test")
    shutil.copy(other, path)
    with pytest.raises(DataError, match=f"{re.escape(str(path))} has 3 records.*says 9"):
        read_all(root)


def test_open_source__a_flipped_bit_is_found_wherever_it_is(exported, tmp_path):
    whole = read_all(exported)
    rng = np.random.default_rng(0)
    messages = []
    for number in range(12):
        root = shutil.copytree(exported, tmp_path / str(number))
        data = bytearray(shard(root).read_bytes())
        data[rng.choice(np.flatnonzero(data))] ^= 1 << rng.integers(8)
        shard(root).write_bytes(data)
        try:
            same = read_all(root) == whole
        except DataError as error:
            same = None
            messages.append(str(error))
        assert same in (True, None)  # True: it was in padding.
    assert len(messages) > 4
    assert all("celeb_a-train" in message for message in messages)


def test_open_source__a_wrong_count_in_the_description_is_found(root):
    edit(root, "dataset_info.json", '"9"', '"8"')
    with pytest.raises(DataError, match="has 9 records|at or after record"):
        read_all(root)


@pytest.mark.parametrize(
    ("name", "old", "new", "fragments"),
    [
        ("dataset_info.json", '"name": "celeb_a"', '"name": "celeb_b"', ["celeb_b"]),
        ("dataset_info.json", r"^\{", "", ["cannot be read"]),
        ("features.json", r"^\{", "", ["cannot be read"]),
        ("features.json", '"image": {', '"picture": {', ["picture", "not celeb_a"]),
        ("features.json", '"Bald"', '"Hairy"', ["attributes/Hairy"]),
        ("features.json", '"109"', '"178"', ["89 x 178", "178 x 218"]),
        ("dataset_info.json", '"fileFormat": "[a-z_]+"', '"fileFormat": "riegeli"', ["riegeli"]),
    ],
)
def test_open_source__a_description_of_something_else_is_refused(root, name, old, new, fragments):
    edit(root, name, old, new)
    with pytest.raises(DataError, match=re.escape(str(root))) as caught:
        read_all(root)
    for fragment in fragments:
        assert re.search(fragment, str(caught.value))


def rewrite(root, changes):
    """Changes records of train by functions of their features, and names these records."""
    prepared = tfds_files.open_prepared(root / "celeb_a/2.1.0")
    path, kept = shard(root), list(tfds_files.read_records(prepared, "train"))
    for row, change in changes.items():
        example = tf_example_pb2.Example.FromString(kept[row])
        change(example.features.feature)
        kept[row] = example.SerializeToString()
    write_records(prepared, path, kept)
    return [f"{path}, record {row}" for row in changes]


def write_records(prepared, path, records):
    if prepared.file_format == "tfrecord":
        writer = import_tensorflow().io.TFRecordWriter(str(path))
    else:
        writer = ArrayRecordWriter(str(path), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()


def lose_image(feature):
    del feature["image"]


def spoil_image(feature):
    feature["image"].bytes_list.value[:] = [b"no picture"]


@pytest.mark.parametrize("open_frame", [False, True])
def test_splits__a_record_without_a_picture_is_a_bad_picture(root, open_frame):
    if open_frame:
        test_frame__is_that_of_the_first_picture_where_the_features_leave_it_open(root)
    (where,) = rewrite(root, {4: lose_image})
    split = read(root).splits["train"]()
    assert len(split.names) == 9
    pictures = (
        list(split.stream())
        if split.stream
        else [build_store.read_picture(split, i) for i in range(9)]
    )
    assert [isinstance(picture, DataError) for picture in pictures] == [i == 4 for i in range(9)]
    assert str(pictures[4]).startswith(f"{where} has no 'image'")
    assert split.names[4] == where


def test_on_bad__with_skip_the_frame_is_that_of_the_first_good_picture(root):
    edit(root, "features.json", r'"dimensions": \[\s*"\d+",\s*"\d+"', '"dimensions": ["-1", "-1"')
    first, _ = rewrite(root, {0: lose_image, 1: spoil_image})
    assert celeba_tfds.open_source(Data(path=str(root), on_bad="skip")).frame == (109, 89)
    with pytest.raises(DataError, match=re.escape(f"{first} has no 'image'")):
        read(root)


def test_frame__without_records_it_is_unknown(root):
    edit(root, "features.json", r'"dimensions": \[\s*"\d+",\s*"\d+"', '"dimensions": ["-1", "-1"')
    write_records(tfds_files.open_prepared(root / "celeb_a/2.1.0"), shard(root), [])
    edit(root, "dataset_info.json", '"9"', '"0"')
    with pytest.raises(DataError, match="the split 'train' has no records"):
        read(root)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("attributes/Bald", 2, "'attributes/Bald' is 2, not 0 or 1"),
        ("attributes/Young", -1, "'attributes/Young' is -1, not 0 or 1"),
        ("attributes/Male", 256, "'attributes/Male' is 256, not 0 or 1"),
        ("identity/Identity_No", 2**31, "is 2147483648, too large"),
        ("identity/Identity_No", -(2**63), "is -9223372036854775808, too large"),
        ("attributes/Bald", None, "has no 'attributes/Bald'"),
        ("identity/Identity_No", None, "has no 'identity/Identity_No'"),
    ],
)
def test_splits__wrong_labels_are_named_with_their_record(root, key, value, message):
    def change(feature):
        del feature[key].int64_list.value[:]
        feature[key].int64_list.value.extend([] if value is None else [value])

    (where,) = rewrite(root, {4: change})
    with pytest.raises(DataError, match=re.escape(where)) as caught:
        read(root).splits["train"]()
    assert message in str(caught.value)


def test_open_source__all_three_splits_are_needed(root):
    path = root / "celeb_a/2.1.0/dataset_info.json"
    info = json.loads(path.read_text())
    info["splits"] = [split for split in info["splits"] if split["name"] != "validation"]
    path.write_text(json.dumps(info))
    with pytest.raises(DataError, match=r"no split 'validation'.*it has train, test|test, train"):
        read(root)


def test_open_source__an_unfinished_build_is_named(tmp_path):
    (tmp_path / "celeb_a/incomplete.ABCDEF_2.1.0").mkdir(parents=True)
    with pytest.raises(DataError, match=r"incomplete.ABCDEF_2.1.0.*--config.data.path=FOLDER"):
        read(tmp_path)
    assert not celeba_tfds.recognise(tmp_path)


def test_attribute_names__ones_own_are_sorted(tmp_path):
    source = make_source(attributes=2)
    export_tfds(dataclasses.replace(source, attribute_names=("zebra", "ape")), tmp_path)
    back = read(tmp_path)
    split, other = back.splits["test"](), source.splits["test"]()
    column = back.attribute_names.index("zebra")
    assert back.attribute_names == ("ape", "zebra")
    order = split.identity - 114
    np.testing.assert_array_equal(split.attributes[:, column], other.attributes[order, 0])


def test_attribute_names__are_in_the_official_order(exported):
    assert read(exported).attribute_names == ATTRIBUTES
    assert sum(NUMS.values()) == 16
