"""Reads and writes files on a disk, on one that hosts share (NFS), or in a bucket.

A bucket (`gs://`, `s3://`) is reached by epath over fsspec. It holds whole objects: an object
appears complete or not at all, and it cannot be appended to, renamed in one step, or locked.
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

os.environ.setdefault("EPATH_USE_TF", "false")  # Else epath imports TensorFlow: it takes seconds.
from etils import epath  # noqa: E402, the variable has to be set before

from gan.errors import ConfigError, NotSaved, Unreachable  # noqa: E402

Path = pathlib.Path | epath.Path  # An epath.Path lies in a bucket, a pathlib.Path on a disk.

BUCKET_CLIENTS = {"gs": "gcsfs", "s3": "s3fs"}  # The package that reaches each kind of bucket.
EXTRAS = {"gs": "gcs", "s3": "s3"}  # The extra of this project that installs that package.
COPY = {  # Commands that copy from each kind of bucket.
    "gs": "gcloud storage cp --recursive gs://BUCKET/FOLDER .",
    "s3": "aws s3 cp --recursive s3://BUCKET/FOLDER .",
    "https": "curl --remote-name --location",
}
REFUSALS = ("400", "401", "403", "404")  # Codes of HTTP that stay the same when one tries again.
LOG_IN = (
    "Does the bucket exist, and is this host logged in there "
    "(gcloud auth application-default login, aws configure)?"
)
# Names of files may have bytes that are no text: a line shows them, in whatever locale.
TEXT = {"encoding": "utf-8", "errors": "backslashreplace"}
REWRITE = 30.0  # Seconds between two uploads of a growing file.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # Errors of a disk without room for a file.


def parse_path(text: str, option: str) -> Path:
    """Returns the absolute path that an option names: on a disk, or in a bucket.

    Raises ConfigError if its scheme is unknown, its package is missing, or it names no folder.
    """
    scheme = _scheme(text)
    if scheme is None:
        return pathlib.Path(text).expanduser().absolute()
    if scheme not in BUCKET_CLIENTS:
        raise ConfigError(
            f"{option}={text}: {scheme}:// is not known. Name a folder, or one in a bucket: "
            f"{' or '.join(f'{known}://BUCKET/FOLDER' for known in BUCKET_CLIENTS)}."
        )
    if not re.fullmatch(r"\w+://[^/]+/.*[^/].*", text):
        raise ConfigError(f"{option}={text} must name a folder in a bucket: {scheme}://BUCKET/RUN.")
    if importlib.util.find_spec(BUCKET_CLIENTS[scheme]) is None:
        raise ConfigError(
            f"{option}={text} needs {BUCKET_CLIENTS[scheme]}, which is not installed: "
            f'pip install "gan[{EXTRAS[scheme]}]".'
        )
    _see_files_of_others()
    return epath.Path(text)


def parse_workdir(text: str, several: bool = False) -> Path:
    """Returns the path that --workdir names, a pattern where it may name `several`.

    Raises ConfigError where Orbax cannot write.
    """
    if _scheme(text) == "s3":
        raise ConfigError(
            f"--workdir={text}: Orbax, which writes the checkpoints, writes to disks and to gs://, "
            "not to s3://. Name a folder that all hosts share, or one on gs://. (Prepared data may "
            "lie there: config.data.cache_dir=s3://...)"
        )
    if _scheme(text) and has_pattern(text) and not several:
        raise ConfigError(
            f"--workdir={text}: Orbax, which writes the checkpoints, takes [ ] * ? and \\ in a "
            "bucket for patterns. Name a folder without them."
        )
    return parse_path(text, "--workdir")


def has_pattern(text: str) -> bool:
    """Whether a path has a character that `glob`, or a library that globs, takes for a pattern."""
    return bool(re.search(r"[\[\]*?\\]", text))


def parse_disk_path(text: str, option: str) -> pathlib.Path:
    """Returns the absolute path on a disk that an option names. Raises ConfigError for a bucket."""
    if _scheme(text):
        raise ConfigError(
            f"{option}={text} must lie on a disk, not in a bucket. Name a folder; what lies in the "
            f"bucket is copied there by {COPY.get(_scheme(text), 'its own program')}."
        )
    return pathlib.Path(text).expanduser().absolute()


def is_remote(path: Path) -> bool:
    """Whether a path lies in a bucket."""
    return _scheme(str(path)) is not None


def check_reachable(path: Path, option: str) -> None:
    """Asks a bucket for a path. Raises ConfigError if it refuses us, Unreachable if it fails."""
    if not is_remote(path):
        return
    try:
        path.exists()
    except Exception as error:  # Each client has its own types of errors.
        raise access_error(f"{option}={path} cannot be read", error) from error


def access_error(what: str, error: Exception) -> ConfigError | Unreachable:
    """Error to raise for an `error` of a bucket's client; `what` begins its message.

    It is ConfigError if the bucket refuses us, and Unreachable if another try may succeed.
    """
    code = getattr(error, "code", getattr(error, "status", None))
    refuses = isinstance(error, FileNotFoundError | PermissionError) or str(code) in REFUSALS
    if refuses or "redential" in f"{type(error).__name__} {error}":
        return ConfigError(f"{what} ({describe_error(error)}). {LOG_IN}")
    return Unreachable(f"{what} ({describe_error(error)}).")


def describe_error(error: Exception) -> str:
    """Message of an error of the system or of a bucket's client, in one line."""
    text = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
    return text if isinstance(error, OSError) and text else f"{type(error).__name__}: {text}"


