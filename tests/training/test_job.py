"""Training as a job: it resumes exactly, says what is wrong, and never harms what it has saved."""

import dataclasses
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers import tiny, unoptimised

from gan.config import Optimizer
from gan.data.attributes import AttributeTable
from gan.data.batch import Batch
from gan.errors import ConfigError, Diverged, Preempted, WorkdirInUse
from gan.model import flops
from gan.model.step import build, train_step
from gan.runtime.logs import read_rows
from gan.training.job import train
from gan.workdir.checkpoints import Checkpoints, digests
from gan.workdir.folder import lock_workdir

ROOT = Path(__file__).parents[2]
CLOCK = ("seconds", "images_per_second")


@pytest.fixture(scope="module")
def config(faces_cache):
    config = tiny.get_config()
    config.data.cache_dir = str(faces_cache)
    return config


def test_train__leaves_in_the_workdir_what_is_promised(finished):
    _, folder = finished
    # What the other jobs add is theirs.
    later = {".lock", ".evaluate.lock", "scores.jsonl", "faces.png", "best.json", "report.html"}
    later.add("evaluation")
    there = {path.name.split(".out.")[0] for path in folder.iterdir()} - later
    assert there == {
        *("config.json", "environment.json", "attributes.npz", "log.txt", "metrics.jsonl"),
        *("events", "reals.png", "samples", "checkpoints"),
    }
    assert [path.name for path in (folder / "samples").iterdir()] == ["step_00000004.png"]
    rows = read_rows(folder / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert [row["images"] for row in rows] == [8, 16, 24, 32]
    assert {"seconds", "images_per_second", "g_loss", "d_loss"} <= rows[0].keys()
    assert "step 4/4" in (folder / "log.txt").read_text()
    assert json.loads((folder / "environment.json").read_text())["versions"]["jax"]


@pytest.mark.slow
def test_train__tells_the_share_of_a_known_peak(config, tmp_path, monkeypatch):
    monkeypatch.setitem(flops.PEAKS, jax.devices()[0].device_kind, 1e12)
    config = dataclasses.replace(config, steps=1, d_steps=2, parallel="pmap")
    state = train(config, tmp_path)
    assert "% of bf16 peak) | " in (tmp_path / "log.txt").read_text()
    (row,) = read_rows(tmp_path / "metrics.jsonl")
    built = build(config, AttributeTable.load(tmp_path / "attributes.npz").marginals)
    num = 2 * config.data.batch_size
    batch = Batch(np.zeros((num, 32, 32, 3), np.uint8), np.zeros((num, 40), np.uint8))
    work = flops.count(functools.partial(train_step, *built), state, batch)
    share = row["images_per_second"] / num * work / (1e12 * jax.device_count())
    assert row["share_of_peak"] == pytest.approx(share)


@pytest.mark.slow
def test_train__resumed_is_the_uninterrupted_run_bit_for_bit(config, finished, tmp_path):
    streamed = dataclasses.replace(config.data, feed="stream")  # The other feed changes no bit.
    train(dataclasses.replace(config, steps=2, data=streamed), tmp_path)
    resumed = train(config, tmp_path)
    whole, folder = finished
    assert digests(resumed) == digests(whole)
    assert int(resumed.step) == 4
    losses = [
        [(row["step"], row["g_loss"], row["d_loss"]) for row in read_rows(path / "metrics.jsonl")]
        for path in (tmp_path, folder)
    ]
    assert losses[0] == losses[1]
    assert (tmp_path / "samples/step_00000004.png").read_bytes() == (
        folder / "samples/step_00000004.png"
    ).read_bytes()
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        assert checkpoints.steps() == [2, 4]
    # And on under the other compilation.
    after = train(dataclasses.replace(config, steps=5, parallel="pmap"), tmp_path)
    assert int(after.step) == 5


def without_clock(folder: Path) -> list[dict[str, float]]:
    rows = read_rows(folder / "metrics.jsonl")
    return [{k: v for k, v in row.items() if k not in CLOCK} for row in rows]


@pytest.mark.slow
def test_train__metrics_of_an_interval_survive_a_signal_bit_for_bit(config, tmp_path):
    """Stopped at step 3 and at step 5 of a log interval of 6."""
    every = dict(log_every=6, sample_every=100, checkpoint_every=1)
    config = dataclasses.replace(config, steps=7, **every)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train(config, whole)
    assert [row["step"] for row in without_clock(whole)] == [6, 7]

    def stop(run, step, state):
        if step in (2, 4):
            os.kill(os.getpid(), signal.SIGTERM)

    for last in (3, 5):
        with pytest.raises(Preempted, match=f"saved step {last}"):
            train(config, stopped, hooks=[(1, stop)])
    train(config, stopped)
    assert without_clock(stopped) == without_clock(whole)


@pytest.mark.slow
def test_train__several_steps_in_one_call_are_the_same_steps(config, finished, tmp_path):
    every = dict(log_every=4, sample_every=4, checkpoint_every=4)
    state = train(dataclasses.replace(config, steps_per_call=2, profile=1, **every), tmp_path)
    assert "Traced up to step 4" in (tmp_path / "log.txt").read_text()
    (trace,) = (tmp_path / "plugins" / "profile").glob("*/*.xplane.pb")
    assert trace.stat().st_size > 1000
    assert "steps a call: 2" in (tmp_path / "log.txt").read_text()
    whole, folder = finished
    trees = [(s.generator.params, s.discriminator.params, s.averages) for s in (state, whole)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), *trees)
    (row,) = read_rows(tmp_path / "metrics.jsonl")
    assert (row["step"], row["images"]) == (4, 32)
    losses = [row["d_loss"] for row in read_rows(folder / "metrics.jsonl")]
    assert row["d_loss"] == pytest.approx(np.mean(losses), rel=1e-4)


