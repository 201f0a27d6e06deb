"""The registry of data sets: what is configured is opened, what is unknown is answered."""

import pytest
from PIL import Image

from gan.config import Data
from gan.data.registry import CELEBA_SOURCES, SOURCES, find_source, load_reader
from gan.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "celebA"}, r"config.data.source='celebA'.*Did you mean 'celeba'\?"),
        ({"crop": "centre178"}, r"config.data.crop='centre178'.*Did you mean 'center178'\?"),
        ({"crop": "x"}, r"config.data.crop='x': must be one of .*ddim128, squash, square\.$"),
        ({"resize": "bicubik"}, r"config.data.resize='bicubik'.*Did you mean 'bicubic'\?"),
        ({"source": "auto"}, r"auto needs a path.*--config.data.path="),
    ],
)
def test_find_source__answers_unknown_names_by_the_nearest(options, message):
    with pytest.raises(ConfigError, match=message):
        find_source(Data(**options))


def test_find_source__recognises_the_layout_at_the_path(make_celeba, caplog):
    caplog.set_level("INFO", "gan")
    root = make_celeba()
    for name in ("auto", "celeba"):
        source = find_source(Data(source=name, path=str(root)))
        assert (source.name, len(source.attribute_names)) == ("celeba", 40)
        assert f"Data: {source.found}" in caplog.text
        caplog.clear()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, r"celebs does not exist\. Did you mean 'celeba'\?"),
        ({"notes.txt": ""}, r"nothing there that is known \(celeba, .*\); there lie notes\.txt\."),
        (
            {"cifar10/1.0.0/dataset_info.json": "{}"},
            r"data sets of TFDS \(cifar10\).*data\.source=tfds --config\.data\.name=cifar10",
        ),
    ],
)
def test_find_source__says_what_lies_at_an_unknown_path(tmp_path, files, message):
    (tmp_path / "celeba").mkdir()
    path = tmp_path / "celebs"
    for name, text in (files or {}).items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        find_source(Data(source="auto", path=str(path)))


def test_celeba_sources__all_recognise_a_path():
    assert all(hasattr(load_reader(name), "recognise") for name in CELEBA_SOURCES)
    assert set(CELEBA_SOURCES) < set(SOURCES)


@pytest.mark.parametrize("way", ["within", "folder", "flat", "twice", "png"])
def test_find_source__official_files_are_read_wherever_they_lie(make_celeba, tmp_path, way):
    root = make_celeba(zipped=False)
    images, path = root / "img_align_celeba", root
    if way == "within":
        path = tmp_path / "outer"
        path.mkdir()
        root.rename(path / "celeba")
    elif way == "folder":
        images.rename(root / "images")
    elif way == "flat":
        for file in [*images.iterdir()]:
            file.rename(root / file.name)
        images.rmdir()
    elif way == "twice":
        (root / "list_attr_celeba.txt").rename(root / "list_attr_celeba (1).txt")
    else:
        for file in [*images.iterdir()]:
            Image.open(file).save(file.with_suffix(".png"))
            file.unlink()
        images.rename(root / "img_align_celeba_png")
    for name in ("auto", "celeba"):
        source = find_source(Data(source=name, path=str(path)))
        assert (source.name, len(source.attribute_names)) == ("celeba", 40)
        assert "official splits; with identities" in source.found
        split = source.splits["test"]()
        assert len(split.names) == 3
        assert split.read(0)[:4] == (b"\x89PNG" if way == "png" else b"\xff\xd8\xff\xe0")


def test_find_source__labels_that_lie_beside_the_path_are_pointed_at(make_celeba):
    root = make_celeba(zipped=False)
    path = root / "img_align_celeba"
    with pytest.raises(DataError, match=rf"list_attr_celeba.txt lies beside.*path={root}\."):
        find_source(Data(source="auto", path=str(path)))
    source = find_source(Data(source="auto", path=str(path), labels="none"))
    assert (source.name, source.attribute_names) == ("folder", ())


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["state.json", "data-00000-of-00001.arrow"], r"save_to_disk.*to_parquet"),
        (["hub/a/data/train-00000-of-00001.parquet"], r"name their folder, .*path=.*/a/data\."),
        (["a/faces.parquet"], r"holds a/faces\.parquet: name them .*train\.parquet"),
        (["versions/1/a.png", "versions/2/a.png"], r"several copies.*path=.*/versions/2\."),
    ],
)
def test_find_source__folders_of_other_programs_are_explained(tmp_path, files, message):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    with pytest.raises(DataError, match=message):
        find_source(Data(source="auto", path=str(tmp_path)))
