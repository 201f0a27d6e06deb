"""Counts the arithmetic of a program, and knows the peak of devices."""

import math
import re
from collections.abc import Callable
from typing import Any

import jax
from jax.interpreters.partial_eval import dce_jaxpr

# FLOP/s of a device in products of dense bfloat16 matrices (float16 before the A100), from its
# maker's data sheet, by the beginning of JAX's name for it. The longest that fits counts.
PEAKS = {
    "NVIDIA B200": 2250e12,
    "NVIDIA GH200": 989e12,
    "NVIDIA H200": 989e12,
    "NVIDIA H200 NVL": 835e12,
    "NVIDIA H100": 989e12,
    "NVIDIA H100 NVL": 835e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA A100": 312e12,
    "NVIDIA L40S": 362e12,
    "NVIDIA L4": 121e12,
    "Tesla V100": 125e12,
    "Tesla T4": 65e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5": 459e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
}
OTHERS = ("MIG", "TPU v4 lite")  # Parts of a card, and a smaller chip whose name begins alike.


def peak(device_kind: str) -> float | None:
    """Peak FLOP/s of a device in bfloat16; None where it is not known, as for CPUs."""
    if any(other in device_kind for other in OTHERS):
        return None
    # Only whole words match: an L40 is no L4, an A1000 no A100.
    fitting = [name for name in PEAKS if re.match(rf"{name}(?![^ -])", device_kind)]
    return PEAKS[max(fitting, key=len)] if fitting else None


def count(function: Callable, *arguments: Any) -> int:
    """Counts the FLOPs of the convolutions and matrix products that a call's result needs.

    Each number of a kernel costs two wherever it is applied, on the image's border too. Where the
    platform chooses among formulations, the default one counts, so that work is the same on all;
    of other choices the dearest.
    """
    jaxpr = jax.make_jaxpr(function)(*arguments).jaxpr
    needed, _ = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))  # A compiler drops the rest.
    return _of_jaxpr(needed)


def _of_jaxpr(jaxpr: Any) -> int:
    return sum(map(_of_equation, jaxpr.eqns))


def _of_equation(equation: Any) -> int:
    name, params = equation.primitive.name, equation.params
    shapes = [variable.aval.shape for variable in (*equation.invars, *equation.outvars)]
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        return 2 * math.prod(shapes[-1]) * math.prod(shapes[0][axis] for axis in contracted)
    if name == "conv_general_dilated":
        features = shapes[1][params["dimension_numbers"].rhs_spec[0]]
        zeros = math.prod(params["lhs_dilation"])  # One pixel in so many is not a zero.
        return 2 * math.prod(shapes[-1]) * math.prod(shapes[1]) // features // zeros
    inner = [_of_jaxpr(jaxpr) for jaxpr in _jaxprs(params)]
    if name == "cond":
        return inner[-1] if params.get("branches_platforms") else max(inner)
    return sum(inner) * params.get("length", 1)  # The length of a scan; a while loop counts once.


def _jaxprs(params: dict[str, Any]) -> list[Any]:
    inner = [getattr(leaf, "jaxpr", leaf) for leaf in jax.tree.leaves([*params.values()])]
    return [leaf for leaf in inner if hasattr(leaf, "eqns")]
