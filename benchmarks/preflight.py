"""How all configurations would run on hardware that is not here, and on how much of it.

    python -m benchmarks.preflight --json=preflight.json

Needs `pip install -e '.[tpu,cuda]'`, and none of the hardware. All programs are compiled by the
compiler of the hardware; times are estimates from data sheets (`gan/roofline.py`).
"""

import argparse
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
from gan.preflight import all_configs, compile_step, preflight
from gan.roofline import Program, estimate
from gan.topology import find_devices, parse_topology

TOPOLOGIES = "v5e:2x4,v5e:16x16,v5p:8x8x8,h200:8"
GROWING = {
    "v5e": ("1x1", "2x2", "2x4", "4x4", "8x8", "16x16"),
    "v5p": ("1x1x1", "2x2x1", "4x4x4", "8x8x8", "16x16x16"),
    "h200": ("1", "8", "64", "512", "4096"),
}
HEAD = (
    *("devices", "batch", "messages", "MB", "ms a step", "of it messages", "efficiency"),
    *("with 1 us a message", "with 10 us"),
)


def weak_scaling(config_name: str, chip: str, each: int) -> list[dict[str, Any]]:
    """A row for each size of slice, at `each` images a device."""
    rows: list[dict[str, Any]] = []
    for size in GROWING[chip]:
        topology = parse_topology(f"{chip}:{size}")
        config = dict(all_configs())[config_name]
        config.data.batch_size = each * topology.num
        program = compile_step(config, topology, find_devices(topology))
        rows.append(scaled(program, rows[0] if rows else None))
        print(markdown(rows[-1:]).splitlines()[-1], flush=True)
    return rows


def scaled(program: Program, one: dict[str, Any] | None) -> dict[str, Any]:
    """The numbers of a program beside those of a single device."""
    guess, number = estimate(program), len(program.collectives)
    alone = one["seconds"] if one else guess.step
    late = {us: alone / (guess.step + number * us * 1e-6) for us in (0, 1, 10)}
    return {
        "devices": program.topology.name,
        "batch": program.images,
        "messages": number,
        "bytes": sum(message.bytes for message in program.collectives),
        "seconds": guess.step,
        "share": guess.exposed / guess.step,
        "efficiency": late,
    }


def markdown(rows: list[dict[str, Any]]) -> str:
    """A table."""
    lines = [f"| {' | '.join(HEAD)} |", "|" + "---|" * len(HEAD)]
    for row in rows:
        cells = [row["devices"], f"{row['batch']:,}", str(row["messages"])]
        cells += [f"{row['bytes'] / 1e6:.1f}", f"{1e3 * row['seconds']:.3f}", f"{row['share']:.1%}"]
        cells += [f"{share:.1%}" for share in row["efficiency"].values()]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Prints the table of all configurations, and one of growing slices for each kind of chip."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--topologies", default=TOPOLOGIES)
    parser.add_argument("--config", default="celeba64", help="whose scaling is looked at")
    parser.add_argument("--each", type=int, default=128, help="images a device, there")
    parser.add_argument("--chips", default=",".join(GROWING), help="there")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.topologies:
        preflight(None, "", options.topologies)
    scaling = {}
    for chip in options.chips.split(","):
        scaling[chip] = weak_scaling(options.config, chip, options.each)
        print(f"\n{markdown(scaling[chip])}\n", flush=True)
    if options.json:
        options.json.write_text(json.dumps(scaling, indent=2))


if __name__ == "__main__":
    main()
