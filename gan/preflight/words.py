"""What a preflight says: a report of one program, a line each of many."""

import importlib.metadata
import importlib.util

from gan.config import Config
from gan.preflight.chips import TAKEN
from gan.preflight.compiled_program import Collective
from gan.preflight.roofline import Program, cost, estimate
from gan.preflight.topology import COMPILERS, Topology

HEAD = (
    *("devices", "configuration", "memory a device", "GFLOP", "GB moved", "messages"),
    *("ms a step", "images/s", "limit"),
)
NOTES = (
    "GFLOP, GB moved and messages are of one device and step. ms a step, images/s and limit are",
    "estimates from data sheets, not measured: no latency is in them, so expect less. A batch with",
    "a * is the next that so many devices can share; the configuration's is not.",
)


def report(name: str, config: Config, program: Program, price: float | None) -> str:
    """All that is known of a program, with units."""
    place, guess = program.topology, estimate(program)
    chip, num = place.chip, place.num
    kind = {"tpu": "bfloat16", "cuda": "TF32"}
    precision = "bfloat16" if program.dtype == "bfloat16" else kind[chip.platform]
    each = [f"  {c}" for c in summary(program.collectives) or ["none: there is one device"]]
    xla = f"; XLA counts {program.xla_flops / 1e9:,.1f}" if program.xla_flops else ""
    lines = [
        f"{name} on {place.name}: {num:,} x {chip.kind}, compiled by {compiler(chip.platform)} "
        f"in {program.seconds:.0f} s; nothing was run",
        "",
        f"Batch           {program.images:,} images a step, {program.images // num:,} a device",
        f"Feed            {program.feed}",
        f"Memory          {fits(program)}",
        f"  state         {megabytes(program.state)}  parameters, Adam's moments, moving average",
        f"  data          {megabytes(program.data)}  training set and batch",
        f"  temporaries   {megabytes(program.temporaries)}  activations and gradients",
        f"  program       {megabytes(program.code)}",
        "Work            of a device in a step",
        f"  computing     {program.flops / 1e9:11,.2f} GFLOP of convolutions and products{xla}",
        f"  memory        {program.traffic / 1e9:11,.2f} GB read and written",
        "Messages        of a device in a step",
        *each,
        "Estimate        from data sheets, not measured; less is to be expected",
        f"  computing     {1e3 * guess.computing:11,.3f} ms at "
        f"{chip.peak(program.dtype) / 1e12:,.0f} TFLOP/s ({precision})",
        f"  memory        {1e3 * guess.memory:11,.3f} ms at {chip.bandwidth / 1e9:,.0f} GB/s",
        f"  messages      {1e3 * guess.communication:11,.3f} ms in rings at "
        f"{place.rate / 1e9:,.0f} GB/s out of a device, {1e3 * guess.exposed:,.3f} of it exposed",
        f"  a step        {1e3 * guess.step:11,.3f} ms at least; {guess.limit} takes longest",
        f"  images/s      {guess.rate:11,.0f} at most",
    ]
    if price is not None:
        lines.append(
            f"  cost          {cost(program, price):11,.4f} USD a million images at least, for "
            f"{price:g} USD a device and hour"
        )
    lines += ["", *notes(program, config), ""]
    return "\n".join(lines)


def notes(program: Program, config: Config) -> list[str]:
    """What is not in the numbers."""
    told = [
        "No latency is in it: each microsecond that a kernel takes to start adds "
        f"{program.kernels / 1e3:.3f} ms a step, each that a message takes "
        f"{len(program.collectives) / 1e3:.3f} ms."
    ]
    if program.topology.chip.platform == "cuda":
        told.append(
            "Convolutions are not autotuned without the device: another algorithm may take other "
            f"memory. JAX takes {TAKEN:.0%} of a GPU's, which is what must hold the program."
        )
    if config.parallel == "pmap":
        told.append("config.parallel=pmap: what was compiled is jit's form of the same step.")
    return told


def fits(program: Program) -> str:
    """Whether, and by how much."""
    total, size = program.memory / 1e9, program.topology.chip.memory / 1e9
    if program.free < 0:
        return f"does not fit: {-program.free / 1e9:,.1f} GB too much ({total:,.2f} of {size:,.1f})"
    return f"fits, {program.free / 1e9:,.1f} GB free ({total:,.2f} of {size:,.1f} GB a device)"


def megabytes(number: int) -> str:
    """Of bytes."""
    return f"{number / 1e6:11,.1f} MB"


def summary(messages: tuple[Collective, ...]) -> list[str]:
    """A line for each kind and size of group."""
    lines = []
    for kind, devices in sorted({(m.kind, m.devices) for m in messages}):
        of = [m for m in messages if (m.kind, m.devices) == (kind, devices)]
        size = sum(m.bytes for m in of)
        line = f"{kind:<19} {len(of):>5,} among {devices:,} devices, {size / 1e6:,.1f} MB"
        hidden = sum(m.hidden for m in of)
        lines.append(line + (f"; {hidden} run behind the computing" if hidden else ""))
    return lines


def row(title: str, program: Program, price: float | None) -> list[str]:
    """The cells of a line of the table."""
    guess = estimate(program)
    messages = sum(message.bytes for message in program.collectives) / 1e6
    return [
        program.topology.name,
        title,
        f"{program.memory / 1e9:,.2f} GB, " + ("fits" if program.free >= 0 else "too much"),
        f"{program.flops / 1e9:,.2f}",
        f"{program.traffic / 1e9:,.2f}",
        f"{len(program.collectives)}, {messages:,.1f} MB",
        f"{1e3 * guess.step:,.3f}",
        f"{guess.rate:,.0f}",
        guess.limit,
        *([f"{cost(program, price):,.4f}"] if price is not None else []),
    ]


def refusal(title: str, topology: Topology, reason: str, price: float | None) -> list[str]:
    """The same of what the compiler refuses."""
    empty = len(HEAD) - 3 + (price is not None)
    return [topology.name, title, f"does not fit: {reason}", *[""] * empty]


def table(rows: list[list[str]], price: float | None) -> str:
    """A line a pair, in Markdown."""
    head = [*HEAD, *(["USD a million"] if price is not None else [])]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    cells = [head, ["-" * width for width in widths], *rows]
    lines = [
        "| " + " | ".join(f"{x:<{w}}" for x, w in zip(line, widths, strict=True)) + " |"
        for line in cells
    ]
    return "\n".join([*lines, "", *NOTES])


def compiler(platform: str) -> str:
    """Its package and version."""
    there = [package for package in COMPILERS[platform][0] if importlib.util.find_spec(package)]
    return f"{there[0]} {importlib.metadata.version(there[0])}"
