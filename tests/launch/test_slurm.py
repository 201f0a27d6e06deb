"""launch/slurm.sbatch in a real Slurm cluster of two nodes on this host, which the tests start.

However a run is stopped, it ends with the state of a run that never was.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers import tiny

ROOT = Path(__file__).parents[2]
MISSING = [name for name in ("slurmctld", "slurmd", "munged") if not shutil.which(name)]
pytestmark = [
    pytest.mark.skipif(
        bool(MISSING),
        reason=f"no {', '.join(MISSING)}: apt-get install slurm-wlm slurm-wlm-basic-plugins munge",
    ),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root starts Slurm's daemons"),
]
STEPS, EVERY = 200, 25
PATIENCE = 300  # Seconds, for anything.
# Stands in for the trainer: its two tasks exit with the codes given, and with 75 on SIGTERM.
STAND_IN = """#!/bin/bash
trap "exit 75" TERM
codes=(%s)
sleep "$SLURM_PROCID"
exit "${codes[SLURM_PROCID]}"
"""


class Cluster:
    """Slurm, and a checkout with its .venv to submit from."""

    def __init__(self, folder: Path):
        self.folder, self.project = folder, folder / "project"
        # Slurm's daemons are on this host, where no proxy is needed.
        kept = {name: text for name, text in os.environ.items() if "proxy" not in name.lower()}
        self.environment = kept | {
            "SLURM_CONF": str(folder / "slurm/slurm.conf"),
            "JAX_PLATFORMS": "cpu",
            "XDG_CACHE_HOME": str(folder / "cache"),
        }
        shutil.copytree(ROOT / "launch", self.project / "launch")
        (self.project / "gan").symlink_to(ROOT / "gan")
        self.python = self.project / ".venv/bin/python"
        self.python.parent.mkdir(parents=True)
        self.python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        self.python.chmod(0o755)

    def call(self, *command: str) -> str:
        done = subprocess.run(
            command,
            cwd=self.project,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def idle(self) -> int:
        """Number of nodes that are up and free."""
        command = ["sinfo", "--noheader", "--partition=low", "--states=idle", "--format=%D"]
        done = subprocess.run(command, env=self.environment, capture_output=True, timeout=60)
        return int(done.stdout or 0)

    def submit(
        self,
        workdir: str,
        *options: str,
        steps: int = STEPS,
        between: str = "=",
        **environment: str,
    ) -> "Job":
        """Submits a training on both nodes, one process on each."""
        exported = ",".join(["ALL", *(f"{name}={text}" for name, text in environment.items())])
        number = self.call(
            *("sbatch", "--parsable", "--nodes=2", "--gpus-per-node=0", "--cpus-per-task=1"),
            *(f"--export={exported}", *options, "launch/slurm.sbatch"),
            *f"--workdir{between}{self.folder / workdir}".split(" "),
            f"--config={tiny.__file__}",
            f"--config.data.cache_dir={self.folder / 'data'}",
            *(f"--config.steps={steps}", f"--config.checkpoint_every={EVERY}"),
            *(f"--config.log_every={EVERY}", f"--config.sample_every={steps}"),
        )
        return Job(self, number, self.folder / workdir)


class Job:
    """One submitted job and the run it trains."""

    def __init__(self, cluster: Cluster, number: str, workdir: Path):
        self.cluster, self.number, self.workdir = cluster, number, workdir

    def told(self) -> str:
        """Returns its log, of all its starts."""
        path = self.cluster.project / f"slurm-{self.number}.out"
        return path.read_text() if path.exists() else ""

    def field(self, name: str) -> str:
        text = self.cluster.call("scontrol", "show", "job", "--oneliner", self.number)
        return re.search(rf"\b{name}=(\S*)", text)[1]

    def wait(self, what: str, condition: Callable[[], bool], ended: bool = False) -> None:
        """Waits for `condition`. Fails if the job ends before, unless it may have `ended`."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            alive = ended or self.field("JobState") in ("PENDING", "RUNNING", "COMPLETING")
            if not (alive or condition()) or time.monotonic() > deadline:
                state = self.cluster.call("scontrol", "show", "job", self.number)
                controller = self.cluster.folder / "slurm/log/slurmctld.log"
                pytest.fail(
                    f"It did not become {what}.\n{state}\n{self.told()}\n"
                    + "\n".join(controller.read_text().splitlines()[-30:])
                )
            time.sleep(0.3)

    def wait_state(self, state: str) -> None:
        self.wait(state, lambda: self.field("JobState") == state)

    def steps(self) -> list[int]:
        folder = self.workdir / "checkpoints"
        return sorted(int(path.name) for path in folder.glob("*") if path.name.isdecimal())

    def wait_saved(self) -> None:
        """Waits until it trains and has saved."""
        self.wait("saved", lambda: bool(self.steps()))
        assert self.field("JobState") == "RUNNING"

    def wait_queued_again(self, restarts: int) -> None:
        """Waits until it is queued for its next start, and lets Slurm start it now."""
        self.wait(
            f"queued for start {restarts + 1}",
            lambda: (self.field("JobState"), self.field("Restarts")) == ("PENDING", str(restarts)),
        )
        # Slurm mistakes a job that ends in this second for one that starts in it.
        time.sleep(2)
        self.cluster.call("scontrol", "update", f"JobId={self.number}", "StartTime=now")

    def resumed_from(self) -> list[int]:
        """The steps from which its starts trained."""
        return [int(step) for step in re.findall(r"Training from step (\d+)", self.told())]

    def digests(self) -> dict[str, str]:
        """SHA-256 of every array of its last checkpoint."""
        last = self.workdir / "checkpoints" / str(self.steps()[-1])
        return json.loads((last / "meta/metadata").read_text())


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    """Slurm on this host, which ends with its input, even if these tests are killed."""
    cluster = Cluster(tmp_path_factory.mktemp("slurm"))
    command = [str(ROOT / "tests/helpers/one_host_slurm.sh"), str(cluster.folder / "slurm"), "2"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=cluster.environment) as daemons:
        deadline = time.monotonic() + 60
        while cluster.idle() != 2:
            assert time.monotonic() < deadline, f"Slurm is not up: see {cluster.folder}/slurm/log"
            assert daemons.poll() is None
            time.sleep(0.2)
        yield cluster


