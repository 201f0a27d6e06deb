"""Exporting to TFDS: other programs read it, and nothing is lost or written over."""

import dataclasses
import json
import logging

import pytest
import tensorflow_datasets as tfds
from helpers.small_tfds import FRAME, NUMS, encoded, make_source, table
from tensorflow_datasets.core import hashing

from gan.config import Data
from gan.data.export_tfds import export_tfds
from gan.data.readers import celeba_tfds, tfds_files
from gan.data.readers.celeba_labels import ATTRIBUTES
from gan.errors import ConfigError, DataError

pytestmark = pytest.mark.usefixtures("no_network")


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("file_format", tfds_files.FORMATS)
def test_export_tfds__a_round_trip_changes_nothing(tmp_path, file_format, streamed, known):
    source = make_source(streamed=streamed, known=known)
    folder = export_tfds(source, tmp_path, file_format)
    assert folder == tmp_path / "celeb_a/2.1.0"
    assert sorted(tmp_path.rglob("*incomplete*")) == []
    back = celeba_tfds.open_source(Data(path=str(tmp_path)))
    assert back.attribute_names == ATTRIBUTES
    assert (back.frame, back.formats) == (FRAME, ("JPEG",))
    assert list(back.splits) == list(NUMS)
    for name, load in source.splits.items():
        assert len(table(back.splits[name]())) == NUMS[name]
        assert table(back.splits[name]()) == table(load())


@pytest.mark.parametrize("file_format", tfds_files.FORMATS)
def test_export_tfds__other_programs_read_it(tmp_path, file_format):
    folder = export_tfds(make_source(), tmp_path, file_format)
    builder = tfds.builder_from_directory(folder)
    assert builder.info.full_name == "celeb_a/2.1.0"
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == NUMS
    if file_format == "tfrecord":
        loaded = tfds.load("celeb_a:2.1.0", data_dir=tmp_path, split="test", download=False)
        examples = list(loaded.as_numpy_iterator())
    else:
        examples = [*tfds.data_source("celeb_a:2.1.0", data_dir=tmp_path, download=False)["test"]]
    assert sorted(int(example["identity"]["Identity_No"]) for example in examples) == [
        114,
        115,
        116,
    ]
    assert {example["image"].shape for example in examples} == {(*FRAME, 3)}
    assert set(examples[0]["attributes"]) == set(ATTRIBUTES)


def test_export_tfds__records_are_in_the_order_of_the_official_data_set(tmp_path):
    folder = export_tfds(make_source(), tmp_path)
    back = celeba_tfds.open_source(Data(path=str(folder)))
    hasher = hashing.Hasher("train")
    rows = sorted(range(1, 10), key=lambda i: hasher.hash_key(f"{i:06d}.jpg"))
    assert back.splits["train"]().identity.tolist() == [100 + i for i in rows]


