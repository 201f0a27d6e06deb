"""Names of folders: which are splits, which are classes, which are neither."""

from pathlib import Path

import pytest

from gan.data.files import Folder
from gan.data.readers.folder.contents import FolderContents
from gan.data.readers.folder.folder_names import doubt_classes, parse_folders, parse_split
from gan.errors import DataError


def contents(*folders):
    """Two pictures in each folder."""
    names = [f"{folder}/{i}.png" for folder in folders for i in range(2)]
    return FolderContents(Folder(Path("set")), dict.fromkeys(names, (1, 1)), (), [])


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *((name, "train") for name in ("train", "Training", "TRAIN", "seg_train", "train_images")),
        *((name, "train") for name in ("trainset", "train2017", "images-train", "TrainData")),
        *((name, "validation") for name in ("val", "Valid", "Validation Set", "dev", "val_256")),
        *((name, "test") for name in ("Test", "testing", "PublicTest", "test1")),
        *((name, None) for name in ("trains", "tested", "cat", "train_val", "test_cat", "", "12")),
        *((name, None) for name in ("images", "contest", "retrain", "valley", "dataset")),
    ],
)
def test_parse_split__knows_any_spelling(name, split):
    assert parse_split(name) == split


@pytest.mark.parametrize(
    "form",
    [
        "{split}/{kind}",
        "{split}/{split}/{kind}",
        "{kind}/{split}",
        "{split}/images/{kind}",
        "data/{split}/{kind}/deep",
    ],
)
def test_parse_folders__splits_are_found_at_any_depth(form):
    pairs = [(split, kind) for split in ("Training", "Test") for kind in ("cat", "dog")]
    found = contents(*(form.format(split=split, kind=kind) for split, kind in pairs))
    parsed = parse_folders(found._replace(common=("data",) if form[0] == "d" else ()))
    assert parsed.names == ("cat", "dog")
    assert parsed.splits == [split.lower()[:5].rstrip("i") for split, _ in pairs for _ in range(2)]
    assert list(parsed.classes) == [kind for _, kind in pairs for _ in range(2)]


def test_parse_folders__only_what_older_editions_read_is_called_old():
    assert parse_folders(contents("train/a", "val/b")).is_old
    assert parse_folders(contents("a", "b")).is_old
    assert not parse_folders(contents("Training/a", "val/b")).is_old
    assert not parse_folders(contents("a/train", "b/train")).is_old


def test_parse_folders__composed_and_decomposed_names_are_one_class():
    parsed = parse_folders(contents("train/Zo\u00eb", "train/x", "test/Zoe\u0308", "test/x"))
    assert parsed.names == ("Zo\u00eb", "x")


@pytest.mark.parametrize("folders", [("train", "car", "ship"), ("a/train", "b/ship")])
def test_parse_folders__some_split_names_among_others_are_refused_unless_told(folders):
    with pytest.raises(DataError, match=r"train looks like a split.*labels=folders"):
        parse_folders(contents(*folders))
    assert parse_folders(contents(*folders), strict=False).splits is None


def test_parse_folders__contradicting_levels_are_refused():
    with pytest.raises(DataError, match="lies in a folder of train and in one of test"):
        parse_folders(contents("train/test", "test/test"))


@pytest.mark.parametrize(
    ("names", "doubtful"),
    [
        (["00000", "01000"], True),
        (["0", "1", "2"], True),
        (["0a", "ff"], True),
        (["a", "b"], False),
        (["n01440764", "n01443537"], False),
        (["0", "cat"], False),
        (["one"], False),
    ],
)
def test_doubt_classes__folders_that_only_number_their_pictures(names, doubtful):
    found = contents(*names)
    doubts = doubt_classes(found, parse_folders(found))
    assert len(doubts) == doubtful
    for doubt in doubts:
        assert f"would become {len(names)} classes: {names[0]} (2 pictures)" in doubt.guess
        assert [*doubt.settings] == [f"--config.data.labels={x}" for x in ("folders", "none")]
