"""Workdirs and prepared data in buckets and on shared disks."""

import dataclasses
import errno
import fcntl
import importlib.util
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from etils import epath
from etils.epath import backend
from fsspec.implementations.memory import MemoryFileSystem
from helpers import tiny
from helpers.bucket import NAME, bucket
from helpers.processes import Job, fingerprint
from helpers.states import make_state

from gan.data import copies
from gan.data import prepare as prepare_module
from gan.data.prepare import prepare
from gan.data.source import SPLITS
from gan.errors import ConfigError, DataError, NotSaved, Unreachable, WorkdirInUse
from gan.runtime import cluster, logs, storage
from gan.workdir import checkpoint_files
from gan.workdir import folder as folder_module
from gan.workdir.checkpoints import Checkpoints

HAVE_GCS = all(map(importlib.util.find_spec, ("gcsfs", "gcp_storage_emulator")))
HAVE_S3 = all(map(importlib.util.find_spec, ("s3fs", "moto")))
CONFIG = f"--config={Path(tiny.__file__)}"
RUN = f"gs://{NAME}/runs/a"


@pytest.fixture
def remote(monkeypatch):
    """A folder in a bucket that is kept in memory, as epath shows it."""
    files = MemoryFileSystem()
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    monkeypatch.setattr(MemoryFileSystem, "pseudo_dirs", [""])
    monkeypatch.setattr(type(backend.fsspec_backend), "fs", lambda self, path: files)
    return epath.Path("gs://b/run")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("s3://b/run", "not to s3://"),
        ("hdfs://b/run", "hdfs:// is not known"),
        ("gs://b", "must name a folder"),
        ("gs:///run", "must name a folder"),
    ],
)
def test_what_cannot_be_a_workdir_is_refused_at_start(run, monkeypatch, text, words):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    code, out = run("--config=tests/helpers/tiny.py", f"--workdir={text}")
    assert code == 64
    assert words in out


