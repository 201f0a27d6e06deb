"""The README: short, and every command of it and of `docs/` does what it says, shortened."""

import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import pages, small_celeba
from PIL import Image

from gan.command_line import parse
from gan.runtime import cluster

ROOT = pages.ROOT
SHORT = [
    *("--config.steps=2", "--config.data.batch_size=4", "--config.eval_images=8"),
    *("--config.network.g_width=4", "--config.network.d_width=4"),
    *("--config.data.num_faces=64", "--config.data.image_size=32"),
]
AGES, GENDERS = ("20-29", "60-69"), ("Female", "Male")
ELSEWHERE = ("HOST:PORT", "--topology")  # Takes several processes, or another compiler.
COMMANDS = [
    line
    for page in (pages.README, *pages.DOCS)
    if page.stem != "extending"
    for line in pages.commands(page)
]
PYTHON = [*dict.fromkeys(line for line in COMMANDS if line.startswith("python"))]
RUN_HERE = [line for line in PYTHON if not any(word in line for word in ELSEWHERE)]
NOT_HERE = [line for line in PYTHON if line not in RUN_HERE]


@pytest.fixture
def home(finished, tmp_path):
    """A home folder with CelebA, pictures, another's pictures, and what `launch/local.sh` left."""
    labels = np.random.default_rng(0).integers(0, 2, (48, 40), dtype=np.uint8)
    small_celeba.write_celeba(tmp_path / "celeba", labels=labels)
    for folder in ("pictures", "theirs"):
        for number in range(24):
            (tmp_path / folder / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(number).integers(0, 255, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / "ab"[number % 2] / f"{number}.png")
    (tmp_path / "fairface").mkdir()
    rows = ["file,age,gender"]
    for number, (age, gender) in enumerate(itertools.product(AGES, GENDERS * 30)):
        name = f"{number}.png"
        shutil.copy(
            tmp_path / "pictures" / "ab"[number % 2] / f"{number % 24}.png",
            tmp_path / "fairface" / name,
        )
        rows.append(f"{name},{age},{gender}")
    (tmp_path / "fairface" / "labels.csv").write_text("\n".join(rows))
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "quickstart").symlink_to(finished[1])
    return tmp_path


def shortened(command: str) -> list[str]:
    """The command's arguments, for a run of two small steps."""
    given = pages.arguments(command)
    if not any(word.startswith("--config=") for word in given):
        return given
    # The run that is there under the quickstart's name has other settings.
    return [word.replace("runs/quickstart", "runs/trained_here") for word in given] + SHORT


def test_readme__has_at_most_150_lines():
    assert len(pages.README.read_text().splitlines()) <= 150


@pytest.mark.slow
def test_python_commands__run(home):
    assert len(RUN_HERE) >= 13
    environment = os.environ | pages.environment(home)
    for command in RUN_HERE:
        process = [sys.executable, "-m", "gan.main", *shortened(command)]
        done = subprocess.run(process, cwd=home, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    written = (
        *("runs/quickstart/faces.png", "runs/celeba/scores.jsonl", "runs/theirs/scores.jsonl"),
        "runs/fairface/faces.png",
        *("faces.png", "tensorflow_datasets/celeb_a"),
    )
    for name in written:
        assert (home / name).exists(), name
    assert not (home / "runs/mine").exists()  # That was a dry run.


@pytest.mark.parametrize("command", NOT_HERE)
def test_commands_for_other_machines__are_understood(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    command = parse(["gan.main", *pages.arguments(command.replace("HOST:PORT", "a:1"))])
    options = command.options
    if options.coordinator:
        place = cluster.find_place(options.coordinator, options.num_processes, options.process_id)
        assert place == cluster.Place("a:1", 2, options.process_id)
        assert command.read_config()
    else:
        assert options.mode == "preflight"


def test_other_commands__are_launchers_that_exist():
    others = {line for line in COMMANDS if not line.startswith("python")}
    assert others == {"launch/local.sh", "launch/test.sh", ". .venv/bin/activate"}
    for name in ("launch/local.sh", "launch/test.sh", "launch/install.sh", ".ci/run"):
        subprocess.run(["bash", "-n", ROOT / name], check=True)


@pytest.mark.parametrize("page", pages.LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_links__lead_to_files_and_headings_that_exist(page):
    for link in pages.links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), link
        assert not anchor or anchor in pages.anchors(Path(target)), link


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.name)
def test_paths__that_pages_name_exist(page):
    missing = {path for path in pages.paths(page) if not (ROOT / path).exists()}
    assert not missing or page.stem == "extending"  # Which makes some of them.
