"""Chips that can be compiled for without having them, with what their makers state."""

import dataclasses
from typing import Any

from gan.model import flops

# Google: "TPU v4", "v5e", "v5p" and "v6e" in Cloud TPU's documentation (memory, bandwidth,
# bidirectional interconnect of a chip; v4's is its pod's all-reduce bandwidth over its chips).
# NVIDIA: data sheets of A100 80GB SXM, H100 SXM, H200 SXM and DGX B200 (memory, bandwidth, NVLink,
# which counts both directions); the network is that of its own DGX A100, H100, H200 and B200.
GIB = 2**30  # Makers write GB for it.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chip:
    """One device, as the sheet has it. Rates are bytes/s."""

    kind: str  # JAX's name for it.
    platform: str  # "tpu" | "cuda": whose compiler it is.
    memory: int  # Bytes that programs can have: by the compiler's word, or what JAX takes.
    bandwidth: float  # Of the memory.
    link: float  # One way: of each of a TPU's links to its neighbours, of a GPU's NVLink in all.
    network: float = 0.0  # One way: of a GPU's share of its host's network.
    sides: int = 1  # Dimensions of a TPU's slice, which are those of its network.
    most: int  # Devices that are connected like this.
    options: dict[str, Any] = dataclasses.field(default_factory=dict)  # For its compiler.

    def peak(self, dtype: str) -> float:
        """FLOP/s of convolutions and matrix products at most, in "float32" | "bfloat16".

        JAX lets both round float32's operands: TPUs to bfloat16, NVIDIA's to TF32 at half the rate.
        """
        half = self.platform == "cuda" and dtype == "float32"
        return flops.PEAKS[self.kind] / (2 if half else 1)


def _tpu(*, gib: float, **sheet: Any) -> Chip:
    """`gib` is what libtpu calls available when it refuses a program; its maker states more."""
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
    **links: float,
) -> Chip:
    """With what XLA's compiler asks of a GPU (stream_executor.GpuTargetConfigProto)."""
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
        memory=int(TAKEN * gib * GIB),
        bandwidth=bandwidth,
        most=512 * HOST,
        options={"target_config": target},
        **links,
    )


HOST = 8  # GPUs in one, connected by NVLink.
TAKEN = 0.75  # Of a GPU's memory by JAX; XLA_PYTHON_CLIENT_MEM_FRACTION changes it.
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
