"""Where files lie: on a disk, on one that hosts share (NFS), or in a bucket; and what each can do.

A bucket (`gs://`, `s3://`) is reached by epath over fsspec. It keeps whole objects: one is put
complete or not at all, none can be appended to, renamed at once, or locked.
"""

import contextlib
import errno
import importlib.util
import os
import pathlib
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator

os.environ.setdefault("EPATH_USE_TF", "false")  # Or epath imports TensorFlow, which takes seconds.
from etils import epath  # noqa: E402, it has to be said before

from gan.errors import ConfigError, Unreachable  # noqa: E402

Path = pathlib.Path | epath.Path  # The second where it lies in a bucket.

PACKAGES = {"gs": "gcsfs", "s3": "s3fs"}  # What reaches which kind of bucket; also our extras.
EXTRAS = {"gs": "gcs", "s3": "s3"}
REFUSALS = ("400", "401", "403", "404")  # Of HTTP, that do not change by themselves.
LOG_IN = (
    "Does the bucket exist, and is this host logged in there "
    "(gcloud auth application-default login, aws configure)?"
)
REWRITE = 30.0  # Seconds from one writing anew of a growing file to the next.


def path(text: str, option: str) -> Path:
    """The absolute path that an option names. ConfigError where it cannot be reached at all."""
    scheme = _scheme(text)
    if scheme is None:
        return pathlib.Path(text).expanduser().absolute()
    if scheme not in PACKAGES:
        raise ConfigError(
            f"{option}={text}: {scheme}:// is not known. Name a folder, or one in a bucket: "
            f"{' or '.join(f'{known}://BUCKET/FOLDER' for known in PACKAGES)}."
        )
    if importlib.util.find_spec(PACKAGES[scheme]) is None:
        raise ConfigError(
            f"{option}={text} needs {PACKAGES[scheme]}, which is not installed: "
            f'pip install "gan[{EXTRAS[scheme]}]".'
        )
    if not re.fullmatch(r"\w+://[^/]+/.*[^/].*", text):
        raise ConfigError(f"{option}={text} must name a folder in a bucket: {scheme}://BUCKET/RUN.")
    _see_others()
    return epath.Path(text)


def workdir(text: str) -> Path:
    """As `path`, for what checkpoints can be written to."""
    if _scheme(text) == "s3":
        raise ConfigError(
            f"--workdir={text}: Orbax, which writes the checkpoints, writes to disks and to gs://, "
            "not to s3://. Name a folder that all hosts share, or one on gs://. (Prepared data may "
            "lie there: config.data.cache_dir=s3://...)"
        )
    return path(text, "--workdir")


def on_disk(text: str, option: str) -> pathlib.Path:
    """As `path`, for what can only be read from a disk. ConfigError where it is in a bucket."""
    if _scheme(text):
        raise ConfigError(f"{option}={text} must lie on a disk, not in a bucket.")
    return pathlib.Path(text).expanduser().absolute()


def is_remote(path: Path) -> bool:
    """Whether it lies in a bucket."""
    return _scheme(str(path)) is not None


def reach(path: Path, option: str) -> None:
    """Raises ConfigError where a bucket does not answer, or not to us."""
    if not is_remote(path):
        return
    try:
        path.exists()
    except Exception as error:  # Each client has errors of its own.
        raise refused(f"{option}={path} cannot be read", error) from error


def refused(what: str, error: Exception) -> ConfigError | Unreachable:
    """What to raise: that a bucket says no does not change by itself; that it is silent may."""
    code = getattr(error, "code", getattr(error, "status", None))
    no = isinstance(error, FileNotFoundError | PermissionError) or str(code) in REFUSALS
    if no or "redential" in f"{type(error).__name__} {error}":
        return ConfigError(f"{what} ({reason(error)}). {LOG_IN}")
    return Unreachable(f"{what} ({reason(error)}).")


