"""Real pictures are looked at once, and what they are decides which scores there are."""

import numpy as np
import pytest

from gan.data.store import Meta, Rows, open_store, write_store
from gan.metrics.extractors import extractor as extractor_module
from gan.metrics.extractors.attribute_classifier import Looks
from gan.metrics.extractors.extractor import Extractor, looks_of
from gan.metrics.reference_set import Reals

NAMES = ("cat", "dog", "emu")


@pytest.fixture
def stores(tmp_path):
    """Pictures of noise, each of one class."""
    rng, made = np.random.default_rng(0), {}
    for split, num in {"train": 90, "validation": 24, "test": 30}.items():
        meta = Meta("tfds", "f", 1, split, "square", "bicubic", NAMES, 16, num)
        images = rng.integers(0, 256, (num, 16, 16, 3), np.uint8)
        classes = np.eye(3, dtype=np.uint8)[np.arange(num) % 3]
        rows = Rows(images, classes, np.full(num, -1, np.int32))
        write_store(tmp_path / split, meta, [rows])
        made[split] = open_store(tmp_path / split)
    return made


def extractor(name: str, calls: list[int], stamp: str = "s") -> Extractor:
    def look(images: np.ndarray) -> Looks:
        calls.append(len(images))
        flat = images[:, ::4, ::4].reshape(len(images), -1).astype(np.float32)
        return Looks(flat, flat[:, :5])

    return Extractor(name, stamp, look)


def test_a_picture_is_looked_at_once_unless_something_is_another(stores, monkeypatch):
    calls: list[int] = []
    monkeypatch.setattr(extractor_module, "AT_A_TIME", 7)
    train, rows = stores["train"], np.arange(0, 90, 3)
    first = looks_of(extractor("e", calls), train, rows)
    assert sum(calls) == 30
    assert max(calls) == 7
    flat = train.images[rows][:, ::4, ::4].reshape(30, -1)  # In order, whoever was first.
    np.testing.assert_array_equal(first.features, flat)
    again = looks_of(extractor("e", calls), train, rows)
    assert sum(calls) == 30
    np.testing.assert_array_equal(again.features, first.features)
    looks_of(extractor("e", calls, "other weights"), train, rows)
    looks_of(extractor("e", calls), train, rows + 1)
    looks_of(extractor("e", calls), stores["test"], np.arange(30))
    assert sum(calls) == 120
    for path in (train.path.parent / "looks").iterdir():
        path.write_bytes(path.read_bytes()[:-30])
    np.testing.assert_array_equal(looks_of(extractor("e", calls), train, rows).features, flat)


def test_only_classes_seen_by_the_known_inception_get_an_inception_score(stores):
    def scores(name: str, names: tuple[str, ...]) -> dict:
        reals = Reals(stores, "validation", 24, names, None, extractor(name, []))
        return reals.scores(reals.see(stores["test"].images[:24], None)) | {"": reals.has_classes}

    assert {"IS", "FID", "KID"} <= scores("inception", NAMES).keys()
    assert scores("inception", NAMES)[""]
    assert "IS" not in scores("unverified@12345678", NAMES)
    attributes = np.array(stores["validation"].attributes)
    attributes[0] = 1  # Of three classes at once: these are attributes.
    object.__setattr__(stores["validation"], "attributes", attributes)
    assert "IS" not in scores("inception", NAMES)


def test_floors_are_of_the_other_held_out_split_where_it_has_so_many(stores):
    see = extractor("inception", [])
    assert Reals(stores, "validation", 24, (), None, see).other_split == "test"
    assert Reals(stores, "test", 24, (), None, see).other_split == "validation"
    assert Reals(stores, "test", 30, (), None, see).other_split == "train"
    reals = Reals(stores, "train", 40, (), None, see)
    assert reals.other_split == "train"
    seen = {x.tobytes() for x in reals.held_out.images}
    assert len(seen) == 40
    assert not seen & {x.tobytes() for x in reals.other.images}
