"""Compiles all configurations for hardware that is not here, and one of them for ever more of it.

    python -m benchmarks.preflight --json=preflight.json

Needs `pip install -e '.[tpu,cuda]'`, and none of the hardware. All programs are compiled by the
compiler of the hardware; times are estimates from data sheets (`gan/preflight/roofline.py`).
"""

# ruff: noqa: E402
import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from gan.runtime.jax_setup import prepare_to_compile_only

prepare_to_compile_only()  # Before JAX is imported.
from benchmarks import turns
from gan.experiments import our_configs
from gan.preflight.job import compile_step, preflight
from gan.preflight.roofline import CompiledStep, estimate_step
from gan.preflight.topology import Topology, ask_compiler_for_devices, parse_topology

TOPOLOGIES = "v5e:2x4,v5e:16x16,v5p:8x8x8,h200:8"
SIZES = {
    "v5e": ("1x1", "2x2", "2x4", "4x4", "8x8", "16x16"),
    "v5p": ("1x1x1", "2x2x1", "2x2x2", "4x4x4", "8x8x8", "16x16x16"),
    "h200": ("1", "8", "64", "512", "4096"),
}
BASE = 8  # Number of devices of the program whose messages are put on the links of more.
LATENCY = 10e-6  # Seconds added to each message in the last column but one.
HEAD = (
    *("devices", "batch", "GB/s out of a device", "messages, ms", "ms a step", "exposed messages"),
    *("efficiency", "with 10 us a message", "images/s"),
)


def scale_weakly(name: str, chip: str, each: int, compiled: bool) -> list[dict[str, Any]]:
    """Returns a row for each number of chips, with `each` images a device.

    Programs are compiled for 1 device and for `BASE`, or for each number if `compiled`.
    """

    def compile_for(topology: Topology) -> CompiledStep:
        config = dict(our_configs())[name]
        config.data.batch_size = each * topology.num_devices
        return compile_step(config, topology, ask_compiler_for_devices(topology))

    topologies = {t.num_devices: t for t in (parse_topology(f"{chip}:{s}") for s in SIZES[chip])}
    steps = {num: compile_for(topologies[num]) for num in (1, BASE)}
    for num, topology in topologies.items():
        if num not in steps:
            steps[num] = compile_for(topology) if compiled else extrapolate(steps[BASE], topology)
    return [describe_step(steps[num], steps[1]) for num in topologies]


def extrapolate(base: CompiledStep, topology: Topology) -> CompiledStep:
    """Puts the messages of `base` on the links of more devices.

    Each device does the same to its own images, whatever their number, and only the rings grow.
    Raises ValueError if a message is not a sum over all devices.
    """
    others = {c for c in base.collectives if (c.kind, c.devices) != ("all-reduce", BASE)}
    if others:
        raise ValueError(f"These messages are no sums over all devices: {others}.")
    messages = tuple(c._replace(devices=topology.num_devices) for c in base.collectives)
    images = base.images // BASE * topology.num_devices
    return dataclasses.replace(base, topology=topology, images=images, collectives=messages)


def describe_step(step: CompiledStep, alone: CompiledStep) -> dict[str, Any]:
    """Returns the numbers of a step, beside those of a single device."""
    guess, number = estimate_step(step), len(step.collectives)
    best = estimate_step(alone).step
    return {
        "devices": step.topology.name,
        "batch": step.images,
        "rate": step.topology.send_rate,
        "communication": guess.communication,
        "seconds": guess.step,
        "exposed": guess.exposed / guess.step,
        "efficiency": best / guess.step,
        "efficiency_late": best / (guess.step + number * LATENCY),
        "images_per_second": guess.images_per_second,
    }


def report(rows: list[dict[str, Any]]) -> str:
    """Returns a table in Markdown with a row for each number of chips."""
    cells = [
        [
            *(x["devices"], f"{x['batch']:,}", f"{x['rate'] / 1e9:.0f}"),
            *(f"{1e3 * x['communication']:.3f}", f"{1e3 * x['seconds']:.3f}"),
            *(f"{x[name]:.0%}" for name in ("exposed", "efficiency", "efficiency_late")),
            f"{x['images_per_second']:,.0f}",
        ]
        for x in rows
    ]
    return turns.format_markdown(HEAD, cells)


def main() -> None:
    """Prints the table of all configurations, and one of growing numbers for each kind of chip."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--topologies", default=TOPOLOGIES, help="for all configurations")
    parser.add_argument("--config", default="celeba64", help="whose scaling is estimated")
    parser.add_argument("--each", type=int, default=16, help="images a device, there (16)")
    parser.add_argument("--chips", default=",".join(SIZES), help="kinds of chips, there")
    parser.add_argument("--compiled", action="store_true", help="compile each number, there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there, too")
    options = parser.parse_args()
    if options.topologies:
        preflight(None, "", options.topologies)
    scaling = {}
    for chip in filter(None, options.chips.split(",")):
        scaling[chip] = scale_weakly(options.config, chip, options.each, options.compiled)
        print(f"\n{report(scaling[chip])}\n", flush=True)
    if options.json:
        options.json.write_text(json.dumps(scaling, indent=2))


if __name__ == "__main__":
    main()
