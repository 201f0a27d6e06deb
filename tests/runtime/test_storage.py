"""Files on disks and in buckets: which names are understood, and that a file is whole or absent."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import tiny
from helpers.full_disk import full_disk
from helpers.memory_bucket import memory_bucket

from gan.errors import ConfigError, NotSaved, Unreachable
from gan.runtime import logs, storage
from gan.runtime.storage import BucketLines

CONFIG = f"--config={Path(tiny.__file__)}"


def test_write_file__on_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path):
    path = tmp_path / "file"
    storage.write_file(path, b"old")
    with full_disk(), pytest.raises(NotSaved, match=rf"{path} cannot be written \(File too large"):
        storage.write_file(path, bytes(1000))
    assert {x.name: x.read_bytes() for x in tmp_path.iterdir()} == {"file": b"old"}


def test_write_file__leaves_nothing_beside_a_folder_of_that_name(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(IsADirectoryError):
        storage.write_file(tmp_path / "taken", b"x")
    assert [x.name for x in tmp_path.iterdir()] == ["taken"]


@pytest.fixture
def bucket():
    """A bucket in memory, and a folder in it."""
    with memory_bucket() as bucket:
        yield bucket


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("s3://b/run", "not to s3://"),
        ("hdfs://b/run", "hdfs:// is not known"),
        ("gs://b", "must name a folder"),
        ("gs:///run", "must name a folder"),
    ],
)
def test_parse_workdir__refuses_at_start_what_cannot_be_one(run, text, words):
    code, out = run(CONFIG, f"--workdir={text}")
    assert code == 64
    assert words in out


def test_parse_path__names_a_missing_package(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    code, out = run(CONFIG, "--workdir=gs://b/run")
    assert code == 64
    assert 'pip install "gan[gcs]"' in out


def test_parse_path__is_absolute_on_a_disk():
    assert storage.parse_path("~/runs", "--x") == Path("~/runs").expanduser()
    assert storage.parse_path("runs", "--x") == Path.cwd() / "runs"
    assert not storage.is_remote(storage.parse_path("runs", "--x"))


def test_parse_path__is_remote_in_a_bucket(bucket):
    path = storage.parse_path("gs://b/run", "--x")
    assert path == bucket[1]
    assert storage.is_remote(path)


@pytest.mark.parametrize("option", ["--config.data.path", "--config.data.local_dir"])
def test_parse_disk_path__refuses_a_bucket(run, tmp_path, option):
    code, out = run(CONFIG, f"--workdir={tmp_path}", f"{option}=gs://b/x")
    assert code == 64
    assert "must lie on a disk" in out
    assert "gcloud storage cp --recursive" in out


def test_find_matches__on_a_disk(tmp_path):
    for name in ("b", "a", "other"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    found = storage.find_matches(tmp_path / "r*" / "[ab]")
    assert found == [tmp_path / "runs/a", tmp_path / "runs/b"]


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
def test_check_reachable__a_refusal_is_the_users_to_mend(bucket, error, code, said):
    files, folder = bucket
    storage.check_reachable(folder, "--workdir")
    error.code = code
    files.error = error
    with pytest.raises(said, match=str(error)):
        storage.check_reachable(folder, "--workdir")


def test_write_file__writes_the_whole_file_or_leaves_the_old_one(tmp_path):
    path = tmp_path / "deep" / "file"
    storage.write_file(path, b"old")
    with pytest.raises(OSError, match="too large"), full_disk():
        storage.write_file(path, bytes(1000))
    assert path.read_bytes() == b"old"
    storage.write_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert [*path.parent.iterdir()] == [path]


def test_write_file__raises_a_buckets_error_as_oserror(bucket):
    files, folder = bucket
    files.error = RuntimeError("503 try again")
    with pytest.raises(OSError, match="503 try again"):
        storage.write_file(folder / "rows", b"1")


def test_open_lines__goes_on_where_it_ended(tmp_path):
    for text in ("one", "two"):
        lines = storage.open_lines(tmp_path / "log.txt")
        lines.add(text)
        assert (tmp_path / "log.txt").read_text().endswith(f"{text}\n")
        lines.close()
    assert (tmp_path / "log.txt").read_text() == "one\ntwo\n"


def test_bucket_lines__are_there_when_flushed_and_closed(bucket):
    path = bucket[1] / "log.txt"
    path.write_text("before\n")
    lines = storage.open_lines(path)
    lines.add("one")
    assert path.read_text() == "before\n"
    lines.flush()
    assert path.read_text() == "before\none\n"
    lines.add("two")
    lines.close()
    assert path.read_text() == "before\none\ntwo\n"


def test_bucket_lines__come_by_themselves_and_survive_failures(bucket):
    files, folder = bucket
    lines = BucketLines(folder / "log.txt", every=0.01)
    files.error = OSError("away")
    lines.add("one")
    time.sleep(0.1)
    files.error = None
    deadline = time.monotonic() + 30
    while not (folder / "log.txt").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    lines.close()
    assert (folder / "log.txt").read_text() == "one\n"


def test_staging_folder__brings_files_to_a_bucket(bucket, tmp_path):
    for folder in (bucket[1], tmp_path):
        with storage.staging_folder(folder) as local:
            (local / "deep").mkdir()
            (local / "deep" / "events").write_bytes(b"some")
        assert (folder / "deep" / "events").read_bytes() == b"some"


def test_metrics_writer__rows_are_in_the_bucket_before_the_checkpoint(bucket):
    folder = bucket[1]
    steps = lambda: [row["step"] for row in logs.read_rows(folder / "metrics.jsonl")]  # noqa: E731
    with logs.MetricsWriter(folder, 0) as writer:
        writer.write_row(1, {"seconds": 1.0})
        writer.flush()
        assert steps() == [1]
        writer.write_row(2, {"seconds": 2.0})
    assert steps() == [1, 2]
    if logs.tensorboard_is_installed():  # A file for each flush, since none can grow.
        assert len([*folder.glob("events*.v2")]) == 2
    with logs.MetricsWriter(folder, 1) as writer:  # Killed after the checkpoint of step 1.
        assert writer.seconds == 1.0
    assert steps() == [1]


def test_event_writer__ends_where_a_bucket_fails(bucket):
    calls = []

    def fail(folder):
        calls.append(folder)
        raise RuntimeError("503 try again")

    events = logs.EventWriter(bucket[1], fail)
    for step in range(3):
        events.write("write_scalars", step, {})
    events.close()
    assert len(calls) == 1


def test_epath__does_not_import_tensorflow():
    code = (
        "import sys; from gan.runtime import storage; from etils.epath import gpath;"
        "gpath._is_tf_installed(); storage.parse_path('runs', '').exists();"
        "sys.exit(gpath._is_tf_installed() or 'tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_open_lines__a_name_that_is_no_text_is_written_as_an_escape(bucket, tmp_path):
    for path in (tmp_path / "log.txt", bucket[1] / "log.txt"):
        path.write_bytes(b"\xff was there\n")
        lines = storage.open_lines(path)
        lines.add("Zo\udceb")
        lines.close()
        assert path.read_bytes().splitlines()[-1] == rb"Zo\udceb"
