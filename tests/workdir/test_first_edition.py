"""Workdirs of the first edition go on: their settings, states, averages and metrics."""

import json

import orbax.checkpoint as ocp
import pytest
from helpers.states import like, make_state, same

from gan.config import Config, from_json, to_json
from gan.errors import ConfigError
from gan.workdir.checkpoints import Checkpoints
from gan.workdir.first_edition import FirstState, upgrade_config, upgrade_metrics
from gan.workdir.manifest import Manifest, digests, types


@pytest.fixture
def folder(tmp_path):
    """A workdir whose step 1 has the layout of the first edition."""
    state = make_state(1)
    first = FirstState(
        state.step, state.key, state.generator, state.discriminator, state.averages["ema"]
    )
    manifest = Manifest(step=1, sha256=digests(first), arrays=types(first))
    with ocp.CheckpointManager(tmp_path / "checkpoints") as manager:
        arrays, meta = ocp.args.StandardSave(first), ocp.args.JsonSave(manifest.to_json())
        manager.save(1, args=ocp.args.Composite(state=arrays, meta=meta))
    return tmp_path


def test_state__goes_on_with_what_is_new_at_0(folder):
    with Checkpoints(folder) as checkpoints:
        state, _ = checkpoints.restore_newest(like())
    expected = make_state(1)
    assert same(state.replace(adaptive=expected.adaptive), expected)
    assert [float(x) for x in state.adaptive] == [0.0, 0.0]


def test_averages__are_drawn_with(folder):
    with Checkpoints(folder, read_only=True) as checkpoints:
        found = checkpoints.restore_averages(like().averages, 1)
    assert same(found, make_state(1).averages)


def test_state__of_another_model_is_refused_by_its_old_names(folder):
    with Checkpoints(folder) as checkpoints:
        with pytest.raises(
            ConfigError, match=r"another model: .*params\['w'\]: float32 \[3, 400\]"
        ):
            checkpoints.restore_newest(like(width=4))
        second = like().replace(averages={**like().averages, "ema2": like().averages["ema"]})
        with pytest.raises(ConfigError, match="second average"):
            checkpoints.restore_newest(second)


def test_upgrade_metrics__renames_sums_and_numbers():
    old = {".d_loss.total": ["float32", 2.5], ".d_loss.count": ["int32", 3]}
    assert upgrade_metrics(old) == {"d_loss": [2.5, 3]}
    assert upgrade_metrics({"d_loss": [2.5, 3]}) == {"d_loss": [2.5, 3]}


FIRST = {  # As `config.json` was, with all that was named otherwise.
    "steps": 7,
    "d_steps": 2,
    "loss": "wasserstein_gp",
    "gradient_penalty": 10.0,
    "ema_decay": 0.999,
    "data": {"batch_size": 64},
    "network": {
        "name": "dcgan",
        "z_dim": 32,
        "g_width": 8,
        "d_width": 8,
        "d_norm": "layer",
        "conditional": False,
        "film": True,
        "dtype": "bfloat16",
    },
}


def test_upgrade_config__brings_every_setting_to_its_present_name():
    config = from_json(json.dumps(upgrade_config(FIRST)))
    assert (config.loss, config.gradient_penalty) == ("wasserstein", 10.0)
    assert (config.z_dim, config.conditional, config.dtype) == (32, False, "bfloat16")
    assert (config.network.g_width, config.network.d_norm, config.network.film) == (
        8,
        "layer",
        True,
    )
    assert 0.5 ** (128 / config.average.half_life) == pytest.approx(0.999, rel=1e-6)


def test_upgrade_config__drops_a_penalty_that_the_loss_did_not_use():
    assert upgrade_config({**FIRST, "loss": "hinge"})["gradient_penalty"] == 0.0


def test_upgrade_config__reads_a_decay_of_0_as_no_average():
    assert upgrade_config({**FIRST, "ema_decay": 0.0})["average"]["half_life"] == 0.0


def test_upgrade_config__leaves_what_is_of_today():
    values = json.loads(to_json(Config()))
    assert upgrade_config(values) == values


@pytest.mark.parametrize(("before", "after"), [(None, "auto"), ("a.csv", "a.csv")])
def test_upgrade_config__labels_that_were_not_named_are_those_that_lie_there(before, after):
    values = json.loads(to_json(Config()))
    values["data"]["labels"] = before
    assert from_json(json.dumps(values), upgrade_config).data.labels == after
