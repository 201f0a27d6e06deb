"""Tests of `gan.preflight.chips`: the sheets, and what it takes to add one."""

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gan.model import flops
from gan.preflight.chips import CHIPS

ROOT = Path(__file__).parents[2]
LINE = (
    '    "mine": Chip(kind="Mine", platform="cpu", memory=10**9, bandwidth=1e11, link=1e9, most=4, '
    "bfloat16_peak=1e13),\n"
)


@pytest.mark.parametrize("name", CHIPS)
def test_chips__sheets_are_in_the_units_they_say(name):
    chip = CHIPS[name]
    assert 100e12 < chip.peak("bfloat16") < 10_000e12
    assert 100 < chip.peak("bfloat16") / chip.bandwidth < 1_000  # FLOPs a byte.
    assert 2**33 < chip.memory < 2**38
    assert 20e9 < chip.link < chip.bandwidth / 5 < 2e12


@pytest.mark.parametrize("name", CHIPS)
def test_chips__a_peak_stands_in_one_place(name):
    assert (CHIPS[name].bfloat16_peak is None) == (flops.peak(CHIPS[name].kind) is not None)


def test_peak__float32_is_rounded_as_each_compiler_does():
    assert CHIPS["v5e"].peak("float32") == CHIPS["v5e"].peak("bfloat16") == 197e12
    assert CHIPS["h200"].peak("float32") == 989e12 / 2  # TF32.
    own = dataclasses.replace(CHIPS["h200"], kind="My chip", bfloat16_peak=4e12)
    assert (own.peak("bfloat16"), own.peak("float32")) == (4e12, 2e12)


@pytest.mark.slow
def test_chips__a_new_one_is_one_line(tmp_path):
    """Adds it to a copy of the package and asks for a table of all configurations there."""
    for name in ("gan", "configs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (tmp_path / "configs").glob("*.py"):
        path.unlink()  # They take long to compile.
    shutil.copy(ROOT / "tests" / "helpers" / "tiny.py", tmp_path / "configs")
    chips = tmp_path / "gan" / "preflight" / "chips.py"
    before, after = chips.read_text().split("CHIPS = {\n")
    chips.write_text(f"{before}CHIPS = {{\n{LINE}{after}")
    command = "JAX_NUM_CPU_DEVICES=4 {} -m gan.main --mode=preflight --topology=mine:2,mine:4"
    done = subprocess.run(
        command.format(sys.executable), shell=True, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    cells = [[cell.strip() for cell in line.split("|")] for line in done.stdout.splitlines()[2:4]]
    assert [row[1:3] for row in cells] == [["mine:2", "tiny, batch 8"], ["mine:4", "tiny, batch 8"]]
    assert all(row[3].endswith("GB, fits") for row in cells)
