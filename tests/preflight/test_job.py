"""Tests of `gan.preflight.job`: it compiles the step that training runs, and says what it needs."""

import dataclasses
import functools
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from helpers import tiny

from gan.config import Config, Data
from gan.data.feed import open_feed
from gan.data.prepare import prepare
from gan.errors import ConfigError
from gan.model.step import build, init_state, train_step
from gan.preflight import job
from gan.preflight.chips import CHIPS, Chip
from gan.preflight.compiled_program import find_collectives
from gan.preflight.topology import ask_compiler_for_devices, parse_topology
from gan.runtime.parallel import Parallel

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "helpers" / "tiny.py"
SHEET = dict(bandwidth=1e10, link=1e9, most=4, bfloat16_peak=1e12)


@pytest.fixture
def cpus(monkeypatch):
    """`cpu:N` names N of the tests' devices; the fixture sets how many bytes each has."""

    def set_memory(memory: int) -> None:
        monkeypatch.setitem(CHIPS, "cpu", Chip(kind="cpu", platform="cpu", memory=memory, **SHEET))

    set_memory(10**9)
    return set_memory


def compile_tiny(num_devices: int = 4, feed: str = "auto"):
    topology, config = parse_topology(f"cpu:{num_devices}"), tiny.get_config()
    config.data.feed = feed
    return job.compile_step(config, topology, ask_compiler_for_devices(topology))


@pytest.mark.slow
def test_compile_step__compiles_what_training_runs(cpus, faces_cache):
    made = []

    class Recorder(Parallel):
        def compile(self, *args):
            made.append(super().compile(*args))
            return made[-1]

    config = tiny.get_config()
    config.data.cache_dir = str(faces_cache)
    store, parallel = prepare(config.data)["train"], Recorder("jit", Parallel.create("jit").mesh)
    built = build(config, store.attributes.mean(axis=0))
    feed = open_feed("auto", store, parallel, seed=0, batch=config.data.batch_size)
    state = jax.device_put(init_state(*built, jax.random.key(0)), parallel.replicated)
    feed.compile(functools.partial(train_step, *built))
    rows = next(feed.calls(0, 4, (4,)))[1]
    compiled = made[0].lower(state, rows, *feed._data).compile()
    step = compile_tiny()
    memory = compiled.memory_analysis()
    assert step.memory == (
        memory.argument_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.generated_code_size_in_bytes
    )
    assert list(step.collectives) == find_collectives(compiled.as_text(), 4)
    assert step.data >= store.images.nbytes + store.attributes.nbytes
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state) if leaf.ndim)
    assert step.state == pytest.approx(size, abs=100)


@pytest.mark.slow
def test_compile_step__counts_the_work_of_one_device(cpus):
    one, four = compile_tiny(1), compile_tiny(4)
    assert one.flops == 4 * four.flops
    assert one.xla_flops == pytest.approx(one.flops, rel=0.3)
    assert not one.collectives
    assert {message.devices for message in four.collectives} == {4}
    params = (four.state / 4) / 2  # At least one of both players' gradients is told.
    assert sum(message.bytes for message in four.collectives) > params
    assert one.traffic > four.traffic > 0


@pytest.mark.parametrize(
    ("memory", "feed"),
    [
        (10**9, "all of it"),
        pytest.param(2_000_000, "a share", marks=pytest.mark.slow),
        pytest.param(500_000, "stream", marks=pytest.mark.slow),
    ],
)
def test_compile_step__the_feed_is_what_the_memory_allows(cpus, memory, feed):
    cpus(memory)
    assert feed in compile_tiny().feed


@pytest.mark.slow
def test_preflight__one_topology_gets_a_report(cpus, capsys):
    config = tiny.get_config()
    config.data.feed = "stream"  # By "auto", data would be spread to make room.
    cpus(compile_tiny(feed="stream").memory + 10_000)  # Room for no larger batch.
    job.preflight(config, "tiny", "cpu:4", price=3.0)
    text = capsys.readouterr().out
    for part in (
        *(
            "tiny on cpu:4: 4 x cpu, compiled by jaxlib ",
            "Batch           8 images a step, 2 a dev",
        ),
        *("fits, 0.0 GB free", "among 4 devices", "not measured", "TFLOP/s (float32)"),
        *("USD a million images", "Largest batch   8, 2 a device: compiled"),
    ):
        assert part in text


@pytest.mark.slow
def test_preflight__what_does_not_fit_is_said(cpus, capsys):
    cpus(10**5)
    job.preflight(tiny.get_config(), "tiny", "cpu:4")
    text = capsys.readouterr().out
    assert "does not fit: " in text
    assert "none of those tried" in text
    assert "USD" not in text


