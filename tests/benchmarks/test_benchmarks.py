"""The benchmark of the step compares equal work, and says what it says it does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from benchmarks import contestants, naive_flax, work
from benchmarks.work import Player, layer_flops, player, step_flops
from gan.config import Config
from gan.model.networks import dcgan
from gan.model.step import abstract_state, build
from gan.runtime.parallel import Parallel

ROOT = Path(__file__).parents[2]
WIDTH = 8


def players() -> list[Player]:
    config = Config(conditional=False, network=dcgan.Settings(g_width=WIDTH, d_width=WIDTH))
    state = abstract_state(*build(config, ()), Parallel.create("jit").replicated)
    return [player(jax.tree.leaves(p.params)) for p in (state.generator, state.discriminator)]


def test_naive_flax_is_of_our_size():
    states = jax.eval_shape(lambda: naive_flax.create(contestants.Z_DIM, WIDTH))
    theirs = [player(jax.tree.leaves(state.params)) for state in states]
    assert theirs == players()


def test_flops_of_a_layer_are_those_that_xla_counts():
    w = jnp.zeros((4, 4, 8, 16))
    convolve = jax.jit(
        lambda x: lax.conv_general_dilated(
            x, w, (2, 2), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
    )
    convolution = convolve.lower(jnp.zeros((1, 256, 256, 8))).compile().cost_analysis()
    # XLA leaves out the kernel's parts beyond the image, here 1 in 64.
    assert convolution["flops"] == pytest.approx(layer_flops(w.size, 128**2), rel=0.03)
    product = jax.jit(jnp.matmul).lower(jnp.zeros((1, 64)), jnp.zeros((64, 32))).compile()
    assert product.cost_analysis()["flops"] == pytest.approx(layer_flops(64 * 32, 1), rel=0.03)


def test_flops_of_a_step_are_the_documented_units():
    generator, discriminator = players()
    count = {name: step_flops(generator, discriminator, name) for name in work.PASSES}
    assert count["ours"] == count["tuned"] < count["eager"]
    one = Player(1, (0, 1, 0, 0, 0)), Player(1, (0, 0, 0, 1, 0))  # 32 FLOPs a pass.
    units = {name: step_flops(*one, name) / 32 for name in work.PASSES}
    assert units == {"ours": 11, "tuned": 11, "eager": 12, "naive_flax": 12}


@pytest.mark.parametrize("tuned", [False, True])
def test_flops_of_a_step_are_those_that_pytorch_counts(tuned, monkeypatch):
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    from benchmarks.pytorch_dcgan import Game

    monkeypatch.setattr(torch, "compile", lambda net, **_: net)  # It would hide what it does.
    game = Game(np.zeros((2, 3, 64, 64), np.float32), contestants.Z_DIM, WIDTH, tuned)
    sizes = [player(net.parameters()) for net in (game.generator, game.discriminator)]
    assert sizes == players()
    with FlopCounterMode(display=False) as counter:
        game.step()
    count = step_flops(*sizes, "tuned" if tuned else "eager")
    assert counter.get_total_flops() == 2 * count


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [["benchmarks/step.py"], ["-m", "benchmarks.step"]], ids=["script", "module"]
)
def test_a_run_writes_all_that_it_promises(command, tmp_path):
    path = tmp_path / "step.json"
    sizes = ["--batch=4", f"--width={WIDTH}", "--samples=1", "--steps=1"]
    run = [sys.executable, *command, *sizes, "--peers=naive_flax", f"--json={path}"]
    cache = {"JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir}  # Of all tests.
    done = subprocess.run(
        run, cwd=ROOT, env=os.environ | cache, stdout=subprocess.PIPE, text=True, check=True
    )
    assert "| naive_flax |" in done.stdout
    result = json.loads(path.read_text())
    for name in ("ratio_to_naive_flax", "images_per_second"):
        assert 0 < result[name]["low"] <= result[name]["median"] <= result[name]["high"]
    assert result["contestants"].keys() == result["samples"][0].keys() == {"ours", "naive_flax"}
    for contestant in result["contestants"].values():
        assert contestant["peak_memory_bytes"] > 1e7
        assert contestant["flops"] > 0
        assert contestant["xla"]["flops"] > 0
    assert {"matrix_flops_per_second", "copy_bytes_per_second", "share"} <= result["floor"].keys()
    assert {"cpu", "cores", "device"} <= result["hardware"].keys()
    assert result["options"]["batch"] == 4
    assert "jax" in result["versions"]
    assert result["date"]