@pytest.fixture(scope="module")
def undisturbed(cluster) -> Job:
    """A run that nobody stopped."""
    job = cluster.submit("undisturbed")
    job.wait_state("COMPLETED")
    assert job.field("Restarts") == "0"
    assert "Training from step 0" in job.told()
    assert job.steps()[-1] == STEPS
    return job


def check_goes_on(job: Job, undisturbed: Job, restarts: int = 1) -> None:
    job.wait_queued_again(restarts)
    saved = job.steps()[-1]
    assert saved < STEPS
    job.wait_state("COMPLETED")
    assert job.resumed_from()[-1] == saved
    assert job.digests() == undisturbed.digests()


@pytest.mark.series
def test_slurm__both_nodes_train_together(undisturbed):
    environment = json.loads((undisturbed.workdir / "environment.json").read_text())
    assert environment["processes"] == 2


@pytest.mark.slow
def test_slurm__preempted_by_a_higher_partition_it_goes_on(cluster, undisturbed):
    job = cluster.submit("preempted")
    job.wait_saved()
    cluster.call("sbatch", "--partition=high", "--nodes=2", "--exclusive", "--wrap=sleep 3")
    check_goes_on(job, undisturbed)
    assert "Crashed" not in job.told()


@pytest.mark.series
def test_slurm__requeued_by_hand_it_goes_on(cluster, undisturbed):
    job = cluster.submit("requeued")
    job.wait_saved()
    cluster.call("scontrol", "requeue", job.number)
    check_goes_on(job, undisturbed)


@pytest.mark.series
def test_slurm__a_killed_task_is_a_crash_and_tried_again(cluster, undisturbed):
    job = cluster.submit("killed")
    job.wait_saved()
    kill_a_task(job)
    check_goes_on(job, undisturbed)
    assert re.search(r"Crashed \(exit code \d+\), 1 of at most 3 times", job.told())
    assert list(cluster.project.glob(f"slurm-{job.number}.[cv]*")) == []


