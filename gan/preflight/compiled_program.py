"""What a compiled program tells other devices and its memory, read from XLA's text of it.

A loop's body is counted once, so as one step of the loop over the steps of a call. XLA's own count
of bytes is not to be had for GPUs, and on TPUs it takes memory on the chip for the device's; so
they are counted here.
"""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
# What only names its operands, or whose work is counted in the computation that it calls.
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
    bytes: int  # Of its result on one device.
    devices: int  # That it is among.
    hidden: bool  # Whether it runs behind the computing.


class Instruction(NamedTuple):
    """A line of a computation."""

    shape: str
    kind: str
    operands: list[str]
    line: str


Computation = dict[str, Instruction]  # By name.


def parse(text: str) -> tuple[dict[str, Computation], str]:
    """The computations of a program by name, and the name of the first that runs."""
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


def collectives(text: str, devices: int) -> list[Collective]:
    """All messages of a program, which is for so many devices."""
    found = []
    for computation in parse(text)[0].values():
        for line in computation.values():
            kind = line.kind.removesuffix("-done")  # Its shape is the result's alone.
            if kind not in KINDS:
                continue
            start = computation[line.operands[0]] if line.kind != kind else line
            hidden = start is not line and '"is_sync":true' not in start.line
            group = _group(start.line) or devices
            found.append(Collective(kind, size(line.shape), group, hidden))
    return found


def traffic(text: str, steps: int = 1) -> int | float:
    """Bytes that one of so many steps of a call reads from a device's memory and writes to it.

    Each instruction that runs reads its operands and writes its result; fused ones do so once.
    Memory on the chip is free.
    """
    computations, entry = parse(text)
    return sum(
        _traffic(line, computations[name], computations) / (steps if name == entry else 1)
        for name in _run(computations, entry)
        for line in computations[name].values()
    )


def kernels(text: str) -> int:
    """Instructions of a step that do something, each of which has to be started."""
    computations, entry = parse(text)
    return sum(
        not _is_free(line)
        for name in _run(computations, entry)
        for line in computations[name].values()
    )


def size(shape: str, everywhere: bool = True) -> int:
    """Bytes of the arrays in a text such as "(f32[8,4]{1,0}, pred[])".

    `everywhere`, or without those in another memory than the device's, which have an S(number).
    """
    return sum(
        math.prod(int(side) for side in sides.split(",") if side) * max(int(bits or 8), 8) // 8
        for _, bits, sides, layout in ARRAY.findall(shape)
        if everywhere or "S(" not in layout
    )


def _arguments(rest: str) -> str:
    """What is in the parentheses of a call."""
    depth = 1
    for i, letter in enumerate(rest):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return rest[:i]
    return rest


def _group(line: str) -> int:
    """How many devices a collective is among; 0 if the line does not say, which means all."""
    if "source_target_pairs" in line:
        return 2
    if mesh := re.search(r"replica_groups=@?mesh\[([^\]]*)\]\s*\{([^}]*)\}", line):
        sides = dict(re.findall(r"'([^']*)'=(\d+)", mesh[1]))
        return math.prod(int(sides[axis]) for axis in re.findall(r"'([^']*)'", mesh[2]))
    if iota := re.search(r"replica_groups=\[([\d,]+)\]<=", line):
        return int(iota[1].split(",")[-1])
    listed = re.search(r"replica_groups=\{\{([\d,]*)\}", line)
    return len(listed[1].split(",")) if listed else 0


def _run(computations: dict[str, Computation], entry: str) -> Iterator[str]:
    """The computations whose instructions run one by one: not what is fused or reduces with."""
    waiting, seen = [entry], set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in computations:
            continue
        seen.add(name)
        yield name
        for line in computations[name].values():
            if line.kind in ("while", "conditional", "call", "async-start"):
                waiting += NAME.findall(" ".join(CALLED.findall(line.line)))


def _traffic(
    line: Instruction, beside: Computation, computations: dict[str, Computation]
) -> int | float:
    if _is_free(line):
        return 0
    operands = [beside.get(name) for name in line.operands]
    if line.kind == "fusion":
        fused = computations[NAME.findall(" ".join(CALLED.findall(line.line)))[0]]
    else:  # As if it were fused with nothing.
        inputs = {
            name: Instruction(operand.shape, "parameter", [], f"parameter({i})")
            for i, (name, operand) in enumerate(zip(line.operands, operands, strict=True))
            if operand
        }
        fused = inputs | {"": line}
    read = sum(
        min(size(operand.shape, everywhere=False), _touched(fused, i))
        for i, operand in enumerate(operands)
        if operand
    )
    root = list(fused.values())[-1]
    written = size(_result(line), everywhere=False)
    if root.kind == "dynamic-update-slice":  # In place.
        written = min(written, _update(root, fused))
    return read + written


def _is_free(line: Instruction) -> bool:
    return line.kind in FREE or line.kind.endswith("-done") or line.kind.startswith("async-")


def _touched(fused: Computation, index: int) -> int | float:
    """Bytes at most that a computation reads of its parameter: where that is sliced, the slices."""
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
            total += size(_result(line))
        elif line.kind == "dynamic-update-slice" and line.operands[0] in names:
            total += _update(line, fused)
        else:
            return math.inf
    return total


def _result(line: Instruction) -> str:
    """The shape of what is written: where something starts, its source may stand beside that."""
    arrays = [array[0] for array in ARRAY.finditer(line.shape)]
    return {"copy-start": arrays[:1], "slice-start": arrays[1:2]}.get(line.kind, [line.shape])[0]


def _update(line: Instruction, beside: Computation) -> int | float:
    update = beside.get(line.operands[1])
    return size(update.shape) if update else math.inf
