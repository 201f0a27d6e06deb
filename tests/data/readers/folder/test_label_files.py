"""Files of labels: which are found, and how StyleGAN's and Hugging Face's are read."""

import json
from pathlib import Path

import pytest

from gan.config import Data
from gan.data.files import Folder
from gan.data.readers.folder.contents import FolderContents, LabelFile
from gan.data.readers.folder.label_files import find_label_files, read_label_file
from gan.errors import ConfigError, DataError


def find(*names, labels="auto"):
    found = FolderContents(Folder(Path("set")), {}, (), names)
    return [
        (file.name, file.folder, file.split)
        for file in find_label_files(Data(labels=labels), found)
    ]


def read(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    file = LabelFile(Folder(tmp_path), name)
    return read_label_file(file, lambda columns: next(iter(columns)))


def stylegan(tmp_path, labels):
    return read(tmp_path, "dataset.json", json.dumps({"labels": labels}))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], []),
        (["notes.txt", "a.json"], []),
        (["a/labels.csv"], [("a/labels.csv", "a", None)]),
        (["dataset.json", "x.txt"], [("dataset.json", "", None)]),
        (
            ["test/metadata.csv", "train/metadata.csv"],
            [("test/metadata.csv", "test", None), ("train/metadata.csv", "train", None)],
        ),
        (["a/fairface_label_train.csv", "a/fairface_label_val.csv"], ["train", "validation"]),
        (["test.csv", "train.csv", "valid.csv"], ["test", "train", "validation"]),
    ],
)
def test_find_label_files__finds_one_or_what_belongs_together(names, expected):
    found = find(*names)
    assert (
        [split for *_, split in found] if expected and isinstance(expected[0], str) else found
    ) == expected


@pytest.mark.parametrize(
    "names",
    [
        ["a.csv", "b.csv"],
        ["metadata.csv", "dataset.json"],
        ["labels.csv", "a/labels.csv"],
        ["train.csv", "train_2.csv"],
        ["a_train.csv", "b_test.csv"],
        ["metadata.jsonl", "metadata.csv"],
    ],
)
def test_find_label_files__of_several_one_has_to_be_named(names):
    with pytest.raises(ConfigError) as caught:
        find(*names)
    for way in (f"labels={names[0]}", "labels=folders", "labels=none"):
        assert f"--config.data.{way}" in str(caught.value)
    assert find(*names, labels=names[1])[0][0] == names[1]


@pytest.mark.parametrize(
    "name", ["x/list_attr_celeba.txt", "list_attr_celeba (1).txt", "list_attr_celeba.csv"]
)
def test_find_label_files__official_files_are_not_passed_over(name):
    with pytest.raises(DataError, match=r"--config\.data\.source=celeba.*labels=none"):
        find(name)
    with pytest.raises(DataError, match=r"write them to metadata\.csv.*labels=none"):
        find("metadata.parquet")


def test_read_dataset_json__classes(tmp_path):
    table = stylegan(tmp_path, [["00000/a.png", 3], ["00001/b.png", 0]])
    assert table.pictures == ["00000/a.png", "00001/b.png"]
    assert table.columns == {"class": ["3", "0"]}


@pytest.mark.parametrize(
    ("labels", "columns"),
    [
        ([["a", [0, 1]], ["b", [1.0, 0]]], {"class": ["1", "0"]}),
        ([["a", [1, 1]], ["b", [1, 0]]], {"label_0": ["1", "1"], "label_1": ["1", "0"]}),
        ([["a", [1]], ["b", [0]]], {"label_0": ["1", "0"]}),
        ({"a": 2, "b": 1}, {"class": ["2", "1"]}),
        (None, {}),
    ],
)
def test_read_dataset_json__vectors_of_numbers_and_none(tmp_path, labels, columns):
    assert stylegan(tmp_path, labels).columns == columns


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "this is not JSON"),
        ("[1]", "should hold"),
        ('{"label": []}', "should hold"),
        ('{"labels": 3}', "should hold"),
        ('{"labels": [["a", 1, 2]]}', "label 1: .* is no pair"),
        ('{"labels": [["a", 1], [3, 1]]}', "label 2: .* is no pair"),
        ('{"labels": [["a", 1], ["a", 2]]}', "label 2: 'a' stands there a second time"),
        ('{"labels": [["a", [0.5, 1]]]}', "label 1: 0.5 is neither 0 nor 1.*labels=none"),
        ('{"labels": [["a", [0, 1]], ["b", [1]]]}', "label 2: not 2 numbers"),
        ('{"labels": [["a", [0, 1]], ["b", 1]]}', "label 2: not 2 numbers"),
        ('{"labels": [["a", 1.5]]}', "label 1: 1.5 is no class"),
        ('{"labels": [["a", true]]}', "label 1: true is no class"),
        ('{"labels": [["a", null]]}', "label 1: null is no class"),
    ],
)
def test_read_dataset_json__what_is_wrong_is_named(tmp_path, text, message):
    with pytest.raises(DataError, match=rf"dataset\.json.*{message}"):
        read(tmp_path, "dataset.json", text)


def test_read_json_lines__fields_are_columns(tmp_path):
    rows = [{"file_name": "a.png", "age": 3, "Hat": True}, {"file_name": "b.png", "text": None}]
    table = read(tmp_path, "metadata.jsonl", "\n\n".join(map(json.dumps, rows)))
    assert table.pictures == ["a.png", "b.png"]
    assert table.columns == {"age": ["3", ""], "Hat": ["true", ""], "text": ["", ""]}
    assert table.line(1).endswith("metadata.jsonl, line 3")


@pytest.mark.parametrize("text", ["[]\n", "{\n", '{"a": "x"}\n{"a": "x"}', '{"a": ""}', "{}"])
def test_read_json_lines__wrong_lines_are_named(tmp_path, text):
    with pytest.raises(DataError, match=r"metadata\.jsonl"):
        read(tmp_path, "metadata.jsonl", text)
