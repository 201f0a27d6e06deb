"""The network that looks, on sets of a few pictures whose attributes are easy to see."""

import contextlib
import dataclasses
import errno
import hashlib
import logging
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from gan.data.store import Meta, Rows, open_store, wait_for_lock, write_store
from gan.errors import DataError
from gan.metrics.conditional import attribute_rates
from gan.metrics.extractors import attribute_classifier, classifier_cnn
from gan.metrics.extractors.attribute_classifier import FILE, hash_variables
from gan.metrics.extractors.classifier_cnn import AttributeCNN, fit

NAMES = ("Bright", "Red", "Always", "Never")
SIDE = 32


def pictures(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise that is brighter, or redder, or both; and two attributes that do not vary."""
    random = np.random.default_rng(seed)
    attributes = random.integers(0, 2, (n, 4), dtype=np.uint8)
    attributes[:, 2:] = 1, 0
    images = random.normal(90, 30, (n, SIDE, SIDE, 3))
    images += 60 * attributes[:, 0, None, None, None]
    images[..., 0] += 40 * attributes[:, 1, None, None]
    return images.clip(0, 255).astype(np.uint8), attributes


def write(folder, seed=0, n=96, split="train"):
    images, attributes = pictures(seed, n)
    identity = np.full(n, -1, np.int32)
    meta = Meta(
        source="test",
        fingerprint="0123456789abcdef",
        version=1,
        split=split,
        crop="none",
        resize="none",
        attribute_names=NAMES,
        image_size=SIDE,
        num=n,
    )
    folder.mkdir(exist_ok=True)
    write_store(folder / split, meta, [Rows(images, attributes, identity)])
    return open_store(folder / split)


def make_small(monkeypatch):
    """Fewer channels and steps."""
    monkeypatch.setattr(classifier_cnn, "WIDTHS", (4, 8, 8, 16))
    monkeypatch.setattr(classifier_cnn, "EPOCHS", 1)
    monkeypatch.setattr(classifier_cnn, "LEAST", 100 * classifier_cnn.BATCH)
    attribute_classifier._compiled.cache_clear()


@pytest.fixture(scope="module")
def learnt():
    with pytest.MonkeyPatch.context() as monkeypatch:
        make_small(monkeypatch)
        return fit(*pictures(0, 96))


@pytest.fixture
def small(monkeypatch):
    make_small(monkeypatch)
    yield
    attribute_classifier._compiled.cache_clear()


@pytest.fixture
def fits(learnt, small, monkeypatch):
    """How often it was trained, which is not done again and again here."""
    fits = []
    monkeypatch.setattr(attribute_classifier, "fit", lambda *_: fits.append(1) or learnt)
    return fits


@pytest.fixture
def stores(tmp_path, fits):
    return write(tmp_path), write(tmp_path, seed=1, n=64, split="validation")


def random_network(side, num_attributes=3):
    """Of the full size, with statistics that are not those of a new one."""
    shape = np.zeros((1, side, side, 3), np.float32)
    variables = jax.jit(AttributeCNN(num_attributes).init)(jax.random.key(0), shape)
    random = np.random.default_rng(0)
    vary = lambda x: (np.asarray(x) + random.uniform(0.05, 0.1, x.shape)).astype(np.float32)  # noqa: E731
    variables = jax.tree.map(vary, variables)
    names = tuple(f"a{i}" for i in range(num_attributes))
    return attribute_classifier.AttributeClassifier(
        names, variables, hash_variables(variables), np.ones(num_attributes)
    )


def test_it_learns_what_is_to_be_seen_and_the_rest_breaks_nothing(stores, caplog):
    with caplog.at_level(logging.INFO, "gan"):
        network = attribute_classifier.load_or_train_classifier(*stores)
    assert network.names == NAMES
    assert (network.balanced_accuracy[:2] > 0.95).all()
    assert np.isnan(network.balanced_accuracy[2:]).all()
    images, attributes = pictures(2, 50)
    looks = network.extract(images)
    assert looks.features.dtype == looks.logits.dtype == np.float32
    assert np.isfinite(looks.features).all()
    assert np.isfinite(looks.logits).all()
    assert (attribute_rates(looks.logits, attributes).balanced_accuracy[:2] > 0.95).all()
    assert "is not there yet" in caplog.text
    assert f"attr@{network.sha256[:8]}" in caplog.text


def test_the_same_pictures_give_the_same_bits(small, learnt):
    images, attributes = pictures(0, 96)
    assert hash_variables(fit(images, attributes)) == hash_variables(learnt)
    attributes[0, 0] ^= 1
    assert hash_variables(fit(images, attributes)) != hash_variables(learnt)


def test_the_file_is_read_back_as_it_was_and_not_trained_again(stores, fits):
    network = attribute_classifier.load_or_train_classifier(*stores)
    again = attribute_classifier.load_or_train_classifier(*stores)
    assert len(fits) == 1
    assert again.names == network.names
    assert again.sha256 == network.sha256 == hash_variables(again.variables)
    np.testing.assert_array_equal(again.balanced_accuracy, network.balanced_accuracy)
    for a, b in zip(
        again.extract(stores[0].images), network.extract(stores[0].images), strict=True
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
def test_a_damaged_file_is_made_anew(stores, fits, damage, caplog):
    network = attribute_classifier.load_or_train_classifier(*stores)
    damage(stores[0].path.parent / FILE)
    with caplog.at_level(logging.INFO, "gan"):
        again = attribute_classifier.load_or_train_classifier(*stores)
    assert "is damaged" in caplog.text
    assert again.sha256 == network.sha256
    attribute_classifier.load_or_train_classifier(*stores)
    assert len(fits) == 2


def test_a_network_of_other_data_or_another_recipe_is_replaced(
    tmp_path, stores, fits, monkeypatch, caplog
):
    train, held_out = stores
    attribute_classifier.load_or_train_classifier(train, held_out)
    other = write(tmp_path / "other", seed=3)
    (tmp_path / "other" / FILE).write_bytes((tmp_path / FILE).read_bytes())
    other_held_out = write(tmp_path, seed=4, split="test")
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
            attribute_classifier.load_or_train_classifier(*asked)
        assert why in caplog.text
        assert len(fits) == number
    monkeypatch.setattr(attribute_classifier, "RECIPE", attribute_classifier.RECIPE + 1)
    with caplog.at_level(logging.INFO, "gan"):
        attribute_classifier.load_or_train_classifier(relabelled, other_held_out)
    assert "of another recipe" in caplog.text


def test_a_kill_leaves_no_file_and_the_next_one_makes_it(stores):
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
    attribute_classifier.load_or_train_classifier(*stores)
    assert {path.name for path in folder.iterdir()} == {".lock", FILE, "train", "validation"}


def test_it_waits_for_another_process_that_trains(stores, fits, monkeypatch):
    network = attribute_classifier.load_or_train_classifier(*stores)
    path = stores[0].path.parent / FILE
    data = path.read_bytes()
    path.unlink()

    @contextlib.contextmanager
    def lock_of_another(folder):
        path.write_bytes(data)  # It was done while this one waited.
        with wait_for_lock(folder):
            yield

    monkeypatch.setattr(attribute_classifier, "wait_for_lock", lock_of_another)
    assert attribute_classifier.load_or_train_classifier(*stores).sha256 == network.sha256
    assert len(fits) == 1


def test_a_full_disk_is_named(stores, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(attribute_classifier.np, "savez", full)
    with pytest.raises(DataError, match=r"No space left on device.*cache_dir"):
        attribute_classifier.load_or_train_classifier(*stores)
    names = {path.name for path in stores[0].path.parent.iterdir()}
    assert names == {".lock", "train", "validation"}


@pytest.mark.parametrize(
    "side", [32, *(pytest.param(side, marks=pytest.mark.slow) for side in (64, 128))]
)
def test_what_it_says_of_a_picture_does_not_depend_on_the_others(side):
    network = random_network(side)
    images = np.random.default_rng(1).integers(0, 256, (7, side, side, 3), dtype=np.uint8)
    together = network.extract(images, batch_size=4)
    assert together.features.shape == (7, 256)
    assert together.logits.shape == (7, 3)
    assert together.features.std(axis=0).min() > 0
    for i in (0, 6):
        alone = network.extract(images[i : i + 1], batch_size=4)
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
def test_other_images_are_refused(images):
    network = attribute_classifier.AttributeClassifier((), {}, "", np.ones(0))
    with pytest.raises((ValueError, TypeCheckError)):
        network.extract(images)


@pytest.mark.parametrize("with_it", [(1, 9, 90), (0, 3, 1)])
def test_a_logit_is_positive_where_an_attribute_is_likelier_than_on_average(with_it):
    """Of three kinds of pictures, 1,000 each; the best logit for each kind is known."""
    kinds = np.repeat(np.arange(3), 1000)
    labels = (np.arange(3000) % 1000 < np.array(with_it)[kinds])[:, None].astype(np.uint8)
    balance, share = classifier_cnn.Balance.of(labels), labels.mean(axis=0)
    chance = np.clip(np.array(with_it) / 1000, 1e-9, 1)
    best = np.log(chance / (1 - chance)) - np.log(share / (1 - share))

    def loss(logits):
        each = logits[kinds][:, None]
        return classifier_cnn.balanced_loss(each, jnp.asarray(labels), balance)

    gradient = jax.grad(loss)
    np.testing.assert_allclose(gradient(jnp.asarray(best, jnp.float32)), 0, atol=1e-6)
    for kind in range(3):
        away = best + 0.5 * (np.arange(3) == kind)
        if with_it[kind]:
            assert gradient(jnp.asarray(away, jnp.float32))[kind] > 1e-5


def test_an_attribute_that_does_not_vary_has_no_gradient():
    labels = jnp.asarray([[1, 0, 1], [1, 0, 0]], jnp.uint8)
    balance = classifier_cnn.Balance.of(np.asarray(labels))
    loss = lambda x: classifier_cnn.balanced_loss(x, labels, balance)  # noqa: E731
    gradient = jax.grad(loss)(jnp.ones((2, 3)))
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[:, :2], 0)
    assert (gradient[:, 2] != 0).all()


def test_augmentation_keeps_the_pixels_and_mirrors_half():
    row = jnp.arange(16, dtype=jnp.uint8) * 10
    images = jnp.broadcast_to(row[None, None, :, None], (200, 16, 16, 3))
    moved = np.asarray(classifier_cnn.augment(jax.random.key(0), images))
    assert moved.shape == (200, 16, 16, 3)
    assert set(np.unique(moved)) <= {*range(0, 160, 10)}
    rising = moved[:, 8, 12, 0] > moved[:, 8, 4, 0]
    assert 70 < rising.sum() < 130
    centres = np.where(rising, moved[:, 8, 8, 0], moved[:, 8, 7, 0])
    assert set(centres) == {60, 70, 80, 90, 100}


def test_the_hash_is_of_the_content():
    variables = {"b": {"x": np.array([[1.0, 2.0]], np.float32)}, "a": np.array([3.0], np.float32)}
    content = b"a [1]\n" + np.array([3], "<f4").tobytes()
    content += b"b/x [1, 2]\n" + np.array([1, 2], "<f4").tobytes()
    assert hash_variables(variables) == hashlib.sha256(content).hexdigest()
