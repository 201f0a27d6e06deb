"""Topologies: so many connected chips, by names such as v5e:4x4 and h200:8."""

import dataclasses
import importlib.metadata
import importlib.util
import math
import re
from typing import Any

from gan.errors import ConfigError, nearest
from gan.preflight.chips import CHIPS, GPUS_PER_HOST, Chip

EXAMPLES = "v5e:4x4, v5p:8x8x8 or h200:8"
COMPILERS = {  # By platform: packages any of which is its compiler, and our extra that has one.
    "tpu": (("libtpu",), "tpu"),
    "cuda": (("jax_cuda12_plugin", "jax_cuda13_plugin"), "cuda"),
    "cpu": (("jaxlib",), ""),  # It comes with JAX, and compiles for this process's own devices.
}


@dataclasses.dataclass(frozen=True)
class Topology:
    """A number of chips of one kind, connected."""

    name: str  # As written on the command line, such as "v5e:4x4".
    chip: Chip
    shape: tuple[int, ...]  # Sides of a TPU's slice; else the number of devices.

    @property
    def num_devices(self) -> int:
        """Number of devices."""
        return math.prod(self.shape)

    @property
    def send_rate(self) -> float:
        """Bytes/s that one chip sends to all its neighbours: of the chip with the fewest links."""
        chip = self.chip
        if chip.platform != "tpu":
            if self.num_devices <= GPUS_PER_HOST:
                return chip.link
            return min(chip.link, GPUS_PER_HOST * chip.network)  # All rings share a host's network.
        # Slices of whole cubes of 4x4x4, and sides of 16, are closed to rings.
        cubes = chip.sides == 3 and all(side % 4 == 0 for side in self.shape)
        closed = [side == 16 if chip.sides == 2 else cubes for side in self.shape]
        links = [(side > 1) * (1 + ring) for side, ring in zip(self.shape, closed, strict=True)]
        return chip.link * sum(links)


def parse_topology(text: str) -> Topology:
    """Returns the topology of a name such as "v5e:4x4".

    Raises ConfigError that names what is wrong with it, and what is right.
    """
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
    num = topology.num_devices
    if num > chip.most:
        raise ConfigError(
            f"--topology={text}: {num:,} devices, where {name} has {chip.most:,} at most."
        )
    if chip.platform == "cuda" and num > GPUS_PER_HOST and num % GPUS_PER_HOST:
        lower = num // GPUS_PER_HOST * GPUS_PER_HOST
        raise ConfigError(
            f"--topology={text}: hosts have {GPUS_PER_HOST} GPUs each, so take {name}:{lower} or "
            f"{name}:{lower + GPUS_PER_HOST}."
        )
    return topology


def ask_compiler_for_devices(topology: Topology) -> list[Any]:
    """Returns the devices of a topology as its compiler describes them; they need not exist.

    Raises ConfigError if the compiler is not installed, or refuses the topology.
    """
    from jax.experimental import topologies

    chip = topology.chip
    packages, extra = COMPILERS[chip.platform]
    if not any(importlib.util.find_spec(package) for package in packages):
        raise ConfigError(
            f"--topology={topology.name}: {packages[0]} is not installed, which compiles for it. "
            f"pip install -e '.[{extra}]' does that; no such device is needed."
        )
    if chip.platform == "cpu":
        devices = topologies.get_attached_topology("cpu").devices
        if topology.num_devices > len(devices):
            raise ConfigError(
                f"--topology={topology.name}: this process has {len(devices)} CPU devices. "
                f"JAX_NUM_CPU_DEVICES={topology.num_devices} makes it so many."
            )
        return devices[: topology.num_devices]
    options = chip.options | _host_options(topology)
    try:
        return topologies.get_topology_desc(topology.name, chip.platform, **options).devices
    except Exception as error:  # Whatever the compiler's plugin raises.
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"--topology={topology.name} is refused by its compiler: {reason}"
        ) from error


def _host_options(topology: Topology) -> dict[str, Any]:
    """Returns the compiler's options that say how the devices are spread over hosts."""
    if topology.chip.platform == "cuda":
        hosts = -(-topology.num_devices // GPUS_PER_HOST)
        return {"topology": f"1x{hosts}x{topology.num_devices // hosts}"}
    # libtpu takes four chips a host unless told otherwise.
    return {"chips_per_host_bounds": (1, 1, 1)} if topology.num_devices == 1 else {}


def name_compiler(platform: str) -> str:
    """Returns package and version of a platform's compiler, such as "libtpu 0.0.42"."""
    packages, _ = COMPILERS[platform]
    installed = next(package for package in packages if importlib.util.find_spec(package))
    return f"{installed} {importlib.metadata.version(installed)}"
