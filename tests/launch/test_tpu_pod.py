"""launch/tpu_pod.sh with a stand-in for `gcloud`, whose hosts are folders of this machine.

Nothing here shows what Google's machines do.
"""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOSTS = 2
GCLOUD = """#!/usr/bin/env bash
# The TPU is the file `state`, its hosts are folders; `runs` has a line for each run: what becomes
# of each host. It writes to `asked` what it was asked for.
cd "$CLOUD"
if [ "$1 $2" = "storage ls" ]; then
  for step in $(cat checkpoints 2>/dev/null); do echo "$3$step/"; done
  exit
fi
for argument; do
  case $argument in --command=*) command=${argument#*=} ;; esac
done
verb=$4
if [ "$verb" = ssh ]; then
  verb=install
  if [[ $command == *gan.main* ]]; then verb=run; fi
fi
if [ "$verb" != describe ]; then echo "$verb" >>asked; fi
hosts=$(seq 0 $((HOSTS - 1)))
case $verb in
  describe) cat state 2>/dev/null ;;
  delete) rm -rf state host* ;;
  create)
    echo "$*" >created
    if [ -e full ]; then rm full; exit 1; fi
    echo READY >state ;;
  scp) for i in $hosts; do mkdir -p "host$i"; cp "$7" "host$i/gan.tar.gz"; done ;;
  install | run)
    code=0
    for i in $hosts; do (cd "host$i" && HOST_NUMBER=$i bash -c "$command") || code=$?; done
    if [ "$verb" = run ]; then
      case $(head -n 1 runs) in
        taken) echo PREEMPTED >state ;;
        gone) rm -rf state host* ;;
      esac
      sed -i 1d runs
    fi
    exit "$code" ;;
esac
"""
# Makes a .venv whose Python ends as `runs` says.
PYTHON = """#!/usr/bin/env bash
case "$*" in
  "-m venv --clear "*) mkdir -p "$4/bin"; cp "$0" "$4/bin/python" ;;
  "-m gan.main --help") echo usage ;;
  "-m gan.main "*)
    echo "run $HOST_NUMBER$(printf ' <%s>' "${@:3}")" >>"$CLOUD/ran"
    codes=$(head -n 1 "$CLOUD/runs" | sed 's/taken\\|gone/255 255/')
    code=$(cut -d ' ' -f $((HOST_NUMBER + 1)) <<<"$codes")
    if [ "$code" = wait ]; then echo waits; exec sleep 600; fi
    exit "$code" ;;
esac
"""


@pytest.fixture
def cloud(tmp_path):
    """A checkout in git, and the commands that the launcher finds on the PATH."""
    root = tmp_path / "my project"
    shutil.copytree(ROOT / "launch", root / "launch")
    shutil.copy(ROOT / "setup.py", root)
    (root / ".gitignore").write_text("runs/\n")
    (root / "runs").mkdir()
    (root / "runs/large").touch()
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    commands = tmp_path / "bin"
    commands.mkdir()
    scripts = {
        "gcloud": GCLOUD,
        "python3.11": PYTHON,
        "sleep": 'echo "sleep $*" >>"$CLOUD/asked"\n',
    }
    for name, script in scripts.items():
        (commands / name).write_text(script)
        (commands / name).chmod(0o755)
    (tmp_path / "cloud").mkdir()
    return tmp_path / "cloud"


def prepare(cloud: Path, runs: str, **variables: str) -> dict:
    """The arguments of subprocess that start the launcher; `runs` has a line for each run."""
    (cloud / "runs").write_text(runs)
    environment = dict(
        PATH=f"{cloud.parent}/bin:/usr/bin:/bin",
        HOME=str(cloud.parent),
        TMPDIR=str(cloud.parent),
        CLOUD=str(cloud),
        HOSTS=str(HOSTS),
        TPU_NAME="faces",
        TPU_ZONE="zone-b",
        TPU_TYPE="v4-16",
    )
    command = [str(cloud.parent / "my project/launch/tpu_pod.sh"), "--config=my config.py"]
    return {
        "args": [*command, "--workdir=gs://bucket/faces"],
        "env": {name: value for name, value in (environment | variables).items() if value},
        "text": True,
    }


def launch(cloud: Path, runs: str, **variables: str) -> tuple[int, list[str], str]:
    """The exit code, what gcloud was asked for (and how long it slept), and what was said."""
    done = subprocess.run(
        **prepare(cloud, runs, **variables), capture_output=True, timeout=60, check=False
    )
    return done.returncode, asked_for(cloud), done.stdout + done.stderr


def asked_for(cloud: Path) -> list[str]:
    return (cloud / "asked").read_text().splitlines() if (cloud / "asked").exists() else []


FRESH = ["create", "scp", "install", "run"]


def test_tpu_pod__creates_a_tpu_uses_all_its_hosts_and_deletes_it(cloud):
    code, asked, _ = launch(cloud, "0 0\n", TPU_CREATE="--spot --network=private")
    assert (code, asked) == (0, [*FRESH, "delete"])
    ran = (cloud / "ran").read_text().splitlines()
    arguments = "<--config=my config.py> <--workdir=gs://bucket/faces>"
    assert ran == [f"run {host} {arguments}" for host in range(HOSTS)]
    create = (cloud / "created").read_text()
    assert "--spot --network=private" in create
    assert "--accelerator-type=v4-16 --version=tpu-ubuntu2204-base" in create
    assert not (cloud / "state").exists()


