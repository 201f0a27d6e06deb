"""Which scores there are, what they are called, and which way is better."""

import inspect

import numpy as np
import pytest

from gan.errors import ConfigError
from gan.metrics import scores


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    return rng.standard_normal((40, 3)), 1 + rng.standard_normal((40, 3))


def test_full_name__only_features_of_the_known_inception_give_an_fid(features):
    known = scores.score_features(*features, "inception")
    assert {"FID", "KID", "MIND-inception", "precision-inception"} <= known.keys()
    clean = scores.score_features(*features, "inception-clean")
    assert {"FID-clean", "KID-clean", "recall-inception-clean"} <= clean.keys()
    for name in ("unverified@12345678", "unverified@12345678-clean", "attr@12345678"):
        others = scores.score_features(*features, name)
        assert f"FD-{name}" in others
        assert not any(x.startswith(("FID", "KID")) for x in others)
        assert [*others.values()] == [*known.values()]


def test_better_direction__is_known_of_every_score(features):
    images = np.zeros((8, 16, 16, 3), np.uint8)
    found = scores.score_features(*features, "inception") | scores.score_pictures(images, images)
    for name in found:
        assert scores.better_direction(name) in ("lower", "higher")
    assert scores.better_direction("FD-attr@1a2b3c4d") == "lower"
    assert scores.better_direction("recall-attr@1a2b3c4d") == "higher"
    with pytest.raises(ConfigError, match="Did you mean 'recall'"):
        scores.better_direction("recal-attr@1a2b3c4d")


def test_registered_names__are_those_that_are_computed(features):
    images = np.zeros((8, 16, 16, 3), np.uint8)
    found = scores.score_pictures(images, images).keys()
    names = ("attr@1a2b3c4d", "inception-clean")
    for name in names:
        found |= scores.score_features(*features, name).keys()
    assert scores.registered_names(names) == found


def test_registry__holds_no_name_that_could_not_be_told_from_an_extractors():
    for name, score in (scores.PICTURES | scores.FEATURES).items():
        assert not {*"-@"} & {*name}
        assert score.measures.endswith(".")


def test_registry__says_of_each_function_that_draws_that_it_does(features):
    for score in (scores.PICTURES | scores.FEATURES).values():
        assert ("seed" in inspect.signature(score.function).parameters) == score.random
    mind = scores.FEATURES["MIND"]
    assert len({mind.compute(*features, seed=seed) for seed in (0, 0, 1)}) == 2


def test_find_score__by_its_beginning():
    there = ["swd", "FD-attr@1a2b3c4d", "FD-unverified@5e6f7a8b"]
    assert scores.find_score("FD-unverified", there) == there[2]
    assert scores.find_score("FD", there) == scores.find_score("FD-attr", there) == there[1]
    with pytest.raises(ConfigError, match="no such score there.*There are: swd, "):
        scores.find_score("FID", there)
