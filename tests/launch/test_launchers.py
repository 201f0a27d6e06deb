"""The launchers, with a Python that only prints what it is asked to do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted([*ROOT.glob("launch/*.s*"), *ROOT.glob("tests/**/*.sh"), ROOT / ".ci/run"])
FAKE = """#!/usr/bin/env bash
case "$*" in
  "-c import pip") ;;
  *) echo "$PWD: $*" ;;
esac
"""


@pytest.fixture
def project(tmp_path):
    """A checkout (in a folder with a space in its name) whose .venv is there but empty."""
    root = tmp_path / "my project"
    shutil.copytree(ROOT / "launch", root / "launch")
    shutil.copy(ROOT / "setup.py", root)
    python = root / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(FAKE)
    python.chmod(0o755)
    return root


def call(script: Path, *arguments: str, cwd: Path, path: str = "/usr/bin:/bin") -> list[str]:
    command = ["bash", str(script), *arguments]
    environment = {"PATH": path}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_local__without_arguments_installs_once_and_runs_the_quickstart(project, tmp_path):
    run = "-m gan.main --config=configs/quickstart.py --workdir=runs/quickstart"
    install, first = call(project / "launch/local.sh", cwd=tmp_path)
    assert install.endswith(
        f"-m pip install --quiet --disable-pip-version-check --editable {project}"
    )
    assert first == f"{project}: {run}"
    assert call(project / "launch/local.sh", cwd=tmp_path) == [first]


def test_local__keeps_arguments_and_folder_as_they_are(project, tmp_path):
    arguments = ("--workdir=my run", "--attributes=Smiling=1,Male=0")
    *_, told = call(project / "launch/local.sh", *arguments, cwd=tmp_path)
    assert told == f"{tmp_path}: -m gan.main --workdir=my run --attributes=Smiling=1,Male=0"


def test_install__installs_another_setup_again(project):
    call(project / "launch/local.sh", cwd=project)
    with (project / "setup.py").open("a") as file:
        file.write("# changed\n")
    assert len(call(project / "launch/local.sh", cwd=project)) == 2


@pytest.mark.parametrize(
    ("driver", "extra"), [("580.65.06", "cuda13"), ("610.1\n610.1", "cuda13"), ("535.2", "cuda")]
)
def test_install__takes_the_cuda_that_the_driver_has(project, tmp_path, driver, extra):
    tool = tmp_path / "bin/nvidia-smi"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\necho "{driver}"\n')
    tool.chmod(0o755)
    path = f"{tool.parent}:/usr/bin:/bin"
    install, _ = call(project / "launch/local.sh", cwd=tmp_path, path=path)
    assert install.endswith(f"--editable {project}[{extra}]")


def test_test__installs_its_extra_and_passes_arguments_on(project):
    install, *rest = call(project / "launch/test.sh", "tests/model/test_step.py", cwd=project)
    assert install.endswith(f"{project}[test]")
    assert [line.split(": ", 1)[1] for line in rest] == [
        *(
            "-m ruff check .",
            "-m ruff format --check .",
            "-m pytest -n 2 tests/model/test_step.py",
        ),
    ]


def test_install__refuses_an_old_python_with_the_remedy(project):
    shutil.rmtree(project / ".venv")
    old = project / "old"
    old.write_text("#!/usr/bin/env bash\nexit 1\n")
    old.chmod(0o755)
    command = ["bash", "launch/local.sh"]
    environment = {"PATH": "/usr/bin:/bin", "PYTHON": "./old"}
    done = subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 64
    assert "Python 3.11 or newer is needed ('./old' is not)" in done.stderr


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts__shellcheck_finds_nothing(script):
    beside = Path(sys.executable).parent
    shellcheck = shutil.which("shellcheck", path=f"{beside}:{os.environ['PATH']}")
    if shellcheck is None:
        pytest.skip("no shellcheck: the test extra has it")
    done = subprocess.run(
        [shellcheck, str(script)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts__can_be_run_unless_they_are_sourced(script):
    subprocess.run(["bash", "-n", str(script)], check=True)
    assert os.access(script, os.X_OK) == (script.name != "install.sh")


def test_readme__names_every_launcher():
    page = (ROOT / "launch/README.md").read_text()
    launchers = {path.name for path in (ROOT / "launch").iterdir()}
    launchers -= {"README.md", "install.sh", "test.sh"}
    assert launchers == {name for name in launchers if f"[{name}]({name})" in page}
