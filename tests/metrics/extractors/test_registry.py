"""Which extractors are made, of what there is."""

import numpy as np
import pytest
from helpers.bright_pictures import NAMES, write_split
from helpers.inception_golden import random_state

from gan.errors import ConfigError
from gan.metrics.extractors.attribute_classifier import load_or_train_classifier
from gan.metrics.extractors.extractor import ExtractorInputs
from gan.metrics.extractors.inception_weights import torch_shapes
from gan.metrics.extractors.registry import make_extractors


@pytest.fixture
def stores(tmp_path, learnt):
    """A data set whose classifier is there already."""
    stores = [write_split(tmp_path, split) for split in ("train", "validation")]
    load_or_train_classifier(*stores, lambda *_: learnt)
    return stores


def test_make_extractors__the_classifier_is_first_and_knows_the_attributes(stores, tmp_path):
    (classifier,) = make_extractors(ExtractorInputs(*stores))
    assert classifier.name.startswith("attr@")
    assert classifier.attributes == NAMES
    np.savez(tmp_path / "weights.npz", **random_state(torch_shapes()))
    inputs = ExtractorInputs(*stores, tmp_path / "weights.npz", "clean")
    first, second = make_extractors(inputs)
    assert first.name == classifier.name
    assert second.name.startswith("unverified@")
    assert second.name.endswith("-clean")
    assert (" clean v" in second.stamp, second.attributes) == (True, ())


def test_make_extractors__says_what_cannot_be_made(stores, tmp_path):
    with pytest.raises(ConfigError, match=r"none\.pth cannot be read"):
        make_extractors(ExtractorInputs(*stores, tmp_path / "none.pth"))
    with pytest.raises(ConfigError, match=r"--resize=cleen: .* Did you mean 'clean'"):
        make_extractors(ExtractorInputs(*stores, tmp_path / "none.pth", "cleen"))


def test_extract__gives_each_picture_the_same_features_whatever_comes_with_it(stores):
    """The contract of an extractor, which an added one has to keep as well."""
    images = np.asarray(stores[0].images[:9])
    for extractor in make_extractors(ExtractorInputs(*stores)):
        together, alone = extractor.extract(images), extractor.extract(images[4:5])
        for some, one in zip(together, alone, strict=True):
            assert (len(some), some.dtype) == (9, np.float32)
            np.testing.assert_allclose(some[4:5], one, rtol=1e-5, atol=1e-5)
