"""The registry of data sets: what is configured is opened, what is unknown is answered."""

import pytest

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
