"""Logs a run: the status line, `log.txt`, `metrics.jsonl` and TensorBoard's events."""

import concurrent.futures
import contextlib
import errno
import importlib.util
import json
import logging
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

import jax
import numpy as np

from gan.runtime import cluster, storage
from gan.runtime.storage import Path
from gan.runtime.tensorflow import import_tensorflow

log = logging.getLogger("gan")
log.setLevel(logging.INFO)
DISK_FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))


def log_to_terminal() -> None:
    """Sends `log` to standard output, each line as it is.

    Of several processes, the first prints all lines, and the others only warnings and errors, with
    their name before them.
    """
    handler = TerminalHandler(sys.stdout)
    name = cluster.process_name().replace("%", "%%")
    first = cluster.is_first()
    handler.setFormatter(logging.Formatter("%(message)s" if first else f"{name}: %(message)s"))
    handler.setLevel(logging.INFO if first else logging.WARNING)
    log.handlers, log.propagate = [handler], False


class TerminalHandler(logging.StreamHandler):
    """Prints what is logged, as long as somebody reads it: no line ends a run."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Goes on in silence where the reader has gone."""
        if isinstance(sys.exception(), BrokenPipeError):
            # Else what is still in the buffer fails once more when the process ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())


@contextlib.contextmanager
def log_to_file(path: Path) -> Iterator[None]:
    """Appends the lines of `log` to a file too within this block, with time and level."""
    handler = LinesHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()


@contextlib.contextmanager
def tolerate_full_disk(path: Path) -> Iterator[None]:
    """Logs that `path` cannot be written instead of raising OSError: the training goes on."""
    try:
        yield
    except OSError as error:
        log.error("%s cannot be written (%s).", path, error.strerror or error)


class LinesHandler(logging.Handler):
    """Appends what is logged to a text file on a disk or in a bucket."""

    def __init__(self, path: Path):
        """Appends to what the file holds."""
        super().__init__()
        self._lines = storage.open_lines(path)

    def emit(self, record: logging.LogRecord) -> None:
        """Adds a record, or drops it if the disk is full or it is no text."""
        with contextlib.suppress(Exception):  # A log line never ends a run.
            self._lines.add(self.format(record))

    def close(self) -> None:
        """Closes the file."""
        with contextlib.suppress(OSError):
            self._lines.close()
        super().close()


class MetricsWriter:
    """Writes one row a log interval to `metrics.jsonl`, and to TensorBoard if that is installed."""

    seconds: float  # Seconds that the run had taken at its last row; 0 for a new run.

    def __init__(self, workdir: Path, step: int):
        """Goes on after `step`.

        Drops the rows of later steps, which a killed run wrote and this one will write again.
        """
        self._path = workdir / "metrics.jsonl"
        rows = [row for row in read_rows(self._path) if row["step"] <= step]
        storage.write_file(self._path, "".join(json.dumps(row) + "\n" for row in rows).encode())
        self.seconds = rows[-1].get("seconds", 0.0) if rows else 0.0
        self._lines = storage.open_lines(self._path)
        self._board = None
        if tensorboard_is_installed():
            self._board = EventWriter(workdir, after=step)
        else:
            log.info(
                "TensorFlow is not installed: metrics.jsonl is written, TensorBoard events not."
            )

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, kind: type | None, value: object, traceback: TracebackType | None) -> None:
        with tolerate_full_disk(self._path):
            self._lines.close()
        if self._board:
            self._board.close()

    def write_row(self, step: int, row: Mapping[str, float]) -> None:
        """Writes one row. A bucket gets it at the next `flush`."""
        # A row that does not fit on the disk stays in memory until it does.
        with tolerate_full_disk(self._path):
            self._lines.add(json.dumps({"step": step, **row}))
        if self._board:
            self._board.write("write_scalars", step, dict(row))

    def write_picture(self, step: int, name: str, image: np.ndarray) -> None:
        """Writes a picture (uint8 [h w 3]) to TensorBoard."""
        if self._board:
            self._board.write("write_images", step, {name: image[None]})

    def flush(self) -> None:
        """Uploads all rows to a bucket. Has to come before a checkpoint, which ends their steps."""
        with tolerate_full_disk(self._path):
            self._lines.flush()
        if self._board:
            self._board.flush()


def tensorboard_is_installed() -> bool:
    """Whether TensorBoard's events can be written. Does not import TensorFlow."""
    return all(importlib.util.find_spec(name) for name in ("tensorflow", "tensorboard"))


def open_summary_writer(folder: Path) -> Any:
    """Opens clu's writer of TensorBoard's events."""
    import_tensorflow()  # Quietly, before clu imports it.
    from clu import metric_writers

    return metric_writers.SummaryWriter(str(folder))


