"""Tests of `benchmarks`: each command runs at its smallest sizes and says what it promises.

How fast anything is, nobody asks.
"""

import importlib.util
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".pytest_cache"
TINY = f"--config={ROOT / 'tests' / 'helpers' / 'tiny.py'}"
needs_torch = pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="torch")
needs_peers = pytest.mark.skipif(
    not importlib.util.find_spec("pytorch_fid"), reason="pip install -e '.[peer]'"
)


def run(name: str, *options: str, cwd: Path = ROOT, code: int = 0) -> subprocess.CompletedProcess:
    """Runs a benchmark in a process of its own."""
    caches = {
        "XDG_CACHE_HOME": str(CACHE),
        "JAX_COMPILATION_CACHE_DIR": str(CACHE / "xla"),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *options],
        cwd=cwd,
        env=os.environ | caches,
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture
def measure(tmp_path):
    """Returns a function that runs a benchmark: its JSON, and what it printed."""

    def measure(name: str, *options: str) -> tuple[dict, str]:
        path = tmp_path / "result.json"
        printed = run(name, *options, f"--json={path}").stdout
        result = json.loads(path.read_text())
        assert {"options", "versions", "hardware", "date"} <= result.keys()
        assert {"cpu", "cores", "device"} <= result["hardware"].keys()
        assert "jax" in result["versions"]
        return result, printed

    return measure


FAKE = """
import json, pathlib, sys
options = dict(word.lstrip("-").split("=", 1) for word in sys.argv[1:])
workdir, steps = pathlib.Path(options["workdir"]), int(options["config.steps"])
workdir.mkdir(parents=True)
rows = [{"step": step, "images_per_second": SPEED * step} for step in range(1, steps + 1)]
(workdir / "metrics.jsonl").write_text("\\n".join(map(json.dumps, rows)))
with open("../order.txt", "a") as file:
    file.write(f"{pathlib.Path.cwd().name}{steps} ")
print("Data: none")
print(f"step 1/{steps} (100%)")
sys.exit(EXIT)
"""


def write_checkouts(folder: Path, code: int = 0) -> tuple[str, str]:
    """Writes two checkouts whose trainings only write rows: "a" is twice as fast as "b"."""
    for name, speed in {"a": 20, "b": 10}.items():
        (folder / name / "gan").mkdir(parents=True)
        text = FAKE.replace("SPEED", str(speed)).replace("EXIT", str(code))
        (folder / name / "gan" / "__init__.py").touch()  # Else the real package goes before it.
        (folder / name / "gan" / "main.py").write_text(text)
    return f"--this={folder / 'a'}", f"--other={folder / 'b'}"


def test_checkouts__take_turns_and_ratios_are_those_within_a_round(measure, tmp_path):
    sides = write_checkouts(tmp_path)
    result, printed = measure("checkouts", *sides, "--rounds=2", "--steps=3")
    forth, back = 2 * ["a1", "b1", "a3", "b3"], 2 * ["b1", "a1", "b3", "a3"]
    assert (tmp_path / "order.txt").read_text().split() == [*forth, *back, *forth]
    assert len(result["rounds"]) == 2  # The first one is not counted.
    for found in result["rounds"]:
        assert found["this"]["quickstart: images/s"] == 40  # The median of 20, 40, 60.
        assert found["other"]["celeba64:narrow: images/s"] == 20
        assert found["this"].keys() == found["other"].keys()
        assert min(found["this"].values()) > 0
    line = next(line for line in printed.splitlines() if "quickstart: images/s" in line)
    assert "40 (40 - 40)" in line
    assert "20 (20 - 20)" in line
    assert "2.000 (2.000 - 2.000)" in line


def test_checkouts__what_fails_is_shown(tmp_path):
    sides = write_checkouts(tmp_path, code=3)
    done = run("checkouts", *sides, "--rounds=1", code=1)
    assert "Data: none" in done.stderr
    assert "failed: see above" in done.stderr


