"""How all configurations would run on hardware that is not here, and on how much of it.

    python -m benchmarks.preflight --json=preflight.json

Needs `pip install -e '.[tpu,cuda]'`, and none of the hardware. All programs are compiled by the
compiler of the hardware; times are estimates from data sheets (`gan/preflight/roofline.py`).
"""

import argparse
import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

# Before JAX is imported, as `gan.main` does.
os.environ |= {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1"}
os.environ |= {"ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}  # It only compiles: no device to share.
os.environ |= {"TPU_WORKER_HOSTNAMES": "localhost", "TPU_ACCELERATOR_TYPE": "v5litepod-8"}
sys.path.insert(0, str(Path(__file__).parents[1]))  # For `python benchmarks/preflight.py`.
from gan.experiments import our_configs
from gan.preflight.job import compile_step, preflight
from gan.preflight.roofline import CompiledStep, estimate_step
from gan.preflight.topology import Topology, ask_compiler_for_devices, parse_topology

TOPOLOGIES = "v5e:2x4,v5e:16x16,v5p:8x8x8,h200:8"
GROWING = {
    "v5e": ("1x1", "2x2", "2x4", "4x4", "8x8", "16x16"),
    "v5p": ("1x1x1", "2x2x1", "2x2x2", "4x4x4", "8x8x8", "16x16x16"),
    "h200": ("1", "8", "64", "512", "4096"),
}
BASE = 8  # Devices of the program that is put on paper for more.
HEAD = (
    *("devices", "batch", "GB/s out of a device", "messages, ms", "ms a step", "exposed messages"),
    *("efficiency", "with 10 us a message", "images/s"),
)


def weak_scaling(name: str, chip: str, each: int, compiled: bool) -> list[dict[str, Any]]:
    """A row for each size of slice, at `each` images a device; all of them `compiled` or two."""

    def compile_for(topology: Topology) -> CompiledStep:
        config = dict(our_configs())[name]
        config.data.batch_size = each * topology.num_devices
        return compile_step(config, topology, ask_compiler_for_devices(topology))

    sizes = [parse_topology(f"{chip}:{size}") for size in GROWING[chip]]
    alone, base = (
        compile_for(next(size for size in sizes if size.num_devices == num)) for num in (1, BASE)
    )
    programs = {1: alone, BASE: base}
    for size in sizes:
        if size.num_devices not in programs:
            programs[size.num_devices] = compile_for(size) if compiled else on_paper(base, size)
    return [row(programs[size.num_devices], alone) for size in sizes]


def on_paper(base: CompiledStep, topology: Topology) -> CompiledStep:
    """`base` on other devices: where all do the same to their own images, only the rings grow."""
    others = {c for c in base.collectives if (c.kind, c.devices) != ("all-reduce", BASE)}
    if others:
        raise ValueError(
            f"Not all messages are sums over all devices, so this says nothing: {others}"
        )
    messages = tuple(c._replace(devices=topology.num_devices) for c in base.collectives)
    images = base.images // BASE * topology.num_devices
    return dataclasses.replace(base, topology=topology, images=images, collectives=messages)


def row(program: CompiledStep, alone: CompiledStep) -> dict[str, Any]:
    """The numbers of a program beside those of a single device."""
    guess, number = estimate_step(program), len(program.collectives)
    best = estimate_step(alone).step
    return {
        "devices": program.topology.name,
        "batch": program.images,
        "rate": program.topology.send_rate,
        "communication": guess.communication,
        "seconds": guess.step,
        "exposed": guess.exposed / guess.step,
        "efficiency": best / guess.step,
        "efficiency_late": best / (guess.step + number * 10e-6),
        "images_per_second": guess.images_per_second,
    }


def markdown(rows: list[dict[str, Any]]) -> str:
    """A table."""
    lines = [f"| {' | '.join(HEAD)} |", "|" + "---|" * len(HEAD)]
    for x in rows:
        cells = [x["devices"], f"{x['batch']:,}", f"{x['rate'] / 1e9:.0f}"]
        cells += [f"{1e3 * x['communication']:.3f}", f"{1e3 * x['seconds']:.3f}"]
        cells += [f"{x[name]:.0%}" for name in ("exposed", "efficiency", "efficiency_late")]
        cells.append(f"{x['images_per_second']:,.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Prints the table of all configurations, and one of growing slices for each kind of chip."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--topologies", default=TOPOLOGIES)
    parser.add_argument("--config", default="celeba64", help="whose scaling is looked at")
    parser.add_argument("--each", type=int, default=16, help="images a device, there")
    parser.add_argument("--chips", default=",".join(GROWING), help="there")
    parser.add_argument("--compiled", action="store_true", help="each size, there")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.topologies:
        preflight(None, "", options.topologies)
    scaling = {}
    for chip in options.chips.split(","):
        scaling[chip] = weak_scaling(options.config, chip, options.each, options.compiled)
        print(f"\n{markdown(scaling[chip])}\n", flush=True)
    if options.json:
        options.json.write_text(json.dumps(scaling, indent=2))


if __name__ == "__main__":
    main()