def write_start(folder: Path, step: int) -> None:
    """Tells TensorBoard to drop what earlier files in `folder` have of later steps than `step`.

    It does so from the second start on.
    """
    import_tensorflow()  # Quietly, before TensorBoard imports it.
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder))
    start = SessionLog(status=SessionLog.START)
    writer.add_event(Event(wall_time=time.time(), step=step + 1, session_log=start))
    writer.close()


class EventWriter:
    """Writes TensorBoard's events in a thread, so that no step waits for it.

    The thread also imports TensorFlow, which takes seconds, once there is something to write.
    """

    def __init__(
        self,
        folder: Path,
        open_writer: Callable[[Path], Any] = open_summary_writer,
        after: int | None = None,
    ):
        """Writes into `folder`, by the methods of what `open_writer` opens.

        A run that goes on `after` a step will write again what a killed one wrote of later steps.
        None where nothing is written twice.
        """
        self._folder, self._open_writer, self._after = folder, open_writer, after
        self._writer: Any = None
        self._staging = contextlib.ExitStack()  # Holds the folder that TensorFlow writes to.
        self._thread = concurrent.futures.ThreadPoolExecutor(1)
        self._pending: list[concurrent.futures.Future] = []
        self._ended = ""  # Why no more events are written; empty while they are.

    def write(self, method: str, *arguments: object) -> None:
        """Lets the thread call a method of clu's writer. Raises what an earlier call raised."""
        self._submit(self._call, method, *arguments)

    def flush(self) -> None:
        """Uploads the events so far to a bucket, as a file of their own, since none can grow."""
        if storage.is_remote(self._folder):
            self._submit(self._close)

    def close(self) -> None:
        """Waits until all events are written. Raises what a call raised."""
        if self._pending:
            self._submit(self._close)
        self._thread.shutdown()
        for future in self._pending:
            future.result()

    def _submit(self, function: Callable, *arguments: object) -> None:
        done = [future for future in self._pending if future.done()]
        self._pending = [future for future in self._pending if not future.done()]
        for future in done:
            future.result()
        self._pending.append(self._thread.submit(function, *arguments))

    def _call(self, method: str, *arguments: object) -> None:
        if self._ended:
            return
        with self._until_disk_is_full():
            if self._writer is None:
                folder = self._staging.enter_context(storage.staging_folder(self._folder))
                if self._after is not None:
                    write_start(folder, self._after)
                    self._after = None
                self._writer = self._open_writer(folder)
            getattr(self._writer, method)(*arguments)

    def _close(self) -> None:
        if self._writer is not None and not self._ended:
            with self._until_disk_is_full():
                self._writer.close()
                self._staging.close()
            self._writer = None

    @contextlib.contextmanager
    def _until_disk_is_full(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # TensorFlow has its own types of errors.
            self._ended = next((text for text in DISK_FULL if text in str(error)), "")
            if storage.is_remote(self._folder):
                self._ended = storage.describe_error(error)
            if not self._ended:
                raise
            log.error("TensorBoard's events end here (%s).", self._ended)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Reads the rows of a JSON lines file that have a step; [] if it is not there.

    Leaves out damaged lines, such as one that a kill cut short, and says once how many.
    """
    lines = path.read_bytes().splitlines() if path.exists() else []
    rows = [row for line in lines if (row := _parse_row(line)) is not None]
    damaged = len(lines) - len(rows)
    if damaged and (path, damaged) not in _told:
        _told.add((path, damaged))
        log.warning("%s: %d damaged line%s left out.", path, damaged, "s" * (damaged > 1))
    return rows


_told: set[tuple[Path, int]] = set()  # What has been said of damaged lines.


def _parse_row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and type(row.get("step")) is int else None


def format_duration(seconds: float) -> str:
    """Formats a duration for people: 42s, 3m05s, 2h10m, 1d04h."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours:02}h"
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{seconds:02}s" if minutes else f"{seconds}s"


def format_memory() -> str:
    """Formats the memory in use on the first device, or by this process if that is the CPU."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return f"{stats['bytes_in_use'] / 2**30:.1f}/{stats['bytes_limit'] / 2**30:.0f} GiB"
    unit = 1 if sys.platform == "darwin" else 1024  # macOS gives ru_maxrss in bytes, Linux in KiB.
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30:.1f} GiB"


def format_status(
    step: int, steps: int, row: Mapping[str, float], left: float, shown: Sequence[str] = ()
) -> str:
    """Formats the line of a log interval, with the seconds that are `left` of the run.

    `shown` are templates of the row's metrics, such as "G {g_loss:.3f} D {d_loss:.3f}".
    """
    share = f" ({row['share_of_peak']:.1%} of bf16 peak)" if "share_of_peak" in row else ""
    parts = [
        f"step {step}/{steps} ({step / steps:.0%})",
        f"{row['images'] / 1000:.1f} k images",
        f"{row['images_per_second']:,.0f} img/s{share}",
        f"{format_duration(left)} left",
        *(template.format_map(row) for template in shown),
        f"mem {format_memory()}",
    ]
    return " | ".join(parts)
