"""The benchmarks of whole jobs run and say what they promise; how fast anything is, nobody asks."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # `benchmarks` is not installed.
from benchmarks import evaluate, generate, scaling, train, turns  # noqa: E402

CACHE = ROOT / ".pytest_cache"
TINY = f"--config={ROOT / 'tests' / 'helpers' / 'tiny.py'}"


@pytest.fixture
def measured(monkeypatch, capsys, tmp_path):
    """Runs a benchmark in this process: its JSON and what it printed."""

    def run(module, *options: str) -> tuple[dict, str]:
        path = tmp_path / "result.json"
        monkeypatch.setenv("XDG_CACHE_HOME", str(CACHE))
        monkeypatch.setattr(sys, "argv", [module.__name__, f"--json={path}", *options])
        module.main()
        result = json.loads(path.read_text())
        assert {"options", "versions", "hardware", "date"} <= result.keys()
        assert {"cpu", "cores", "device"} <= result["hardware"].keys()
        assert "jax" in result["versions"]
        return result, capsys.readouterr().out

    return run


@pytest.mark.parametrize("name", ["evaluate", "feed", "generate", "preflight", "scaling", "train"])
def test_each_starts_as_a_script(name, tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "--json" in done.stdout


def test_turns_go_round_and_a_table_says_what_was_measured():
    order = []
    calls = {name: lambda name=name: order.append(name) for name in "ab"}
    rates = turns.in_turns(calls, images=8, rounds=2)
    assert "".join(order) == "abba"
    assert {name: len(values) for name, values in rates.items()} == {"a": 2, "b": 2}
    text = turns.table("Title", {"a": [100.0, 300.0], "b": [50.0, 100.0]}, "b")
    assert text.splitlines()[0] == "Title"
    assert "200 (100 - 300)" in text
    assert "2.500 (2.000 - 3.000)" in text


def test_the_exponent_is_that_of_a_power():
    assert turns.exponent([1, 2, 4], [3, 3 * 2**1.5, 3 * 4**1.5]) == pytest.approx(1.5)


@pytest.mark.slow
def test_shares_of_a_training_are_all_of_it(faces_cache, tmp_path):
    arguments = [TINY, f"--config.data.cache_dir={faces_cache}"]
    run = train.measure(arguments, tmp_path / "run", CACHE)
    assert run["images"] == 4 * 8
    assert list(run["shares"]) == list(train.SHARES)
    assert min(run["shares"].values()) > 0  # Each was seen at all.
    assert sum(run["shares"].values()) == pytest.approx(1, abs=0.01)
    assert sum(run["seconds"].values()) == pytest.approx(run["total_seconds"], rel=0.01)
    assert run["shares"]["steps"] + run["not_the_step"] == pytest.approx(1)
    assert 0 < run["not_the_step_once_it_runs"] < 1
    assert "checkpoints" in train.report({"cold": [run, run]})


def test_drawing(measured):
    tiny = ("--size=32", "--width=2", "--pictures=1,64", "--rounds=1")
    result, printed = measured(generate, *tiny)
    assert result["start_up_seconds"] > 0
    for what in ("sampler", "generator_alone"):
        assert list(result[what]) == ["1", "64"]
        assert all(row["floor"] > 0 for row in result[what].values())
    assert "share of the floor" in printed


@pytest.mark.slow
def test_scoring(measured, faces_cache):
    result, printed = measured(
        evaluate,
        *(TINY, "--size=32", "--width=4", "--pictures=16", "--features=40", "--feature_width=8"),
        *("--checkpoints=2", f"--config.data.cache_dir={faces_cache}"),
    )
    assert result["job"]["images"] == 16
    assert len(result["job"]["later_seconds"]) == 1
    assert set(result["alone"]) == {"16 pictures of 32 px", "40 x 8 features"}
    assert "each later one" in printed
    assert "FD" in printed


@pytest.mark.slow
def test_growth_has_a_row_for_each_value():
    fixed = {"batch": 8, "size": 32, "width": 2}
    result = scaling.growth("batch", [8, 16], fixed, "float32", steps=1, rounds=1)
    small, large = result["rows"]["8"], result["rows"]["16"]
    assert 1.5 < large["flops"] / small["flops"] < 2.1  # Adam's do not grow.
    assert "time grows as" in scaling.report_growth("batch", result)


@pytest.mark.slow
def test_devices_tell_each_other_gradients_and_nothing_that_grows_with_the_batch(monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(CACHE / "xla"))
    result = scaling.over_devices([2], [8, 16], size=32, width=2)
    small, large = result["2, 8"], result["2, 16"]
    assert small["collectives"] == large["collectives"]
    assert sum(kind["bytes"] for kind in small["collectives"].values()) >= small["gradient_bytes"]
    assert "all-reduce" in scaling.report_devices(result)
