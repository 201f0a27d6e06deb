"""Tools of all benchmarks: timing in turns, tables, and what the machine can do at best."""

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
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
PACKAGES = (
    *("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "clu", "numpy", "scipy", "pillow"),
    *("joblib", "tensorflow-cpu", "torch"),
)
REPEATS = 5  # Measurements of what the machine can do, of which the best counts.


def alternate(names: Sequence[str], rounds: int) -> Iterator[list[str]]:
    """Yields the order of each round, which turns round from one to the next: ab, ba, ab, ..."""
    for number in range(rounds):
        yield list(names if number % 2 == 0 else reversed(names))


def time_in_turns(
    contestants: dict[str, Callable[[], None]], rounds: int
) -> dict[str, list[float]]:
    """Returns the seconds of each contestant in each round."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for order in alternate([*contestants], rounds):
        for name in order:
            begin = time.perf_counter()
            contestants[name]()
            seconds[name].append(time.perf_counter() - begin)
    return seconds


def rate_in_turns(
    contestants: dict[str, Callable[[], None]], images: int, rounds: int
) -> dict[str, list[float]]:
    """Returns the images/s of each contestant in each round; a call of one does `images`."""
    seconds = time_in_turns(contestants, rounds)
    return {name: [images / s for s in values] for name, values in seconds.items()}


def format_spread(values: Sequence[float], digits: int = 0) -> str:
    """Returns median and range, such as "52 (49 - 57)"."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):,.{digits}f} ({low:,.{digits}f} - {high:,.{digits}f})"


def format_rates(title: str, rates: dict[str, list[float]], beside: str) -> str:
    """Returns a table of images/s, with ratios to the contestant `beside` within each round."""
    rows = [("", "images/s (range)", f"/ {beside} (range)")]
    for name, values in rates.items():
        ratios = [a / b for a, b in zip(values, rates[beside], strict=True)]
        rows.append((name, format_spread(values), format_spread(ratios, 3)))
    return format_columns(title, rows)


def format_columns(title: str, rows: Sequence[Sequence[str]]) -> str:
    """Returns a table of text: the first row is its head, names are left and numbers right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [title]
    for name, *cells in rows:
        padded = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        lines.append("  " + "  ".join([name.ljust(widths[0]), *padded]))
    return "\n".join(lines)


def format_markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table in Markdown."""
    lines = (head, ["---"] * len(head), *rows)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def make_parser(document: str, numbers: dict[str, tuple[int, str]]) -> argparse.ArgumentParser:
    """Returns a command line of whole numbers, by (default, meaning), and of `--json`."""
    parser = argparse.ArgumentParser(description=document.splitlines()[0])
    for name, (default, meaning) in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{meaning} ({default})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there, too")
    return parser


def parse_numbers(text: str) -> list[int]:
    """Parses an option such as "1,8,64"."""
    return [int(part) for part in text.split(",")]


def write_results(options: argparse.Namespace, **results: Any) -> None:
    """Writes results to `--json`, if given, with options, versions, hardware and date."""
    if not options.json:
        return
    import jax

    settings = {name: value for name, value in vars(options).items() if name != "json"}
    hardware = {"device": jax.devices()[0].device_kind, "devices": jax.device_count()}
    document = results | {
        "options": settings,
        "versions": list_versions(),
        "hardware": {"cpu": name_cpu(), "cores": os.cpu_count(), **hardware},
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    options.json.write_text(json.dumps(document, indent=2, default=str) + "\n")


def list_versions() -> dict[str, str]:
    """Returns the versions of Python and of those packages that are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def name_cpu() -> str:
    """Returns the model of this machine's processor."""
    info = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    return model[1] if model else platform.processor() or platform.machine()


def fit_exponent(work: Sequence[float], seconds: Sequence[float]) -> float:
    """Returns k of seconds ~ work ** k: the slope of a line through their logarithms."""
    return float(np.polyfit(np.log(work), np.log(seconds), 1)[0])


def run_python(code: str, *arguments: str, **environment: str) -> str:
    """Runs lines of Python in a process of their own, and returns what they print.

    They can import `gan` and `benchmarks`. If they fail, this process ends as well.
    """
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(
        command, env=os.environ | environment, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{done.stdout}A process died (exit code {done.returncode}): see above.")
    return done.stdout


def time_start_up(code: str) -> float:
    """Returns the seconds that a process takes for these lines of Python alone."""
    begin = time.perf_counter()
    run_python(code)
    return time.perf_counter() - begin


def count_cost(compiled: Any) -> tuple[float, float]:
    """Returns FLOPs and bytes, read and written, of a compiled program, as XLA counts them."""
    analysis = compiled.cost_analysis()
    return analysis["flops"], analysis["bytes accessed"]


@functools.cache
def measure_matmul_rate(dtype: str = "float32") -> float:
    """Returns the FLOP/s of a large product of matrices: what this machine can do at best."""
    import jax
    import jax.numpy as jnp

    side = 2048 if jax.default_backend() == "cpu" else 8192  # Enough to keep all of it busy.
    return 2 * side**3 / _fastest(lambda a: a @ a, jnp.ones((side, side), dtype))


@functools.cache
def measure_copy_rate() -> float:
    """Returns the bytes/s, read and written, of a large copy."""
    import jax
    import jax.numpy as jnp

    num = 2**26 if jax.default_backend() == "cpu" else 2**28  # Far more than the caches hold.
    return 8 * num / _fastest(lambda a: -a, jnp.ones(num, "float32"))


def _fastest(function: Callable, argument: Any) -> float:
    """Returns the seconds of the fastest call, with our compiler's options or without."""
    import jax

    from gan.runtime.parallel import compiler_options

    calls = [jax.jit(function, compiler_options=given) for given in ({}, compiler_options())]
    run = lambda call: jax.block_until_ready(call(argument))  # noqa: E731
    return min(time_fastest(functools.partial(run, call)) for call in calls)


def time_fastest(action: Callable[[], Any]) -> float:
    """Returns the seconds of the fastest of some calls, after one that may compile."""
    action()
    seconds = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)
