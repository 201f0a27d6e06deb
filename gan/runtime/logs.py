"""What a run tells: the status line, `log.txt`, `metrics.jsonl` and TensorBoard."""

import concurrent.futures
import contextlib
import errno
import importlib.util
import json
import logging
import os
import resource
import sys
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any

import jax
import numpy as np

from gan.runtime import cluster, storage
from gan.runtime.storage import Path
from gan.runtime.tensorflow import import_tensorflow

log = logging.getLogger("gan")
log.setLevel(logging.INFO)
FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))


def to_terminal() -> None:
    """Sends `log` to standard output, line by line as it is; of several processes, the first's.

    Of the others come warnings and errors, with their name.
    """
    handler = logging.StreamHandler(sys.stdout)
    name = cluster.name().replace("%", "%%")
    first = cluster.first()
    handler.setFormatter(logging.Formatter("%(message)s" if first else f"{name}: %(message)s"))
    handler.setLevel(logging.INFO if first else logging.WARNING)
    log.handlers, log.propagate = [handler], False


@contextlib.contextmanager
def to_file(path: Path) -> Iterator[None]:
    """Also appends `log` to `path`, with the time."""
    handler = LinesHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()


@contextlib.contextmanager
def tolerated(path: Path) -> Iterator[None]:
    """A full disk takes rows and pictures, but not the training: it is told, and gone on."""
    try:
        yield
    except OSError as error:
        log.error("%s cannot be written (%s).", path, error.strerror or error)


class LinesHandler(logging.Handler):
    """Adds what is logged to a text file, wherever that lies."""

    def __init__(self, path: Path):
        """Goes on after what is there."""
        super().__init__()
        self._lines = storage.lines(path)

    def emit(self, record: logging.LogRecord) -> None:
        """Adds a record. A full disk takes lines of it, and no more."""
        with contextlib.suppress(OSError):
            self._lines.add(self.format(record))

    def close(self) -> None:
        """No more records come."""
        with contextlib.suppress(OSError):
            self._lines.close()
        super().close()


class MetricsWriter:
    """One row a log interval in `metrics.jsonl`, and the same in TensorBoard where it is installed.

    Rows after `step`, written by a run that was then killed, are dropped: they come again.
    """

    def __init__(self, workdir: Path, step: int):
        """Continues after `step`; `seconds` goes on from there."""
        self._path = workdir / "metrics.jsonl"
        rows = [row for row in read_rows(self._path) if row["step"] <= step]
        storage.write(self._path, "".join(json.dumps(row) + "\n" for row in rows).encode())
        self.seconds = rows[-1]["seconds"] if rows else 0.0
        self._lines = storage.lines(self._path)
        self._board = None
        if tensorboard_is_there():
            self._board = Board(workdir)
        else:
            log.info(
                "TensorFlow is not installed: metrics.jsonl is written, TensorBoard events not."
            )

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, kind: type | None, value: object, traceback: TracebackType | None) -> None:
        with tolerated(self._path):
            self._lines.close()
        if self._board:
            self._board.close()

    def scalars(self, step: int, row: Mapping[str, float]) -> None:
        """Writes one row: on its way to a disk when this returns, to a bucket after `flush`."""
        with tolerated(self._path):  # What does not fit stays in the buffer, for the next flush.
            self._lines.add(json.dumps({"step": step, **row}))
        if self._board:
            self._board.write("write_scalars", step, dict(row))

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        """Shows a picture (uint8 [h w 3]) in TensorBoard."""
        if self._board:
            self._board.write("write_images", step, {name: image[None]})

    def flush(self) -> None:
        """Brings all rows to a bucket: before a checkpoint, after which they never come again."""
        with tolerated(self._path):
            self._lines.flush()
        if self._board:
            self._board.flush()


def tensorboard_is_there() -> bool:
    """Whether its events can be written; found out without importing TensorFlow."""
    return all(importlib.util.find_spec(name) for name in ("tensorflow", "tensorboard"))