def kill_a_task(job: Job) -> None:
    """Kills the Python of the second process with SIGKILL."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            variables = (folder / "environ").read_bytes().split(b"\0")
            command = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        own = {f"SLURM_JOB_ID={job.number}".encode(), b"SLURM_PROCID=1"} <= set(variables)
        if own and command[0] == sys.executable.encode():
            os.kill(int(folder.name), 9)
            return
    pytest.fail(f"the second process of job {job.number} is not there.\n{job.told()}")


@pytest.mark.series
def test_slurm__cancelled_it_saves_and_does_not_queue_again(cluster, undisturbed):
    job = cluster.submit("cancelled")
    job.wait_saved()
    cluster.call("scancel", job.number)
    job.wait_state("CANCELLED")
    job.wait("free", lambda: not cluster.call("squeue", "--noheader"), ended=True)
    saved = job.steps()[-1]
    assert saved < STEPS
    assert job.field("Restarts") == "0"
    again = cluster.submit("cancelled")
    again.wait_state("COMPLETED")
    assert again.resumed_from() == [saved]
    assert again.digests() == undisturbed.digests()


@pytest.mark.series
def test_slurm__at_its_time_limit_it_goes_on(cluster, undisturbed):
    """Slurm checks time limits twice a minute, so this run is longer."""
    speed = max(map(int, re.findall(r"\| (\d+) img/s", undisturbed.told())))
    steps = max(45 * speed // tiny.get_config().data.batch_size, STEPS)
    through = cluster.submit("unlimited", steps=steps)
    through.wait_state("COMPLETED")
    job = cluster.submit("limited", "--time=30", "--signal=TERM@60", steps=steps)
    job.wait_saved()
    minutes = int(job.field("RunTime").split(":")[1])
    cluster.call("scontrol", "update", f"JobId={job.number}", f"TimeLimit={minutes + 2}")
    job.wait_queued_again(1)
    saved = job.steps()[-1]
    assert saved < steps
    cluster.call("scontrol", "update", f"JobId={job.number}", "TimeLimit=30")
    job.wait_state("COMPLETED")
    assert job.resumed_from() == [0, saved]
    assert job.digests() == through.digests()
    assert "Crashed" not in job.told()


@pytest.mark.series
def test_slurm__a_wrong_configuration_is_not_tried_again(cluster):
    job = cluster.submit("wrong", steps=-1)
    job.wait_state("FAILED")
    assert job.field("ExitCode") == "64:0"
    assert job.field("Restarts") == "0"


@pytest.fixture
def stand_in(cluster) -> Iterator[Callable[..., Job]]:
    """Submits tasks that end with the given exit codes, the second a second later."""
    whole = cluster.python.read_text()

    def submit(*codes: int, **environment: str) -> Job:
        cluster.python.write_text(STAND_IN % " ".join(map(str, codes)))
        return cluster.submit("stand_in", **environment)

    yield submit
    cluster.python.write_text(whole)


@pytest.mark.series
@pytest.mark.parametrize("codes", [(64, 134), (65, 75), (134, 73)])
def test_slurm__what_one_task_found_wrong_is_not_lost_among_the_others(stand_in, codes):
    """The exit code of srun is the highest of all tasks."""
    job = stand_in(*codes)
    job.wait_state("FAILED")
    assert job.field("ExitCode") == f"{min(codes)}:0"
    assert job.field("Restarts") == "0"


@pytest.mark.series
def test_slurm__too_many_crashes_end_it(stand_in):
    job = stand_in(134, 70, MAX_CRASHES="2")
    job.wait_queued_again(1)
    job.wait_state("FAILED")
    assert job.field("ExitCode") == "70:0"
    assert job.field("Restarts") == "1"
    assert "2 of at most 2 times" in job.told()


@pytest.mark.series
@pytest.mark.parametrize("between", ["=", " "])
def test_slurm__a_new_checkpoint_forgives_the_crashes_before(stand_in, between):
    job = stand_in(137, 137, MAX_CRASHES="2", between=between)
    for start in (1, 2):
        job.wait_queued_again(start)
        (job.workdir / f"checkpoints/{time.time_ns()}").mkdir(parents=True)
    job.wait_queued_again(3)
    assert "2 of at most 2 times" not in job.told()
    job.cluster.call("scancel", job.number)
    job.wait_state("CANCELLED")


@pytest.mark.series
def test_slurm__a_saved_stop_is_no_crash(stand_in):
    job = stand_in(75, 75, MAX_CRASHES="1")
    for start in (1, 2):
        job.wait_queued_again(start)
    job.cluster.call("scancel", job.number)
    job.wait_state("CANCELLED")
    assert "Crashed" not in job.told()