def test_tpu_pod__what_git_ignores_stays_here_and_jax_is_the_tpu_one(cloud):
    launch(cloud, "0 0\n", KEEP="1")
    host = cloud / "host0/gan"
    assert (host / "launch/tpu_pod.sh").exists()
    assert (host / "setup.py").exists()
    assert not (host / "runs").exists()
    assert (host / ".venv/.installed").read_text().startswith("[tpu] ")
    assert list(cloud.parent.glob("tmp.*")) == []


def test_tpu_pod__kept_it_says_that_it_costs_money(cloud):
    code, asked, told = launch(cloud, "0 0\n", KEEP="1")
    assert (code, asked) == (0, FRESH)
    assert "costs money" in told
    assert "gcloud compute tpus tpu-vm delete faces --zone=zone-b" in told


def test_tpu_pod__one_that_was_there_is_used_and_stays(cloud):
    (cloud / "state").write_text("READY\n")
    code, asked, told = launch(cloud, "0 0\n")
    assert (code, asked) == (0, ["scp", "install", "run"])
    assert "costs money" in told


def test_tpu_pod__runs_a_setup_command_on_each_host_first(cloud):
    code, _, _ = launch(cloud, "0 0\n", TPU_SETUP="touch celeba.zip", KEEP="1")
    assert code == 0
    assert all((cloud / f"host{host}/gan/celeba.zip").exists() for host in range(HOSTS))


def test_tpu_pod__saved_it_runs_again(cloud):
    code, asked, _ = launch(cloud, "75 75\n75 75\n0 0\n", MAX_CRASHES="1")
    assert code == 0
    assert asked.count("run") == 3
    assert asked.count("create") == 1


def test_tpu_pod__taken_away_another_is_created(cloud):
    code, asked, told = launch(cloud, "taken\n0 0\n", MAX_CRASHES="1")
    assert (code, asked) == (0, [*FRESH, "sleep 30", "delete", *FRESH, "delete"])
    assert "taken away (PREEMPTED)" in told


def test_tpu_pod__for_another_it_waits_until_there_is_room(cloud):
    (cloud / "state").write_text("PREEMPTED\n")
    (cloud / "full").touch()
    code, asked, _ = launch(cloud, "0 0\n")
    assert (code, asked) == (0, ["delete", "create", "sleep 300", *FRESH, "delete"])


def test_tpu_pod__for_the_first_it_does_not_wait(cloud):
    (cloud / "full").touch()
    assert launch(cloud, "")[:2] == (70, ["create"])


def test_tpu_pod__one_that_somebody_deleted_is_not_created_again(cloud):
    code, asked, told = launch(cloud, "gone\n")
    assert (code, asked) == (70, [*FRESH, "sleep 30", "delete"])
    assert "somebody deleted it" in told


@pytest.mark.parametrize("runs", ["64 64", "65 134", "134 64", "134 73", "75 64"])
def test_tpu_pod__stops_where_a_retry_cannot_help(cloud, runs):
    """Whichever host says so, and whatever becomes of the others."""
    code, asked, _ = launch(cloud, f"{runs}\n0 0\n")
    assert code == min(map(int, runs.split()))
    assert asked == [*FRESH, "delete"]


def test_tpu_pod__retries_crashes_so_often(cloud):
    code, asked, told = launch(cloud, "134 70\n255 0\n137 134\n0 0\n")
    assert code == 134
    assert asked.count("run") == 3
    assert asked[-1] == "delete"
    assert "3 of at most 3" in told


def test_tpu_pod__a_new_checkpoint_forgives_the_crashes_before(cloud):
    script = cloud.parent / "bin/sleep"
    script.write_text('echo "${RANDOM}00" >"$CLOUD/checkpoints"\n')  # One each time it waits.
    code, asked, _ = launch(cloud, "70 70\n70 70\n70 70\n0 0\n", MAX_CRASHES="2")
    assert code == 0
    assert asked.count("run") == 4


def test_tpu_pod__interrupted_it_leaves_the_tpu_and_says_so(cloud):
    scripts = cloud.parent / "bin/sleep"
    scripts.unlink()  # The real one, to wait for.
    # Tests in a background job ignore Ctrl-C, and what they start would as well.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        **prepare(cloud, "wait wait\n"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    signal.signal(signal.SIGINT, before)
    try:
        deadline = time.monotonic() + 30
        while not (cloud / "ran").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        told, _ = process.communicate(timeout=30)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130
    assert "costs money" in told
    assert "delete" not in asked_for(cloud)


@pytest.mark.parametrize("name", ["TPU_NAME", "TPU_ZONE", "TPU_TYPE"])
def test_tpu_pod__names_a_missing_variable(cloud, name):
    code, asked, told = launch(cloud, "", **{name: ""})
    assert (code, asked) == (64, [])
    assert f"{name} is not set" in told


@pytest.mark.parametrize("given", ["--workdir=runs/faces", "--workdir runs/faces"])
def test_tpu_pod__refuses_a_workdir_that_would_go_with_the_tpu(cloud, given):
    arguments = prepare(cloud, "")
    arguments["args"][-1:] = given.split()
    done = subprocess.run(**arguments, capture_output=True, check=False)
    assert done.returncode == 64
    assert "--workdir='runs/faces' must be gs://" in done.stderr
    assert asked_for(cloud) == []
