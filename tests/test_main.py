"""The command line: what it does, and what it says of what it cannot do."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import tiny
from PIL import Image

from gan import main
from gan.config import Config, flatten
from gan.errors import ConfigError
from gan.runtime import cluster
from gan.runtime.logs import read_rows
from gan.workdir import folder as folder_module

CONFIG = f"--config={Path(__file__).parent / 'helpers' / 'tiny.py'}"


MISTAKES = {
    ("--confg=x",): "--confg: no such option. Did you mean 'config'?",
    (CONFIG, "--config.stepz=3"): "--config.stepz: no such setting. Did you mean 'config.steps'?",
    (CONFIG, "--config.data.batchsize=3"): "Did you mean 'config.data.batch_size'?",
    (CONFIG, "--noconfig.augment.flipp"): "Did you mean 'config.augment.flip'?",
    (CONFIG, "--config.steps=many"): "--config.steps=many: invalid literal",
    (CONFIG, "--config.steps=0", "--workdir=w"): "config.steps=0: must be greater than 0",
    (CONFIG, "extra"): "'extra' is no option",
    (CONFIG, "--mode=trian"): "Did you mean 'train'?",
    (CONFIG,): "--mode=train needs --workdir=FOLDER",
    (CONFIG, "--seeds=3", "--workdir=w"): "--seeds goes with --mode=sample",
    (CONFIG, "--mode=sample", "--workdir=w"): "no --config",
    ("--config.steps=3", "--workdir=w"): "--config.steps=3 changes a setting of --config, which is",
    ("--config=configs/quickstat.py", "--workdir=w"): "Did you mean 'configs/quickstart.py'?",
    ("--config=configs/celeba64.py:narow",): "no such variant. Did you mean 'narrow'?",
    (CONFIG, "--workdir=w", "--dry_run", "--config.loss=hing"): "Did you mean 'hinge'?",
    (CONFIG, "--workdir=w", "--dry_run", "--config.data.source=face"): "Did you mean 'faces'?",
    ("--mode=prepare",): "--mode=prepare needs --config=FILE",
    (CONFIG, "--mode=export"): "--mode=export needs --out=FOLDER",
    (CONFIG, "--workdir=w", "--file_format=x"): "--file_format goes with --mode=export",
    (CONFIG, "--mode=evaluate", "--workdir=w", "--verify"): "goes with --mode=train or prepare",
}


@pytest.mark.parametrize("options", MISTAKES, ids=" ".join)
def test_mistakes_are_named_with_the_remedy(run, monkeypatch, options):
    monkeypatch.chdir(Path(__file__).parents[1])
    code, text = run(*options)
    assert code == 64
    assert MISTAKES[options] in text
    assert "Traceback" not in text
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = (", "SyntaxError"),
        ("from gan.config import Config\ndef get_config(): return Config(stepz=3)", "stepz"),
        ("from gan.config import Config\ndef get_config(): return Config(steps='3')", "steps='3'"),
        ("x = 1", "get_config"),
    ],
)
def test_a_broken_configuration_is_named(run, tmp_path, source, said):
    path = tmp_path / "broken.py"
    path.write_text(source)
    code, text = run(f"--config={path}", f"--workdir={tmp_path / 'run'}")
    assert code == 64
    assert said in text
    assert str(path) in text
    assert not (tmp_path / "run").exists()


def test_a_workdir_without_a_run_is_said_to_be_one(run, tmp_path):
    for mode in ("train", "sample", "evaluate"):
        code, text = run(f"--workdir={tmp_path}", f"--mode={mode}")
        assert code == 64
        assert "holds no run" in text


def test_a_damaged_configuration_of_a_run_is_bad_data(run, tmp_path):
    (tmp_path / "config.json").write_text('{"steps": ')
    code, text = run(f"--workdir={tmp_path}", "--mode=sample")
    assert code == 65
    assert str(tmp_path / "config.json") in text


def test_a_workdir_in_use_exits_73(run, tmp_path, faces_cache):
    with folder_module.lock_workdir(tmp_path):
        cache = f"--config.data.cache_dir={faces_cache}"
        code, text = run(CONFIG, cache, f"--workdir={tmp_path}")
    assert code == 73
    assert "in use by process" in text


def test_an_unexpected_error_exits_70_with_its_traceback(run, tmp_path, monkeypatch):
    monkeypatch.setattr(main, "job", lambda *_: 1 / 0)
    code, text = run(CONFIG, f"--workdir={tmp_path}")
    assert code == 70
    assert "ZeroDivisionError" in text


@pytest.mark.parametrize(
    ("number", "code"), [(errno.ENOSPC, 74), (errno.EDQUOT, 74), (errno.EIO, 70)]
)
def test_a_full_disk_exits_74_wherever_it_is_met(run, tmp_path, monkeypatch, number, code):
    def fail(*_):
        raise OSError(number, os.strerror(number), "runs/config.json")

    monkeypatch.setattr(main, "job", fail)
    found, text = run(CONFIG, f"--workdir={tmp_path}")
    assert found == code
    assert f"runs/config.json: {os.strerror(number)}." in text
    assert ("Traceback" in text) == (code == 70)


def test_the_others_are_told_what_ends_this_process(run, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(cluster, "tell_others", told.append)
    assert run("--mode=sample", f"--workdir={tmp_path}")[0] == 64
    (error,) = told
    assert isinstance(error, ConfigError)


def test_help_names_every_option_and_setting_with_its_meaning(run):
    code, text = run("--help")
    assert code == 0
    lines = {line.split()[0]: line for line in text.splitlines() if line.startswith("  ")}
    for name, default in flatten(Config()).items():
        assert lines[name].split(maxsplit=2)[1] == str(default)
        assert len(lines[name].split(maxsplit=2)) == 3, f"{name} has no meaning"
    assert {"--config", "--workdir", "--mode", "--attributes", "--seeds"} <= lines.keys()


def test_help_needs_neither_tensorflow_nor_a_device():
    code = (
        "import sys; sys.argv = ['gan.main', '--help']\n"
        "from gan import main; main.main()\n"
        "from jax._src import xla_bridge\n"
        "sys.exit('tensorflow' in sys.modules or xla_bridge.backends_are_initialized())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_mistakes_in_names_need_no_jax():
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


def test_dry_run_resolves_and_touches_nothing(run, tmp_path):
    folder = tmp_path / "run"
    code, text = run(CONFIG, "--config.seed=7", f"--workdir={folder}", "--dry_run")
    assert code == 0
    resolved, end = json.JSONDecoder().raw_decode(text)
    assert resolved["seed"] == 7
    assert resolved["data"]["batch_size"] == tiny.get_config().data.batch_size
    assert "Would train" in text[end:]
    assert not folder.exists()


def test_prepare_finds_what_is_there(run, faces_cache):
    before = {path: path.stat().st_mtime_ns for path in faces_cache.rglob("*.npy")}
    cache = f"--config.data.cache_dir={faces_cache}"
    assert run(CONFIG, cache, "--mode=prepare")[0] == 0
    assert {path: path.stat().st_mtime_ns for path in faces_cache.rglob("*.npy")} == before
    assert len(before) >= 9


def test_sample_draws_what_was_asked_for(run, finished, tmp_path):
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


def test_same_seed_same_picture(run, finished, tmp_path):
    base = (f"--workdir={finished[1]}", "--mode=sample", "--attributes=Male=1", "--individual")
    run(*base, "--seeds=0-99", f"--out={tmp_path / 'many'}")
    run(*base, "--seeds=70", f"--out={tmp_path / 'one'}")
    files = [tmp_path / folder / "seed_0070.png" for folder in ("many", "one")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[0].read_bytes() != (tmp_path / "many" / "seed_0071.png").read_bytes()


def test_sample_needs_no_data_set(run, finished, tmp_path, monkeypatch):
    monkeypatch.setattr("gan.data.prepare.prepare", lambda *_, **__: pytest.fail("prepared"))
    out = f"--out={tmp_path / 'f.png'}"
    assert run(f"--workdir={finished[1]}", "--mode=sample", "--seeds=1", out)[0] == 0


WISHES = {
    ("--attributes=Smilin=1",): "Did you mean 'Smiling'?",
    ("--attributes=Smiling=2",): "must be Smiling=1 (with) or Smiling=0",
    ("--attributes=Attractive=1",): "cannot be drawn",
    ("--seeds=5-2",): "must rise",
    ("--seeds=a",): "neither a number nor a range",
    ("--step=3",): "has steps [2, 4]",
    ("--seeds=0-4000000000",): "at most 100,000 pictures",
    ("--seeds=0", "--out=/dev/null/x.png"): "--out=/dev/null/x.png cannot be written",
}


@pytest.mark.parametrize("wish", WISHES, ids=" ".join)
def test_wishes_that_cannot_be_met_are_named(run, finished, wish):
    code, text = run(f"--workdir={finished[1]}", "--mode=sample", *wish)
    assert code == 64
    assert WISHES[wish] in text


def test_a_combination_that_never_occurred_is_said_to_be_an_extrapolation(run, finished, tmp_path):
    wish = "--attributes=Bald=1,Bangs=1"
    out = f"--out={tmp_path / 'f.png'}"
    code, text = run(f"--workdir={finished[1]}", "--mode=sample", wish, "--seeds=0", out)
    assert code == 0
    assert "an extrapolation" in text


@pytest.mark.slow
def test_a_deterministic_run_tells_xla_so(faces_cache, tmp_path):
    """In a process of its own: XLA reads its flags once, and stops it if one does not exist."""
    code = (
        "import os, sys; from gan import main; main.run(sys.argv);"
        "sys.exit('--xla_gpu_deterministic_ops=true' not in os.environ['XLA_FLAGS'])"
    )
    options = ["--config.steps=1", "--config.deterministic", f"--workdir={tmp_path}"]
    cache = f"--config.data.cache_dir={faces_cache}"
    command = [sys.executable, "-c", code, CONFIG, cache, *options]
    subprocess.run(command, check=True, env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "c")})
    assert [row["step"] for row in read_rows(tmp_path / "metrics.jsonl")] == [1]
