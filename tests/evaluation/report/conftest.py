"""A folder that looks evaluated, for the tests of the report."""

from pathlib import Path

import pytest
from helpers import scored


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = scored.write(tmp_path / "faces & <more>", scored.few_rows())
    return scored.write_rest(folder, 4000)
