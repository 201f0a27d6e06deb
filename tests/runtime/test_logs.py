"""What a run logs: rows, lines and events, and what becomes of them where a disk is full."""

import contextlib
import logging
import os
import time

import pytest
from helpers.full_disk import full_disk
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from gan.runtime import logs
from gan.runtime.logs import (
    EventWriter,
    MetricsWriter,
    format_duration,
    format_status,
    log,
    log_to_file,
    log_to_terminal,
    read_rows,
)


def test_metrics_writer__rows_wait_in_memory_for_a_disk_that_is_full(tmp_path, monkeypatch, logged):
    monkeypatch.setattr(logs, "tensorboard_is_installed", lambda: False)
    stack = contextlib.ExitStack()
    writer = stack.enter_context(MetricsWriter(tmp_path, 0))
    with full_disk():
        for step in range(1, 1001):
            writer.write_row(step, {"g_loss": step / 7})
    said = "metrics.jsonl cannot be written (File too large)"
    assert said in logged.records[-1].getMessage()
    assert len(read_rows(tmp_path / "metrics.jsonl")) < 10
    writer.write_row(1001, {"g_loss": 0.0})
    assert [row["step"] for row in read_rows(tmp_path / "metrics.jsonl")] == [*range(1, 1002)]
    count = len(logged.records)
    with full_disk():
        writer.write_row(1002, {"g_loss": 0.0})
        stack.close()
    assert [said in record.getMessage() for record in logged.records[count:]] == [True, True]


def test_metrics_writer__drops_rows_that_will_be_written_again(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "tensorboard_is_installed", lambda: False)
    with MetricsWriter(tmp_path, 0) as writer:
        for step in (1, 2, 3):
            writer.write_row(step, {"seconds": 10.0 * step})
    with MetricsWriter(tmp_path, 2) as writer:
        assert writer.seconds == 20.0
    assert [row["step"] for row in read_rows(tmp_path / "metrics.jsonl")] == [1, 2]


def test_metrics_writer__tensorboard_shows_each_step_once(tmp_path):
    """Goes on after step 20 where a run was killed after 30."""
    for start, steps in ((0, (10, 20, 30)), (20, (30, 40))):
        with MetricsWriter(tmp_path, start) as writer:
            for step in steps:
                writer.write_row(step, {"seconds": 1.0, "g_loss": step + start / 1000})
        time.sleep(1)  # TensorBoard reads files in the order of the second in their names.
    board = EventAccumulator(str(tmp_path)).Reload()
    found = {x.step: float(make_ndarray(x.tensor_proto)) for x in board.Tensors("g_loss")}
    assert [x.step for x in board.Tensors("g_loss")] == [10, 20, 30, 40]
    assert found == pytest.approx({10: 10, 20: 20, 30: 30.02, 40: 40.02})


def test_read_rows__skips_what_a_kill_cut_short(tmp_path):
    path = tmp_path / "rows.jsonl"
    assert read_rows(path) == []
    path.write_text('{"step": 1}\n{"other": 2}\n[3]\n{"step": 4, "x')
    assert read_rows(path) == [{"step": 1}]


@pytest.mark.parametrize(
    "line", [b"\xff\xfe", b"\0\0", b"[" * 10_000, b'{"step": "2"}', b'{"step": NaN}', b'"step"']
)
def test_read_rows__tells_once_what_is_damaged_and_leaves_it_out(tmp_path, logged, line):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"step": 1}\n' + line + b'\n{"step": 2}\n')
    for _ in range(2):
        assert read_rows(path) == [{"step": 1}, {"step": 2}]
    (record,) = logged.records
    assert record.getMessage() == f"{path}: 1 damaged line left out."


def test_metrics_writer__goes_on_after_damaged_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "tensorboard_is_installed", lambda: False)
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1, "seconds": 2.0}\n{"step": 2}\n\xff\n')
    with MetricsWriter(tmp_path, 2) as writer:
        assert writer.seconds == 0.0
    (tmp_path / "metrics.jsonl").read_text()


@pytest.mark.parametrize("name", ["Zo\udceb", "\u00fc", "\ud800", "\u2028"])
def test_log_to_file__takes_any_name(tmp_path, monkeypatch, name):
    for field, nothing in {"propagate": False, "handlers": []}.items():
        monkeypatch.setattr(log, field, nothing)  # What pytest captures has to be text.
    with logs.log_to_file(tmp_path / "log.txt"):
        logs.log.info("%s and %d", name, 3)
        logs.log.info("more")
    text = (tmp_path / "log.txt").read_text("utf-8")
    assert " and 3\n" in text
    assert text.endswith("more\n")


def test_terminal_handler__goes_on_in_silence_where_the_reader_has_gone(capfd):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        handler = logs.TerminalHandler(stream)
        for _ in range(3):
            handler.emit(logging.makeLogRecord({"msg": "a line"}))
    assert capfd.readouterr().err == ""


def test_log_to_file__is_silent_where_the_disk_is_full(tmp_path, capfd):
    handlers, log.handlers = log.handlers, []  # The terminal is a file here, and full as well.
    try:
        with log_to_file(tmp_path / "log.txt"), full_disk():
            log.error("x" * 1000)
    finally:
        log.handlers = handlers
    assert "Traceback" not in capfd.readouterr().err


def test_log_to_terminal__prints_lines_as_they_are(capsys):
    handlers, propagate = log.handlers, log.propagate
    try:
        log_to_terminal()
        log.info("%d lines", 3)
        log.warning("a warning")
    finally:
        log.handlers, log.propagate = handlers, propagate
    assert capsys.readouterr().out == "3 lines\na warning\n"


class BrokenWriter:
    """A writer of events whose calls fail."""

    def __init__(self, text: str):
        self.calls, self._text = [], text

    def write_scalars(self, *arguments: object) -> None:
        self.calls.append(arguments)
        raise RuntimeError(f"tensorflow: {self._text}")


@pytest.mark.parametrize("text", ["events; No space left on device", "Disk quota exceeded"])
def test_event_writer__ends_where_the_disk_is_full(tmp_path, logged, text):
    broken = BrokenWriter(text)
    events = EventWriter(tmp_path, lambda folder: broken)
    for step in range(5):
        events.write("write_scalars", step, {})
    events.close()
    assert len(broken.calls) == 1
    (record,) = [record for record in logged.records if record.levelno == logging.ERROR]
    assert "TensorBoard's events end here" in record.getMessage()


def test_event_writer__raises_other_errors(tmp_path):
    events = EventWriter(tmp_path, lambda folder: BrokenWriter("a bug"))
    events.write("write_scalars", 1, {})
    with pytest.raises(RuntimeError, match="a bug"):
        events.close()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (42.9, "42s"), (185, "3m05s"), (7800, "2h10m"), (100_800, "1d04h")],
)
def test_format_duration__two_units_at_most(seconds, text):
    assert format_duration(seconds) == text


def test_format_status__shows_what_the_caller_names():
    row = {"images": 1280.0, "images_per_second": 1234.5, "g_loss": 0.5, "right": 0.75}
    shown = ("G {g_loss:.3f}", "D right {right:.0%}")
    line, memory = format_status(10, 40, row, 61.0, shown).rsplit(" | ", 1)
    assert line == (
        "step 10/40 (25%) | 1.3 k images | 1,234 img/s | 1m01s left | G 0.500 | D right 75%"
    )
    assert memory.startswith("mem ")
    assert memory.endswith("GiB")
    shared = format_status(10, 40, row | {"share_of_peak": 0.123}, 61.0)
    assert "1,234 img/s (12.3% of bf16 peak) | 1m01s left | mem " in shared
