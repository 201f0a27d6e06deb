"""The notebook: it runs, it only calls the package, and it is committed with its pictures."""

import copy
import re
from pathlib import Path

import nbclient
import nbformat
import pytest

ROOT = Path(__file__).parent.parent
PATH = ROOT / "notebooks" / "deepfake_image_generation.ipynb"
SECTIONS = [
    "1. Importing libraries",
    "2. Generator model",
    "3. Discriminator model",
    "4. Training process",
    "5. Image generation",
    "6. Model training",
    "7. Conditioning",
    "8. Augmentation",
]


@pytest.fixture(scope="module")
def notebook():
    book = nbformat.read(PATH, as_version=4)
    nbformat.validate(book)
    return book


def code(book):
    return [cell for cell in book.cells if cell.cell_type == "code"]


def outputs(book):
    return [output for cell in code(book) for output in cell.outputs]


def pictures(book):
    return [
        cell.id for cell in code(book) for o in cell.outputs if "image/png" in o.get("data", {})
    ]


def runs(text: str, length: int = 5) -> set[str]:
    """All runs of so many lines, imports and blank lines left out."""
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith(("import ", "from "))]
    return {"\n".join(lines[i : i + length]) for i in range(len(lines) - length + 1)}


def test_notebook__has_its_sections_in_order(notebook):
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert re.findall(r"^## (\d.*)$", text, re.M) == SECTIONS


def test_cells__are_short_and_copy_nothing(notebook):
    package = set().union(*(runs(file.read_text()) for file in (ROOT / "gan").rglob("*.py")))
    for cell in code(notebook):
        assert len(cell.source.splitlines()) <= 25, cell.id
        assert not re.search(r"^\s*class ", cell.source, re.M), cell.id
        assert not runs(cell.source) & package, cell.id


def test_notebook__is_committed_as_it_ran(notebook):
    counts = [cell.execution_count for cell in code(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    assert not [
        o for o in outputs(notebook) if o.output_type == "error" or o.get("name") == "stderr"
    ]
    assert len(pictures(notebook)) >= 8
    assert PATH.stat().st_size < 1.5e6


def test_notebook__names_no_machine(notebook):
    book = copy.deepcopy(notebook)
    for output in outputs(book):
        output.get("data", {}).pop("image/png", None)  # Any letters may come up in it.
    assert re.findall(r"/(?:root|home|work|tmp)\b[^\s\"]*", nbformat.writes(book)) == []
    assert book.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    assert not any(cell.metadata for cell in book.cells)


@pytest.mark.slow
def test_notebook__runs_from_start_to_end(notebook, tmp_path, monkeypatch):
    short = {"NOTEBOOK_STEPS": "4", "NOTEBOOK_FACES": "512", "NOTEBOOK_CACHE": str(tmp_path)}
    for name, value in {**short, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}.items():
        monkeypatch.setenv(name, value)
    book = copy.deepcopy(notebook)
    client = nbclient.NotebookClient(book, timeout=300, kernel_name="python3")
    client.execute(cwd=str(tmp_path))  # Raises what a cell raises.
    assert [o.text for o in outputs(book) if o.get("name") == "stderr"] == []
    assert pictures(book) == pictures(notebook)
