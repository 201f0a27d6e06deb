"""Reads a compiled program: its messages among devices, its memory traffic, its kernels.

The input is XLA's text of the program, `jax.stages.Compiled.as_text()`. A loop's body counts once,
so it counts as one step of the loop over the steps of a call.

Memory traffic is counted here because XLA's own count does not serve: there is none for GPUs, and
on TPUs it includes memory that lies on the chip.
"""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
# Instructions that only name their operands, or whose work is counted where they lead to.
FREE = (
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"),
    *("while", "conditional", "call", "optimization-barrier", "partition-id", "replica-id"),
)
SLICES = ("gather", "slice", "slice-start", "dynamic-slice")
COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.$-]+) \(.*\{$")
INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.$-]+) = (.+?) ([a-z][a-z0-9-]*)\((.*)$")
ARRAY = re.compile(r"(pred|[a-z]+(\d+))[a-z0-9]*\[([\d,]*)\](\{[^}]*\})?")
CALLED = re.compile(r"(?:body|condition|branch_computations|calls|to_apply)=(\{[^}]*\}|%[\w.$-]+)")
NAME = re.compile(r"%([\w.$-]+)")


class Collective(NamedTuple):
    """A message among devices."""

    kind: str  # One of KINDS.
    bytes: int  # Size of its result on one device.
    devices: int  # Number of devices that take part.
    hidden: bool  # Whether it runs behind the computing.


class Instruction(NamedTuple):
    """One line of a computation."""

    shape: str
    kind: str
    operands: list[str]
    line: str


Computation = dict[str, Instruction]  # Its instructions by name.


def parse_program(text: str) -> tuple[dict[str, Computation], str]:
    """Returns the computations of a program by name, and the name of the one that runs first."""
    computations: dict[str, Computation] = {}
    entry, inside = "", None
    for line in text.splitlines():
        if header := COMPUTATION.match(line):
            inside = computations.setdefault(header[2], {})
            entry = header[2] if header[1] else entry
        elif inside is not None and (found := INSTRUCTION.match(line)):
            name, shape, kind, rest = found.groups()
            inside[name] = Instruction(shape, kind, NAME.findall(_arguments(rest)), line)
    return computations, entry


def find_collectives(text: str, num_devices: int) -> list[Collective]:
    """Returns all messages of a program that runs on `num_devices`."""
    found = []
    for computation in parse_program(text)[0].values():
        for line in computation.values():
            kind = line.kind.removesuffix("-done")  # Its shape is the result's alone.
            if kind not in KINDS:
                continue
            start = computation[line.operands[0]] if line.kind != kind else line
            hidden = start is not line and '"is_sync":true' not in start.line
            group = _group_size(start.line) or num_devices
            found.append(Collective(kind, count_bytes(line.shape), group, hidden))
    return found


def count_traffic(text: str, steps: int = 1) -> int | float:
    """Counts the bytes that one step reads from a device's memory and writes to it.

    `steps` is the number of steps that a call of the program runs. Each instruction that runs reads
    its operands and writes its result; a fusion does so once. Memory on the chip is free.
    """
    computations, entry = parse_program(text)
    return sum(
        _traffic(line, computations[name], computations) / (steps if name == entry else 1)
        for name in _executed(computations, entry)
        for line in computations[name].values()
    )


def count_kernels(text: str) -> int:
    """Counts the instructions of a step that have to be started on the device."""
    computations, entry = parse_program(text)
    return sum(
        not _is_free(line)
        for name in _executed(computations, entry)
        for line in computations[name].values()
    )


def count_bytes(shape: str, on_chip: bool = True) -> int:
    """Counts the bytes of the arrays in a text such as "(f32[8,4]{1,0}, pred[])".

    Without `on_chip`, arrays that lie in another memory than the device's do not count: their
    layout has an S(number).
    """
    return sum(
        math.prod(int(side) for side in sides.split(",") if side) * max(int(bits or 8), 8) // 8
        for _, bits, sides, layout in ARRAY.findall(shape)
        if on_chip or "S(" not in layout
    )


def _arguments(rest: str) -> str:
    """Returns what stands in the parentheses of a call; `rest` begins after the first one."""
    depth = 1
    for i, letter in enumerate(rest):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return rest[:i]
    return rest


def _group_size(line: str) -> int:
    """Returns how many devices a collective is among; 0, for all, if the line does not say."""
    if "source_target_pairs" in line:
        return 2
    if mesh := re.search(r"replica_groups=@?mesh\[([^\]]*)\]\s*\{([^}]*)\}", line):
        sides = dict(re.findall(r"'([^']*)'=(\d+)", mesh[1]))
        return math.prod(int(sides[axis]) for axis in re.findall(r"'([^']*)'", mesh[2]))
    if iota := re.search(r"replica_groups=\[([\d,]+)\]<=", line):
        return int(iota[1].split(",")[-1])
    listed = re.search(r"replica_groups=\{\{([\d,]*)\}", line)
    return len(listed[1].split(",")) if listed else 0


def _executed(computations: dict[str, Computation], entry: str) -> Iterator[str]:
    """Yields the computations whose instructions run one by one: no fusions and no reducers."""
    waiting, seen = [entry], set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in computations:
            continue
        seen.add(name)
        yield name
        for line in computations[name].values():
            if line.kind in ("while", "conditional", "call", "async-start"):
                waiting += _called(line)


def _called(line: Instruction) -> list[str]:
    """Returns the names of the computations that an instruction calls."""
    return NAME.findall(" ".join(CALLED.findall(line.line)))


def _traffic(
    line: Instruction, beside: Computation, computations: dict[str, Computation]
) -> int | float:
    """Counts the bytes that one instruction of the computation `beside` reads and writes."""
    if _is_free(line):
        return 0
    operands = [beside.get(name) for name in line.operands]
    if line.kind == "fusion":
        fused = computations[_called(line)[0]]
    else:
        fused = _fusion_of_one(line, operands)
    read = sum(
        min(count_bytes(operand.shape, on_chip=False), _bytes_read(fused, i))
        for i, operand in enumerate(operands)
        if operand
    )
    root = list(fused.values())[-1]
    written = count_bytes(_result_shape(line), on_chip=False)
    if root.kind == "dynamic-update-slice":  # The rest of its result stays where it is.
        written = min(written, _update_bytes(root, fused))
    return read + written


def _fusion_of_one(line: Instruction, operands: list[Instruction | None]) -> Computation:
    """Returns the computation of a fusion that holds a single instruction."""
    inputs = {
        name: Instruction(operand.shape, "parameter", [], f"parameter({i})")
        for i, (name, operand) in enumerate(zip(line.operands, operands, strict=True))
        if operand
    }
    return inputs | {"": line}


def _is_free(line: Instruction) -> bool:
    return line.kind in FREE or line.kind.endswith("-done") or line.kind.startswith("async-")


def _bytes_read(fused: Computation, index: int) -> int | float:
    """Counts the bytes that a computation reads of a parameter if it only slices it, else inf."""
    sign = f"parameter({index})"
    inputs = ((name, line) for name, line in fused.items() if line.kind == "parameter")
    names = {name for name, line in inputs if sign in line.line}
    total = 0
    for other, line in fused.items():
        if not names & set(line.operands):
            continue
        if line.kind == "bitcast":
            names.add(other)
        elif line.kind in SLICES and line.operands[0] in names:
            total += count_bytes(_result_shape(line))
        elif line.kind == "dynamic-update-slice" and line.operands[0] in names:
            total += _update_bytes(line, fused)
        else:
            return math.inf
    return total


def _result_shape(line: Instruction) -> str:
    """Returns the shape that an instruction writes; that of a start may list its source, too."""
    arrays = [array[0] for array in ARRAY.finditer(line.shape)]
    return {"copy-start": arrays[:1], "slice-start": arrays[1:2]}.get(line.kind, [line.shape])[0]


def _update_bytes(line: Instruction, beside: Computation) -> int | float:
    """Counts the bytes that a dynamic-update-slice writes; inf if its update is not listed."""
    update = beside.get(line.operands[1])
    return count_bytes(update.shape) if update else math.inf
