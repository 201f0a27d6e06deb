"""Tests of `gan.preflight.words` on made-up steps."""

import dataclasses

import pytest

from gan.config import Config
from gan.preflight.compiled_program import Collective
from gan.preflight.roofline import CompiledStep
from gan.preflight.topology import parse_topology
from gan.preflight.words import (
    HEAD,
    format_fit,
    format_messages,
    format_refused_row,
    format_row,
    format_table,
    list_caveats,
)

STEP = CompiledStep(
    topology=parse_topology("h200:8"),
    dtype="float32",
    images=128,
    feed="stream",
    state=10**9,
    data=2 * 10**9,
    temporaries=3 * 10**9,
    code=4 * 10**9,
    flops=989e12 / 2,  # A second.
    xla_flops=None,
    traffic=4800e9 / 2,  # Half a second.
    kernels=700,
    collectives=(
        Collective("all-reduce", 10**6, 8, True),
        Collective("all-reduce", 10**6, 8, False),
        Collective("all-gather", 10**6, 4, False),
    ),
    seconds=12.0,
)


def test_format_fit__says_by_how_much():
    assert format_fit(STEP) == "fits, 103.5 GB free (10.00 of 113.5 GB a device)"
    large = dataclasses.replace(STEP, data=200 * 10**9)
    assert format_fit(large) == "does not fit: 94.5 GB too much (208.00 of 113.5)"


def test_format_messages__has_a_line_for_each_kind():
    assert format_messages(STEP.collectives) == [
        "all-gather              1 among 4 devices, 1.0 MB",
        "all-reduce              2 among 8 devices, 2.0 MB; 1 run behind the computing",
    ]


@pytest.mark.parametrize("price", [None, 2.5])
def test_format_table__all_rows_are_as_wide_as_the_head(price):
    rows = [
        format_row("fits", STEP, price),
        format_refused_row("large", STEP.topology, "3.0 GB too much", price),
    ]
    head, line, fits, refused = format_table(rows, price).splitlines()[:4]
    assert head.count("|") == line.count("|") == len(HEAD) + 1 + (price is not None)
    assert len({len(head), len(line), len(fits), len(refused)}) == 1
    cells = [cell.strip() for cell in fits.split("|")[1:]]
    assert cells[:4] == ["h200:8", "fits", "10.00 GB, fits", "494,500.00"]
    assert cells[8] == "computing"
    if price is not None:
        assert cells[9] == "43.4030"  # 8 devices, 7,812.5 s and 43 ms for messages.
    assert "does not fit: 3.0 GB too much" in refused


def test_list_caveats__says_what_a_latency_costs_and_what_was_not_compiled():
    text = " ".join(list_caveats(STEP, Config(parallel="pmap")))
    assert "takes to start adds 0.700 ms a step, each that a message takes 0.003 ms" in text
    assert "JAX takes 75% of a GPU's" in text
    assert "jit's form" in text
    tpu = dataclasses.replace(STEP, topology=parse_topology("v5e:2x4"))
    assert len(list_caveats(tpu, Config())) == 1
