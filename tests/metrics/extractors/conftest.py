"""A classifier that is trained once for all tests of this folder."""

import pytest
from helpers.bright_pictures import draw_pictures

from gan.metrics.extractors.classifier_cnn import Variables, train_classifier


@pytest.fixture(scope="session")
def learnt() -> Variables:
    return train_classifier(*draw_pictures(0, 96))
