"""How much arithmetic a program is, by count, and what share of a device's peak that makes."""

import math
from collections.abc import Callable
from typing import Any

import jax

# FLOP/s of a device in products of dense bfloat16 matrices (float16 before the A100), from its
# maker's data sheet; the device kinds are JAX's names. The longest name that fits counts.
PEAKS = {
    "NVIDIA B200": 2250e12,
    "NVIDIA H200": 989e12,
    "NVIDIA GH200": 989e12,
    "NVIDIA H100": 989e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA A100": 312e12,
    "NVIDIA L40S": 362e12,
    "NVIDIA L4": 121e12,
    "NVIDIA A10": 125e12,
    "Tesla V100": 125e12,
    "Tesla T4": 65e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5": 459e12,
    "TPU v6 lite": 918e12,
}


def peak(device_kind: str) -> float | None:
    """FLOP/s of a device at most; None where that is not known, as for CPUs."""
    fitting = [name for name in PEAKS if device_kind.startswith(name)]
    return PEAKS[max(fitting, key=len)] if fitting else None


def count(function: Callable, *arguments: Any) -> int:
    """FLOPs of the convolutions and matrix products in a call that its result needs.

    Each number of a kernel costs two wherever it is applied, on the image's border too. Where the
    platform chooses among formulations, the dearest counts, so a faster one is not less work.
    """
    return _of_jaxpr(jax.make_jaxpr(function)(*arguments).jaxpr)


def _of_jaxpr(jaxpr: Any) -> int:
    total, needed = 0, set(map(id, jaxpr.outvars))
    for equation in reversed(jaxpr.eqns):  # As a compiler, which leaves out what nobody needs.
        if needed & set(map(id, equation.outvars)):
            needed |= set(map(id, equation.invars))
            total += _of_equation(equation)
    return total


def _of_equation(equation: Any) -> int:
    name, params = equation.primitive.name, equation.params
    shapes = [variable.aval.shape for variable in (*equation.invars, *equation.outvars)]
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        return 2 * math.prod(shapes[-1]) * math.prod(shapes[0][axis] for axis in contracted)
    if name == "conv_general_dilated":
        features = shapes[1][params["dimension_numbers"].rhs_spec[0]]
        zeros = math.prod(params["lhs_dilation"])  # Of so many pixels, all but one.
        return 2 * math.prod(shapes[-1]) * math.prod(shapes[1]) // features // zeros
    inner = [_of_jaxpr(jaxpr) for jaxpr in _jaxprs(params)]
    if name == "cond":
        return max(inner)
    return sum(inner) * params.get("length", 1)  # Of a scan. A while loop counts once.


def _jaxprs(params: dict[str, Any]) -> list[Any]:
    inner = [getattr(leaf, "jaxpr", leaf) for leaf in jax.tree.leaves([*params.values()])]
    return [leaf for leaf in inner if hasattr(leaf, "eqns")]
