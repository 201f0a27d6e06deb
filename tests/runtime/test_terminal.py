"""What a user sees on the terminal: lines of ours alone."""

import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from helpers import tiny

ROOT = Path(__file__).parents[2]
OURS = [
    r"Data: 256 rendered faces to train with\.",
    r"dcgan at 32 px: generator .*, discriminator .*; 2 x cpu, jit\.",
    r"Training from step 0 to 1\.",
    r"Feed: (resident|stream): .*",
    r"step 1/1 \(100%\) \| .* img/s \| .* left \| G .* D .* \| mem .* GiB",
    r"Done: step 1\. Pictures: .*/step_00000001\.png",
    r"Smiling=1: \d+ of 256 training images; the rest is drawn from those\.",
    r"4 faces of step 1: .*/faces\.png",
]
# XLA asks for a bug report if compiling takes minutes, as it does on a very busy machine. Only the
# level that also hides errors would hide it.
SLOW = r"\*+|E\d+ .*slow_operation_alarm.*|\[Compiling module .*|The operation took .*|"


@pytest.mark.slow
def test_terminal__shows_no_line_of_a_library(faces_cache, tmp_path):
    """Two devices, so that gloo connects them; TensorBoard's events, if TensorFlow is there."""
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "2"}
    environment["https_proxy"] = "http://localhost:9"
    environment["JAX_COMPILATION_CACHE_DIR"] = jax.config.jax_compilation_cache_dir
    workdir = f"--workdir={tmp_path / 'run'}"
    cache = f"--config.data.cache_dir={faces_cache}"
    trained = [f"--config={tiny.__file__}", cache, "--config.steps=1", workdir]
    drawn = [workdir, "--mode=sample", "--attributes=Smiling=1", "--seeds=0-3"]
    lines = []
    for options in (trained, drawn):
        done = subprocess.run(
            [sys.executable, "-m", "gan.main", *options],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        lines += done.stdout.splitlines()
    known = [*OURS, SLOW]
    foreign = [line for line in lines if not any(re.fullmatch(one, line) for one in known)]
    assert foreign == []
    missing = [ours for ours in OURS if not any(re.fullmatch(ours, line) for line in lines)]
    assert missing == []
