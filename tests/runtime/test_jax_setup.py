"""How JAX is set up: where compiled programs go, and the flags that XLA gets."""

import os
import subprocess
import sys

import pytest

from gan.errors import ConfigError
from gan.runtime import jax_setup

CODE = "import jax; from gan.runtime import jax_setup; jax_setup.keep_compiled_programs()"
SHOW = f"{CODE}; print(jax.config.jax_compilation_cache_dir)"


def kept_in(**environment: str) -> str:
    """The folder of compiled programs, in a process with this environment."""
    bare = {name: text for name, text in os.environ.items() if not name.startswith("JAX_")}
    command = [sys.executable, "-c", SHOW]
    done = subprocess.run(command, env=bare | environment, capture_output=True, check=True)
    return done.stdout.decode().strip()


def test_keep_compiled_programs__in_the_users_own_cache(tmp_path):
    folder = tmp_path / "gan" / "xla"
    assert kept_in(XDG_CACHE_HOME=str(tmp_path)) == str(folder)
    assert folder.stat().st_mode & 0o077 == 0


def test_keep_compiled_programs__not_where_the_user_named_a_folder(tmp_path):
    own = str(tmp_path / "own")
    assert kept_in(XDG_CACHE_HOME=str(tmp_path), JAX_COMPILATION_CACHE_DIR=own) == own
    assert not (tmp_path / "gan").exists()


def test_use_deterministic_operations__adds_its_flag_to_the_users(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_some_flag=1")
    jax_setup.use_deterministic_operations()
    assert os.environ["XLA_FLAGS"] == "--xla_some_flag=1 --xla_gpu_deterministic_ops=true"


def test_use_deterministic_operations__refuses_a_file_of_flags(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "flags.txt")
    with pytest.raises(ConfigError, match=r"XLA_FLAGS=flags.txt names a file"):
        jax_setup.use_deterministic_operations()
    assert os.environ["XLA_FLAGS"] == "flags.txt"
