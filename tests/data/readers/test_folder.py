import io
import json
import logging
import os
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan.config import Data
from gan.data.readers import folder
from gan.errors import ConfigError, DataError

SPLITS = ["train", "validation", "test"]


def png(number):
    file = io.BytesIO()
    Image.new("RGB", (4, 3), (number, 0, 0)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(params=["folder", "zip"])
def make(request, tmp_path):
    """Writes files (name -> content; None: a picture) into a folder or a zip."""

    def write(files, name="set"):
        contents = {
            file: png(i) if content is None else content.encode()
            for i, (file, content) in enumerate(files.items())
        }
        path = tmp_path / name
        if request.param == "zip":
            with zipfile.ZipFile(path.with_suffix(".zip"), "w") as archive:
                for file, content in contents.items():
                    archive.writestr(file, content)
            return path.with_suffix(".zip")
        for file, content in contents.items():
            (path / file).parent.mkdir(parents=True, exist_ok=True)
            (path / file).write_bytes(content)
        return path

    return write


def read(path, **options):
    return folder.open_source(Data(source="folder", path=str(path), **options))


def splits(source):
    assert list(source.splits) == SPLITS
    return {name: load() for name, load in source.splits.items()}


def rows(source):
    """Picture -> (split, attributes, identity), and the picture read is the one named."""
    found = {}
    for name, split in splits(source).items():
        assert split.attributes.dtype == np.uint8
        assert split.identity.dtype == np.int32
        assert len(split.names) == len(split.attributes) == len(split.identity)
        for i, where in enumerate(split.names):
            assert split.read(i).startswith(b"\x89PNG")
            found[where] = (name, split.attributes[i].tolist(), int(split.identity[i]))
    return found


def ending(found, end):
    (row,) = [row for name, row in found.items() if name.endswith(end)]
    return row


def pictures(num, form="{}.png"):
    return {form.format(i): None for i in range(num)}


def test_open_source__pictures_alone_are_unconditional(make):
    source = read(make(pictures(40) | {"notes.txt": "", "clip.mp4": ""}))
    parts = splits(source)
    assert source.attribute_names == ()
    assert source.frame is None
    assert "PNG" in source.formats
    assert [split.attributes.shape[1] for split in parts.values()] == [0, 0, 0]
    assert sum(len(split.names) for split in parts.values()) == 40
    assert all(len(split.names) for split in parts.values())
    assert "40 pictures" in source.found
    assert "2 other files were left alone: .mp4, .txt" in source.found


def test_open_source__pictures_of_kinds_that_are_not_read_are_warned_of(make, caplog):
    others = dict.fromkeys(["a.HEIC", "deep/b.tif", "c.tiff", "d.heic", "e.gif", "notes.txt"], "")
    source = read(make(pictures(3) | others))
    assert "1 other files were left alone: .txt" in source.found
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "5 pictures" in record.getMessage()
    assert "(.gif, .heic, .tif, .tiff)" in record.getMessage()
    assert "Convert them to PNG or JPEG" in record.getMessage()


@pytest.mark.parametrize("extension", ["jpg", "JPEG", "jpe", "jfif", "png", "webp", "bmp"])
def test_recognise__all_extensions_that_are_read(make, extension):
    path = make(pictures(4, "{}." + extension))
    assert folder.recognise(path)
    assert "4 pictures" in read(path).found


def test_read__links_to_nothing_are_bad_pictures(tmp_path):
    for i in range(9):
        (tmp_path / f"{i}.png").write_bytes(png(i))
    (tmp_path / "lost.png").symlink_to(tmp_path / ".git" / "annex" / "lost.png")
    source = read(tmp_path)
    assert "10 pictures" in source.found
    ((split, i),) = [
        (split, i)
        for split in splits(source).values()
        for i, name in enumerate(split.names)
        if name.endswith("lost.png")
    ]
    with pytest.raises(DataError, match=r"lost\.png cannot be read: No such file or directory"):
        split.read(i)


@pytest.mark.parametrize("top", ["", "pets/", "a b/ü/"])
def test_sub_folders__are_classes(make, top):
    files = pictures(9, top + "dog/{}.JPG") | pictures(9, top + "Cät/deep/{} é.webp")
    source = read(make(files | {f"{top}README.md": ""}))
    assert source.attribute_names == ("Cät", "dog")
    found = rows(source)
    assert len(found) == 18
    assert ending(found, "dog/3.JPG")[1:] == ([0, 1], -1)
    assert ending(found, "deep/3 é.webp")[1:] == ([1, 0], -1)


def test_sub_folders__of_splits_hold_the_classes(make):
    files = {
        f"{split}/{kind}/{i}.png": None
        for split in ("Train", "val", "test")
        for kind in ("cat", "dog")
        for i in range(2)
    }
    found = rows(read(make(files)))
    assert ending(found, "Train/cat/1.png") == ("train", [1, 0], -1)
    assert ending(found, "val/dog/0.png") == ("validation", [0, 1], -1)
    assert ending(found, "test/dog/0.png") == ("test", [0, 1], -1)


@pytest.mark.parametrize("there", [["test"], ["validation"]])
def test_splits__a_missing_one_is_taken_from_train(make, there):
    files = pictures(30, "train/{}.png") | pictures(4, there[0] + "/{}.png")
    source = read(make(files))
    found = rows(source)
    assert source.attribute_names == ()
    assert {row[0] for row in found.values()} == set(SPLITS)
    assert len(found) == 34
    for name, row in found.items():
        assert (f"{there[0]}/" in name) == (row[0] == there[0])


CSV = "picture,Glasses,Smiling\n" + "".join(f"{i}.png,{i % 2},1\n" for i in range(30))


@pytest.mark.parametrize("place", ["", "faces/", "faces/deep/"])
@pytest.mark.parametrize("spelling", ["faces/deep/{}.png", "deep/{}.png", "./{}.png", "{}.png"])
def test_csv__labels_pictures_by_path_or_the_end_of_it(make, place, spelling):
    text = "picture,Glasses,Smiling\n" + "".join(
        f"{spelling.format(i)},{i % 2},1\n" for i in range(30)
    )
    source = read(make(pictures(30, "faces/deep/{}.png") | {f"{place}labels.csv": text}))
    assert source.attribute_names == ("Glasses", "Smiling")
    assert "left alone" not in source.found
    found = rows(source)
    assert len(found) == 30
    assert ending(found, "/7.png")[1] == [1, 1]
    assert ending(found, "/8.png")[1] == [0, 1]


@pytest.mark.parametrize(
    "spelling",
    ["{}", "deep/{}", "deep\\{}.png", ".\\faces\\deep\\{}.png", "{}.PNG", "faces/deep/{}.Png"],
)
def test_csv__may_spell_names_in_other_ways(make, spelling):
    text = "p,Hat\n" + "".join(f"{spelling.format(i)},{i % 2}\n" for i in range(9))
    found = rows(read(make(pictures(9, "faces/deep/{}.png") | {"labels.csv": text})))
    assert [ending(found, f"/{i}.png")[1] for i in range(9)] == [[i % 2] for i in range(9)]


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("start", ["", "/"])
def test_csv__may_name_paths_to_the_folder_too(tmp_path, linked, start):
    path = tmp_path / "set"
    (path / "b").mkdir(parents=True)
    if linked:
        (tmp_path / "link").symlink_to(path)
    for i in range(4):
        (path / f"{i}.png").write_bytes(png(i))
        (path / "b" / f"{i}.png").write_bytes(png(i))
    places = [str(path).lstrip("/") if not start else str(path), f"{path if start else 'set'}/b"]
    text = [f"{place}/{i}.png,{place[-1] == 'b'}\n" for place in places for i in range(4)]
    (tmp_path / "labels.csv").write_text("p,Hat\n" + "".join(text))
    source = read(tmp_path / ("link" if linked else "set"), labels=str(tmp_path / "labels.csv"))
    found = rows(source)
    assert len(found) == 8
    assert all(row[1] == [int("/b/" in name)] for name, row in found.items())


@pytest.mark.parametrize("on_bad", ["error", "skip"])
@pytest.mark.parametrize("name", ["img_{}.png", "/other/place/{}.png", "{}.jpg"])
def test_csv__where_no_name_fits_one_of_each_side_is_shown(make, on_bad, name):
    text = "p,Hat\n" + "".join(f"{name.format(i)},1\n" for i in range(9))
    with pytest.raises(DataError) as caught:
        read(make(pictures(9) | {"labels.csv": text}), on_bad=on_bad)
    assert f"the CSV has '{name.format(0)}', the folder has '0.png'" in str(caught.value)
    assert "on_bad" not in str(caught.value)


def test_csv__may_tell_split_and_identity(make):
    people = ["Eve", "Adam", "", "Eve", "日"]
    words = ["train", "0", "VAL", "2", "test"]
    text = "file,Split,person,Hat\n" + "".join(
        f"{i}.png,{words[i]},{people[i]},{'yes' if i else 'no'}\n" for i in range(5)
    )
    source = read(make(pictures(5) | {"labels.csv": text}))
    assert source.attribute_names == ("Hat",)
    found = rows(source)
    assert [ending(found, f"{i}.png") for i in range(5)] == [
        ("train", [0], 1),
        ("train", [1], 0),
        ("validation", [1], -1),
        ("test", [1], 1),
        ("test", [1], 2),
    ]


def test_splits__one_person_is_in_one(make):
    text = "file,identity\n" + "".join(f"{i}.png,p{i % 20}\n" for i in range(80))
    found = rows(read(make(pictures(80) | {"labels.csv": text})))
    splits_of = [{row[0] for row in found.values() if row[2] == person} for person in range(20)]
    assert all(len(names) == 1 for names in splits_of)
    assert set.union(*splits_of) == set(SPLITS)


def test_csv__may_be_named_or_lie_elsewhere(make, tmp_path):
    path = make(pictures(30) | {"a.csv": CSV, "b.csv": CSV.replace("Glasses", "Hat")})
    (tmp_path / "c.csv").write_text(CSV.replace("Glasses", "Beard"))
    assert read(path, labels="b.csv").attribute_names == ("Hat", "Smiling")
    assert read(path, labels=str(tmp_path / "c.csv")).attribute_names[0] == "Beard"
    with pytest.raises(ConfigError, match=r"a\.csv, b\.csv.*--config\.data\.labels=a\.csv"):
        read(path)
    with pytest.raises(ConfigError, match=r"labels='bb\.csv' is no file.*Did you mean 'b\.csv'"):
        read(path, labels="bb.csv")


AGES = ["0-2", "03-Sep", "more than 70"]


def faces(num=60, top="fairface/"):
    """The layout of a real set: a CSV of words beside one folder of pictures, in a folder."""
    rows = "".join(f"train/{i}.png,{AGES[i % 3]},{('Male', 'Female')[i % 2]}\n" for i in range(num))
    return pictures(num, top + "train/{}.png") | {f"{top}labels.csv": "file,age,gender\n" + rows}


def test_csv__columns_of_words_are_groups_of_attributes(make):
    source = read(make(faces()))
    ages, genders = tuple(f"age={age}" for age in AGES), ("gender=Female", "gender=Male")
    assert source.attribute_names == (*ages, *genders)
    assert source.groups == (ages, genders)
    assert "5 attributes" in source.found
    found = rows(source)
    assert {row[0] for row in found.values()} == set(SPLITS)
    assert ending(found, "/4.png")[1] == [0, 1, 0, 0, 1]


def test_csv__columns_are_chosen_before_they_are_checked(make):
    text = "file,Smiling,age\n" + "".join(f"{i}.png,{i % 2},{20 + i}\n" for i in range(30))
    path = make(pictures(30) | {"labels.csv": text})
    with pytest.raises(
        DataError, match=r"column 'age': '20'.*--config\.data\.attributes=Smiling\."
    ):
        read(path)
    source = read(path, attributes="Smiling")
    assert source.attribute_names == ("Smiling",)
    assert "columns left aside: age" in source.found
    assert len(read(path, attributes="Smiling,age").groups[0]) == 30


def test_csv__the_first_column_that_names_pictures_is_taken(make):
    text = ",label,path\n" + "".join(f"{i},{'ab'[i % 2]},x/{i}.png\n" for i in range(9))
    source = read(make(pictures(9, "x/{}.png") | {"l.csv": text}))
    assert source.attribute_names == ("label=a", "label=b")


def test_csv__of_each_split_are_read_together(make):
    files = {}
    for split in ("train", "val", "test"):
        files |= pictures(4, split + "/{}.png")
        files[f"{split}.csv"] = "file,kind\n" + "".join(
            f"{i}.png,{'ab'[i % 2]}\n" for i in range(4)
        )
    found = rows(read(make(files)))
    assert ending(found, "val/3.png") == ("validation", [0, 1], -1)
    assert [row[0] for row in found.values()].count("test") == 4


def test_csv__folders_named_as_splits_are_the_splits(make):
    files = pictures(6, "Training/{}.png") | pictures(3, "Testing/t{}.png")
    names = [f"{i}.png" for i in range(6)] + [f"t{i}.png" for i in range(3)]
    text = "file,Hat\n" + "".join(f"{name},{i % 2}\n" for i, name in enumerate(names))
    found = rows(read(make(files | {"labels.csv": text})))
    assert all((row[0] == "test") == ("Testing/" in name) for name, row in found.items())


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_metadata__is_read_in_the_folder_of_each_split(make, kind):
    files = {}
    for split in ("train", "test"):
        files |= pictures(20, split + "/{}.png")
        lines = ["file_name,Smiling", *(f"{i}.png,{i % 2}" for i in range(20))]
        if kind == "jsonl":
            lines = [f'{{"Smiling": {i % 2}, "file_name": "{i}.png"}}' for i in range(20)]
        files[f"{split}/metadata.{kind}"] = "\n".join(lines) + "\n"
    source = read(make(files))
    assert source.attribute_names == ("Smiling",)
    found = rows(source)
    assert ending(found, "test/3.png") == ("test", [1], -1)
    assert ending(found, "train/2.png")[1] == [0]
    without = read(make(files), labels="none")
    assert without.attribute_names == ()
    assert "no labels, as --config.data.labels=none; splits by folder" in without.found
    assert without.fingerprint != source.fingerprint


def test_metadata__files_of_other_columns_are_refused(make):
    files = pictures(4, "train/{}.png") | pictures(4, "test/{}.png")
    text = "file_name,{}\n" + "".join(f"{i}.png,{i % 2}\n" for i in range(4))
    files |= {"train/metadata.csv": text.format("Hat"), "test/metadata.csv": text.format("hat")}
    with pytest.raises(DataError, match=r"columns are others than those of .*: Hat, hat\."):
        read(make(files))


def test_dataset_json__tells_classes_where_folders_only_number_pictures(make):
    labels = [[f"0000{i // 20}/img{i}.png", i % 3] for i in range(60)]
    files = dict.fromkeys(name for name, _ in labels)
    source = read(make(files | {"dataset.json": json.dumps({"labels": labels})}))
    assert source.attribute_names == ("class=0", "class=1", "class=2")
    assert ending(rows(source), "img31.png")[1] == [0, 1, 0]
    assert (source.groups, source.doubts) == ((source.attribute_names,), ())
    path = make(files | {"dataset.json": json.dumps({"labels": labels[:40]})}, "other")
    with pytest.raises(DataError, match=r"20 of the 60 pictures .*on_bad=skip"):
        splits(read(path))
    unlabelled = read(make(files | {"dataset.json": '{"labels": null}'}, "third"))
    assert unlabelled.attribute_names == ()
    assert "says that there are no labels" in unlabelled.found


def test_labels__folders_of_numbers_are_a_doubt_until_it_is_said_what_they_are(make):
    path = make(pictures(9, "00000/{}.png") | pictures(9, "01000/{}.png"))
    assert len(read(path).doubts) == 1
    assert read(path, labels="folders").doubts == read(path, labels="none").doubts == ()
    assert read(path, labels="folders").attribute_names == ("00000", "01000")
    assert read(path, labels="folders").fingerprint == read(path).fingerprint
    assert read(path, labels="none").attribute_names == ()


def test_labels__folders_leave_files_of_labels_aside(make):
    files = pictures(9, "cat/{}.png") | pictures(9, "train/{}.png")
    source = read(make(files | {"a.csv": "x", "b.csv": "y"}), labels="folders")
    assert source.attribute_names == ("cat", "train")
    assert "2 other files were left alone: .csv" in source.found


def test_csv__a_person_of_0_and_1_is_an_attribute(make):
    text = "file,person\n" + "".join(f"{i}.png,{i % 2}\n" for i in range(9))
    source = read(make(pictures(9) | {"labels.csv": text}))
    assert source.attribute_names == ("person",)
    assert "without identities" in source.found


def test_csv__composed_and_decomposed_names_are_the_same(make):
    names = [f"Zo\u00eb {i}" for i in range(4)]
    files = {unicodedata.normalize("NFD", f"d/{name}.png"): None for name in names}
    text = "file,Hat\n" + "".join(
        f"{name}{'.png' * (i % 2)},{i % 2}\n" for i, name in enumerate(names)
    )
    assert len(rows(read(make(files | {"labels.csv": text})))) == 4


def test_on_bad__skip_leaves_out_what_lacks_labels_or_picture(make):
    files = pictures(31) | {"labels.csv": CSV + "99.png,0,0\n"}
    path = make(files)
    with pytest.raises(DataError, match=r"1 of the 31 pictures in .*labels\.csv.*99\.png"):
        splits(read(path))
    parts = splits(read(path, on_bad="skip"))
    left_out = [item for split in parts.values() for item in split.left_out]
    assert [Path(name).name.split(" ")[-1] for name, _ in left_out] == ["99.png", "30.png"]
    assert left_out[0][1] == "no picture"
    assert sum(len(split.names) for split in parts.values()) == 30


def test_left_out__is_of_its_split(make):
    text = "p,split\n0.png,train\n1.png,val\n2.png,test\n9.png,test\n"
    parts = splits(read(make(pictures(4) | {"labels.csv": text}), on_bad="skip"))
    assert {name: len(split.left_out) for name, split in parts.items()} == {
        "train": 1,  # 3.png has no row.
        "validation": 0,
        "test": 1,
    }


def test_fingerprint__changes_with_every_input(make):
    files = pictures(30) | {"labels.csv": CSV}
    others = [
        files,
        files | {"labels.csv": CSV.replace("7.png,1", "7.png,0")},
        files | {"7.png": "other"},
        {("x.png" if name == "7.png" else name): content for name, content in files.items()},
    ]
    prints = [read(make(other, f"set{i}")).fingerprint for i, other in enumerate(others)]
    assert len(set(prints)) == 4


def test_recognise__pictures_and_nothing_else(make, tmp_path):
    assert folder.recognise(make({"a/b/c.JPEG": None}))
    assert not folder.recognise(make({"a/b/c.txt": ""}, "other"))
    assert not folder.recognise(tmp_path / "nowhere")
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04")
    assert not folder.recognise(tmp_path / "broken.zip")


def labelled(rows, header="picture,Hat", files=()):
    return pictures(3) | dict.fromkeys(files) | {"labels.csv": f"{header}\n" + rows}


GOOD = "0.png,1\n1.png,0\n2.png,1\n"
BAD = {
    "nothing": ({"a.txt": "", "b.heic": ""}, ["0 pictures", "a.txt, b.heic. Convert them to PNG"]),
    "two": (pictures(2), ["2 pictures", "at least 3"]),
    "loose": (
        pictures(2, "cat/{}.png") | pictures(2, "dog/{}.png") | {"x.png": None},
        ["x.png lies beside the folders cat, dog", "CSV"],
    ),
    "split beside": (
        pictures(2, "train/{}.png") | pictures(2, "more/{}.png"),
        ["train looks like a split", "more"],
    ),
    "class not in train": (
        {f"{s}/{k}/0.png": None for s in ("train", "test") for k in ("cat", "dog")}
        | {"test/dgo/1.png": None},
        ["test/dgo/1.png", "no folder 'dgo' in train", "Did you mean 'dog'"],
    ),
    "no train": (pictures(2, "val/{}.png") | pictures(2, "test/{}.png"), ["split train"]),
    "not binary": (
        labelled("0.png,1,3\n1.png,0,37\n2.png,1,1\n", "picture,Hat,Age"),
        ["labels.csv, line 2, column 'Age': '3'", "remove the column"],
    ),
    "split": (
        labelled("0.png,train\n1.png,tets\n2.png,val\n", "p,split"),
        ["labels.csv, line 3, column 'split': 'tets'", "Did you mean 'test'"],
    ),
    "both splits": (labelled("0.png,0,0\n", "p,split,Partition"), ["line 1", "mean the same"]),
    "ambiguous": (
        labelled(GOOD + "x.png,1\n", files=["a/x.png", "b/x.png"]),
        ["line 5: 'x.png'", "a/x.png, b/x.png"],
    ),
    "ambiguous without extension": (
        labelled(GOOD + "x,1\n", files=["x.png", "x.jpg"]),
        ["line 5: 'x'", "x.jpg, x.png", "extension"],
    ),
    "ambiguous extension": (
        labelled(GOOD + "x.PNG,1\n", files=["a/x.png", "b/x.Png"]),
        ["line 5: 'x.PNG'", "a/x.png, b/x.Png"],
    ),
    "twice in two spellings": (
        labelled("x.png,1\nX\\..,0\nx,1\n", files=["x.png"]),
        ["line 4: 'x'", "after line 2"],
    ),
    "twice": (
        labelled("a/x.png,1\nx.png,0\n", files=["a/x.png"]),
        ["line 3: 'x.png'", "after line 2"],
    ),
    "no row": (labelled("0.png,1\n1.png,0\n"), ["labels.csv", "1 of the 3", "2.png"]),
}


@pytest.mark.parametrize("name", BAD)
def test_open_source__bad_input_is_named(make, name):
    files, fragments = BAD[name]
    with pytest.raises(DataError) as caught:
        splits(read(make(files)))
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_open_source__the_path_has_to_be_given_and_there(tmp_path):
    with pytest.raises(ConfigError, match=r"config\.data\.path"):
        folder.open_source(Data(source="folder"))
    with pytest.raises(DataError, match="does not exist"):
        read(tmp_path / "nowhere")


def test_find_labels__a_class_whose_name_is_no_text_is_shown_by_its_bytes(tmp_path):
    for name in (b"a", b"Zo\xeb"):
        where = os.fsencode(tmp_path) + b"/" + name
        os.mkdir(where)
        for i in range(3):
            with open(where + b"/%d.png" % i, "wb") as file:
                file.write(b"")
    source = folder.open_source(Data(path=str(tmp_path)))
    assert source.attribute_names == ("Zo\\xeb", "a")
    source.found.encode()
