"""The commands of the benchmarks, where pages name them, have the options that they are given."""

import importlib.util
import re
import shlex
import subprocess
import sys

import pytest
from helpers import pages

PAGES = [*pages.PAGES, pages.ROOT / "benchmarks" / "README.md"]
NAMED = re.compile(
    r"(?:`|^    )python (?:-m benchmarks\.(\w+)|benchmarks/(\w+)\.py)(.*?)(?:`|$)", re.M
)


def named() -> dict[str, set[str]]:
    """The options that pages give to each benchmark."""
    options: dict[str, set[str]] = {}
    for page in PAGES:
        for module, file, rest in NAMED.findall(page.read_text()):
            words = shlex.split(rest, comments=True)
            given = {word.split("=")[0] for word in words if word.startswith("--")}
            options.setdefault(module or file, set()).update(given)
    return options


def test_pages__name_every_benchmark():
    files = (pages.ROOT / "benchmarks").glob("*.py")
    commands = {path.stem for path in files if "    main()\n" in path.read_text()}
    assert commands - {"quickstart_picture"} == {*named()}  # Its page is the README's picture.


@pytest.mark.slow
@pytest.mark.parametrize("benchmark", sorted(named()))
def test_benchmark__has_the_options_that_pages_give_it(benchmark):
    command = [sys.executable, "-m", f"benchmarks.{benchmark}", "--help"]
    if benchmark == "parity" and not importlib.util.find_spec("pytorch_fid"):
        pytest.skip("pip install -e '.[peer]'")
    done = subprocess.run(command, cwd=pages.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert named()[benchmark] | {"--json"} <= set(re.findall(r"--\w+", done.stdout))
