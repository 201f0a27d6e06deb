"""Rooms import downward only, and TensorFlow from nowhere at the top."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
PACKAGE = Path(__file__).parents[1] / "gan"
MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


def read_rooms() -> list[set[str]]:
    """The rooms as the README lists them, from the bottom up; those of one line are neighbours."""
    block = README.read_text().split("```text\n# rooms, imports go downward\n")[1].split("```")[0]
    return [set(line.split("  ")[0].split(" | ")) for line in block.splitlines()]


ROOMS = read_rooms()


def floor(room: str) -> int:
    return next(i for i, rooms in enumerate(ROOMS) if room in rooms)


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported_rooms(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "gan":
            names |= {alias.name for alias in node.names} - {"__version__"}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gan."):
            names.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            names |= {a.name.split(".")[1] for a in node.names if a.name.startswith("gan.")}
    return names


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports__go_down_between_rooms(path):
    room = room_of(path)
    for name in imported_rooms(path) - {room}:
        assert floor(name) < floor(room), f"{path} imports {name}"


def test_rooms__hold_four_to_fourteen_files():
    assert len([*PACKAGE.glob("*.py")]) <= 6
    for folder in {path.parent for path in MODULES} - {PACKAGE}:
        modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert 4 <= len(modules) <= 14, folder


def test_tensorflow__is_imported_only_where_it_is_used():
    jobs = ("training.job", "evaluation.job", "sampling.job", "data.prepare", "preflight.job")
    code = f"import {', '.join(f'gan.{job}' for job in jobs)}, sys"
    code += "; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
