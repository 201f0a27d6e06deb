"""Estimates a compiled step's time from data sheets: arithmetic, no measurement.

The model is the roofline (Williams et al. 2009): a step takes as long as the slower of its
computing and its memory traffic, and as the messages that neither hides.
"""

import dataclasses
import math
from collections.abc import Callable

from gan.preflight.compiled_program import Collective
from gan.preflight.topology import Topology


@dataclasses.dataclass(frozen=True)
class CompiledStep:
    """What the compiler says of a training step. Bytes and FLOPs are those of one device."""

    topology: Topology
    dtype: str  # Type of the computation: "float32" | "bfloat16".
    images: int  # Images of a step, over all devices.
    feed: str  # How the data reach the devices, in words.
    state: int  # Bytes of parameters, Adam's moments and moving average.
    data: int  # Bytes of the resident store and the batch.
    temporaries: int  # Bytes of activations, gradients and whatever else comes and goes.
    code: int  # Bytes of the program itself.
    flops: float  # FLOPs of convolutions and matrix products, as `gan.model.flops` counts them.
    xla_flops: float | None  # FLOPs as XLA counts them; None where it does not.
    traffic: int | float  # Bytes that a step reads from the device's memory and writes to it.
    kernels: int  # Number of kernels that a step has to start.
    collectives: tuple[Collective, ...]  # Messages among the devices in a step.
    seconds: float  # Seconds that compiling took.

    @property
    def memory(self) -> int:
        """Bytes of memory that the program needs."""
        return self.state + self.data + self.temporaries + self.code

    @property
    def free(self) -> int:
        """Bytes of memory that it leaves free; negative if it does not fit."""
        return self.topology.chip.memory - self.memory


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Seconds that one step takes at least."""

    computing: float  # Seconds of arithmetic alone.
    memory: float  # Seconds of memory traffic alone.
    communication: float  # Seconds of messages alone.
    exposed: float  # The part of `communication` that no other work hides.
    images: int  # Images of a step, over all devices.

    @property
    def step(self) -> float:
        """Seconds of a step: computing and memory traffic overlap, exposed messages do not."""
        return max(self.computing, self.memory) + self.exposed

    @property
    def images_per_second(self) -> float:
        """Images/s over all devices."""
        return self.images / self.step

    @property
    def limit(self) -> str:
        """Name of what takes longest: "computing" | "memory" | "communication"."""
        kinds = ("computing", "memory", "communication")
        return max(kinds, key=lambda kind: getattr(self, kind))


def estimate_step(step: CompiledStep) -> Estimate:
    """Estimates a step at the rates of the data sheets.

    All units are taken to be always busy, and kernels and messages to start at once: a real step
    takes longer.
    """
    topology = step.topology
    computing = step.flops / topology.chip.peak(step.dtype)
    memory = step.traffic / topology.chip.bandwidth
    seconds = {False: 0.0, True: 0.0}  # By whether the computing hides the message.
    for message in step.collectives:
        seconds[message.hidden] += estimate_message(message, topology.send_rate)
    exposed = seconds[False] + max(0.0, seconds[True] - max(computing, memory))
    return Estimate(computing, memory, sum(seconds.values()), exposed, step.images)


def estimate_message(message: Collective, send_rate: float) -> float:
    """Returns the seconds of a collective in a ring of devices that send at `send_rate` (bytes/s).

    Each of n devices sends (n - 1) / n of the whole to gather or to scatter it, and twice as much
    to reduce it for all of them (Patarasuk & Yuan 2009).
    """
    n = message.devices
    if n == 1:
        return 0.0
    sent = {
        "all-reduce": 2 * (n - 1) / n,
        "reduce-scatter": n - 1,  # Its result is one part of n.
        "collective-permute": 1,
    }
    return sent.get(message.kind, (n - 1) / n) * message.bytes / send_rate


def cost_of_million_images(step: CompiledStep, price: float) -> float:
    """Returns the US dollars of a million images, at a `price` for a device and hour."""
    hourly = price * step.topology.num_devices
    return hourly / 3600 * 1e6 / estimate_step(step).images_per_second


def find_largest_batch(
    count_free: Callable[[int], int], start: int, multiple: int, tries: int = 5
) -> int:
    """Returns the largest batch that was compiled and fits; 0 if none does.

    `count_free(batch)` compiles and returns the bytes that are left free, negative if it does not
    fit. All batches are a `multiple` of the devices. From the first two, and then the two largest,
    a straight line leads to the next.
    """
    best, too_large, known, batch = 0, math.inf, {}, start
    for _ in range(tries):
        known[batch] = count_free(batch)
        if known[batch] >= 0:
            best = max(best, batch)
        else:
            too_large = min(too_large, batch)
        # Much of a small batch may stay on the chip, so the line starts from a larger one.
        wanted = 8 * batch if len(known) == 1 else _extrapolate(known)
        if wanted >= too_large:
            wanted = (best + too_large) / 2
        batch = round_batch_down(int(wanted), multiple)
        if batch <= best:
            break
    return best


def _extrapolate(free: dict[int, int]) -> float:
    """Returns the batch that leaves nothing free, on a line through the two largest known ones."""
    (small, more), (large, less) = sorted(free.items())[-2:]
    return large + less * (large - small) / max(more - less, 1)


def round_batch_down(batch: int, multiple: int) -> int:
    """Rounds down to a round number of `multiple`s: one of at most three leading bits.

    With a multiple of 1, 7 stays 7, and 1,023 becomes 896.
    """
    factor = batch // multiple
    unit = 2 ** max(factor.bit_length() - 3, 0)
    return factor // unit * unit * multiple
