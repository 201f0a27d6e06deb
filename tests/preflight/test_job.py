"""A preflight compiles the step that training runs, and says what the compiler says."""

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
from gan.experiments import our_configs
from gan.model import flops
from gan.model.step import build, init_state, train_step
from gan.preflight import compiled_program, job, topology, words
from gan.preflight.chips import CHIPS, Chip
from gan.runtime.parallel import Parallel

ROOT = Path(__file__).parents[2]
SHEET = dict(kind="cpu", platform="tpu", bandwidth=1e10, link=1e9, most=4)


@pytest.fixture
def cpus(monkeypatch):
    """`cpu:N` names N of the tests' devices; returns what tells how much memory each has."""

    def give(memory: int) -> None:
        monkeypatch.setitem(CHIPS, "cpu", Chip(memory=memory, **SHEET))

    give(10**9)
    monkeypatch.setitem(flops.PEAKS, "cpu", 1e12)
    monkeypatch.setattr(job, "find_devices", lambda place: jax.devices()[: place.num])
    monkeypatch.setattr(words, "compiler", lambda _: "XLA")
    return give


def compile_tiny(num: int = 4, **changes):
    config = dataclasses.replace(tiny.get_config(), **changes)
    place = topology.parse_topology(f"cpu:{num}")
    return job.compile_step(config, place, jax.devices()[:num])


@pytest.mark.slow
def test_what_is_compiled_is_what_training_runs(cpus, faces_cache, monkeypatch):
    config = tiny.get_config()
    config.data.cache_dir = str(faces_cache)
    store, parallel = prepare(config.data)["train"], Parallel.create("jit")
    gan = build(config, store.attributes.mean(axis=0))
    feed = open_feed("auto", store, parallel, seed=0, batch=config.data.batch_size)
    state = jax.device_put(init_state(gan, jax.random.key(0)), parallel.replicated)
    made, plain = [], Parallel.compile
    monkeypatch.setattr(Parallel, "compile", lambda *args: made.append(plain(*args)) or made[-1])
    feed.compile(functools.partial(train_step, gan))
    rows = next(feed.calls(0, 4, (4,)))[1]
    compiled = made[0].lower(state, rows, *feed._data).compile()
    program = compile_tiny()
    memory = compiled.memory_analysis()
    assert program.memory == (
        memory.argument_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.generated_code_size_in_bytes
    )
    assert list(program.collectives) == compiled_program.collectives(compiled.as_text(), 4)
    assert program.data >= store.images.nbytes + store.attributes.nbytes
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state) if leaf.ndim)
    assert program.state == pytest.approx(size, abs=100)


def test_work_is_of_one_device(cpus):
    one, four = compile_tiny(1), compile_tiny(4)
    assert one.flops == 4 * four.flops
    assert one.xla_flops == pytest.approx(one.flops, rel=0.3)
    assert not one.collectives
    assert {message.devices for message in four.collectives} == {4}
    params = (four.state / 4) / 2  # At least one of both players' gradients is told.
    assert sum(message.bytes for message in four.collectives) > params
    assert one.traffic > four.traffic > 0


@pytest.mark.parametrize(
    ("memory", "feed"), [(10**9, "all of it"), (2_000_000, "a share"), (500_000, "stream")]
)
def test_the_feed_is_what_the_memory_allows(cpus, memory, feed):
    cpus(memory)
    assert feed in compile_tiny().feed


def test_the_report_of_one_pair(cpus, capsys, monkeypatch):
    config = tiny.get_config()
    monkeypatch.setattr(job, "largest_batch", lambda left, start, _: start * (left(start) > 0))
    job.preflight(config, "tiny", "cpu:4", price=3.0)
    text = capsys.readouterr().out
    for part in (
        *("tiny on cpu:4: 4 x cpu, compiled by XLA", "Batch           8 images a step, 2 a device"),
        *("fits, 1.0 GB free", "among 4 devices", "not measured", "USD a million images"),
        *("Largest batch   ", "compiled"),
    ):
        assert part in text
    cpus(10**5)
    job.preflight(config, "tiny", "cpu:4")
    text = capsys.readouterr().out
    assert "does not fit: " in text
    assert "USD" not in text


