"""The command: its modes, and the exit code and line of what goes wrong."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import tiny
from PIL import Image

from gan import main
from gan.errors import ConfigError
from gan.runtime import cluster
from gan.runtime.logs import read_rows
from gan.workdir import folder as folder_module

CONFIG = f"--config={Path(__file__).parent / 'helpers' / 'tiny.py'}"


MISTAKES = {
    ("--confg=x",): "--confg: no such option. Did you mean 'config'?",
    (CONFIG, "--config.steps=0", "--workdir=w"): "config.steps=0: must be greater than 0",
    ("--config=configs/celeba64.py:narow", "--workdir=w"): "Did you mean 'narrow'?",
    (CONFIG, "--workdir=w", "--dry_run", "--config.loss=hing"): "Did you mean 'hinge'?",
    (CONFIG, "--workdir=w", "--dry_run", "--config.data.source=face"): "Did you mean 'faces'?",
    (CONFIG, "--workdir=w", "--dry_run", "--config.gradient_penalty=10"): "d_norm=batch mixes them",
    (CONFIG, "--mode=evaluate", "--workdir=w", "--images=x", "--resize=clean"): "--resize is of",
    (CONFIG, "--mode=preflight", "--topology=x", "--config.r1=-1"): "config.r1=-1.0: must not be",
}


@pytest.mark.parametrize("options", MISTAKES, ids=" ".join)
def test_main__names_a_mistake_in_one_line(run, monkeypatch, options):
    monkeypatch.chdir(Path(__file__).parents[1])
    code, text = run(*options)
    assert code == 64
    assert MISTAKES[options] in text
    assert "Traceback" not in text
    assert len(text.splitlines()) == 1


def test_main__says_that_a_workdir_holds_no_run(run, tmp_path):
    for mode in ("train", "sample", "evaluate"):
        code, text = run(f"--workdir={tmp_path}", f"--mode={mode}")
        assert code == 64
        assert "holds no run" in text


def test_main__exits_65_for_a_damaged_configuration_of_a_run(run, tmp_path):
    (tmp_path / "config.json").write_text('{"steps": ')
    code, text = run(f"--workdir={tmp_path}", "--mode=sample")
    assert code == 65
    assert str(tmp_path / "config.json") in text


def test_main__exits_73_for_a_workdir_in_use(run, tmp_path, faces_cache):
    with folder_module.lock_workdir(tmp_path):
        cache = f"--config.data.cache_dir={faces_cache}"
        code, text = run(CONFIG, cache, f"--workdir={tmp_path}")
    assert code == 73
    assert "in use by process" in text


def fail_with(error: BaseException):
    """A job that raises `error`."""

    def fail(command):
        raise error

    return fail


def test_main__exits_70_with_a_traceback_for_an_unexpected_error(run, tmp_path, monkeypatch):
    monkeypatch.setitem(main.JOBS, "train", fail_with(ZeroDivisionError()))
    code, text = run(CONFIG, f"--workdir={tmp_path}")
    assert code == 70
    assert "ZeroDivisionError" in text


@pytest.mark.parametrize(
    ("number", "code"), [(errno.ENOSPC, 74), (errno.EDQUOT, 74), (errno.EIO, 70)]
)
def test_main__exits_74_for_a_full_disk(run, tmp_path, monkeypatch, number, code):
    error = OSError(number, os.strerror(number), "runs/config.json")
    monkeypatch.setitem(main.JOBS, "train", fail_with(error))
    found, text = run(CONFIG, f"--workdir={tmp_path}")
    assert found == code
    assert f"runs/config.json: {os.strerror(number)}." in text
    assert ("Traceback" in text) == (code == 70)


def test_main__tells_the_other_processes_what_ends_this_one(run, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(cluster, "tell_others", told.append)
    assert run("--mode=sample", f"--workdir={tmp_path}")[0] == 64
    (error,) = told
    assert isinstance(error, ConfigError)


def test_help__needs_neither_tensorflow_nor_a_device():
    code = (
        "import sys; sys.argv = ['gan.main', '--help']\n"
        "from gan import main; main.main()\n"
        "from gan.runtime.jax_private import has_started_devices\n"
        "sys.exit('tensorflow' in sys.modules or has_started_devices())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_mistakes_in_names__need_no_jax():
    for mistake in ("--confg=x", "--config.stepz=3"):
        code = (
            f"import sys; sys.argv = ['gan.main', '--config=configs/quickstart.py', {mistake!r}]\n"
            "from gan import main\n"
            "try: main.main()\n"
            "except SystemExit as stop: assert stop.code == 64\n"
            "sys.exit(bool({'jax', 'tensorflow', 'flax', 'numpy'} & sys.modules.keys()))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr


def test_dry_run__resolves_and_touches_nothing(run, tmp_path):
    folder = tmp_path / "run"
    code, text = run(CONFIG, "--config.seed=7", f"--workdir={folder}", "--dry_run")
    assert code == 0
    resolved, end = json.JSONDecoder().raw_decode(text)
    assert resolved["seed"] == 7
    assert resolved["data"]["batch_size"] == tiny.get_config().data.batch_size
    assert "Would train" in text[end:]
    assert not folder.exists()


def test_prepare__finds_what_is_there(run, faces_cache):
    before = {path: path.stat().st_mtime_ns for path in faces_cache.rglob("*.npy")}
    cache = f"--config.data.cache_dir={faces_cache}"
    assert run(CONFIG, cache, "--mode=prepare")[0] == 0
    assert {path: path.stat().st_mtime_ns for path in faces_cache.rglob("*.npy")} == before
    assert len(before) >= 9


def test_sample__draws_what_was_requested(run, finished, tmp_path):
    folder = finished[1]
    wish = ("--attributes=Smiling=1,Eyeglasses=0", "--seeds=0-2,7")
    out = tmp_path / "faces.png"
    code, text = run(f"--workdir={folder}", "--mode=sample", *wish, f"--out={out}")
    assert code == 0
    assert "training images" in text
    with Image.open(out) as image:
        assert image.size == (128, 128)  # A grid of 2 x 2, enlarged.
    code, _ = run(
        *(f"--workdir={folder}", "--mode=sample", *wish, f"--out={tmp_path / 'each'}"),
        *("--individual", "--size=48", "--step=2"),
    )
    assert code == 0
    names = sorted(path.name for path in (tmp_path / "each").iterdir())
    assert names == [f"seed_{seed:04d}.png" for seed in (0, 1, 2, 7)]
    with Image.open(tmp_path / "each" / names[0]) as image:
        assert image.size == (48, 48)


def test_sample__draws_the_same_picture_for_the_same_seed(run, finished, tmp_path):
    base = (f"--workdir={finished[1]}", "--mode=sample", "--attributes=Male=1", "--individual")
    run(*base, "--seeds=0-99", f"--out={tmp_path / 'many'}")
    run(*base, "--seeds=70", f"--out={tmp_path / 'one'}")
    files = [tmp_path / folder / "seed_0070.png" for folder in ("many", "one")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[0].read_bytes() != (tmp_path / "many" / "seed_0071.png").read_bytes()


def test_help__ends_in_silence_where_its_reader_has_seen_enough():
    command = f"{sys.executable} -m gan.main --help | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Trains a GAN")


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "2>&-"])
def test_help__ends_well_where_nobody_listens(closed):
    command = f"{sys.executable} -m gan.main --help {closed}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_sample__needs_no_data_set(run, finished, tmp_path):
    folder, nowhere = tmp_path / "run", tmp_path / "nowhere"
    shutil.copytree(finished[1], folder)
    config = json.loads((folder / "config.json").read_text())
    config["data"] |= {"source": "celeba", "path": str(nowhere), "cache_dir": str(nowhere)}
    (folder / "config.json").write_text(json.dumps(config))
    assert run(f"--workdir={folder}", "--mode=sample", "--seeds=1")[0] == 0
    assert (folder / "faces.png").exists()
    assert not nowhere.exists()


REQUESTS = {
    ("--attributes=Smilin=1",): "Did you mean 'Smiling'?",
    ("--attributes=Smiling=2",): "must be Smiling=1 (with) or Smiling=0",
    ("--attributes=Attractive=1",): "cannot be drawn",
    ("--seeds=5-2",): "must rise",
    ("--seeds=a",): "neither a number nor a range",
    ("--step=3",): "has steps [2, 4]",
    ("--seeds=0-4000000000",): "at most 100,000 pictures",
    ("--seeds=0", "--out=/dev/null/x.png"): "--out=/dev/null/x.png cannot be written",
}


@pytest.mark.parametrize("request_", REQUESTS, ids=" ".join)
def test_sample__names_a_request_that_cannot_be_met(run, finished, request_):
    code, text = run(f"--workdir={finished[1]}", "--mode=sample", *request_)
    assert code == 64
    assert REQUESTS[request_] in text


def test_sample__says_that_a_new_combination_is_an_extrapolation(run, finished, tmp_path):
    wish = "--attributes=Bald=1,Bangs=1"
    out = f"--out={tmp_path / 'f.png'}"
    code, text = run(f"--workdir={finished[1]}", "--mode=sample", wish, "--seeds=0", out)
    assert code == 0
    assert "an extrapolation" in text


@pytest.mark.slow
def test_deterministic__is_told_to_xla(faces_cache, tmp_path):
    """Takes a process of its own: XLA reads its flags once, and stops it if one does not exist."""
    code = (
        "import os, sys; from gan import main; main.run(sys.argv);"
        "sys.exit('--xla_gpu_deterministic_ops=true' not in os.environ['XLA_FLAGS'])"
    )
    options = ["--config.steps=1", "--config.deterministic", f"--workdir={tmp_path}"]
    cache = f"--config.data.cache_dir={faces_cache}"
    command = [sys.executable, "-c", code, CONFIG, cache, *options]
    subprocess.run(command, check=True, env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "c")})
    assert [row["step"] for row in read_rows(tmp_path / "metrics.jsonl")] == [1]
