"""Tests run on four CPU devices, with shapes checked, and JAX strict."""

import contextlib
import dataclasses
import gc
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import jax
import pytest
from jaxtyping import install_import_hook
from xdist.scheduler import LoadScopeScheduling

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
# Most of the tests' time is compiling, of the same programs again and again.
# JAX does not write them in one step, so processes that test side by side have a folder each.
KEPT = Path(__file__).parents[1] / ".pytest_cache/xla" / os.environ.get("PYTEST_XDIST_WORKER", "")
jax.config.update("jax_compilation_cache_dir", str(KEPT))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
# XLA reads its flags here, once. What the tests start is compiled as it is for users.
with mock.patch.dict(os.environ, XLA_FLAGS="--xla_backend_optimization_level=0"):
    jax.devices()

# `gan.model.state` is left out: JAX rebuilds its pytrees with leaves that are no arrays.
CHECKED = [
    *("data", "evaluation", "metrics", "preflight", "sampling", "training", "workdir"),
    *("model.augment", "model.averages", "model.generate", "model.losses", "model.schedules"),
    *("model.step", "model.networks.dcgan", "model.networks.layers"),
    *("runtime.parallel", "runtime.pictures", "runtime.storage"),
]
install_import_hook([f"gan.{name}" for name in CHECKED], "beartype.beartype")

from helpers import tiny  # noqa: E402, the hook must be there first

from gan import main  # noqa: E402
from gan.data.prepare import prepare  # noqa: E402
from gan.runtime import cluster  # noqa: E402
from gan.training.job import train  # noqa: E402


class FolderScheduling(LoadScopeScheduling):
    """Keeps a folder's tests in one process, or those of a file that lies in none.

    They share what takes long to make.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        folder = file.rpartition("/")[0]
        return file if folder == "tests" else folder


def pytest_xdist_make_scheduler(config, log):
    """Returns how the tests are shared out among processes (`-n 2`)."""
    return FolderScheduling(config, log)


@pytest.fixture(autouse=True, scope="module")
def quick_collections():
    """Hides what earlier files left, of which JAX keeps millions, from the garbage collector."""
    gc.freeze()


@pytest.fixture(scope="session")
def faces_cache(tmp_path_factory):
    """Rendered faces of `tests/helpers/tiny.py`, prepared once for all tests."""
    folder = tmp_path_factory.mktemp("faces")
    prepare(dataclasses.replace(tiny.get_config().data, cache_dir=str(folder)))
    return folder


@pytest.fixture(scope="session")
def finished(faces_cache, tmp_path_factory):
    """The state and the folder of a run of `tests/helpers/tiny.py` that was never stopped."""
    folder = tmp_path_factory.mktemp("run")
    config = tiny.get_config()
    config.data.cache_dir = str(faces_cache)
    return train(config, folder), folder


@pytest.fixture
def make_disk(tmp_path):
    """Mounts a file system of a size ("1m")."""
    with contextlib.ExitStack() as stack:

        def make_disk(size: str) -> Path:
            folder = tmp_path / "small"
            folder.mkdir()
            command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
            if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
                pytest.skip("mounting takes root")
            stack.callback(subprocess.run, ["umount", str(folder)], check=True)
            return folder

        yield make_disk


@pytest.fixture
def leave_nothing():
    """What Orbax leaves behind when it fails is collected here, and not in some later test."""
    yield
    gc.collect()


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the command in this process: exit code and what it printed.

    What the command sets in the environment, for what it starts, does not outlive the test.
    """

    def run(*options: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["gan.main", *options])
        monkeypatch.setattr(
            cluster, "join_cluster", lambda place, *limits: None
        )  # JAX runs already.
        code = 0
        try:
            main.main()
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        return code, out + err

    with mock.patch.dict(os.environ):
        yield run