def test_train__has_nothing_to_do_on_a_finished_run(config, finished):
    state, folder = finished
    before = (folder / "metrics.jsonl").read_bytes()
    assert digests(train(config, folder)) == digests(state)
    assert (folder / "metrics.jsonl").read_bytes() == before


def test_train__refuses_another_experiment_in_the_same_workdir(config, finished):
    _, folder = finished
    other = dataclasses.replace(config, seed=1)
    with pytest.raises(ConfigError, match="config.seed is 0 there and 1 now"):
        train(other, folder)


def test_train__refuses_other_data_in_the_same_workdir(config, finished, tmp_path):
    _, folder = finished
    table = AttributeTable.load(folder / "attributes.npz")
    dataclasses.replace(table, rows=1 - table.rows).save(tmp_path / "attributes.npz")
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(ConfigError, match="other data"):
        train(config, tmp_path)


@pytest.mark.parametrize("lost", ["attributes.npz", "config.json"])
def test_train__goes_on_only_with_what_it_was_trained_on(config, finished, tmp_path, lost):
    shutil.copytree(finished[1], tmp_path, dirs_exist_ok=True)
    (tmp_path / lost).unlink()
    data = dataclasses.replace(config.data, num_faces=300)
    other = {
        "attributes.npz": dataclasses.replace(config, data=data),
        "config.json": dataclasses.replace(config, seed=1),
    }[lost]
    text = {"attributes.npz": "images: ", "config.json": "seed: 0 there, 1 now"}[lost]
    (tmp_path / "config.json").unlink(missing_ok=True)
    with pytest.raises(ConfigError, match=f"checkpoints/4 holds .*{text}"):
        train(other, tmp_path)


def test_train__refuses_a_workdir_in_use(config, finished):
    _, folder = finished
    with lock_workdir(folder), pytest.raises(WorkdirInUse, match=f"process {os.getpid()}"):
        train(config, folder)


def test_train__refuses_what_cannot_be_before_anything_is_written(config, tmp_path):
    for name, value in (("loss", "hing"), ("parallel", "pmpa")):
        with pytest.raises(ConfigError, match="Did you mean"):
            train(dataclasses.replace(config, **{name: value}), tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_train__keeps_the_last_good_checkpoint_where_it_diverges(config, tmp_path):
    train(dataclasses.replace(config, steps=2), tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    settings["g_optimizer"]["learning_rate"] = 1e38
    (tmp_path / "config.json").write_text(json.dumps(settings))
    wild = dataclasses.replace(config, g_optimizer=Optimizer(learning_rate=1e38), log_every=100)
    with pytest.raises(Diverged, match="last good checkpoint is step 2"):
        train(wild, tmp_path)
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        assert checkpoints.steps() == [2]


def command(folder: Path, cache: Path, *options: str) -> list[str]:
    return [
        *(sys.executable, "-m", "gan.main", "--config=tests/helpers/tiny.py"),
        *(f"--workdir={folder}", f"--config.data.cache_dir={cache}"),
        *("--config.checkpoint_every=100000", *options),
    ]


def start(arguments: list[str], cache: Path) -> subprocess.Popen:
    environment = {
        **os.environ,
        **unoptimised.FLAGS,
        "XDG_CACHE_HOME": str(cache),
        "JAX_PLATFORMS": "cpu",
    }
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(arguments, cwd=ROOT, env=environment, **pipes)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_train__saves_at_a_signal_and_the_same_command_goes_on(faces_cache, tmp_path, number):
    arguments = command(tmp_path, faces_cache, "--config.steps=100000", "--config.log_every=1")
    process = start(arguments, faces_cache)
    seen = ""
    while "step 3/" not in seen:
        line = process.stdout.readline()
        assert line, seen
        seen += line
    process.send_signal(number)
    rest, _ = process.communicate(timeout=120)
    assert process.returncode == 75, rest
    assert f"{number.name}: saved step" in rest
    steps = [int(path.name) for path in (tmp_path / "checkpoints").iterdir()]
    assert len(steps) == 1
    assert steps[0] >= 3
    again = start([*arguments, f"--config.steps={steps[0] + 1}"], faces_cache)
    output, _ = again.communicate(timeout=120)
    assert again.returncode == 0, output
    assert f"from step {steps[0]} to {steps[0] + 1}" in output


def test_train__state_on_several_devices_is_one(finished):
    state, _ = finished
    assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(state))
    assert np.isfinite(jax.device_get(state.averages["ema"]["Dense_0"]["kernel"])).all()
