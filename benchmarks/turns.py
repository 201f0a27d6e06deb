"""What the benchmarks share: timing in turns, tables, and the machine with its limits."""

import argparse
import functools
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
PACKAGES = (
    *("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "clu", "numpy", "scipy", "pillow"),
    *("joblib", "tensorflow-cpu"),
)
REPEATS = 5  # Of what the machine can do at best.


def in_turns(
    contestants: dict[str, Callable[[], None]], images: int, rounds: int
) -> dict[str, list[float]]:
    """Images/s of each in each round; the order turns round from round to round."""
    seconds = seconds_in_turns(contestants, rounds)
    return {name: [images / s for s in values] for name, values in seconds.items()}


def seconds_in_turns(
    contestants: dict[str, Callable[[], None]], rounds: int
) -> dict[str, list[float]]:
    """Seconds of each in each round, in the same order of turns."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds):
        names = list(contestants)
        for name in names if number % 2 == 0 else reversed(names):
            begin = time.perf_counter()
            contestants[name]()
            seconds[name].append(time.perf_counter() - begin)
    return seconds


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Median and range."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):,.{digits}f} ({low:,.{digits}f} - {high:,.{digits}f})"


def table(title: str, rates: dict[str, list[float]], beside: str) -> str:
    """Medians and ranges, and ratios to one of them within each round."""
    rows = [("", "images/s (range)", f"/ {beside} (range)")]
    for name, values in rates.items():
        ratios = [a / b for a, b in zip(values, rates[beside], strict=True)]
        rows.append((name, spread(values), spread(ratios, 3)))
    return columns(title, rows)


def columns(title: str, rows: Sequence[Sequence[str]]) -> str:
    """A table of text, the first row of which is its head: names to the left, numbers right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [title]
    for name, *cells in rows:
        padded = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        lines.append("  " + "  ".join([name.ljust(widths[0]), *padded]))
    return "\n".join(lines)


def parser(document: str, numbers: dict[str, tuple[int, str]]) -> argparse.ArgumentParser:
    """A command line of whole numbers (default, meaning), and `--json`."""
    made = argparse.ArgumentParser(description=document.splitlines()[0])
    for name, (default, meaning) in numbers.items():
        made.add_argument(f"--{name}", type=int, default=default, help=f"{meaning} ({default})")
    made.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there, too")
    return made


def whole_numbers(text: str) -> list[int]:
    """From "1,8,64", an option's value."""
    return [int(part) for part in text.split(",")]


def write(options: argparse.Namespace, **results: Any) -> None:
    """Writes the results to `--json`, if given, with what they were measured on, and when."""
    if not options.json:
        return
    import jax

    settings = {k: v for k, v in vars(options).items() if k != "json"}
    document = results | {
        "options": settings,
        "versions": {"python": platform.python_version(), **dict(filter(None, map(_of, PACKAGES)))},
        "hardware": {
            "cpu": cpu(),
            "cores": os.cpu_count(),
            "device": jax.devices()[0].device_kind,
            "devices": jax.device_count(),
        },
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    options.json.write_text(json.dumps(document, indent=2, default=str) + "\n")


def _of(package: str) -> tuple[str, str] | None:
    try:
        return package, version(package)
    except PackageNotFoundError:
        return None


def cpu() -> str:
    """Its model."""
    info = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    return model[1] if model else platform.processor() or platform.machine()


def exponent(work: Sequence[float], seconds: Sequence[float]) -> float:
    """How time grows with work: the slope of a straight line through their logarithms."""
    return float(np.polyfit(np.log(work), np.log(seconds), 1)[0])


def in_a_process(code: str, *arguments: str, **environment: str) -> str:
    """What these lines of Python print, in a process of their own that can import all of this."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"
    command = [sys.executable, "-c", code, *arguments]
    outcome = subprocess.run(
        command, env=os.environ | environment, stdout=subprocess.PIPE, text=True, check=False
    )
    if outcome.returncode:
        sys.exit(f"{outcome.stdout}A process died (exit code {outcome.returncode}): see above.")
    return outcome.stdout


def start_up(code: str) -> float:
    """Seconds that a process needs for nothing but these lines."""
    begin = time.perf_counter()
    in_a_process(code)
    return time.perf_counter() - begin


def cost(compiled: Any) -> tuple[float, float]:
    """FLOPs, and bytes read and written, of a compiled program, as XLA counts them."""
    analysis = compiled.cost_analysis()
    return analysis["flops"], analysis["bytes accessed"]


@functools.cache
def matmul_rate(dtype: str = "float32") -> float:
    """FLOPs a second of a large product of matrices: what this machine can do at best."""
    import jax
    import jax.numpy as jnp

    side = 2048 if jax.default_backend() == "cpu" else 8192  # Enough to keep all of it busy.
    return 2 * side**3 / _fastest(lambda a: a @ a, jnp.ones((side, side), dtype))


@functools.cache
def copy_rate() -> float:
    """Bytes a second, read and written, of a large copy."""
    import jax
    import jax.numpy as jnp

    num = 2**26 if jax.default_backend() == "cpu" else 2**28  # Far more than the caches hold.
    return 8 * num / _fastest(lambda a: -a, jnp.ones(num, "float32"))


def _fastest(function: Callable, argument: Any) -> float:
    import jax

    from gan.runtime.parallel import compiler_options

    seconds = []
    for options in ({}, compiler_options()):
        call = jax.jit(function, compiler_options=options)
        jax.block_until_ready(call(argument))
        for _ in range(REPEATS):
            begin = time.perf_counter()
            jax.block_until_ready(call(argument))
            seconds.append(time.perf_counter() - begin)
    return min(seconds)
