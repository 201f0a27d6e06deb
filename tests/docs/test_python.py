"""The Python code of the pages runs as it stands there."""

import os
import subprocess
import sys

import pytest
from helpers import pages

PAGES = (pages.README, pages.ROOT / "docs" / "python.md")


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code__runs(page, finished, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "quickstart").symlink_to(finished[1])
    code = "\n".join(pages.blocks(page, "python"))
    assert code
    environment = os.environ | pages.environment(tmp_path)
    process = [sys.executable, "-c", code]
    done = subprocess.run(process, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
