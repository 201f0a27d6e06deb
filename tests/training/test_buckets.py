"""A training in a bucket is the training on a disk: with servers of buckets on this host."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys

import pytest
from helpers import unoptimised
from helpers.bucket import NAME, bucket
from helpers.processes import Job, fingerprint

from gan.runtime import logs, storage

HAVE_GCS = all(map(importlib.util.find_spec, ("gcsfs", "gcp_storage_emulator")))
HAVE_S3 = all(map(importlib.util.find_spec, ("s3fs", "moto")))
RUN = f"gs://{NAME}/runs/a"


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
def test_bucket__holds_the_same_run_as_a_disk(gcs, tmp_path):
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
    assert len(list(folder.glob("events*.v2"))) == 2
    for name in ("reals.png", "samples/step_00000004.png"):
        assert (folder / name).read_bytes() == (tmp_path / "disk" / name).read_bytes()


@pytest.mark.series
@pytest.mark.skipif(not HAVE_GCS, reason="needs gcsfs and gcp-storage-emulator")
def test_bucket__a_run_in_it_is_drawn_from_scored_and_compared(gcs, tmp_path):
    environment = os.environ | unoptimised.FLAGS
    environment |= {"XDG_CACHE_HOME": str(tmp_path / "cache"), "JAX_PLATFORMS": "cpu"}

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
def test_bucket__killed_while_it_saves_a_run_goes_on_to_the_same_end(gcs, tmp_path):
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
def test_bucket__on_s3_holds_prepared_data(tmp_path):
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