def find_matches(pattern: Path) -> list[Path]:
    """Finds the paths that match one with `*`, `?` or `[` in it, sorted."""
    remote = is_remote(pattern)
    # The parts of a path in a bucket begin with "/", "gs" and the bucket's name.
    root = type(pattern)(*pattern.parts[: 3 if remote else 1])
    return sorted(root.glob(str(pattern.relative_to(root))))


def write_file(path: Path, data: bytes) -> None:
    """Writes a whole file; if that fails, the file that was there before stays.

    Raises NotSaved where the disk is full, OSError where it cannot be written for other reasons.
    """
    if is_remote(path):
        with raise_as_os_error():
            path.write_bytes(data)  # Makes no folder before: `mkdir` would make an S3 bucket.
        return
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        if error.errno not in FULL:
            raise
        full = NotSaved(
            f"{path} cannot be written ({error.strerror}). Make room there, and run the same "
            "command again."
        )
        full.strerror = error.strerror  # For messages that name the file themselves.
        raise full from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def raise_as_os_error() -> Iterator[None]:
    """Raises the errors of a bucket's client, which has its own types, as OSError."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(errno.EIO, describe_error(error)) from error


def remove_folder(path: Path) -> None:
    """Removes a folder with all in it."""
    if is_remote(path):
        with raise_as_os_error():
            path.rmtree()
    else:
        shutil.rmtree(path)


def copy_file(source: Path, target: Path) -> None:
    """Copies a file of any size. On a disk it survives a power cut once this returns."""
    with raise_as_os_error(), source.open("rb") as file, target.open("wb") as copied:
        shutil.copyfileobj(file, copied, 2**24)
        if not is_remote(target):
            copied.flush()
            os.fsync(copied.fileno())


def file_size(path: Path) -> int:
    """Size of a file in bytes."""
    status = path.stat()
    return status.length if is_remote(path) else status.st_size


@contextlib.contextmanager
def staging_folder(folder: Path) -> Iterator[pathlib.Path]:
    """Folder on a disk for a library that writes only to disks.

    It is `folder` itself, or a temporary folder that is uploaded at the end if that is in a bucket.
    """
    if not is_remote(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory() as aside:
        yield (local := pathlib.Path(aside))
        for file in sorted(local.rglob("*")):
            if file.is_file():
                copy_file(file, folder / file.relative_to(local).as_posix())


class DiskLines:
    """A text file on a disk that grows by lines."""

    def __init__(self, path: Path):
        """Appends to what the file holds."""
        # Lines that do not fit on a full disk stay in the buffer until it has room again.
        self._file = path.open("a", buffering=2**20, **TEXT)

    def add(self, line: str) -> None:
        """Adds a line and hands it to the system. Raises OSError if the disk is full."""
        self._file.write(line + "\n")
        self._file.flush()

    def flush(self) -> None:
        """Does nothing, since `add` flushes."""

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class BucketLines:
    """A text file in a bucket that grows by lines.

    A thread uploads the whole file now and then, so `add` never waits for the network.
    """

    def __init__(self, path: Path, every: float = REWRITE):
        """Appends to what the file holds, and uploads it all `every` seconds."""
        self._path, self._every = path, every
        text = path.read_bytes().decode(**TEXT) if path.exists() else ""
        self._lines = text.splitlines()
        self._written = len(self._lines)
        self._writing = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._flush_regularly, name="rewrite", daemon=True)
        self._thread.start()

    def add(self, line: str) -> None:
        """Adds a line, which is in the bucket after the next upload or `flush`."""
        self._lines.append(line)

    def flush(self) -> None:
        """Uploads the file if lines were added. Raises OSError if that fails."""
        with self._writing:
            lines = [*self._lines]
            if len(lines) > self._written:
                write_file(self._path, "".join(line + "\n" for line in lines).encode(**TEXT))
                self._written = len(lines)

    def close(self) -> None:
        """Uploads what is left and ends the thread."""
        self._closed.set()
        self._thread.join()
        self.flush()

    def _flush_regularly(self) -> None:
        while not self._closed.wait(self._every):
            with contextlib.suppress(Exception):  # The next turn tries again, and at last `close`.
                self.flush()


def open_lines(path: Path) -> DiskLines | BucketLines:
    """Opens a text file that grows by lines, on a disk or in a bucket."""
    return BucketLines(path) if is_remote(path) else DiskLines(path)


def _scheme(text: str) -> str | None:
    found = re.match(r"([A-Za-z][\w+.-]*)://", text)
    return found and found[1]


def _see_files_of_others() -> None:
    """Makes fsspec see files that other processes add: by default it lists a folder only once."""
    import fsspec

    for protocol in BUCKET_CLIENTS:
        fsspec.config.conf.setdefault(protocol, {})["use_listings_cache"] = False
