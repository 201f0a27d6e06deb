"""A full disk takes pictures and lines of the log, but no rows, and never the training."""

import contextlib
import logging
import resource

import pytest

from gan.runtime import logs
from gan.runtime.logs import EventWriter, MetricsWriter, log, log_to_file, read_rows


@contextlib.contextmanager
def full_disk():
    """No file may grow beyond a few bytes; nor may pytest's own, so only inside of a test."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_rows_wait_in_memory_for_a_disk_that_is_full(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(logs, "tensorboard_is_installed", lambda: False)
    stack = contextlib.ExitStack()
    writer = stack.enter_context(MetricsWriter(tmp_path, 0))
    with full_disk():
        for step in range(1, 1001):
            writer.write_row(step, {"g_loss": step / 7})
    assert "metrics.jsonl cannot be written (File too large)" in caplog.text
    assert len(read_rows(tmp_path / "metrics.jsonl")) < 10
    writer.write_row(1001, {"g_loss": 0.0})
    assert [row["step"] for row in read_rows(tmp_path / "metrics.jsonl")] == [*range(1, 1002)]
    with full_disk():
        writer.write_row(1002, {"g_loss": 0.0})
        stack.close()  # Fails as well, which it says.


def test_the_log_file_is_silent_where_the_disk_is_full(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(log, "handlers", [])  # The terminal is a file here, and full as well.
    with log_to_file(tmp_path / "log.txt"), full_disk():
        log.error("x" * 1000)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("text", ["events; No space left on device", "Disk quota exceeded"])
def test_events_end_where_the_disk_is_full(tmp_path, monkeypatch, caplog, text):
    calls = []

    class Writer:
        def write_scalars(self, *arguments: object) -> None:
            calls.append(arguments)
            raise RuntimeError(f"tensorflow: {text}")

    monkeypatch.setattr(logs, "open_summary_writer", lambda workdir: Writer())
    board = EventWriter(tmp_path)
    for step in range(5):
        board.write("write_scalars", step, {})
    board.close()
    assert len(calls) == 1
    (record,) = [x for x in caplog.records if x.levelno == logging.ERROR]
    assert "TensorBoard's events end here" in record.message


def test_other_errors_of_events_are_raised(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "open_summary_writer", lambda workdir: None)
    board = EventWriter(tmp_path)
    board.write("write_scalars", 1, {})
    with pytest.raises(AttributeError):
        board.close()
