"""Whatever is typed, or lies in a file of ours, is read or refused by an error of ours."""

import contextlib
import json
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from helpers import scored, tiny
from helpers.small_store import write_small_store
from hypothesis import HealthCheck
from hypothesis import strategies as st

from gan.command_line import OPTIONS, parse
from gan.config import Config, settings, to_json, validate
from gan.data.attributes import AttributeTable
from gan.data.store import open_store
from gan.errors import ConfigError, DataError
from gan.evaluation.compare import compare_runs
from gan.preflight.topology import parse_topology
from gan.runtime.cluster import find_place
from gan.runtime.logs import read_rows
from gan.sampling.requests import parse_seeds
from gan.workdir.best import read_best
from gan.workdir.folder import read_config
from gan.workdir.manifest import Manifest

MINUTES = 60  # Of the series, over all targets.
WORDS = st.sampled_from(
    ["", "0", "1", "-1", "2", "64", "1e-3", "nan", "inf", "none", "true", "x", "Smiling", "Mal"]
    + [
        "dcgan",
        "v5e:4x4",
        "h200:8",
        "a=b",
        "=",
        ",",
        "0-3",
        "3-0",
        "99999999999999999999",
        "\udcff",
    ]
)
TEXT = st.text(max_size=12) | WORDS
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
TABLE = AttributeTable(
    names=("Smiling", "Male", "Bald"),
    rows=np.random.default_rng(0).integers(0, 2, (20, 3)).astype(np.uint8),
    fingerprint="0",
    pictures="0",
)


def damaged(draw: Callable, valid: str) -> bytes:
    """A JSON text with another value somewhere, or with its bytes changed."""
    value = json.loads(valid)
    if draw(st.booleans()):
        where = value
        while isinstance(where, dict) and where:
            key = draw(st.sampled_from(sorted(where)))
            if not isinstance(where[key], dict) or draw(st.booleans()):
                if draw(st.booleans()):
                    where[key] = draw(JSON)
                else:
                    where[draw(st.text(max_size=6))] = where.pop(key)
                break
            where = where[key]
        return json.dumps(value).encode()
    data = bytearray(valid.encode())
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(data)


def type_options(draw: Callable) -> None:
    names = [*OPTIONS, *(f"config.{name}" for name in settings(Config()))]
    names += ["config.network.g_width", "config.network.name", "noconfig.conditional", "x"]
    arguments = ["--config=tests/helpers/tiny.py"] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(0, 4))):
        name = draw(st.sampled_from(names) | st.text(max_size=8))
        arguments.append(f"--{name}" + draw(st.sampled_from(["=", " ", ""])) + draw(TEXT))
    config = parse(["gan.main", *arguments]).read_config()
    if config:
        validate(config)


def ask_for_attributes(draw: Callable) -> None:
    parts = draw(st.lists(st.tuples(TEXT, st.sampled_from(["=", "", "=="]), TEXT), max_size=4))
    TABLE.parse(draw(st.sampled_from([",", ", ", ";"])).join(map("".join, parts)))


def ask_for_seeds(draw: Callable) -> None:
    parse_seeds(draw(st.text("0123456789-, x١", max_size=16) | TEXT))


def name_a_topology(draw: Callable) -> None:
    parse_topology(draw(st.text("v5ep46h20a1:x", max_size=12) | TEXT))


def set_the_environment(draw: Callable) -> None:
    names = ["JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"]
    names += ["JOB_COMPLETION_INDEX", "SLURM_JOB_ID", "SLURM_NTASKS", "SLURM_PROCID"]
    names += ["SLURM_STEP_NODELIST", "SLURM_LOCALID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_ID"]
    find_place(environ=draw(st.dictionaries(st.sampled_from(names), TEXT)))


def find_a_config(draw: Callable) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        path.write_bytes(damaged(draw, to_json(tiny.get_config())))
        validate(read_config(Path(folder)))


def find_rows(draw: Callable) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "metrics.jsonl"
        row = json.dumps({"step": 1, "seconds": 1.0, "g_loss": 0.5})
        path.write_bytes(b"\n".join([damaged(draw, row), row.encode(), damaged(draw, row)]))
        assert {"step": 1, "seconds": 1.0, "g_loss": 0.5} in read_rows(path)


def find_scores(draw: Callable) -> None:
    with tempfile.TemporaryDirectory() as folder:
        row = json.dumps(scored.few_rows(1)[0])
        path = Path(folder) / "scores.jsonl"
        path.write_bytes(b"\n".join([damaged(draw, row), row.encode()]))
        compare_runs([Path(folder)])


def find_a_best(draw: Callable) -> None:
    with tempfile.TemporaryDirectory() as folder:
        valid = json.dumps({"step": 2, "score": "FD", "value": 1.0, "protocol": "a"})
        (Path(folder) / "best.json").write_bytes(damaged(draw, valid))
        read_best(Path(folder))


def find_a_manifest(draw: Callable) -> None:
    valid = Manifest(step=2, sha256={"a": "b"}, arrays={"a": "float32 [3]"}, about={"images": 3})
    with contextlib.suppress(ValueError):  # Who reads it says of which file.
        Manifest.from_json(damaged(draw, json.dumps(valid.to_json())).decode(errors="replace"))


def find_a_store(draw: Callable) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_small_store(Path(folder) / "store")
        file = draw(st.sampled_from(sorted(x.name for x in path.iterdir())))
        data = (path / file).read_bytes()
        if file == "meta.json":
            (path / file).write_bytes(damaged(draw, data.decode()))
        else:
            at = draw(st.integers(0, len(data) - 1))
            (path / file).write_bytes(data[:at] + draw(st.binary(max_size=4)) + data[at + 2 :])
        open_store(path, verify=True)


def find_attributes(draw: Callable) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "attributes.npz"
        TABLE.save(path)
        data = bytearray(path.read_bytes())
        for _ in range(draw(st.integers(1, 4))):
            at = draw(st.integers(0, len(data)))
            data[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
        path.write_bytes(data)
        AttributeTable.load(path)


TARGETS = [
    *(type_options, ask_for_attributes, ask_for_seeds, name_a_topology, set_the_environment),
    *(find_a_config, find_rows, find_scores, find_a_best, find_a_manifest, find_a_store),
    find_attributes,
]


def fuzz(target: Callable, examples: int, seed: int) -> None:
    """Tries `examples` inputs; an error that is not ours comes through with the smallest input."""

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(st.data())
    def check(data):
        with contextlib.suppress(ConfigError, DataError):
            target(data.draw)

    check()


@pytest.mark.parametrize("target", TARGETS)
def test_fuzz__is_read_or_refused(target):
    fuzz(target, 60, seed=0)


@pytest.mark.series
def test_fuzz__for_an_hour(capsys):
    end, examples, seeds = time.monotonic() + 60 * MINUTES, 0, random.Random(0)
    while time.monotonic() < end:
        for target in TARGETS:
            fuzz(target, 500, seed=seeds.randrange(2**32))
            examples += 500
    with capsys.disabled():
        print(f"{examples:,} inputs to {len(TARGETS)} readers")