class Board:
    """TensorBoard's events, written by a thread that no step waits for.

    The thread also imports TensorFlow, which takes seconds, when there is something to write.
    """

    def __init__(self, workdir: Path):
        """Into `workdir`."""
        self._folder = workdir
        self._writer: Any = None
        self._shipped = contextlib.ExitStack()  # To a bucket, which TensorFlow may not know.
        self._thread = concurrent.futures.ThreadPoolExecutor(1)
        self._pending: list[concurrent.futures.Future] = []
        self._ended = ""  # Why.

    def write(self, method: str, *arguments: object) -> None:
        """Calls a method of clu's writer, later. Raises what an earlier call raised."""
        self._later(self._call, method, *arguments)

    def flush(self) -> None:
        """A bucket gets what there is so far, as a file of its own: none can grow there."""
        if storage.is_remote(self._folder):
            self._later(self._close)

    def close(self) -> None:
        """Waits until all is written."""
        if self._pending:
            self._later(self._close)
        self._thread.shutdown()
        for future in self._pending:
            future.result()

    def _later(self, function: Callable, *arguments: object) -> None:
        done = [future for future in self._pending if future.done()]
        self._pending = [future for future in self._pending if not future.done()]
        for future in done:
            future.result()
        self._pending.append(self._thread.submit(function, *arguments))

    def _call(self, method: str, *arguments: object) -> None:
        if self._ended:
            return
        with self._until_full():
            if self._writer is None:
                folder = self._shipped.enter_context(storage.shipped(self._folder))
                self._writer = summary_writer(folder)
            getattr(self._writer, method)(*arguments)

    def _close(self) -> None:
        if self._writer is not None and not self._ended:
            with self._until_full():
                self._writer.close()
                self._shipped.close()
            self._writer = None

    @contextlib.contextmanager
    def _until_full(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # TensorFlow has types of its own.
            self._ended = next((text for text in FULL if text in str(error)), "")
            if storage.is_remote(self._folder):
                self._ended = storage.reason(error)
            if not self._ended:
                raise
            log.error("TensorBoard's events end here (%s).", self._ended)


def summary_writer(workdir: Path) -> Any:
    """Clu's, which needs TensorFlow."""
    import_tensorflow()  # Before clu does, which would not quiet it.
    from clu import metric_writers

    return metric_writers.SummaryWriter(str(workdir))


def read_rows(path: Path) -> list[dict[str, float]]:
    """The rows of a JSON lines file that have a step; a line cut short by a kill is left out."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else ():
        with contextlib.suppress(json.JSONDecodeError):
            rows.append(json.loads(line))
    return [row for row in rows if isinstance(row, dict) and "step" in row]


def duration(seconds: float) -> str:
    """For people: 42s, 3m05s, 2h10m, 1d04h."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours:02}h"
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{seconds:02}s" if minutes else f"{seconds}s"


def memory() -> str:
    """In use on the first device, or by this process where the device is the CPU."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return f"{stats['bytes_in_use'] / 2**30:.1f}/{stats['bytes_limit'] / 2**30:.0f} GiB"
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there, else in KiB.
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30:.1f} GiB"


def status(step: int, steps: int, row: Mapping[str, float], left: float) -> str:
    """The line of a log interval; `left` in seconds."""
    share = f" ({row['share_of_peak']:.1%} of bf16 peak)" if "share_of_peak" in row else ""
    return (
        f"step {step}/{steps} ({step / steps:.0%}) | {row['images'] / 1000:.1f} k images | "
        f"{row['images_per_second']:,.0f} img/s{share} | {duration(left)} left | "
        f"G {row['g_loss']:.3f} D {row['d_loss']:.3f} | D right on real "
        f"{row['d_real_accuracy']:.0%}, fake {row['d_fake_accuracy']:.0%} | mem {memory()}"
    )
