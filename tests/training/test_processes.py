"""Several processes train as one: with the same numbers, and one end for all."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.processes import Job, fingerprint

from gan.runtime.logs import read_rows

BOUND = 60  # Seconds from a fault to the end of all: `LIMITS`, and more for a busy machine.
LIMITS = ("--config.limits.heartbeat=10", "--config.limits.step=10", "--config.limits.compile=60")
LONG = ("--config.steps=100000", "--config.log_every=1", "--config.checkpoint_every=100000")


@pytest.fixture(scope="module")
def split(faces_cache, tmp_path_factory):
    """Trainings of four steps on four devices, in one process, two and four."""
    folder = tmp_path_factory.mktemp("split")
    for num in (1, 2, 4):
        with Job(folder / str(num), faces_cache, num=num, devices=4 // num) as job:
            assert job.wait() == [0] * num, job.text()
    return folder


@pytest.mark.slow
def test_training__devices_in_one_process_or_several_give_the_same_bits(split):
    for step in (2, 4):
        assert len({fingerprint(split / str(num), step) for num in (1, 2, 4)}) == 1
    pictures = {(split / str(n) / "samples/step_00000004.png").read_bytes() for n in (1, 2, 4)}
    assert len(pictures) == 1
    rows = [
        [(row["step"], row["d_loss"]) for row in read_rows(split / str(n) / "metrics.jsonl")]
        for n in (1, 2, 4)
    ]
    assert rows[0] == rows[1] == rows[2]
    assert len(rows[0]) == 4


@pytest.mark.slow
def test_training__one_device_gives_the_same_to_rounding(split, finished):
    one, four = finished[1], split / "2"
    losses = [[row["d_loss"] for row in read_rows(p / "metrics.jsonl")] for p in (one, four)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)


@pytest.mark.slow
def test_training__only_the_first_process_writes(split):
    text = next(split.glob("2.1.*.txt")).read_text()
    assert "step 1/4" not in text
    assert len(list((split / "2").glob("events*.v2"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num", "devices", "options"),
    [(1, 4, ()), (1, 1, ()), (1, 2, ("--config.parallel=pmap",)), (4, 1, ())],
    ids=["1x4", "1x1", "1x2 pmap", "4x1"],
)
def test_training__goes_on_with_any_other_number_of_processes(
    split, faces_cache, tmp_path, num, devices, options
):
    folder = tmp_path / "run"
    shutil.copytree(split / "2", folder)
    shutil.rmtree(folder / "checkpoints" / "4")
    with Job(folder, faces_cache, *options, num=num, devices=devices) as job:
        assert job.wait() == [0] * num, job.text()
        assert "from step 2 to 4" in job.text()
    if num * devices == 4:
        assert fingerprint(folder, 4) == fingerprint(split / "2", 4)
    losses = [
        [row["d_loss"] for row in read_rows(p / "metrics.jsonl")] for p in (folder, split / "2")
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=2e-3)


@pytest.mark.slow
def test_signal__to_one_process_saves_the_same_step_in_all(faces_cache, tmp_path):
    for index, number in ((1, signal.SIGTERM), (0, signal.SIGINT)):
        with Job(tmp_path / "run", faces_cache, *LONG, *LIMITS, num=2) as job:
            job.wait_for("| mem")
            job.signal(number, index)
            assert job.wait(BOUND) == [75, 75], job.text()
            assert "SIGTERM: saved step" in job.text(0)
    steps = [int(path.name) for path in (tmp_path / "run" / "checkpoints").iterdir()]
    assert len(steps) == 2
    assert f"from step {min(steps)} " in job.text()


KILLED = (-signal.SIGKILL, -signal.SIGABRT, 70)


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1])
def test_kill__of_one_process_ends_all(faces_cache, tmp_path, index):
    with Job(tmp_path / "run", faces_cache, *LONG, *LIMITS, num=2) as job:
        job.wait_for("step 2/")
        job.signal(signal.SIGKILL, index)
        codes = job.wait(BOUND)
    assert codes[index] == -signal.SIGKILL
    assert codes[1 - index] in KILLED


@pytest.mark.series
def test_stop__of_one_process_ends_the_others(faces_cache, tmp_path):
    with Job(tmp_path / "run", faces_cache, *LONG, *LIMITS, num=2) as job:
        job.wait_for("step 2/")
        job.signal(signal.SIGSTOP, 1)
        assert job.wait(BOUND, only=0)[0] in KILLED
        assert "(stopped sending heartbeats):\n1\n" in job.text(0)


@pytest.mark.series
@pytest.mark.parametrize("index", [0, 1])
def test_error__in_one_process_ends_all_at_once(faces_cache, tmp_path, index):
    options = (*LONG, "--config.limits.heartbeat=10")
    with Job(tmp_path / "run", faces_cache, *options, num=2, fault=f"fail:{index}:2") as job:
        codes = job.wait(BOUND + 120)
        assert "a fault made for a test" in job.text(index)
        assert f"Internal error in process {index} of 2" in job.text(index)
    assert codes[index] == 70
    assert codes[1 - index] in KILLED


@pytest.mark.slow
@pytest.mark.parametrize("num", [1, 2])
def test_watchdog__ends_the_process_that_hangs_first_and_says_where(faces_cache, tmp_path, num):
    fault = f"hang:{num - 1}:2"
    with Job(tmp_path / "run", faces_cache, *LONG, *LIMITS, num=num, fault=fault) as job:
        job.wait_for("step 2/")
        codes = job.wait(BOUND)
        who = f"process 1 of 2 on {os.uname().nodename}" if num == 2 else "this process"
        text = job.text(num - 1)
        assert f"{who} hangs: reading the next batch took longer than" in text
        assert "in hang" in text  # Where it waited.
    assert codes[-1] == 70
    assert codes[0] in KILLED


@pytest.mark.slow
def test_bad_data__on_one_host_ends_all_with_its_code(faces_cache, tmp_path):
    fault = "bad:1:preparing"
    with Job(tmp_path / "run", faces_cache, *LONG, num=2, fault=fault) as job:
        assert job.wait(BOUND + 120) == [65, 65]
        assert "Process 1: a damaged file made for a test" in job.text(0)


@pytest.mark.slow
def test_second_job__is_refused_by_all_its_processes(faces_cache, tmp_path):
    with Job(tmp_path / "run", faces_cache, *LONG, num=1) as first:
        first.wait_for("step 1/")
        with Job(tmp_path / "run", faces_cache, *LONG, num=2) as second:
            assert second.wait() == [73, 73]
            assert "is in use by process" in second.text(1)
        assert first.processes[0].poll() is None


@pytest.mark.series
def test_workdir__that_is_not_shared_is_refused(faces_cache, tmp_path):
    """Two hosts may have this, where the same name means the disk of each."""
    folder = tmp_path / "run"
    with Job(folder, faces_cache, *LONG, num=2, fault="elsewhere:1:start") as job:
        assert job.wait(BOUND + 120) == [64, 64]
        assert "is another folder here than for process 0" in job.text(1)
    assert not (folder / "checkpoints").exists()


@pytest.mark.series
def test_join__too_few_processes_are_said_to_be_missing(faces_cache, tmp_path):
    begin = time.monotonic()
    with Job(tmp_path / "run", faces_cache, "--config.limits.join=5", num=2) as job:
        job.processes[1].kill()
        assert job.wait(BOUND + 60)[0] in (64, -signal.SIGABRT)
        assert "Process 0 of 2" in job.text(0)
        assert "waits up to 5 s for the others, at localhost:" in job.text(0)
    assert time.monotonic() - begin < BOUND + 60


NAMESPACES = ("gan-test-a", "gan-test-b")
ADDRESSES = ("10.77.3.1", "10.77.3.2")


@pytest.fixture
def two_hosts():
    """Makes two hosts (network namespaces) with a cable between them.

    Yields a function that sets the address by which each host knows itself.
    """
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("only root makes network namespaces, by iproute2")
    hosts = [Path("/etc/netns") / name / "hosts" for name in NAMESPACES]

    def ip(*arguments):
        subprocess.run(["ip", *arguments], check=True, capture_output=True)

    def mean(*addresses):
        text = "127.0.0.1 localhost\n"
        for file, own in zip(hosts, addresses, strict=True):
            others = dict(zip(NAMESPACES, ADDRESSES, strict=True)) | {file.parent.name: own}
            file.write_text(text + "".join(f"{a} {name}\n" for name, a in others.items()))

    try:
        for file, name in zip(hosts, NAMESPACES, strict=True):
            file.parent.mkdir(parents=True, exist_ok=True)
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ends = ("name", "cable", "netns", NAMESPACES[0], "type", "veth", "peer", "name", "cable")
        ip("link", "add", *ends, "netns", NAMESPACES[1])
        for name, address in zip(NAMESPACES, ADDRESSES, strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", "cable")
            ip("-n", name, "link", "set", "cable", "up")
        mean(*ADDRESSES)
        yield mean
    finally:
        for file, name in zip(hosts, NAMESPACES, strict=True):
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
            shutil.rmtree(file.parent, ignore_errors=True)


@pytest.mark.series
def test_network__cut_between_two_hosts_ends_both_sides(faces_cache, tmp_path, two_hosts):
    where = dict(num=2, inside=NAMESPACES, coordinator=NAMESPACES[0])
    with Job(tmp_path / "run", faces_cache, *LONG, *LIMITS, **where) as job:
        job.wait_for("step 2/")
        cut = ["ip", "-n", NAMESPACES[1], "link", "set", "cable", "down"]
        subprocess.run(cut, check=True)
        codes = job.wait(BOUND)
    assert set(codes) <= set(KILLED)


@pytest.mark.series
def test_network__a_host_name_that_means_loopback_is_refused(faces_cache, tmp_path, two_hosts):
    two_hosts(ADDRESSES[0], "127.0.1.1")
    where = dict(num=2, inside=NAMESPACES, coordinator=NAMESPACES[0])
    with Job(tmp_path / "run", faces_cache, *LONG, **where) as job:
        assert job.wait(BOUND + 60) == [64, 64]
        assert f"The host name {NAMESPACES[1]} means 127.0.1.1" in job.text(0)
