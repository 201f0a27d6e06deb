"""Reference sets of an evaluation: which pictures, made once, refused for other data."""

import dataclasses
import shutil

import numpy as np
import pytest
from helpers.scored import NUM, OPTIONS

from gan.errors import ConfigError, DataError
from gan.evaluation.reference_sets import ReferenceSets
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


def test_make_for_run__looks_at_no_pictures_but_those_that_were_prepared(
    scored_run, reference, faces_cache, tmp_path
):
    """The remedy that is named helps: nothing that was found of damaged pictures is kept."""
    shutil.copytree(faces_cache, tmp_path / "cache")
    run = open_run(scored_run)
    data = dataclasses.replace(run.config.data, cache_dir=str(tmp_path / "cache"))
    run = dataclasses.replace(run, config=dataclasses.replace(run.config, data=data))
    (path,) = (tmp_path / "cache").glob("*/validation/images.npy")
    content = path.read_bytes()
    path.write_bytes(content[:200] + bytes(50_000) + content[50_200:])
    with pytest.raises(DataError, match=f"Delete the folder {path.parent}, and it will be"):
        ReferenceSets(OPTIONS).make_for_run(run, scored_run)
    shutil.rmtree(path.parent)
    again = ReferenceSets(OPTIONS).make_for_run(run, scored_run).held_out
    np.testing.assert_array_equal(again.images, reference.held_out.images)
    for name, extracted in again.extracted.items():
        np.testing.assert_array_equal(
            extracted.features, reference.held_out.extracted[name].features
        )


def test_reference_sets__warn_of_few_pictures_for_inception(reference, caplog):
    assert "few for" not in caplog.text
    inception = reference.classifier._replace(name="inception")
    dataclasses.replace(reference, extractors=(*reference.extractors, inception))
    assert "40 pictures are few for a distance of Inception's features" in caplog.text
