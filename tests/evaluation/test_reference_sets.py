"""Reference sets of an evaluation: which pictures, made once, refused for other data."""

import dataclasses

import numpy as np
import pytest
from helpers.scored import NUM

from gan.errors import ConfigError
from gan.sampling.open_run import open_run


def test_make_for_run__holds_every_chosen_picture_as_it_is_stored(reference):
    store = reference.stores["validation"]
    assert len(reference.held_out.images) == NUM == len(set(reference.rows))
    np.testing.assert_array_equal(reference.held_out.images, store.images[reference.rows])
    np.testing.assert_array_equal(reference.held_out.attributes, store.attributes[reference.rows])
    for extracted in reference.held_out.extracted.values():
        assert len(extracted.features) == NUM


def test_make_for_run__gives_runs_on_the_same_data_one_reference_set(
    scored_run, copy, references, reference
):
    assert references.make_for_run(open_run(copy), copy) is reference


def test_make_for_run__refuses_a_run_on_other_data(scored_run, references):
    run = open_run(scored_run)
    changed = dataclasses.replace(run.table, fingerprint="other", pictures="other")
    with pytest.raises(ConfigError, match="trained on other data"):
        references.make_for_run(dataclasses.replace(run, table=changed), scored_run)


def test_reference_sets__warn_of_few_pictures_for_inception(reference, caplog):
    assert "few for" not in caplog.text
    inception = reference.classifier._replace(name="inception")
    dataclasses.replace(reference, extractors=(*reference.extractors, inception))
    assert "40 pictures are few for a distance of Inception's features" in caplog.text