def test_export_tfds__two_exports_have_the_same_bytes(tmp_path):
    folders = [export_tfds(make_source(), tmp_path / name) for name in ("a", "b")]
    files = [{path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders]
    assert files[0] == files[1]


def test_export_tfds__takes_own_pictures_of_any_size_and_format(tmp_path):
    def picture(number):
        return encoded(number, (20 + number, 30), "PNG" if number % 2 else "JPEG")

    source = dataclasses.replace(
        make_source(attributes=2, known=False, picture=picture),
        name="folder",
        attribute_names=("cat", "small dog"),
        formats=("JPEG", "PNG", "WEBP"),
        frame=None,
    )
    folder = export_tfds(source, tmp_path)
    assert folder == tmp_path / "folder/1.0.0"
    builder = tfds.builder_from_directory(folder)
    assert set(builder.info.features) == {"image", "attributes"}
    found = {
        (int(x["image"].shape[0]), bool(x["attributes"]["cat"]))
        for x in builder.as_dataset(split="train").as_numpy_iterator()
    }
    split = source.splits["train"]()
    assert found == {(21 + i, bool(split.attributes[i, 0])) for i in range(9)}


@pytest.mark.parametrize(
    ("damage", "fragment"),
    [
        (lambda data: data[:-2], "breaks off"),
        (lambda data: data[:900] + bytes(2), "breaks off"),
        (lambda data: encoded(0, (110, 89)), "89 x 110"),
        (lambda data: b"<html>", "not a JPEG"),
    ],
)
def test_export_tfds__a_bad_picture_stops_it_or_is_left_out(tmp_path, damage, fragment, caplog):
    bad = {5: damage(encoded(5))}
    source = make_source(picture=lambda i: bad.get(i) or encoded(i))
    with pytest.raises(DataError, match="000005.jpg") as caught:
        export_tfds(source, tmp_path)
    assert fragment in str(caught.value)
    assert [path.name for path in tmp_path.rglob("*")] == ["celeb_a"]
    with caplog.at_level(logging.INFO, "gan"):
        folder = export_tfds(source, tmp_path, on_bad="skip")
    assert "000005.jpg" in caplog.text
    assert "8 train" in caplog.text
    assert json.loads((folder / "metadata.json").read_bytes())["left_out"] == 1
    train = celeba_tfds.open_source(Data(path=str(tmp_path))).splits["train"]()
    assert sorted(train.identity.tolist()) == [101, 102, 103, 104, 106, 107, 108, 109]


def test_export_tfds__refuses_an_export_that_lacks_pictures_unless_they_may_be_left_out(tmp_path):
    source = make_source(picture=lambda i: b"" if i == 5 else encoded(i))
    folder = export_tfds(source, tmp_path, on_bad="skip")
    assert export_tfds(source, tmp_path, on_bad="skip") == folder
    with pytest.raises(DataError, match=r"1 pictures were left out.*delete the folder") as caught:
        export_tfds(source, tmp_path)
    assert "--config.data.on_bad=skip" in str(caught.value)


@pytest.fixture
def tmpfs(make_disk):
    return make_disk("100k")


@pytest.mark.parametrize("file_format", tfds_files.FORMATS)
def test_export_tfds__a_full_disk_is_said_with_the_room_there(tmpfs, file_format):
    with pytest.raises(DataError, match=r"No space left.*0\.1 MB are free there.*--out=FOLDER"):
        export_tfds(make_source(), tmpfs, file_format)
    assert [path.name for path in tmpfs.rglob("*")] == ["celeb_a"]


@pytest.mark.parametrize(
    "error", [OSError("Not enough disk space"), RuntimeError("Failed to finalize")]
)
def test_export_tfds__whatever_fails_in_writing_is_an_error_of_ours(tmp_path, error, monkeypatch):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(tfds.core.GeneratorBasedBuilder, "download_and_prepare", fail)
    with pytest.raises(DataError, match=f"cannot be written .{error}.*MB are free there"):
        export_tfds(make_source(), tmp_path)


def test_export_tfds__keeps_what_is_there(tmp_path, caplog):
    source = make_source()
    folder = export_tfds(source, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    with caplog.at_level(logging.INFO, "gan"):
        assert export_tfds(source, tmp_path) == folder
    assert "already" in caplog.text
    with pytest.raises(ConfigError, match=r"another source.*another folder"):
        export_tfds(dataclasses.replace(source, fingerprint="cd34"), tmp_path)
    with pytest.raises(ConfigError, match="in the format 'tfrecord'"):
        export_tfds(source, tmp_path, "array_record")
    (folder / "metadata.json").unlink()
    with pytest.raises(ConfigError, match="holds another data set already"):
        export_tfds(source, tmp_path)
    (folder / "metadata.json").write_text("[]")
    with pytest.raises(ConfigError, match="holds another data set already"):
        export_tfds(source, tmp_path)
    before.pop(folder / "metadata.json")
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_export_tfds__after_a_kill_it_works_and_says_what_was_left(tmp_path, caplog):
    (tmp_path / "celeb_a/incomplete.ABCDEF_2.1.0").mkdir(parents=True)
    export_tfds(make_source(), tmp_path)
    assert "incomplete.ABCDEF_2.1.0" in caplog.text
    assert celeba_tfds.recognise(tmp_path)


def test_export_tfds__refuses_wrong_settings(tmp_path):
    with pytest.raises(ConfigError, match=r"'arrayrecord'.*Did you mean 'array_record'"):
        export_tfds(make_source(), tmp_path, "arrayrecord")
    with pytest.raises(ConfigError, match="no picture files"):
        export_tfds(dataclasses.replace(make_source(), formats=()), tmp_path)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="give another folder"):
        export_tfds(make_source(), tmp_path / "file")


def test_export_tfds__prints_nothing(tmp_path, capfd):
    export_tfds(make_source(), tmp_path)
    assert "Downloading" not in "".join(capfd.readouterr())
