"""The attribute classifier and its file, on a few pictures whose attributes are easy to see."""

import dataclasses
import hashlib
import logging
import shutil
import signal
import subprocess
import sys
import threading

import jax
import numpy as np
import pytest
from helpers.bright_pictures import NAMES, SIDE, draw_pictures, write_split
from jaxtyping import TypeCheckError

from gan.data.store import wait_for_lock
from gan.errors import NotSaved
from gan.metrics.conditional import attribute_rates
from gan.metrics.extractors.attribute_classifier import (
    FILE,
    AttributeClassifier,
    hash_variables,
    load_or_train_classifier,
    make_extractor,
)
from gan.metrics.extractors.classifier_cnn import AttributeCNN
from gan.metrics.extractors.extractor import ExtractorInputs


@pytest.fixture
def load(learnt):
    """Loads or "trains" a classifier, which is always the same; how often, `load.calls` says."""

    def load(train, held_out):
        return load_or_train_classifier(train, held_out, lambda *_: load.calls.append(1) or learnt)

    load.calls = []
    return load


@pytest.fixture
def stores(tmp_path):
    return write_split(tmp_path), write_split(tmp_path, "validation", 1, 64)


def random_classifier(side, num_attributes=3):
    """A classifier whose statistics are not those of a new network."""
    shape = np.zeros((1, side, side, 3), np.float32)
    variables = jax.jit(AttributeCNN(num_attributes).init)(jax.random.key(0), shape)
    random = np.random.default_rng(0)
    vary = lambda x: (np.asarray(x) + random.uniform(0.05, 0.1, x.shape)).astype(np.float32)  # noqa: E731
    variables = jax.tree.map(vary, variables)
    names = tuple(f"a{i}" for i in range(num_attributes))
    return AttributeClassifier(names, variables, hash_variables(variables), np.ones(num_attributes))


def test_load_or_train_classifier__learns_what_varies_and_the_rest_breaks_nothing(
    stores, load, caplog
):
    with caplog.at_level(logging.INFO, "gan"):
        classifier = load(*stores)
    assert classifier.names == NAMES
    assert (classifier.balanced_accuracy[:2] > 0.95).all()
    assert np.isnan(classifier.balanced_accuracy[2:]).all()
    images, attributes = draw_pictures(2, 50)
    found = classifier.extract(images)
    assert found.features.dtype == found.logits.dtype == np.float32
    assert np.isfinite(found.features).all()
    assert np.isfinite(found.logits).all()
    assert (attribute_rates(found.logits, attributes).balanced_accuracy[:2] > 0.95).all()
    assert "is not there yet" in caplog.text
    assert f"attr@{classifier.sha256[:8]}" in caplog.text


def test_make_extractor__names_the_attributes_and_the_hash(stores, load):
    classifier = load(*stores)  # In the file, so that it is not trained.
    extractor = make_extractor(ExtractorInputs(*stores))
    assert extractor.name == f"attr@{classifier.sha256[:8]}"
    assert classifier.sha256 in extractor.stamp
    assert extractor.attributes == NAMES


def test_make_extractor__needs_an_attribute_that_varies(stores):
    constant = dataclasses.replace(stores[0], attributes=stores[0].attributes[:, 2:])
    assert make_extractor(ExtractorInputs(constant, stores[1])) is None