def test_preflight__a_batch_that_cannot_be_shared_is_named_with_the_nearest(cpus):
    config = dataclasses.replace(tiny.get_config(), data=Data(image_size=32, batch_size=10))
    with pytest.raises(ConfigError, match=r"batch_size=10: must be .* 4 devices .* 8 or 12, by --"):
        job.preflight(config, "tiny", "cpu:4")


@pytest.mark.slow
def test_preflight__several_topologies_get_a_line_each(cpus, capsys):
    odd = dataclasses.replace(tiny.get_config(), data=Data(image_size=32, batch_size=6))
    job.preflight(odd, "tiny:odd", "cpu:2, cpu:4", price=1.0)
    lines = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:3]] for line in lines[2:4]]
    assert cells == [["cpu:2", "tiny:odd, batch 6"], ["cpu:4", "tiny:odd, batch 8*"]]
    assert "USD a million" in lines[0]
    assert len({len(line) for line in lines[:4]}) == 1


def test_preflight__a_refusal_by_the_compiler_is_told(cpus, monkeypatch, capsys):
    def refuse(_):
        raise job.DoesNotFit(3 * 10**9)

    monkeypatch.setattr(job, "_compile", refuse)
    job.preflight(tiny.get_config(), "tiny", "cpu:4")
    text = capsys.readouterr().out
    assert "tiny on cpu:4: does not fit, 3.0 GB too much" in text
    assert "none of those tried" in text
    job.preflight(tiny.get_config(), "tiny", "cpu:4,cpu:2")
    assert capsys.readouterr().out.count("does not fit: 3.0 GB too much") == 2


def test_read_excess__takes_the_numbers_of_the_compilers_message():
    message = "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO "
    needs = "temporaries (57.51G) exceeds available HBM (15.75G)."
    assert job.read_excess(message + needs) == int((57.51 - 15.75) * 2**30)
    assert job.read_excess("RESOURCE_EXHAUSTED: no numbers") == 1


def test_size_of_training_set__is_known_where_it_can_be(tmp_path):
    known = job.size_of_training_set
    assert known(Config(data=Data(source="celeba"))) == (162_770, 40)
    assert known(Config(data=Data(num_faces=100, attributes="Male,Smiling"))) == (100, 2)
    folder = Data(source="folder", path=str(tmp_path), attributes="a,b,c")
    assert known(Config(data=folder)) == (None, 3)


def test_command__options_that_do_not_go_with_preflight_are_named(run):
    config = f"--config={TINY}"
    for options, said in {
        (config,): "--mode=preflight needs --topology=NAME",
        (config, "--topology=v5e:2x4", "--workdir=w"): "no --workdir",
        (config, "--topology=v5f:2x4"): "Did you mean 'v5p'?",
        (config, "--topology=v5e:2x4", "--price=-1"): "--price=-1",
    }.items():
        code, text = run("--mode=preflight", *options)
        assert code == 64
        assert said in text
    code, text = run("--mode=preflight", config, "--topology=v5e:2x4", "--dry_run")
    assert (code, "Would compile tiny for v5e:2x4" in text) == (0, True)


REAL_COMPILERS = [
    pytest.param(
        name, marks=pytest.mark.skipif(not importlib.util.find_spec(package), reason=package)
    )
    for name, package in (("v5e:2x4", "libtpu"), ("h200:8", "jax_cuda12_plugin"))
]


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL_COMPILERS)
def test_compile_step__real_compilers_take_it(name):
    """Runs in a process of its own, that looks for no devices."""
    code = """
import sys
from gan.runtime.jax_setup import prepare_to_compile_only
prepare_to_compile_only()
from gan import main
from gan.preflight.job import compile_step
from gan.preflight.topology import ask_compiler_for_devices, parse_topology
from helpers import tiny
topology = parse_topology(sys.argv[1])
config = tiny.get_config()
config.network.g_width = config.network.d_width = 64  # Here CPUs take Winograd's way.
config.log_every = config.sample_every = config.checkpoint_every = 100
step = compile_step(config, topology, ask_compiler_for_devices(topology))
assert step.free > 0 and "25 steps" in step.feed, step
assert not step.xla_flops or abs(step.xla_flops / step.flops - 1) < 0.4, step
assert step.traffic > step.state and step.collectives, step
sys.argv = ["", "--mode=preflight", "--config=" + tiny.__file__, "--topology=" + sys.argv[1]]
main.main()
"""
    command = [sys.executable, "-c", code, name]
    path = os.pathsep.join(["tests", *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert f"tiny on {name}: 8 x " in done.stdout
    assert "Largest batch" in done.stdout
