"""Data sheets of the chips that a preflight can compile for, none of which needs to be here.

To add a chip, add a line to `CHIPS`. The sheets:

- Google: "TPU v4", "v5e", "v5p" and "v6e" in Cloud TPU's documentation: memory, bandwidth, and the
  bidirectional interconnect of a chip. v4's link is its pod's all-reduce bandwidth over its chips.
- NVIDIA: data sheets of A100 80GB SXM, H100 SXM, H200 SXM and DGX B200: memory, bandwidth, and
  NVLink, which counts both directions. The network is that of DGX A100, H100, H200 and B200.
"""

import dataclasses
from typing import Any

from gan.model import flops

GIB = 2**30  # Bytes; data sheets write GB for it.
GPUS_PER_HOST = 8  # These are connected by NVLink.
JAX_MEMORY_SHARE = 0.75  # JAX takes this share of a GPU's; XLA_PYTHON_CLIENT_MEM_FRACTION sets it.
# How each compiler multiplies float32 unless told otherwise, and at what share of bfloat16's rate.
FLOAT32 = {"tpu": ("bfloat16", 1.0), "cuda": ("TF32", 0.5), "cpu": ("float32", 1.0)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chip:
    """The data sheet of one device; its rates are in bytes/s, one way."""

    kind: str  # Name of the device in JAX, such as "TPU v4".
    platform: str  # Whose compiler it takes: "tpu" | "cuda" | "cpu" (this machine's own).
    memory: int  # Bytes that a program may use.
    bandwidth: float  # Rate of the device's memory.
    link: float  # Rate of one link to a neighbour (TPU), or of all NVLinks together (GPU).
    network: float = 0.0  # Rate of a GPU's share of its host's network.
    sides: int = 1  # Dimensions of a TPU's slice and its network; 1 for a number of devices.
    most: int  # Largest number of devices that are connected like this.
    bfloat16_peak: float | None = None  # FLOP/s; None where `gan.model.flops` knows `kind`.
    options: dict[str, Any] = dataclasses.field(default_factory=dict)  # Options of its compiler.

    def peak(self, dtype: str) -> float:
        """Returns the most FLOP/s of convolutions and matrix products in `dtype`.

        `dtype` is "float32" or "bfloat16".
        """
        _, share = FLOAT32[self.platform] if dtype == "float32" else ("", 1.0)
        return share * (self.bfloat16_peak or flops.PEAKS[self.kind])


def _tpu(*, gib: float, **sheet: Any) -> Chip:
    """Returns a TPU.

    `gib` is the memory that libtpu calls available when it refuses a program; Google states more.
    """
    return Chip(platform="tpu", memory=int(gib * GIB), **sheet)


def _gpu(
    *,
    kind: str,
    gib: int,
    bandwidth: float,
    major: int,
    cores: int,
    fpus: int,
    shared: int,
    cache: int,
    clock: float,
    **sheet: float,
) -> Chip:
    """Returns a GPU, with the description that XLA's compiler wants of it.

    `major` is its compute capability, `cores` the number of its multiprocessors, each with `fpus`
    units and `shared` KiB of memory; `cache` is in MiB, `clock` in GHz. The description is a
    `stream_executor.GpuTargetConfigProto`.
    """
    target = f"""
        gpu_device_info {{
          cuda_compute_capability {{ major: {major} minor: 0 }}
          threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
          block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
          registers_per_core_limit: 65536 registers_per_block_limit: 65536
          shared_memory_per_block: 49152 shared_memory_per_core: {shared * 1024}
          shared_memory_per_block_optin: {(shared - 1) * 1024} l2_cache_size: {cache * 2**20}
          core_count: {cores} fpus_per_core: {fpus} clock_rate_ghz: {clock}
          memory_bandwidth: {bandwidth:.0f} device_memory_size: {gib * GIB}
        }}
        platform_name: "CUDA"
        dnn_version_info {{ major: 9 minor: 8 patch: 0 }}
        device_description_str: "{kind}"
    """
    return Chip(
        kind=kind,
        platform="cuda",
        memory=int(JAX_MEMORY_SHARE * gib * GIB),
        bandwidth=bandwidth,
        most=512 * GPUS_PER_HOST,
        options={"target_config": target},
        **sheet,
    )


HOPPER = dict(major=9, cores=132, fpus=128, shared=228, cache=50, clock=1.98)
CHIPS = {
    "v4": _tpu(
        kind="TPU v4",
        gib=30.75,
        bandwidth=1200e9,
        link=1.1e15 / 4096 / 6,
        sides=3,
        most=4096,
        options={"chip_config_name": "megacore"},  # Both its cores are one device.
    ),
    "v5e": _tpu(kind="TPU v5 lite", gib=15.75, bandwidth=819e9, link=50e9, sides=2, most=256),
    "v5p": _tpu(kind="TPU v5", gib=95.74, bandwidth=2765e9, link=100e9, sides=3, most=6144),
    "v6e": _tpu(kind="TPU v6 lite", gib=31.25, bandwidth=1638e9, link=100e9, sides=2, most=256),
    "a100": _gpu(
        kind="NVIDIA A100",
        **dict(major=8, cores=108, fpus=64, shared=164, cache=40, clock=1.41),
        **dict(gib=80, bandwidth=2039e9, link=300e9, network=25e9),
    ),
    "h100": _gpu(
        kind="NVIDIA H100", **HOPPER, **dict(gib=80, bandwidth=3350e9, link=450e9, network=50e9)
    ),
    "h200": _gpu(
        kind="NVIDIA H200", **HOPPER, **dict(gib=141, bandwidth=4800e9, link=450e9, network=50e9)
    ),
    "b200": _gpu(
        kind="NVIDIA B200",
        **dict(major=10, cores=148, fpus=128, shared=228, cache=126, clock=1.965),
        **dict(gib=180, bandwidth=8000e9, link=900e9, network=50e9),
    ),
}
