"""Real pictures are looked at once, and what they are decides which scores there are."""

import dataclasses

import numpy as np
import pytest

from gan.data.store import Meta, Rows, open_store, write_store
from gan.errors import ConfigError
from gan.metrics.extractors.extractor import Extracted, Extractor
from gan.metrics.reference_set import ReferenceSet

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


def extractor(name: str) -> Extractor:
    def extract(images: np.ndarray) -> Extracted:
        flat = images[:, ::4, ::4].reshape(len(images), -1).astype(np.float32)
        return Extracted(flat, flat[:, :5])

    return Extractor(name, "stamp", extract)


def test_reference_set__only_classes_in_the_known_inception_get_an_inception_score(stores):
    def scores(name: str, names: tuple[str, ...]) -> dict:
        reference = ReferenceSet(stores, "validation", 24, names, (extractor(name),))
        return reference.score(reference.extract(stores["test"].images[:24], None)) | {
            "": reference.has_classes
        }

    assert {"IS", "FID", "KID"} <= scores("inception", NAMES).keys()
    assert scores("inception", NAMES)[""]
    assert "IS" not in scores("unverified@12345678", NAMES)
    attributes = np.array(stores["validation"].attributes)
    attributes[0] = 1  # Of three classes at once: these are attributes.
    stores["validation"] = dataclasses.replace(stores["validation"], attributes=attributes)
    assert "IS" not in scores("inception", NAMES)


def test_reference_set__names_splits_with_enough_pictures(stores):
    whole = stores["validation"]
    arrays = {name: getattr(whole, name)[:3] for name in ("images", "attributes", "identity")}
    stores["validation"] = dataclasses.replace(whole, **arrays)
    with pytest.raises(ConfigError) as raised:
        ReferenceSet(stores, "validation", 24, (), (extractor("inception"),))
    said = str(raised.value)
    assert "--split=validation: the data have 3 pictures there, at least 6 are needed" in said
    assert said.endswith("Compare with --split=train or --split=test.")
    for split in ("train", "test"):
        assert ReferenceSet(stores, split, 24, (), (extractor("inception"),)).num == 24
    with pytest.raises(ConfigError, match="5 pictures .* Give --num_images=6 or more"):
        ReferenceSet(stores, "test", 5, (), (extractor("inception"),))
    assert ReferenceSet(stores, "test", 6, (), (extractor("inception"),)).num == 6


def test_baseline_split__is_the_other_held_out_one_if_it_has_so_many(stores):
    see = extractor("inception")
    assert ReferenceSet(stores, "validation", 24, (), (see,)).baseline_split == "test"
    assert ReferenceSet(stores, "test", 24, (), (see,)).baseline_split == "validation"
    assert ReferenceSet(stores, "test", 30, (), (see,)).baseline_split == "train"
    reference = ReferenceSet(stores, "train", 40, (), (see,))
    assert reference.baseline_split == "train"
    seen = {x.tobytes() for x in reference.held_out.images}
    assert len(seen) == 40
    assert not seen & {x.tobytes() for x in reference.baseline_pictures.images}