def test_a_batch_that_the_devices_cannot_share_is_named_with_the_nearest(cpus):
    config = dataclasses.replace(tiny.get_config(), data=Data(image_size=32, batch_size=10))
    with pytest.raises(ConfigError, match=r"batch_size=10: must be .* 4 devices .* 8 or 12, by --"):
        job.preflight(config, "tiny", "cpu:4")


@pytest.mark.slow
def test_a_table_has_a_line_for_each_pair(cpus, monkeypatch, capsys):
    odd = dataclasses.replace(tiny.get_config(), data=Data(image_size=32, batch_size=6))
    monkeypatch.setattr(job, "our_configs", lambda: [("tiny:odd", odd)])
    job.preflight(None, "", "cpu:2, cpu:4", price=1.0)
    lines = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:3]] for line in lines[2:4]]
    assert cells == [["cpu:2", "tiny:odd, batch 6"], ["cpu:4", "tiny:odd, batch 8*"]]
    assert "USD a million" in lines[0]
    assert len({len(line) for line in lines[:4]}) == 1


def test_a_refusal_by_the_compiler_is_told(cpus, monkeypatch, capsys):
    def refuse(_):
        raise job.DoesNotFit(3 * 10**9)

    monkeypatch.setattr(job, "_compile", refuse)
    job.preflight(tiny.get_config(), "tiny", "cpu:4")
    text = capsys.readouterr().out
    assert "tiny on cpu:4: does not fit, 3.0 GB too much" in text
    assert "none of those tried" in text
    job.preflight(tiny.get_config(), "tiny", "cpu:4,cpu:2")
    assert capsys.readouterr().out.count("does not fit: 3.0 GB too much") == 2


def test_the_excess_is_read_from_the_compilers_message():
    message = "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO "
    needs = "temporaries (57.51G) exceeds available HBM (15.75G)."
    assert job.excess(message + needs) == int((57.51 - 15.75) * 2**30)
    assert job.excess("RESOURCE_EXHAUSTED: no numbers") == 1


def test_all_configurations_are_found_with_their_variants():
    found = dict(our_configs())
    assert {"celeba64", "celeba64:narrow", "quickstart"} <= found.keys()
    assert found["celeba64:narrow"].network.g_width < found["celeba64"].network.g_width


def test_training_sets_are_known_where_they_can_be(faces_cache, tmp_path):
    known = job.training_set
    assert known(Config(data=Data(source="celeba"))) == (162_770, 40)
    assert known(Config(data=Data(num_faces=100, attributes="Male,Smiling"))) == (100, 2)
    folder = Data(source="folder", path=str(tmp_path), attributes="a,b,c")
    assert known(Config(data=folder)) == (None, 3)


def test_options_that_do_not_go_with_it_are_named(run):
    config = f"--config={ROOT / 'tests' / 'helpers' / 'tiny.py'}"
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


CASES = [
    pytest.param(
        name, marks=pytest.mark.skipif(not importlib.util.find_spec(package), reason=package)
    )
    for name, package in (("v5e:2x4", "libtpu"), ("h200:8", "jax_cuda12_plugin"))
]


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_real_compilers_take_the_step(name):
    """In a process of its own, that looks for no devices."""
    code = """
import sys
import tiny
from gan import main, preflight
from gan.preflight.topology import find_devices, parse_topology
place = parse_topology(sys.argv[1])
config = tiny.get_config()
config.network.g_width = config.network.d_width = 64  # Here CPUs take Winograd's way.
config.log_every = config.sample_every = config.checkpoint_every = 100
program = job.compile_step(config, place, find_devices(place))
assert program.free > 0 and "25 steps" in program.feed, program
assert not program.xla_flops or abs(program.xla_flops / program.flops - 1) < 0.4, program
assert program.traffic > program.state and program.collectives, program
sys.argv = ["", "--mode=preflight", "--config=" + tiny.__file__, "--topology=" + sys.argv[1]]
main.main()
"""
    quiet = {
        "TPU_SKIP_MDS_QUERY": "1",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": "tests",
    }
    command = [sys.executable, "-c", code, name]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | quiet, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"tiny on {name}: 8 x " in done.stdout
    assert "Largest batch" in done.stdout