def count_by_hand(width: int) -> dict[str, int]:
    """Returns the FLOPs of DCGAN's step for one image, by whose program it is.

    The latent has 100 numbers. Each network has five layers with 4x4 kernels, applied at 1, 16, 64,
    256 and 1,024 places, and a multiplication and an addition for each number of a kernel there.
    """
    channels = [8 * width, 4 * width, 2 * width, width, 3]
    layers = zip([100, *channels], channels, (1, 16, 64, 256, 1_024), strict=False)
    g = [2 * 16 * before * after * places for before, after, places in layers]
    d = [2 * 16 * 8 * width, *g[1:]]  # The same layers backwards; its last one has one channel.
    # G forward, for its inputs (not the latents) and its weights. D three times forward and for its
    # inputs (in its own update not the images), and twice for its weights.
    ours = 3 * sum(g) - g[0] + 8 * sum(d) - 2 * d[-1]
    return {"ours": ours, "tuned": ours, "eager": ours + sum(d), "naive_flax": ours + sum(g)}


@pytest.mark.slow
@pytest.mark.parametrize("peers", ["naive_flax", pytest.param("eager,tuned", marks=needs_torch)])
def test_step__compares_equal_work(measure, peers):
    """It would stop if networks or FLOPs, counted in the programs, were not equal."""
    batch, width = 4, 8
    sizes = (f"--batch={batch}", f"--width={width}", "--samples=1", "--steps=1")
    result, printed = measure("step", *sizes, f"--peers={peers}")
    names = ["ours", *peers.split(",")]
    assert [*result["contestants"]] == [*result["samples"][0]] == names
    for name in names:
        contestant = result["contestants"][name]
        assert contestant["flops"] == batch * count_by_hand(width)[name]
        assert contestant["peak_memory_bytes"] > 1e7
        assert f"| {name} |" in printed
    assert result["contestants"]["ours"]["xla"]["flops"] > 0
    for spread in (
        result["images_per_second"],
        *(result[f"ratio_to_{name}"] for name in names[1:]),
    ):
        assert 0 < spread["low"] <= spread["median"] <= spread["high"]
    assert {"matrix_flops_per_second", "copy_bytes_per_second", "share"} <= result["floor"].keys()
    assert result["options"]["batch"] == batch


@pytest.mark.slow
def test_train__shares_are_all_of_the_time(measure, faces_cache):
    data = f"--config.data.cache_dir={faces_cache}"
    result, printed = measure("train", TINY, "--steps=4", "--config.checkpoint_every=2", data)
    for (run,) in (result["cold"], result["warm"]):
        assert run["images"] == 4 * 8
        assert [*run["shares"]] == [
            *("start-up", "data", "compile, first step", "steps"),
            *("pictures", "checkpoints", "logging", "end"),
        ]
        assert min(run["shares"].values()) > 0  # Each was seen at all.
        assert sum(run["shares"].values()) == pytest.approx(1, abs=0.01)
        assert sum(run["seconds"].values()) == pytest.approx(run["total_seconds"], rel=0.01)
        assert run["shares"]["steps"] + run["not_the_step"] == pytest.approx(1)
        assert 0 < run["not_the_step_once_it_runs"] < 1
    assert "cold cache" in printed
    assert "checkpoints" in printed


@pytest.mark.slow
def test_generate__has_a_row_for_each_number_of_pictures(measure):
    result, printed = measure("generate", "--size=32", "--width=2", "--pictures=1,64", "--rounds=2")
    assert result["start_up_seconds"] > 0
    for what in ("sampler", "generator_alone"):
        assert [*result[what]] == ["1", "64"]
        assert all(row["floor"] > 0 for row in result[what].values())
        rates = result[what]["64"]["images_per_second"]
        low, high = min(rates), max(rates)
        assert f"{statistics.median(rates):,.0f} ({low:,.0f} - {high:,.0f})" in printed
    assert "share of the floor" in printed


@pytest.mark.slow
def test_evaluate__times_each_score_and_each_checkpoint(measure, tmp_path):
    result, printed = measure(
        "evaluate",
        *(TINY, "--size=32", "--width=4", "--pictures=16", "--features=40", "--feature_width=8"),
        *("--checkpoints=2", f"--config.data.cache_dir={tmp_path / 'without_classifier'}"),
    )
    assert result["job"]["images"] == 16
    assert result["job"]["classifier_seconds"] > 0
    assert len(result["job"]["later_seconds"]) == 1
    assert {*result["alone"]} == {"16 pictures of 32 px", "40 x 8 features"}
    assert "each later one" in printed
    assert "FD" in printed


