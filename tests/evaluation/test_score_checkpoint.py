"""One checkpoint: what it is asked to draw, and the scores of rendered faces."""

import numpy as np
import pytest
from helpers.scored import value

from gan.evaluation.score_checkpoint import GeneratedPictures
from gan.metrics import rendered
from gan.runtime.logs import read_rows
from gan.sampling.open_run import open_run
from gan.sampling.sampler import Sampler


@pytest.fixture(scope="module")
def generated(scored_run, reference) -> GeneratedPictures:
    run = open_run(scored_run)
    params = run.restore(4)
    return GeneratedPictures(run, Sampler(run.model, run.table), params, reference, (0, 1))


def test_draw_sets__asks_for_the_attributes_of_the_reference_set(generated, reference):
    first, second = generated.draw_sets()
    for images, requests in (first, second):
        assert images.shape == reference.held_out.images.shape
        np.testing.assert_array_equal(requests, reference.held_out.attributes)
    assert not np.array_equal(first[0], second[0])


def test_swap_attributes__are_those_that_vary(generated, reference):
    swaps = generated.swap_attributes()
    num = len(generated.varying)
    assert 0 < num < len(reference.names)
    assert swaps.success.shape == (num,)
    assert swaps.moved.shape == (num, num)


def test_score_as_rendered__tells_the_number_of_requests(scored_run, reference):
    row = read_rows(scored_run / "scores.jsonl")[-1]
    seen, unseen = (value(row, f"correct_{x}-attr", "cases") for x in ("seen", "unseen"))
    assert seen + unseen == reference.num
    training = np.asarray(reference.stores["train"].attributes)
    requests = rendered.draw_labels(reference.num)
    columns = [reference.names.index(name) for name in rendered.PLAIN]
    known = {tuple(x) for x in training[:, columns]}
    assert seen == sum(tuple(x) in known for x in requests[:, columns])
    assert (value(row, "correct_unseen-attr") is None) == (unseen == 0)
    assert "cases" not in next(x for n, x in row["scores"].items() if n.startswith("joint"))
