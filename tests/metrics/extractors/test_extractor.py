"""Extractors see each picture once, whatever its neighbours, and only pictures."""

import importlib.util
import shutil

import numpy as np
import pytest

from gan.data.store import Meta, Rows, open_store, write_store
from gan.metrics.extractors import extractor as extractor_module
from gan.metrics.extractors.extractor import (
    Extracted,
    Extractor,
    extract_from_store,
    extract_in_batches,
)


def make_extractor(calls: list[int], stamp: str = "s") -> Extractor:
    """Its features are some pixels; it counts the pictures of each call."""

    def extract(images: np.ndarray) -> Extracted:
        calls.append(len(images))
        flat = images[:, ::4, ::4].reshape(len(images), -1).astype(np.float32)
        return Extracted(flat, flat[:, :5])

    return Extractor("e", stamp, extract)


def write(folder, num: int):
    rng = np.random.default_rng(num)
    meta = Meta("tfds", "f", 1, folder.name, "square", "bicubic", ("cat", "dog"), 16, num)
    images = rng.integers(0, 256, (num, 16, 16, 3), np.uint8)
    attributes = rng.integers(0, 2, (num, 2), np.uint8)
    write_store(folder, meta, [Rows(images, attributes, np.full(num, -1, np.int32))])
    return open_store(folder)


def test_extract_from_store__looks_once_unless_something_is_another(tmp_path):
    calls: list[int] = []
    store, rows = write(tmp_path / "train", 90), np.arange(0, 90, 3)
    first = extract_from_store(make_extractor(calls), store, rows, at_a_time=7)
    assert sum(calls) == 30
    assert max(calls) == 7
    flat = store.images[rows][:, ::4, ::4].reshape(30, -1)  # In order, whoever was first.
    np.testing.assert_array_equal(first.features, flat)
    again = extract_from_store(make_extractor(calls), store, rows)
    assert sum(calls) == 30
    np.testing.assert_array_equal(again.features, first.features)
    extract_from_store(make_extractor(calls, "other weights"), store, rows)
    extract_from_store(make_extractor(calls), store, rows + 1)
    extract_from_store(make_extractor(calls), write(tmp_path / "test", 30), np.arange(30))
    assert sum(calls) == 120


def test_extract_from_store__a_damaged_file_is_replaced(tmp_path):
    calls: list[int] = []
    store, rows = write(tmp_path / "train", 9), np.arange(9)
    first = extract_from_store(make_extractor(calls), store, rows)
    (path,) = (store.path / "looks").iterdir()
    path.write_bytes(path.read_bytes()[:-30])
    for _ in range(2):
        again = extract_from_store(make_extractor(calls), store, rows)
        np.testing.assert_array_equal(again.features, first.features)
    assert sum(calls) == 18


def test_extract_from_store__what_is_kept_goes_with_the_pictures(tmp_path):
    calls: list[int] = []
    store, rows = write(tmp_path / "train", 9), np.arange(9)
    extract_from_store(make_extractor(calls), store, rows)
    shutil.rmtree(store.path)
    extract_from_store(make_extractor(calls), write(store.path, 9), rows)
    assert sum(calls) == 18


def test_extract_from_store__goes_on_where_nothing_can_be_written(tmp_path):
    calls: list[int] = []
    store, rows = write(tmp_path / "train", 9), np.arange(9)
    extract_from_store(make_extractor(calls), store, rows)
    (path,) = (store.path / "looks").iterdir()
    path.unlink()
    path.mkdir()  # In the file's place.
    assert len(extract_from_store(make_extractor(calls), store, rows).features) == 9
    assert sum(calls) == 18
    assert [*(store.path / "looks").iterdir()] == [path]


def test_extract_in_batches__the_last_batch_is_filled_and_none_of_the_filling_kept():
    sizes = []

    def mean(batch):
        sizes.append(len(batch))
        return batch.mean(axis=(1, 2)), np.zeros((len(batch), 1))

    images = np.tile(np.arange(1, 6, dtype=np.uint8)[:, None, None, None] * 50, (1, 8, 8, 3))
    for batch_size in (1, 2, 3, 4, 5, 6):
        found = extract_in_batches(mean, images, batch_size)
        np.testing.assert_array_equal(found.features[:, 0], [50, 100, 150, 200, 250])
        assert {*sizes} == {batch_size}
        sizes.clear()


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, 8, 8, 3), np.float32),
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((1, 8, 8, 1), np.uint8),
        np.zeros((0, 8, 8, 3), np.uint8),
    ],
)
def test_extract_in_batches__refuses_what_is_not_uint8_pictures(images):
    # As users run it: the shapes in the signature are checked in tests alone.
    spec = importlib.util.spec_from_file_location("unchecked", extractor_module.__file__)
    unchecked = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(unchecked)
    with pytest.raises(ValueError, match=r"images as uint8 \[n h w 3\]: got"):
        unchecked.extract_in_batches(None, images, 2)


def test_extracted__probabilities_are_the_softmax_of_the_logits():
    logits = np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32)
    exp = np.exp(logits.astype(np.float64))
    found = np.asarray(Extracted(logits, logits).probabilities)
    np.testing.assert_allclose(found, exp / exp.sum(axis=1, keepdims=True), rtol=1e-5)