@pytest.mark.slow
def test_scaling__devices_send_gradients_and_nothing_that_grows_with_the_batch(measure):
    result, printed = measure(
        "scaling",
        *("--batch=8", "--size=32", "--width=2", "--steps=1", "--rounds=1"),
        *("--batches=8,16", "--sizes=32", "--widths=2", "--devices=2"),
    )
    rows = result["growth"]["batch"]["rows"]
    assert 1.5 < rows["16"]["flops"] / rows["8"]["flops"] < 2.1  # Adam's do not grow.
    work, seconds = (
        [statistics.median(np.ravel(row[key])) for row in rows.values()]
        for key in ("flops", "seconds")
    )
    exponent = np.log(seconds[1] / seconds[0]) / np.log(work[1] / work[0])
    assert result["growth"]["batch"]["exponent"] == pytest.approx(exponent)
    assert result["growth"]["size"]["exponent"] is None  # A single value.
    assert "time grows as the FLOPs to the" in printed
    small, large = result["devices"]["2, 8"], result["devices"]["2, 16"]
    assert small["collectives"] == large["collectives"]
    assert sum(kind["bytes"] for kind in small["collectives"].values()) >= small["gradient_bytes"]
    assert "all-reduce" in printed


@pytest.mark.slow
def test_feed__has_a_table_for_each_stretch_of_the_way(measure):
    sizes = ("--images=64", "--size=32", "--batch=8", "--width=2", "--rounds=1", "--calls=1")
    result, printed = measure("feed", *sizes)
    assert {*result["preparing"]} == {"one core", "the whole"}
    assert {*result["alone"]} == {"stream", "resident"}
    assert {*result["training"]} == {"step alone", "resident", "stream"}
    assert "64 rendered faces as JPEG of 178 x 218" in printed
    assert printed.count("images/s (range)") == 3


@pytest.mark.slow
def test_calibration__scores_each_fault(measure, finished):
    _, workdir = finished
    result, printed = measure("calibration", f"--workdir={workdir}", "--num_images=16")
    strengths = {name: found["strengths"] for name, found in result["faults"].items()}
    assert {*strengths} == {"blur", "noise", "jpeg", "dropped_modes", "shuffled_labels"}
    for name, found in result["faults"].items():
        assert strengths[name][0] == 0  # No fault: what the others are compared with.
        assert all(len(values) == len(strengths[name]) for values in found["scores"].values())
        assert f"| {name.replace('_', ' ')} | 0 |" in printed
    swd = result["faults"]["noise"]["scores"]["swd"]
    assert swd == sorted(swd)
    assert (workdir / "evaluation" / "calibration.png").stat().st_size > 1000


@pytest.mark.slow
def test_preflight__tables_have_a_line_for_each_topology(tmp_path):
    pytest.importorskip("libtpu", reason="pip install -e '.[tpu]'")
    path = tmp_path / "result.json"
    sizes = ("--topologies=", "--config=quickstart", "--chips=v5e", "--each=1")
    printed = run("preflight", *sizes, f"--json={path}").stdout
    (rows,) = json.loads(path.read_text()).values()
    assert [row["devices"] for row in rows][::5] == ["v5e:1x1", "v5e:16x16"]
    assert rows[0]["efficiency"] == 1
    assert all(0 < row["efficiency_late"] <= row["efficiency"] <= 1 for row in rows)
    assert "| v5e:16x16 | 256 |" in printed


@pytest.mark.slow
def test_quickstart_picture__is_drawn_from_a_finished_run(finished, tmp_path):
    out = tmp_path / "picture.png"
    run("quickstart_picture", str(finished[1]), str(out), "--requests=Smiling=0,Bald=1,Bangs=1")
    with Image.open(out) as picture:
        assert picture.height == 2 * (1 + 3) * 32  # Three requests, after none.


@pytest.mark.slow
@needs_peers
def test_parity__scores_of_the_same_features_are_the_peers(measure):
    result, printed = measure("parity", "--images=8", "--rows=20", "--width=32", "--draws=0")
    drawn = ("KID, 100 subsets of 100", "Inception score, splits=10")
    rows = [
        row
        for row in result["features"]
        if row["score"] not in drawn and not row["of"].startswith("8 x")  # Float32, and few.
    ]
    assert len(rows) == 3 * 4 + 3  # Four scores of three pairs, MIND twice, an Inception score.
    for row in rows:
        for peer, difference in row["differences"].items():
            assert difference < 1e-6, (row["score"], peer)
    assert len(result["folders"]) == 7
    assert "prdc's README" in printed
