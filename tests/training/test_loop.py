"""The loop calls hooks when they are due."""

import dataclasses

import pytest
from helpers import tiny

from gan.training.job import train


@pytest.fixture
def config(faces_cache):
    config = tiny.get_config()
    config.data.cache_dir = str(faces_cache)
    return config


def test_hooks__are_called_after_their_steps_and_the_last(config, tmp_path):
    called = {0: [], 3: []}

    def note(every):
        def hook(run, step, state):
            assert int(state.step) == step
            called[every].append(step)

        return every, hook

    train(config, tmp_path, hooks=[note(0), note(3)])
    assert called == {0: [1, 2, 3, 4], 3: [3, 4]}


def test_hooks__see_the_run(config, tmp_path):
    seen = []

    def hook(run, step, state):
        seen.append((run.folder, run.config.steps, len(run.store.images), run.rules.images))

    train(dataclasses.replace(config, steps=1), tmp_path, hooks=[(1, hook)])
    assert seen == [(tmp_path, 1, 256, 8)]


def test_hooks__that_fail_end_the_training(config, tmp_path):
    def hook(run, step, state):
        raise RuntimeError("made for a test")

    with pytest.raises(RuntimeError, match="made for a test"):
        train(config, tmp_path, hooks=[(2, hook)])
