"""The contract of a reader, as `gan.data.readers` states it, is complete and true."""

import io
import sys
import textwrap
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from gan.config import Data
from gan.data import readers
from gan.data.prepare import prepare
from gan.data.registry import SOURCES, load_reader
from gan.runtime.tensorflow import import_tensorflow

NPZ = textwrap.dedent(readers.__doc__.partition("A whole reader")[2].partition("\n")[2])

TFRECORD = """
import functools
import hashlib

import numpy as np

from gan.data.decode import ANY_FORMAT
from gan.data.readers.files import require_path
from gan.data.source import Source, Split, hash_splits
from gan.runtime.tensorflow import import_tensorflow


def open_source(config):
    path = require_path(config, "tfrecord", "image and hat", "Write it by TFRecordWriter.")
    stat = path.stat()
    return Source(
        name="tfrecord",
        found=f"{path}, one TFRecord",
        fingerprint=hashlib.sha256(repr((stat.st_size, stat.st_mtime_ns)).encode()).hexdigest(),
        attribute_names=("Hat",),
        splits={
            name: functools.partial(read_split, path, name)
            for name in ("train", "validation", "test")
        },
        formats=ANY_FORMAT,
    )


def read_examples(path):
    tf = import_tensorflow()
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        yield tf.train.Example.FromString(record).features.feature


def read_split(path, name):
    hat = [example["hat"].int64_list.value[0] for example in read_examples(path)]
    rows = hash_splits([str(row) for row in range(len(hat))])[name]
    return Split(
        attributes=np.array(hat, np.uint8)[rows, None],
        identity=np.full(len(rows), -1, np.int32),
        names=[f"{path}, record {row}" for row in rows],
        stream=functools.partial(stream, path, set(rows.tolist())),
    )


def stream(path, rows):
    for row, example in enumerate(read_examples(path)):
        if row in rows:
            yield example["image"].bytes_list.value[0]
"""


def write_npz(path, num):
    images = (
        np.zeros((num, 40, 36, 3), np.uint8) + np.arange(num, dtype=np.uint8)[:, None, None, None]
    )
    labels = np.stack([np.arange(num) % 2, np.arange(num) % 3 == 0], axis=1).astype(np.uint8)
    np.savez(path, images=images, labels=labels, names=["Hat", "Smiling"])


def write_tfrecord(path, num):
    tf = import_tensorflow()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for row in range(num):
            file = io.BytesIO()
            Image.new("RGB", (40, 36), (row, row, row)).save(file, "PNG")
            image = tf.train.Feature(bytes_list=tf.train.BytesList(value=[file.getvalue()]))
            hat = tf.train.Feature(int64_list=tf.train.Int64List(value=[row % 2]))
            features = tf.train.Features(feature={"image": image, "hat": hat})
            writer.write(tf.train.Example(features=features).SerializeToString())


@pytest.fixture
def add_reader(monkeypatch):
    """Adds a reader to the running package: a module in `gan.data.readers`, a line in `SOURCES`."""

    def add(name, code):
        module = ModuleType(f"gan.data.readers.{name}")
        exec(code, module.__dict__)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(SOURCES, name, f"readers.{name}")

    return add


@pytest.mark.parametrize(
    ("name", "code", "write", "source"),
    [("npz", NPZ, write_npz, "auto"), ("tfrecord", TFRECORD, write_tfrecord, "tfrecord")],
)
def test_reader__a_module_and_a_line_are_all_that_a_data_set_needs(
    add_reader, tmp_path, name, code, write, source
):
    add_reader(name, code)
    path = tmp_path / f"all.{name}"
    write(path, 64)
    stores = prepare(
        Data(source=source, path=str(path), cache_dir=str(tmp_path / "cache"), image_size=8)
    )
    rows = np.concatenate([store.images[:, 0, 0, 0] for store in stores.values()])
    assert sorted(rows) == list(range(64))
    for store in stores.values():
        assert store.source == name
        np.testing.assert_array_equal(store.attributes[:, 0], store.images[:, 0, 0, 0] % 2)


@pytest.mark.slow
def test_reader__the_example_of_the_contract_trains(run, add_reader, tmp_path):
    add_reader("npz", NPZ)
    path = tmp_path / "all.npz"
    write_npz(path, 64)
    code, said = run(
        "--config=tests/helpers/tiny.py",
        "--config.data.source=npz",
        f"--config.data.path={path}",
        f"--config.data.cache_dir={tmp_path / 'cache'}",
        "--config.steps=2",
        f"--workdir={tmp_path / 'run'}",
    )
    assert code == 0, said
    assert f"Data: {path}: Hat, Smiling" in said
    assert len((tmp_path / "run/metrics.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("source", SOURCES)
def test_reader__has_the_functions_of_the_contract(source, tmp_path):
    reader = load_reader(source)
    assert callable(reader.open_source)
    if source != "faces":  # Nothing lies anywhere.
        for nothing in (tmp_path, tmp_path / "nowhere", tmp_path / "\0", tmp_path / ("x" * 5000)):
            assert reader.recognise(nothing) is False
