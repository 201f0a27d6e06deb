"""Configurations are found by their path, or among those that come with the package."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from gan.config import resolve, to_json, validate
from gan.errors import ConfigError
from gan.experiments import load_config, our_configs

ROOT = Path(__file__).parents[1]
OURS = dict(our_configs())
MINE = "from gan.config import Config\ndef get_config(): return Config(steps=7, r1=1)"


@pytest.mark.parametrize("name", OURS)
def test_our_configs__are_valid(name):
    validate(OURS[name])
    assert resolve(OURS[name]) == OURS[name]


def test_our_configs__have_files_with_and_without_variants():
    assert {"quickstart", "celeba64", "celeba64:narrow"} <= OURS.keys()
    assert len({to_json(config) for config in OURS.values()}) == len(OURS)


def test_load_config__finds_ours_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config("configs/quickstart.py") == OURS["quickstart"]
    assert load_config("configs/celeba64.py:narrow") == OURS["celeba64:narrow"]
    assert load_config(str(ROOT / "configs" / "celeba64.py")) == OURS["celeba64"]


def test_load_config__prefers_the_file_at_the_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "quickstart.py").write_text(MINE)
    config = load_config("configs/quickstart.py")
    assert (config.steps, config.r1, type(config.r1)) == (7, 1.0, float)


def test_load_config__lists_what_there_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"The package has: configs/celeba64.py, configs/quicks"):
        load_config("elsewhere/a.py")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "first.py").write_text(MINE)
    with pytest.raises(ConfigError, match=r"'mine/first.py'\? mine has: mine/first.py\.$"):
        load_config("mine/frist.py")


@pytest.mark.slow
def test_an_installed_package__trains_and_preflights_from_another_folder(tmp_path):
    source, there, away = (tmp_path / name for name in ("source", "installed", "away"))
    ignored = shutil.ignore_patterns(".*", "tests", "__pycache__", "*.egg-info", "runs", "build")
    shutil.copytree(ROOT, source, ignore=ignored)
    away.mkdir()
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    wheels = ["wheel", "--no-deps", "--no-build-isolation", f"--wheel-dir={tmp_path}", str(source)]
    subprocess.run([*pip, *wheels], check=True)
    (wheel,) = tmp_path.glob("gan-*.whl")
    subprocess.run([*pip, "install", "--no-deps", f"--target={there}", wheel], check=True)
    compiled = str(jax.config.jax_compilation_cache_dir)
    environment = os.environ | {"PYTHONPATH": str(there), "JAX_COMPILATION_CACHE_DIR": compiled}

    def run(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        return subprocess.check_output(command, cwd=away, env=environment, text=True)

    assert Path(run("-c", "import gan; print(gan.__file__)").strip()).is_relative_to(there)
    run(
        *("-m", "gan.main", "--config=configs/quickstart.py", "--workdir=run"),
        *("--config.steps=1", "--config.data.num_faces=64", "--config.data.batch_size=4"),
        *("--config.network.g_width=4", "--config.network.d_width=4"),
        f"--config.data.cache_dir={tmp_path / 'cache'}",
    )
    assert (away / "run" / "checkpoints" / "1").exists()
    names = run("-c", "from gan.experiments import our_configs; print(*dict(our_configs()))")
    assert names.split() == [*OURS]
    preflight = ["-m", "gan.main", "--mode=preflight", "--config=configs/quickstart.py"]
    compilers = {"libtpu": "v5e:2x4", "jax_cuda12_plugin": "h200:8"}
    for package, topology in compilers.items():
        if importlib.util.find_spec(package):
            told = run(*preflight, f"--topology={topology}")
            assert f"quickstart on {topology}: " in told
        else:
            told = run(*preflight, f"--topology={topology}", "--dry_run")
            assert told == f"Would compile quickstart for {topology}.\n"