def test_a_missing_package_is_named(run, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    code, out = run("--config=tests/helpers/tiny.py", "--workdir=gs://b/run")
    assert code == 64
    assert 'pip install "gan[gcs]"' in out


@pytest.mark.parametrize("option", ["--config.data.path", "--config.data.local_dir"])
def test_what_is_read_from_disks_only_is_refused_elsewhere(run, tmp_path, option):
    code, out = run("--config=tests/helpers/tiny.py", f"--workdir={tmp_path}", f"{option}=gs://b/x")
    assert code == 64
    assert "must lie on a disk" in out


def test_a_path_on_a_disk_is_made_absolute():
    assert storage.parse_path("~/runs", "--x") == Path("~/runs").expanduser()
    assert storage.parse_path("runs", "--x") == Path.cwd() / "runs"
    assert not storage.is_remote(storage.parse_path("runs", "--x"))


def test_patterns_on_a_disk(tmp_path):
    for name in ("b", "a", "other"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    assert storage.find_matches(tmp_path / "r*" / "[ab]") == [
        tmp_path / "runs/a",
        tmp_path / "runs/b",
    ]


def test_a_file_is_written_whole_or_not(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "file"
    storage.write_file(path, b"old")
    monkeypatch.setattr(os, "fsync", lambda file: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        storage.write_file(path, b"new")
    assert path.read_bytes() == b"old"


def test_lines_go_on_where_they_ended(tmp_path):
    for text in ("one", "two"):
        lines = storage.open_lines(tmp_path / "log.txt")
        lines.add(text)
        assert (tmp_path / "log.txt").read_text().endswith(f"{text}\n")
        lines.close()
    assert (tmp_path / "log.txt").read_text() == "one\ntwo\n"


def test_lines_in_a_bucket_are_there_when_flushed_and_closed(remote):
    path = remote / "log.txt"
    path.write_text("before\n")
    lines = storage.open_lines(path)
    lines.add("one")
    assert path.read_text() == "before\n"
    lines.flush()
    assert path.read_text() == "before\none\n"
    lines.add("two")
    lines.close()
    assert path.read_text() == "before\none\ntwo\n"


def test_lines_in_a_bucket_come_by_themselves_and_survive_its_failures(remote, monkeypatch):
    monkeypatch.setattr(storage, "REWRITE", 0.01)
    write, failures = storage.write_file, iter([OSError("away")])

    def write_later(path, data):
        for error in failures:
            raise error
        write(path, data)

    monkeypatch.setattr(storage, "write_file", write_later)
    lines = storage.open_lines(remote / "log.txt")
    lines.add("one")
    while not (remote / "log.txt").exists():
        time.sleep(0.01)
    lines.close()
    assert (remote / "log.txt").read_text() == "one\n"


def test_files_of_who_knows_only_disks_come_to_the_bucket(remote, tmp_path):
    for folder in (remote, tmp_path):
        with storage.staging_folder(folder) as local:
            (local / "deep").mkdir()
            (local / "deep" / "events").write_bytes(b"some")
        assert (folder / "deep" / "events").read_bytes() == b"some"


def test_rows_are_in_the_bucket_before_the_checkpoint(remote):
    with logs.MetricsWriter(remote, 0) as writer:
        writer.write_row(1, {"seconds": 1.0})
        writer.flush()
        assert [row["step"] for row in logs.read_rows(remote / "metrics.jsonl")] == [1]
        writer.write_row(2, {"seconds": 2.0})
    assert [row["step"] for row in logs.read_rows(remote / "metrics.jsonl")] == [1, 2]
    with logs.MetricsWriter(remote, 1) as writer:  # Killed after the checkpoint of step 1.
        assert writer.seconds == 1.0
    assert [row["step"] for row in logs.read_rows(remote / "metrics.jsonl")] == [1]


def test_a_bucket_has_no_locks_and_that_is_said_with_who_was_there(remote, monkeypatch, caplog):
    monkeypatch.setattr(logs.log, "propagate", True)
    storage.write_file(remote / ".lock", b"process 1 on elsewhere")
    for _ in range(2):
        with folder_module.lock_workdir(remote):
            assert f"process {os.getpid()}" in (remote / ".lock").read_text()
            folder_module.check_shared(remote)
    # A set: some versions of pytest note a record twice. Another warning would name this process.
    (said,) = {record.message for record in caplog.records if record.levelno == logging.WARNING}
    assert "process 1 on elsewhere" in said
    assert "nothing can be locked" in said


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (RuntimeError("who are you"), "401", ConfigError),
        (FileNotFoundError("no such bucket"), None, ConfigError),
        (RuntimeError("no default credentials"), None, ConfigError),
        (RuntimeError("try again"), 503, Unreachable),
        (ConnectionError("connection reset"), None, Unreachable),
    ],
)
def test_a_bucket_that_says_no_is_the_users_to_mend(remote, monkeypatch, error, code, said):
    def fail(*_, **__):
        error.code = code
        raise error

    monkeypatch.setattr(MemoryFileSystem, "info", fail)
    monkeypatch.setattr(MemoryFileSystem, "exists", fail)
    with pytest.raises(said, match=str(error)):
        storage.check_reachable(remote, "--workdir")
    with pytest.raises(said, match=str(error)), folder_module.lock_workdir(remote):
        pass


def test_a_bucket_that_fails_ends_tensorboards_events_and_nothing_else(remote, monkeypatch):
    calls = []

    def fail(folder):
        calls.append(folder)
        raise RuntimeError("503 try again")

    monkeypatch.setattr(logs, "open_summary_writer", fail)
    board = logs.EventWriter(remote)
    for step in range(3):
        board.write("write_scalars", step, {})
    board.close()
    assert len(calls) == 1


def test_a_bucket_that_fails_is_a_checkpoint_that_is_not_saved(remote, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("503 try again")

    monkeypatch.setattr(checkpoint_files.ocp, "CheckpointManager", fail)
    with Checkpoints(remote) as checkpoints:
        checkpoints.save(make_state(1), 1)
        with pytest.raises(NotSaved, match="503 try again"):
            checkpoints.wait(patience=0.0)
    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "pipe_file", fail)
        patch.setattr(MemoryFileSystem, "_open", fail)
        with pytest.raises(OSError, match="503 try again"):
            storage.write_file(remote / "rows", b"1")


def no_locks(monkeypatch, number):
    def flock(file, flags):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_disk_without_locks_is_used_and_that_is_said_once(tmp_path, monkeypatch, caplog, number):
    monkeypatch.setattr(logs.log, "propagate", True)
    no_locks(monkeypatch, number)
    (tmp_path / ".lock").write_text("process 1 on elsewhere")
    for _ in range(2):
        with folder_module.lock_workdir(tmp_path):
            assert f"process {os.getpid()}" in (tmp_path / ".lock").read_text()
            folder_module.check_shared(tmp_path)
    # A set: some versions of pytest note a record twice. Another warning would name this process.
    (said,) = {record.message for record in caplog.records if record.levelno == logging.WARNING}
    assert "process 1 on elsewhere" in said


def test_another_error_of_locking_is_no_reason_to_go_on(tmp_path, monkeypatch):
    no_locks(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="Input/output"), folder_module.lock_workdir(tmp_path):
        pass


@pytest.fixture
def held(monkeypatch):
    """A lock that somebody else has for so many attempts; and how often was waited for it."""
    naps, flock = [], fcntl.flock

    def held(attempts):
        def refuse(file, flags):
            if len(naps) < attempts:
                raise BlockingIOError
            flock(file, flags)

        monkeypatch.setattr(fcntl, "flock", refuse)
        monkeypatch.setattr(folder_module.time, "sleep", naps.append)
        return naps

    return held


def test_the_lock_of_a_host_that_died_is_waited_for(tmp_path, held):
    """NFS holds it for a while."""
    (tmp_path / ".lock").write_text("process 1 on elsewhere since yesterday")
    naps = held(3)
    with folder_module.lock_workdir(tmp_path):
        assert f"process {os.getpid()}" in (tmp_path / ".lock").read_text()
    assert len(naps) == 3


def test_a_host_that_lives_keeps_its_lock(tmp_path, held, monkeypatch):
    monkeypatch.setattr(folder_module, "FORGOTTEN", 0.0)
    (tmp_path / ".lock").write_text("process 1 on elsewhere since yesterday")
    held(9)
    with (
        pytest.raises(WorkdirInUse, match="process 1 on elsewhere"),
        folder_module.lock_workdir(tmp_path),
    ):
        pass


def test_nobody_waits_for_a_process_of_the_same_host(tmp_path, held):
    with folder_module.lock_workdir(tmp_path):
        naps = held(1)
        with pytest.raises(WorkdirInUse), folder_module.lock_workdir(tmp_path):
            pass
    assert not naps


@pytest.fixture
def home(faces_cache):
    """A prepared split that lies on a shared disk, say."""
    return next(faces_cache.glob("faces-*/train"))


def test_a_copy_is_equal_and_made_once(home, tmp_path, monkeypatch):
    copies.download_store(home, tmp_path / "copy")
    for file in copies.ALL:
        assert (tmp_path / "copy" / file).read_bytes() == (home / file).read_bytes()
    monkeypatch.setattr(storage, "copy_file", None)
    copies.download_store(home, tmp_path / "copy")


def test_a_killed_copy_is_made_anew(home, tmp_path):
    aside = tmp_path / "copy.copying"
    aside.mkdir()
    (aside / "images.npy").write_bytes(b"half of it")
    copies.download_store(home, tmp_path / "copy")
    assert not aside.exists()
    assert (tmp_path / "copy/images.npy").read_bytes() == (home / "images.npy").read_bytes()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "full")])
