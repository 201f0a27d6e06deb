"""Tests of `gan.preflight.roofline` against estimates made by hand."""

import dataclasses

import pytest

from gan.preflight.chips import Chip
from gan.preflight.compiled_program import Collective
from gan.preflight.roofline import (
    CompiledStep,
    cost_of_million_images,
    estimate_message,
    estimate_step,
    find_largest_batch,
    round_batch_down,
)
from gan.preflight.topology import Topology

CHIP = Chip(
    kind="TPU v4", platform="tpu", memory=1000, bandwidth=100.0, link=10.0, sides=2, most=256
)
STEP = CompiledStep(
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


def test_compiled_step__memory_adds_up():
    assert (STEP.memory, STEP.free) == (900, 100)
    assert dataclasses.replace(STEP, data=250).free == -50


def test_estimate_step__slower_of_two_and_the_messages_nothing_hides():
    guess = estimate_step(STEP)
    assert (guess.computing, guess.memory, guess.communication) == (1, 3, 3)
    assert (guess.step, guess.images_per_second, guess.limit) == (6, 8 / 6, "memory")
    behind = Collective("all-reduce", 40, 4, True)
    hidden = estimate_step(dataclasses.replace(STEP, collectives=(behind,)))
    assert (hidden.step, hidden.communication) == (3, 3)
    three = dataclasses.replace(STEP, collectives=(behind, behind, *STEP.collectives))
    assert estimate_step(three).step == 3 + 3 + 3  # Of the two behind, one is hidden.
    assert estimate_step(three).limit == "communication"


def test_cost_of_million_images__all_devices_are_paid_for():
    # A million images take 750,000 s of four devices.
    assert cost_of_million_images(STEP, price=3.6) == pytest.approx(750_000 * 4 * 0.001)


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
def test_estimate_message__rings_send_what_each_device_lacks(kind, devices, seconds):
    assert estimate_message(Collective(kind, 100, devices, False), send_rate=10.0) == seconds


def fake_compiler(room: int, fixed: int, each: float, free_up_to: int = 0):
    """Returns `count_free`, and the batches asked of it; small ones stay on the chip."""
    asked = []

    def count_free(batch):
        asked.append(batch)
        return int(room - fixed - each * max(batch - free_up_to, 0))

    return count_free, asked


@pytest.mark.parametrize(("multiple", "start"), [(1, 16), (8, 64), (512, 512)])
@pytest.mark.parametrize("free_up_to", [0, 300])
def test_find_largest_batch__fits_and_nearly_fills(multiple, start, free_up_to):
    count_free, asked = fake_compiler(10**9, 10**8, 1e4, free_up_to)
    best = find_largest_batch(count_free, start, multiple)
    exact = 90_000 + free_up_to
    assert best in asked  # It was compiled.
    assert best % multiple == 0
    assert 0.7 * exact < best <= exact
    assert len(asked) <= 5


def test_find_largest_batch__goes_down_from_one_too_large_and_may_find_none():
    count_free, asked = fake_compiler(10**6, 0, 1000)
    assert 500 <= find_largest_batch(count_free, 2048, 8) <= 1000
    assert asked[0] == 2048
    assert find_largest_batch(fake_compiler(10**6, 10**7, 1)[0], 64, 8) == 0


def test_round_batch_down__keeps_three_bits():
    assert [round_batch_down(n, 1) for n in (1, 7, 9, 1023, 1024)] == [1, 7, 8, 896, 1024]
    assert round_batch_down(1023 * 8 + 5, 8) == 896 * 8
