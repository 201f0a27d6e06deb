"""Devices that need not be here, by names such as v5e:4x4 and h200:8."""

import dataclasses
import importlib.util
import math
import re
from typing import Any

from gan.errors import ConfigError, nearest
from gan.preflight.chips import CHIPS, HOST, Chip

EXAMPLES = "v5e:4x4, v5p:8x8x8 or h200:8"
COMPILERS = {  # Packages any of which has it, and our extra that installs one.
    "tpu": (("libtpu",), "tpu"),
    "cuda": (("jax_cuda12_plugin", "jax_cuda13_plugin"), "cuda"),
}


@dataclasses.dataclass(frozen=True)
class Topology:
    """So many chips, connected."""

    name: str
    chip: Chip
    shape: tuple[int, ...]  # Of a TPU's slice; the number of GPUs.

    @property
    def num(self) -> int:
        """Devices."""
        return math.prod(self.shape)

    @property
    def rate(self) -> float:
        """Bytes/s that the chip with the fewest links can send, to all its neighbours together."""
        chip = self.chip
        if chip.platform != "tpu":
            # The rings through a host share its network cards.
            return chip.link if self.num <= HOST else min(chip.link, HOST * chip.network)
        # Slices of whole cubes of 4x4x4, and sides of 16, are closed to rings.
        cubes = chip.sides == 3 and all(side % 4 == 0 for side in self.shape)
        closed = [side == 16 if chip.sides == 2 else cubes for side in self.shape]
        links = [(side > 1) * (1 + ring) for side, ring in zip(self.shape, closed, strict=True)]
        return chip.link * sum(links)


def parse_topology(text: str) -> Topology:
    """From "v5e:4x4". Raises ConfigError naming what is wrong with it."""
    name, _, size = text.partition(":")
    if name not in CHIPS:
        raise ConfigError(
            f"--topology={text}: {name!r} is not one of {', '.join(CHIPS)}.{nearest(name, CHIPS)} "
            f"Write, for instance, {EXAMPLES}."
        )
    chip = CHIPS[name]
    form = "x".join("ABC"[: chip.sides]) if chip.sides > 1 else "NUMBER"
    if not re.fullmatch(r"[1-9]\d*" + r"x[1-9]\d*" * (chip.sides - 1), size):
        raise ConfigError(f"--topology={text}: must be {name}:{form}, as in {EXAMPLES}.")
    topology = Topology(text, chip, tuple(int(side) for side in size.split("x")))
    if topology.num > chip.most:
        raise ConfigError(
            f"--topology={text}: {topology.num:,} devices, where {name} has {chip.most:,} at most."
        )
    if chip.platform == "cuda" and topology.num > HOST and topology.num % HOST:
        lower = topology.num // HOST * HOST
        raise ConfigError(
            f"--topology={text}: hosts have {HOST} GPUs each, so take {name}:{lower} or "
            f"{name}:{lower + HOST}."
        )
    return topology


def find_devices(topology: Topology) -> list[Any]:
    """What a compiler sees of the devices. Raises ConfigError where it lacks or refuses."""
    from jax.experimental import topologies

    chip = topology.chip
    packages, extra = COMPILERS[chip.platform]
    if not any(importlib.util.find_spec(package) for package in packages):
        raise ConfigError(
            f"--topology={topology.name}: {packages[0]} is not installed, which compiles for it. "
            f"pip install -e '.[{extra}]' does that; no such device is needed."
        )
    options = dict(chip.options)
    if chip.platform == "cuda":
        hosts = -(-topology.num // HOST)
        options["topology"] = f"1x{hosts}x{topology.num // hosts}"
    elif topology.num == 1:  # Else hosts have four chips.
        options["chips_per_host_bounds"] = (1, 1, 1)
    try:
        found = topologies.get_topology_desc(topology.name, chip.platform, **options)
    except Exception as error:  # Whatever the compiler's plugin raises.
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"--topology={topology.name} is refused by its compiler: {reason}"
        ) from error
    return found.devices
