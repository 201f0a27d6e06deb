"""A run that was trained and evaluated, for the tests of the evaluation."""

import shutil
from pathlib import Path

import pytest
from helpers import scored

from gan.evaluation.job import evaluate
from gan.evaluation.reference_sets import ReferenceSets
from gan.metrics.reference_set import ReferenceSet
from gan.sampling.open_run import open_run


@pytest.fixture(scope="session")
def scored_run(finished, tmp_path_factory) -> Path:
    """A copy of the finished run, evaluated with `scored.OPTIONS`."""
    folder = tmp_path_factory.mktemp("scored") / "run"
    shutil.copytree(finished[1], folder)
    (folder / "scores.jsonl").unlink(missing_ok=True)
    evaluate([folder], scored.OPTIONS)
    return folder


@pytest.fixture
def copy(scored_run, tmp_path) -> Path:
    """A copy of the evaluated run, to change."""
    return shutil.copytree(scored_run, tmp_path / "copy")


@pytest.fixture(scope="session")
def references(scored_run) -> ReferenceSets:
    return ReferenceSets(scored.OPTIONS)


@pytest.fixture(scope="session")
def reference(scored_run, references) -> ReferenceSet:
    """The reference set that the run was evaluated with."""
    return references.make_for_run(open_run(scored_run), scored_run)
