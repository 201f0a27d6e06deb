"""Words of a preflight: a full report of one compiled step, or a table with a line for each."""

from gan.config import Config
from gan.preflight.chips import FLOAT32, JAX_MEMORY_SHARE
from gan.preflight.compiled_program import Collective
from gan.preflight.roofline import CompiledStep, cost_of_million_images, estimate_step
from gan.preflight.topology import Topology, name_compiler

HEAD = (
    *("devices", "configuration", "memory a device", "GFLOP", "GB moved", "messages"),
    *("ms a step", "images/s", "limit"),
)
NOTES = (
    "GFLOP, GB moved and messages are of one device and step. ms a step, images/s and limit are",
    "estimates from data sheets, not measured: no latency is in them, so expect less. A batch with",
    "a * is the next that so many devices can share; the configuration's is not.",
)


def format_report(name: str, config: Config, step: CompiledStep, price: float | None) -> str:
    """Returns all that is known of a step, with units; `price` is in USD a device and hour."""
    topology, guess = step.topology, estimate_step(step)
    chip, num = topology.chip, topology.num_devices
    precision = "bfloat16" if step.dtype == "bfloat16" else FLOAT32[chip.platform][0]
    messages = [f"  {line}" for line in format_messages(step.collectives)]
    xla = f"; XLA counts {step.xla_flops / 1e9:,.1f}" if step.xla_flops else ""
    lines = [
        f"{name} on {topology.name}: {num:,} x {chip.kind}, compiled by "
        f"{name_compiler(chip.platform)} in {step.seconds:.0f} s; nothing was run",
        "",
        f"Batch           {step.images:,} images a step, {step.images // num:,} a device",
        f"Feed            {step.feed}",
        f"Memory          {format_fit(step)}",
        f"  state         {as_megabytes(step.state)}  parameters, Adam's moments, moving average",
        f"  data          {as_megabytes(step.data)}  training set and batch",
        f"  temporaries   {as_megabytes(step.temporaries)}  activations and gradients",
        f"  program       {as_megabytes(step.code)}",
        "Work            of a device in a step",
        f"  computing     {step.flops / 1e9:11,.2f} GFLOP of convolutions and products{xla}",
        f"  memory        {step.traffic / 1e9:11,.2f} GB read and written",
        "Messages        of a device in a step",
        *(messages or ["  none: there is one device"]),
        "Estimate        from data sheets, not measured; less is to be expected",
        f"  computing     {1e3 * guess.computing:11,.3f} ms at "
        f"{chip.peak(step.dtype) / 1e12:,.0f} TFLOP/s ({precision})",
        f"  memory        {1e3 * guess.memory:11,.3f} ms at {chip.bandwidth / 1e9:,.0f} GB/s",
        f"  messages      {1e3 * guess.communication:11,.3f} ms in rings at "
        f"{topology.send_rate / 1e9:,.0f} GB/s out of a device, {1e3 * guess.exposed:,.3f} of it "
        "exposed",
        f"  a step        {1e3 * guess.step:11,.3f} ms at least; {guess.limit} takes longest",
        f"  images/s      {guess.images_per_second:11,.0f} at most",
    ]
    if price is not None:
        lines.append(
            f"  cost          {cost_of_million_images(step, price):11,.4f} USD a million images at "
            f"least, for {price:g} USD a device and hour"
        )
    lines += ["", *list_caveats(step, config), ""]
    return "\n".join(lines)


def list_caveats(step: CompiledStep, config: Config) -> list[str]:
    """Returns what the numbers of a report leave out."""
    caveats = [
        "No latency is in it: each microsecond that a kernel takes to start adds "
        f"{step.kernels / 1e3:.3f} ms a step, each that a message takes "
        f"{len(step.collectives) / 1e3:.3f} ms."
    ]
    if step.topology.chip.platform == "cuda":
        caveats.append(
            "Convolutions are not autotuned without the device: another algorithm may take other "
            f"memory. JAX takes {JAX_MEMORY_SHARE:.0%} of a GPU's, which is what must hold the "
            "program."
        )
    if config.parallel == "pmap":
        caveats.append("config.parallel=pmap: what was compiled is jit's form of the same step.")
    return caveats


def format_fit(step: CompiledStep) -> str:
    """Says whether the step fits into the device's memory, and by how much."""
    total, size = step.memory / 1e9, step.topology.chip.memory / 1e9
    if step.free < 0:
        return f"does not fit: {-step.free / 1e9:,.1f} GB too much ({total:,.2f} of {size:,.1f})"
    return f"fits, {step.free / 1e9:,.1f} GB free ({total:,.2f} of {size:,.1f} GB a device)"


def as_megabytes(num_bytes: int) -> str:
    """Returns a column of megabytes."""
    return f"{num_bytes / 1e6:11,.1f} MB"


def format_messages(messages: tuple[Collective, ...]) -> list[str]:
    """Returns a line for each kind of message and number of devices it is among."""
    lines = []
    for kind, devices in sorted({(m.kind, m.devices) for m in messages}):
        alike = [m for m in messages if (m.kind, m.devices) == (kind, devices)]
        size = sum(m.bytes for m in alike)
        line = f"{kind:<19} {len(alike):>5,} among {devices:,} devices, {size / 1e6:,.1f} MB"
        hidden = sum(m.hidden for m in alike)
        lines.append(line + (f"; {hidden} run behind the computing" if hidden else ""))
    return lines


def format_row(title: str, step: CompiledStep, price: float | None) -> list[str]:
    """Returns the cells of a compiled step's line in the table."""
    guess = estimate_step(step)
    messages = sum(message.bytes for message in step.collectives) / 1e6
    return [
        step.topology.name,
        title,
        f"{step.memory / 1e9:,.2f} GB, " + ("fits" if step.free >= 0 else "too much"),
        f"{step.flops / 1e9:,.2f}",
        f"{step.traffic / 1e9:,.2f}",
        f"{len(step.collectives)}, {messages:,.1f} MB",
        f"{1e3 * guess.step:,.3f}",
        f"{guess.images_per_second:,.0f}",
        guess.limit,
        *([f"{cost_of_million_images(step, price):,.4f}"] if price is not None else []),
    ]


def format_refused_row(
    title: str, topology: Topology, reason: str, price: float | None
) -> list[str]:
    """Returns the cells of a line in the table for a step that the compiler refuses."""
    empty = len(HEAD) - 3 + (price is not None)
    return [topology.name, title, f"does not fit: {reason}", *[""] * empty]


def format_table(rows: list[list[str]], price: float | None) -> str:
    """Returns a table in Markdown, with its notes."""
    head = [*HEAD, *(["USD a million"] if price is not None else [])]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    cells = [head, ["-" * width for width in widths], *rows]
    lines = [
        "| " + " | ".join(f"{x:<{w}}" for x, w in zip(line, widths, strict=True)) + " |"
        for line in cells
    ]
    return "\n".join([*lines, "", *NOTES])
