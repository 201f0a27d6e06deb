"""The contract of `gan.data.readers` is all that a reader needs to know."""

import io
import sys
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from gan.config import Data
from gan.data.prepare import prepare
from gan.data.registry import SOURCES, load_reader
from gan.runtime.tensorflow import import_tensorflow

TFRECORD = """
import functools
import hashlib

import numpy as np

from gan.data.decode import ANY_FORMAT
from gan.data.files import require_path
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


def test_reader__a_module_and_a_line_are_all_that_a_data_set_needs(monkeypatch, tmp_path):
    module = ModuleType("gan.data.readers.tfrecord")
    exec(TFRECORD, module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(SOURCES, "tfrecord", "readers.tfrecord")
    write_tfrecord(tmp_path / "all.tfrecord", 64)
    cache = str(tmp_path / "cache")
    path = str(tmp_path / "all.tfrecord")
    stores = prepare(Data(source="tfrecord", path=path, cache_dir=cache, image_size=8))
    rows = np.concatenate([store.images[:, 0, 0, 0] for store in stores.values()])
    assert sorted(rows) == list(range(64))
    for store in stores.values():
        assert store.source == "tfrecord"
        np.testing.assert_array_equal(store.attributes[:, 0], store.images[:, 0, 0, 0] % 2)


@pytest.mark.parametrize("source", SOURCES)
def test_reader__has_the_functions_of_the_contract(source, tmp_path):
    reader = load_reader(source)
    assert callable(reader.open_source)
    if source != "faces":  # Nothing lies anywhere.
        for nothing in (tmp_path, tmp_path / "nowhere", tmp_path / "\0", tmp_path / ("x" * 5000)):
            assert reader.recognise(nothing) is False
