"""Every command of the README does what it says, in a shortened form."""

import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import small_celeba

from gan import main
from gan.command_line import parse
from gan.runtime import cluster

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
BLOCKS = [block.split("```")[0] for block in TEXT.split("```bash\n")[1:]]
COMMANDS = [line for block in BLOCKS for line in block.splitlines() if line]
SHORT = [
    *("--config.steps=2", "--config.data.batch_size=4", "--config.eval_images=8"),
    *("--config.network.g_width=4", "--config.network.d_width=4"),
]


def write_celeba(monkeypatch, folder: Path) -> None:
    """As small as it can be evaluated."""
    num, picture = 48, small_celeba.picture
    labels = np.random.default_rng(0).integers(0, 2, (num, 40), dtype=np.uint8)
    monkeypatch.setattr(small_celeba, "NUM", num)
    monkeypatch.setattr(small_celeba, "MEMBERS", [f"{i + 1:06d}.jpg" for i in range(num)])
    monkeypatch.setattr(small_celeba, "LABELS", labels)
    monkeypatch.setattr(small_celeba, "PARTITION", [0, 0, 1, 2] * (num // 4))
    monkeypatch.setattr(small_celeba, "picture", lambda n, h, w: picture(n % 12, h, w))
    small_celeba.write_celeba(folder)


@pytest.mark.slow
def test_every_python_command_runs(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(cluster, "join", lambda *_: None)
    write_celeba(monkeypatch, tmp_path / "celeba")
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "quickstart").symlink_to(finished[1])  # What launch/local.sh trained.
    commands = [line for line in COMMANDS if line.startswith("python") and "HOST" not in line]
    assert len(commands) == 7
    for line in commands:
        arguments = shlex.split(line)
        assert arguments[:3] == ["python", "-m", "gan.main"]
        if any(argument.startswith("--config=") for argument in arguments):
            arguments += SHORT
        monkeypatch.delitem(sys.modules, "config_config", raising=False)
        monkeypatch.setattr(sys, "argv", arguments[2:])
        main.main()
    assert (tmp_path / "runs/quickstart/faces.png").exists()
    assert (tmp_path / "runs/celeba/scores.jsonl").exists()
    assert (tmp_path / "faces.png").exists()
    assert not (tmp_path / "runs/small").exists()


def test_the_command_for_several_processes_is_understood():
    (line,) = [line for line in COMMANDS if "HOST:PORT" in line]
    values = parse(shlex.split(line.replace("HOST:PORT", "a:1"))[2:])
    place = cluster.find(values.coordinator, values.num_processes, values.process_id)
    assert place == cluster.Place("a:1", 2, 0)


def test_the_other_commands_are_launchers_that_exist():
    others = [line for line in COMMANDS if not line.startswith("python")]
    assert others == ["launch/local.sh", "launch/test.sh", ". .venv/bin/activate"]
    for name in ("launch/local.sh", "launch/test.sh", "launch/install.sh", ".ci/run"):
        subprocess.run(["bash", "-n", ROOT / name], check=True)


def test_files_that_the_readme_links_to_exist():
    links = [part.split(")")[0] for part in TEXT.split("](")[1:]]
    assert len(links) >= 3
    for link in (link for link in links if not link.startswith("#")):
        assert (ROOT / link).exists(), link