def test_what_ends_a_copy_leaves_none(home, tmp_path, monkeypatch, error):
    def copy(source, target):
        if source.name == "meta.json":
            raise error
        shutil.copy(source, target)

    monkeypatch.setattr(storage, "copy_file", copy)
    with pytest.raises((KeyboardInterrupt, DataError)):
        copies.download_store(home, tmp_path / "copy")
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize("file", copies.FILES)
def test_damage_is_found_in_the_copy(home, tmp_path, file):
    damaged = tmp_path / "home"
    shutil.copytree(home, damaged)
    data = bytearray((damaged / file).read_bytes())
    data[-1] ^= 1
    (damaged / file).write_bytes(data)
    with pytest.raises(DataError, match=f"delete {damaged}"):
        copies.download_store(damaged, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_another_store_of_that_name_replaces_the_copy(home, tmp_path):
    copies.download_store(home.with_name("test"), tmp_path / "copy")
    copies.download_store(home, tmp_path / "copy")
    assert (tmp_path / "copy/meta.json").read_bytes() == (home / "meta.json").read_bytes()


def test_room_is_looked_for_before(home, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DataError, match="data.local_dir"):
        copies.download_store(home, tmp_path / "copy")
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_with_a_local_dir_the_copies_are_read(faces_cache, tmp_path):
    data = tiny.get_config().data
    there = dataclasses.replace(data, cache_dir=str(faces_cache))
    stores = prepare(dataclasses.replace(there, local_dir=str(tmp_path)))
    assert all(tmp_path in store.path.parents for store in stores.values())
    for name, store in prepare(there).items():
        assert store.digest == stores[name].digest


def test_data_in_a_bucket_is_prepared_once_and_copied_to_each_host(remote, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "parse_path", lambda text, option: epath.Path(text))
    data = dataclasses.replace(tiny.get_config().data, cache_dir=str(remote))
    here, there = (dataclasses.replace(data, local_dir=str(tmp_path / x)) for x in ("a", "b"))
    made = prepare(here)
    monkeypatch.setattr(prepare_module, "prepare_splits", None)
    copied = prepare(there, verify=SPLITS)
    for name in SPLITS:
        assert tmp_path / "b" in copied[name].path.parents
        assert copied[name].digest == made[name].digest


def test_half_an_upload_is_no_store(remote, home, monkeypatch):
    def copy(source, target):
        if source.name == "skipped.csv":
            raise KeyboardInterrupt
        target.write_bytes(source.read_bytes())

    copies.upload_store(home, remote)
    assert copies.is_whole_store(remote)
    monkeypatch.setattr(storage, "copy_file", copy)
    with pytest.raises(KeyboardInterrupt):
        copies.upload_store(home, remote)
    assert not copies.is_whole_store(remote)


def test_of_several_processes_the_first_prepares(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "is_first", lambda: False)
    monkeypatch.setattr(prepare_module, "prepare_splits", None)
    monkeypatch.setattr(copies, "SOON", 0.0)
    data = dataclasses.replace(
        tiny.get_config().data, cache_dir=str(tmp_path / "home"), local_dir=str(tmp_path / "local")
    )
    with pytest.raises(DataError, match="is not there"):  # Alone, it finds nothing to copy.
        prepare(data)


def test_epath_does_not_import_tensorflow():
    code = (
        "import sys; from gan.runtime import storage; from etils.epath import gpath;"
        "gpath._is_tf_installed(); storage.parse_path('runs', '').exists();"
        "sys.exit(gpath._is_tf_installed() or 'tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture(scope="module")
def gcs():
    """The environment of a bucket."""
    with bucket() as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield environment


def job(tmp_path, run, data, *options):
    return Job(run, data, *options, logs=tmp_path, xdg=tmp_path / "cache")


@pytest.mark.slow
@pytest.mark.skipif(not HAVE_GCS, reason="needs gcsfs and gcp-storage-emulator")
def test_a_run_in_a_bucket_is_the_run_on_a_disk(gcs, tmp_path):
    folder = storage.parse_path(RUN, "--workdir")
    data = f"gs://{NAME}/data"
    with job(tmp_path, folder, data, "--config.steps=2") as first:
        assert first.wait() == [0], first.text()
        assert "nothing can be locked" in first.text()
    shutil.rmtree(tmp_path / "cache" / "gan" / "local")
    with job(tmp_path, folder, data) as second:
        assert second.wait() == [0], second.text()
        assert "Copying gs://" in second.text()
        assert "from step 2 to 4" in second.text()
    with job(tmp_path, tmp_path / "disk", tmp_path / "data") as local:
        assert local.wait() == [0], local.text()
    assert fingerprint(folder, 4) == fingerprint(tmp_path / "disk", 4)
    assert [row["step"] for row in logs.read_rows(folder / "metrics.jsonl")] == [1, 2, 3, 4]
    assert "from step 0 to 2" in (folder / "log.txt").read_text()
    assert "from step 2 to 4" in (folder / "log.txt").read_text()
    assert len(list(folder.glob("events*"))) == 2
    for name in ("reals.png", "samples/step_00000004.png"):
        assert (folder / name).read_bytes() == (tmp_path / "disk" / name).read_bytes()


@pytest.mark.series
@pytest.mark.skipif(not HAVE_GCS, reason="needs gcsfs and gcp-storage-emulator")
def test_a_run_in_a_bucket_is_drawn_from_scored_and_compared(gcs, tmp_path):
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "JAX_PLATFORMS": "cpu"}

    def command(*options):
        done = subprocess.run(
            [sys.executable, "-m", "gan.main", *options],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    folder = storage.parse_path(RUN, "--workdir").with_name("b")
    with job(tmp_path, folder, f"gs://{NAME}/data", "--config.steps=2") as training:
        assert training.wait() == [0], training.text()
    command(f"--workdir={folder}", "--mode=sample", "--seeds=0-3")
    assert (folder / "faces.png").read_bytes().startswith(b"\x89PNG")
    command(f"--workdir={folder}", "--mode=evaluate", "--num_images=16", "--seeds=0")
    assert [row["step"] for row in logs.read_rows(folder / "scores.jsonl")] == [2]
    assert "<svg" in (folder / "report.html").read_text()
    assert str(folder)[-20:] in command(f"--workdir=gs://{NAME}/runs/*", "--mode=compare")


@pytest.mark.series
@pytest.mark.skipif(not HAVE_GCS, reason="needs gcsfs and gcp-storage-emulator")
def test_killed_while_it_saves_to_a_bucket_it_goes_on_to_the_same_end(gcs, tmp_path):
    folder, data = storage.parse_path(RUN, "--workdir").with_name("c"), f"gs://{NAME}/data"
    often = ("--config.steps=12", "--config.checkpoint_every=1", "--config.sample_every=100")
    for step in (2, 5, 9):
        with job(tmp_path, folder, data, *often) as killed:
            killed.wait_for(f"step {step}/")
            killed.signal(signal.SIGKILL)
            killed.wait()
    with job(tmp_path, folder, data, *often) as last:
        assert last.wait() == [0], last.text()
        assert "Training from step 0" not in last.text()
    with job(tmp_path, tmp_path / "disk", tmp_path / "data", "--config.steps=12") as local:
        assert local.wait() == [0], local.text()
    assert fingerprint(folder, 12) == fingerprint(tmp_path / "disk", 12)
    steps = [row["step"] for row in logs.read_rows(folder / "metrics.jsonl")]
    assert steps == [*range(1, 13)]


@pytest.mark.series
@pytest.mark.skipif(not HAVE_S3, reason="needs s3fs and moto")
def test_prepared_data_lies_on_s3(tmp_path):
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}".replace("0.0.0.0", "localhost"),
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "y",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            boto3.client("s3").create_bucket(Bucket=NAME)
            for num in range(2):
                options = ("--config.steps=1", f"--config.data.local_dir={tmp_path / str(num)}")
                with job(tmp_path, tmp_path / f"run{num}", f"s3://{NAME}/data", *options) as run:
                    assert run.wait() == [0], run.text()
                    assert f"Copying s3://{NAME}" in run.text() or num == 0
    finally:
        server.stop()
    assert fingerprint(tmp_path / "run0", 1) == fingerprint(tmp_path / "run1", 1)
