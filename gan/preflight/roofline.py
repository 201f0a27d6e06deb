"""What a compiled step needs, and how fast data sheets let it be: arithmetic, no measurement."""

import dataclasses
import math
from collections.abc import Callable

from gan.preflight.compiled_program import Collective
from gan.preflight.topology import Topology


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled training step. Bytes and FLOPs are of one device, and of one step."""

    topology: Topology
    dtype: str  # Of the computation.
    images: int  # A step, over all devices.
    feed: str  # In words.
    state: int  # Bytes of parameters, Adam's moments, ...
    data: int  # Bytes of the resident store and the batch.
    temporaries: int  # Bytes of activations and all else that comes and goes.
    code: int  # Bytes of the program itself.
    flops: float  # Of convolutions and matrix products, as `gan.model.flops` counts.
    xla_flops: float | None  # As XLA counts, where it does.
    traffic: int | float  # Bytes to and from the memory.
    kernels: int  # That have to be started.
    collectives: tuple[Collective, ...]
    seconds: float  # Of compiling.

    @property
    def memory(self) -> int:
        """Bytes in all."""
        return self.state + self.data + self.temporaries + self.code

    @property
    def free(self) -> int:
        """Bytes of a device that are left; below 0 it does not fit."""
        return self.topology.chip.memory - self.memory


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Seconds of a step, of each kind alone; what is done at once counts once in `step`."""

    computing: float
    memory: float
    communication: float
    exposed: float  # Of the communication: what nothing hides.
    images: int

    @property
    def step(self) -> float:
        """Seconds of a step."""
        return max(self.computing, self.memory) + self.exposed

    @property
    def rate(self) -> float:
        """Images/s."""
        return self.images / self.step

    @property
    def limit(self) -> str:
        """What takes longest."""
        kinds = ("computing", "memory", "communication")
        return max(kinds, key=lambda kind: getattr(self, kind))


def estimate(program: Program) -> Estimate:
    """As fast as the sheets allow: no latency, no start of a kernel, all units always busy."""
    topology = program.topology
    computing = program.flops / topology.chip.peak(program.dtype)
    memory = program.traffic / topology.chip.bandwidth
    hidden = sum(message_seconds(c, topology.rate) for c in program.collectives if c.hidden)
    open_ = sum(message_seconds(c, topology.rate) for c in program.collectives if not c.hidden)
    exposed = open_ + max(0.0, hidden - max(computing, memory))
    return Estimate(computing, memory, hidden + open_, exposed, program.images)


def message_seconds(message: Collective, rate: float) -> float:
    """Of a collective by rings whose devices each send at `rate` (bytes/s), without latency.

    Of n devices each sends (n - 1) / n of the whole when gathering or scattering, and that twice
    when reducing for all (Patarasuk & Yuan 2009).
    """
    n = message.devices
    if n == 1:
        return 0.0
    times = {
        "all-reduce": 2 * (n - 1) / n,
        "reduce-scatter": n - 1,  # Its result is one part of n.
        "collective-permute": 1,
    }
    return times.get(message.kind, (n - 1) / n) * message.bytes / rate


def cost(program: Program, price: float) -> float:
    """Of a million images at the estimated speed, for a `price` a device and hour."""
    return price * program.topology.num / 3600 * 1e6 / estimate(program).rate


def largest_batch(left: Callable[[int], int], start: int, multiple: int, tries: int = 5) -> int:
    """The largest batch that was compiled and fits, a `multiple` of the devices; 0 if none does.

    `left(batch)` compiles and says how many bytes are left, below 0 by how many it is too large.
    A straight line through two sizes leads to the next, which is compiled in turn.
    """
    best, bound, known, batch = 0, math.inf, {}, start
    for _ in range(tries):
        known[batch] = left(batch)
        if known[batch] >= 0:
            best = max(best, batch)
        else:
            bound = min(bound, batch)
        # Where a batch is small, much of it may stay on the chip: that is no line to go by.
        wanted = 8 * batch if len(known) == 1 else _where_nothing_is_left(known)
        if wanted >= bound:
            wanted = (best + bound) / 2
        batch = round_down(int(wanted), multiple)
        if batch <= best:
            break
    return best


def _where_nothing_is_left(known: dict[int, int]) -> float:
    """By the line through the two largest batches."""
    (small, more), (large, less) = sorted(known.items())[-2:]
    return large + less * (large - small) / max(more - less, 1)


def round_down(batch: int, multiple: int) -> int:
    """To a multiple by a number with at most three leading bits: 7 -> 7, 1,023 -> 896."""
    factor = batch // multiple
    unit = 2 ** max(factor.bit_length() - 3, 0)
    return factor // unit * unit * multiple
