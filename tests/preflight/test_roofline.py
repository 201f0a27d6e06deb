"""Estimates are what one computes by hand."""

import dataclasses

import pytest

from gan.preflight.chips import Chip
from gan.preflight.compiled_program import Collective
from gan.preflight.roofline import (
    Program,
    cost,
    estimate,
    largest_batch,
    message_seconds,
    round_down,
)
from gan.preflight.topology import Topology

CHIP = Chip(
    kind="TPU v4", platform="tpu", memory=1000, bandwidth=100.0, link=10.0, sides=2, most=256
)
PROGRAM = Program(
    topology=Topology("test:2x2", CHIP, (2, 2)),  # Each has two links: 20 bytes/s.
    dtype="bfloat16",
    images=8,
    feed="stream",
    state=300,
    data=100,
    temporaries=450,
    code=50,
    flops=275e12,  # A second.
    xla_flops=None,
    traffic=300.0,  # Three seconds.
    kernels=1,
    collectives=(Collective("all-reduce", 40, 4, False),),  # 2 * 3/4 * 40 / 20 = 3 seconds.
    seconds=1.0,
)


def test_memory_adds_up():
    assert (PROGRAM.memory, PROGRAM.free) == (900, 100)
    assert dataclasses.replace(PROGRAM, data=250).free == -50


def test_a_step_is_the_slower_of_two_and_the_messages_nothing_hides():
    guess = estimate(PROGRAM)
    assert (guess.computing, guess.memory, guess.communication) == (1, 3, 3)
    assert (guess.step, guess.rate, guess.limit) == (6, 8 / 6, "memory")
    behind = Collective("all-reduce", 40, 4, True)
    hidden = estimate(dataclasses.replace(PROGRAM, collectives=(behind,)))
    assert (hidden.step, hidden.communication) == (3, 3)
    three = dataclasses.replace(PROGRAM, collectives=(behind, behind, *PROGRAM.collectives))
    assert estimate(three).step == 3 + 3 + 3  # Of the two behind, one is hidden.
    assert estimate(three).limit == "communication"


def test_a_price_is_of_all_devices():
    # A million images take 750,000 s of four devices.
    assert cost(PROGRAM, price=3.6) == pytest.approx(750_000 * 4 * 0.001)


@pytest.mark.parametrize(
    ("kind", "devices", "seconds"),
    [
        ("all-reduce", 4, 2 * 3 / 4 * 10),
        ("all-gather", 4, 3 / 4 * 10),
        ("all-to-all", 4, 3 / 4 * 10),
        ("reduce-scatter", 4, 3 * 10),
        ("collective-permute", 2, 10),
        ("all-reduce", 1, 0),
    ],
)
def test_rings_send_what_each_device_lacks(kind, devices, seconds):
    assert message_seconds(Collective(kind, 100, devices, False), rate=10.0) == seconds


def compiler(room: int, fixed: int, each: float, free_up_to: int = 0):
    """A fake one: bytes left, of batches that stay on the chip up to some size."""
    asked = []

    def left(batch):
        asked.append(batch)
        return int(room - fixed - each * max(batch - free_up_to, 0))

    return left, asked


@pytest.mark.parametrize(("multiple", "start"), [(1, 16), (8, 64), (512, 512)])
@pytest.mark.parametrize("free_up_to", [0, 300])
def test_the_largest_batch_fits_and_nearly_fills(multiple, start, free_up_to):
    left, asked = compiler(10**9, 10**8, 1e4, free_up_to)
    best = largest_batch(left, start, multiple)
    exact = 90_000 + free_up_to
    assert best in asked  # It was compiled.
    assert best % multiple == 0
    assert 0.7 * exact < best <= exact
    assert len(asked) <= 5


def test_a_batch_that_is_too_large_is_made_smaller_and_may_find_nothing():
    left, asked = compiler(10**6, 0, 1000)
    assert 500 <= largest_batch(left, 2048, 8) <= 1000
    assert asked[0] == 2048
    assert largest_batch(compiler(10**6, 10**7, 1)[0], 64, 8) == 0


def test_batches_are_round():
    assert [round_down(n, 1) for n in (1, 7, 9, 1023, 1024)] == [1, 7, 8, 896, 1024]
    assert round_down(1023 * 8 + 5, 8) == 896 * 8