def reason(error: Exception) -> str:
    """What a client or the system says, in a line."""
    text = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
    return text if isinstance(error, OSError) and text else f"{type(error).__name__}: {text}"


def matches(pattern: Path) -> list[Path]:
    """What a path with `*`, `?` or `[` in it names."""
    remote = is_remote(pattern)
    root = type(pattern)(*pattern.parts[: 3 if remote else 1])  # A bucket: "/", "gs", its name.
    return sorted(root.glob(str(pattern.relative_to(root))))


def write(path: Path, data: bytes) -> None:
    """The whole file or none."""
    if is_remote(path):
        with _told_as_os_error():
            path.write_bytes(data)  # Seen when it is complete. (`mkdir` would make an S3 bucket.)
        return
    partial = path.with_name(f".{path.name}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


@contextlib.contextmanager
def _told_as_os_error() -> Iterator[None]:
    """Each client of buckets has errors of its own."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(errno.EIO, reason(error)) from error


def copy(source: Path, target: Path) -> None:
    """Copies a file of any size; on a disk it is there for good when this returns."""
    with _told_as_os_error(), source.open("rb") as file, target.open("wb") as copied:
        shutil.copyfileobj(file, copied, 2**24)
        if not is_remote(target):
            copied.flush()
            os.fsync(copied.fileno())


def size(path: Path) -> int:
    """Bytes of a file."""
    status = path.stat()
    return status.length if is_remote(path) else status.st_size


@contextlib.contextmanager
def shipped(folder: Path) -> Iterator[pathlib.Path]:
    """A folder on a disk, for who can write only there; a bucket gets what is in it at the end."""
    if not is_remote(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory() as aside:
        yield (local := pathlib.Path(aside))
        for file in sorted(local.rglob("*")):
            if file.is_file():
                copy(file, folder / file.relative_to(local).as_posix())


class Appended:
    """A text file on a disk that grows by lines."""

    def __init__(self, path: Path):
        """Goes on after what is there."""
        self._file = path.open("a", buffering=2**20)  # Lines that no full disk takes.

    def add(self, line: str) -> None:
        """It is on its way to the disk when this returns."""
        self._file.write(line + "\n")
        self._file.flush()

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """No more lines come."""
        self._file.close()


class Rewritten:
    """The same in a bucket: all of it is written anew, now and then, by a thread.

    Whoever adds a line never waits for the network.
    """

    def __init__(self, path: Path):
        """Goes on after what is there."""
        self._path = path
        self._lines = path.read_text().splitlines() if path.exists() else []
        self._written = len(self._lines)
        self._writing = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._now_and_then, name="rewrite", daemon=True)
        self._thread.start()

    def add(self, line: str) -> None:
        """It is in the bucket after `REWRITE` seconds, or after the next `flush`."""
        self._lines.append(line)

    def flush(self) -> None:
        """All lines are in the bucket when this returns."""
        with self._writing:
            lines = [*self._lines]
            if len(lines) > self._written:
                write(self._path, "".join(line + "\n" for line in lines).encode())
                self._written = len(lines)

    def close(self) -> None:
        """No more lines come."""
        self._closed.set()
        self._thread.join()
        self.flush()

    def _now_and_then(self) -> None:
        while not self._closed.wait(REWRITE):
            with contextlib.suppress(Exception):  # Tried again, and at last by `close`.
                self.flush()


def lines(path: Path) -> Appended | Rewritten:
    """A text file that grows by lines, wherever it lies."""
    return Rewritten(path) if is_remote(path) else Appended(path)


def _scheme(text: str) -> str | None:
    found = re.match(r"([A-Za-z][\w+.-]*)://", text)
    return found and found[1]


def _see_others() -> None:
    """What other processes write is seen: by default, a list of files is never read again."""
    import fsspec

    for protocol in PACKAGES:
        fsspec.config.conf.setdefault(protocol, {})["use_listings_cache"] = False