def test_load_or_train_classifier__reads_the_file_back_and_does_not_train_again(stores, load):
    classifier = load(*stores)
    again = load(*stores)
    assert len(load.calls) == 1
    assert again.names == classifier.names
    assert again.sha256 == classifier.sha256 == hash_variables(again.variables)
    np.testing.assert_array_equal(again.balanced_accuracy, classifier.balanced_accuracy)
    for a, b in zip(
        again.extract(stores[0].images), classifier.extract(stores[0].images), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def flip_a_bit(path):
    with np.load(path) as file:
        weights = file["variables/params/stem/kernel"].tobytes()
    data = bytearray(path.read_bytes())
    data[data.index(weights)] ^= 1
    path.write_bytes(data)


def change_a_value(path):
    with np.load(path) as file:
        arrays = dict(file)
    arrays["variables/params/head/bias"] = arrays["variables/params/head/bias"] + 1
    np.savez(path, **arrays)


@pytest.mark.parametrize(
    "damage",
    [
        flip_a_bit,
        change_a_value,
        lambda path: path.write_bytes(path.read_bytes()[:1000]),
        lambda path: path.write_bytes(b""),
        lambda path: np.savez(path, names=np.array(["a"])),
        lambda path: np.savez(path, recipe=np.array([{}], dtype=object)),
    ],
)
def test_load_or_train_classifier__replaces_a_damaged_file(stores, load, damage, caplog):
    classifier = load(*stores)
    damage(stores[0].path.parent / FILE)
    with caplog.at_level(logging.INFO, "gan"):
        again = load(*stores)
    assert "is damaged" in caplog.text
    assert again.sha256 == classifier.sha256
    load(*stores)
    assert len(load.calls) == 2


def test_load_or_train_classifier__replaces_one_of_other_data_or_another_recipe(
    tmp_path, stores, load, caplog
):
    train, held_out = stores
    load(train, held_out)
    other = write_split(tmp_path / "other", seed=3)
    shutil.copy(tmp_path / FILE, tmp_path / "other")
    other_held_out = write_split(tmp_path, "test", seed=4)
    labels = np.asarray(train.attributes).copy()
    labels[0, 0] ^= 1
    relabelled = dataclasses.replace(train, attributes=labels)
    for number, (asked, why) in enumerate(
        [
            ((other, held_out), "of other training pictures"),
            ((relabelled, held_out), "of other training labels"),
            ((relabelled, other_held_out), "of other held-out pictures"),
        ],
        start=2,
    ):
        caplog.clear()
        with caplog.at_level(logging.INFO, "gan"):
            load(*asked)
        assert why in caplog.text
        assert len(load.calls) == number
    with np.load(tmp_path / FILE) as file:
        arrays = dict(file)
    np.savez(tmp_path / FILE, **arrays | {"recipe": np.array("0")})
    with caplog.at_level(logging.INFO, "gan"):
        load(relabelled, other_held_out)
    assert "of another recipe" in caplog.text


def test_load_or_train_classifier__a_kill_leaves_no_file_and_the_next_one_makes_it(stores, load):
    folder = stores[0].path.parent
    code = f"""
import os, signal
from pathlib import Path
import numpy as np
from gan.data.store import open_store
from gan.metrics.extractors import attribute_classifier as module
variables = {{"params": {{"a": np.ones(9, np.float32)}}}}
module._train = lambda *_: module.AttributeClassifier((), variables, "", np.ones(0))
module.os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
stores = (open_store(Path({str(folder)!r}) / split) for split in ("train", "validation"))
module.load_or_train_classifier(*stores)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (folder / FILE).exists()
    load(*stores)
    assert {path.name for path in folder.iterdir()} == {".lock", FILE, "train", "validation"}


def test_load_or_train_classifier__waits_for_another_process_that_trains(stores, load):
    classifier = load(*stores)
    path = stores[0].path.parent / FILE
    data = path.read_bytes()
    path.unlink()
    with wait_for_lock(path.parent):  # As the other process holds it.
        found = []
        thread = threading.Thread(target=lambda: found.append(load(*stores)))
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
        path.write_bytes(data)
    thread.join()
    assert found[0].sha256 == classifier.sha256
    assert len(load.calls) == 1


def test_load_or_train_classifier__names_a_full_disk(make_disk, load):
    disk = make_disk("4m")  # The classifier alone has 7 MB.
    stores = write_split(disk), write_split(disk, "validation", 1, 64)
    with pytest.raises(NotSaved, match=r"No space left on device.*cache_dir"):
        load(*stores)
    assert {path.name for path in disk.iterdir()} == {".lock", "train", "validation"}


@pytest.mark.parametrize(
    "side", [32, *(pytest.param(side, marks=pytest.mark.slow) for side in (64, 128))]
)
def test_extract__does_not_depend_on_the_other_pictures(side):
    classifier = random_classifier(side)
    images = np.random.default_rng(1).integers(0, 256, (7, side, side, 3), dtype=np.uint8)
    together = classifier.extract(images, batch_size=4)
    assert together.features.shape == (7, 256)
    assert together.logits.shape == (7, 3)
    assert together.features.std(axis=0).min() > 0
    for i in (0, 6):
        alone = classifier.extract(images[i : i + 1], batch_size=4)
        for one, all_ in zip(alone, together, strict=True):
            np.testing.assert_allclose(one[0], all_[i], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, SIDE, SIDE, 3), np.float32),
        np.zeros((SIDE, SIDE, 3), np.uint8),
        np.zeros((1, SIDE, SIDE, 1), np.uint8),
        np.zeros((0, SIDE, SIDE, 3), np.uint8),
    ],
)
def test_extract__refuses_other_images(images):
    classifier = AttributeClassifier((), {}, "", np.ones(0))
    with pytest.raises((ValueError, TypeCheckError)):
        classifier.extract(images)


def test_hash_variables__is_of_the_content():
    variables = {"b": {"x": np.array([[1.0, 2.0]], np.float32)}, "a": np.array([3.0], np.float32)}
    content = b"a [1]\n" + np.array([3], "<f4").tobytes()
    content += b"b/x [1, 2]\n" + np.array([1, 2], "<f4").tobytes()
    assert hash_variables(variables) == hashlib.sha256(content).hexdigest()
