"""Modules import from lower floors only, and TensorFlow from nowhere at the top."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

FLOORS = [
    {"errors", "flops", "hlo", "lazy", "state", "winograd"},
    {"cluster", "config", "convolution", "hardware", "storage"},
    {"command_line", "losses", "augment", "parallel", "pictures", "networks", "topology"},
    {"logs", "data", "roofline"},
    {"manifest", "metrics", "step_files"},
    {"checkpoint", "trace", "watchdog", "workdir"},
    {"results", "step"},
    {"report_figures", "report_page", "report_words", "tables"},
    {"sampler"},
    {"compare", "report", "sample", "train", "preflight_words"},
    {"judge", "preflight"},
    {"evaluate"},
    {"main"},
]
PACKAGE = Path(__file__).parents[1] / "gan"
SUBPACKAGES = ("networks", "data", "metrics")


def floor(module: str) -> int:
    return next(i for i, names in enumerate(FLOORS) if module in names)


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "gan":
            names |= {alias.name for alias in node.names} - {"__version__"}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gan."):
            names.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            names |= {a.name.split(".")[1] for a in node.names if a.name.startswith("gan.")}
    return names


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=str)
def test_imports_go_down(path):
    if path.name == "__init__.py":
        return
    room = path.relative_to(PACKAGE).with_suffix("").parts[0]
    for name in imports(path) - ({room} if room in SUBPACKAGES else set()):
        assert floor(name) < floor(room), f"{path} imports {name}"


def test_tensorflow_is_imported_only_where_it_is_used():
    jobs = "gan.train, gan.evaluate, gan.sample, gan.data.prepare, gan.preflight"
    code = f"import {jobs}, sys; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
