"""Files in a folder or in a zip, found and read by name. A zip is never unpacked.

Names are relative to the folder or zip, with "/" between the folders: `Anno/list_attr_celeba.txt`.
`open_data(config, ...)` opens what lies at `config.path`, and says what is wrong if it cannot.
"""

import os
import re
import shlex
import stat
import threading
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from gan.config import Data
from gan.data.decode import MAX_BYTES
from gan.errors import ConfigError, DataError, first_few, nearest
from gan.runtime.archives import explain_locked, explain_no_zip
from gan.runtime.own_output import is_own_output, tell_own_output

MAX_TEXT = 512 * 2**20  # Largest file of labels that is read; the largest official one has 27 MB.
IGNORED = re.compile(r"(^|/)([.]|__MACOSX(/|$)|Thumbs[.]db$)")  # Left behind by operating systems.
OUTSIDE = re.compile(r"^/|^[A-Za-z]:/|(^|/)[.][.](/|$)")  # Names that lead out of an archive.
INNER = re.compile(r"[.](zip|tar|tgz|tar[.]\w+|7z|rar)$", re.IGNORECASE)  # Archives, by name.
Stamp = tuple[int, ...]  # Changes when the file does: (bytes, time in ns), in a zip (bytes, CRC).
NOWHERE: Stamp = (-1, -1)  # Stamp of a link to nothing: git-annex and DVC leave such links.
DIGITS = re.compile(r"[0-9]{1,9}")  # Not str.isdigit, which knows the digits of all scripts.
WHOLE_END = 10**9  # Whole numbers in files of labels are below this, so they fit int32.


class Folder:
    """The files under a folder."""

    def __init__(self, path: Path):
        """Takes the path of an existing folder."""
        self.path = path

    def list(self, folder: str = "", *, deep: bool = False) -> dict[str, Stamp]:
        """Returns the stamps of the files in `folder`, sorted by their names within it.

        With `deep`, files in its sub-folders are listed too. DataError if one cannot be read.
        """
        seen = {os.path.realpath(self._at(folder))}
        return dict(sorted(self._walk(folder, deep, seen)))

    def has(self, name: str) -> bool:
        """Tells whether there is a file or a folder of this name."""
        return os.path.exists(self._at(name))  # Never raises, unlike Path.exists.

    def where(self, name: str) -> str:
        """Returns the path of a file, for messages."""
        return str(self.path / name)

    def read(self, name: str, limit: int = MAX_BYTES) -> bytes:
        """Reads a whole file, from any thread.

        DataError if it cannot be read or has more than `limit` bytes.
        """
        path = self._at(name)
        try:
            check_size(self.where(name), path.stat().st_size, limit)
            return path.read_bytes()
        except OSError as error:
            link = " It is a link: fetch what it leads to." if path.is_symlink() else ""
            raise DataError(f"{path} cannot be read: {error.strerror}.{link}") from error

    def _at(self, name: str) -> Path:
        """Returns the path of a file, whose name is in UTF-8 even where the system's locale is not.

        Bytes that are no UTF-8 stay as they are.
        """
        return self.path / os.fsdecode(name.encode("utf-8", "surrogateescape"))

    def _walk(self, folder: str, deep: bool, seen: set[str]) -> Iterator[tuple[str, Stamp]]:
        try:
            entries = list(os.scandir(self._at(folder)))
        except OSError as error:
            raise DataError(f"{self._at(folder)} cannot be read: {error.strerror}.") from error
        names = {entry.name for entry in entries}
        for entry in entries:
            if IGNORED.search(entry.name):
                continue
            named = os.fsencode(entry.name).decode("utf-8", "surrogateescape")
            try:
                status = entry.stat()
            except OSError:  # `read` reports it.
                yield named, NOWHERE
                continue
            if stat.S_ISREG(status.st_mode):
                yield named, (status.st_size, status.st_mtime_ns)
            elif deep and entry.is_dir() and (real := os.path.realpath(entry.path)) not in seen:
                seen.add(real)  # Links may lead in a circle.
                if is_own_output(Path(entry.path), beside=names):
                    tell_own_output(entry.path)
                    continue
                below = join_names(folder, named)
                for name, stamp in self._walk(below, deep, seen):
                    yield f"{named}/{name}", stamp


class Zip:
    """The files in a zip, with the same methods as `Folder`."""

    def __init__(self, path: Path):
        """Opens the zip. DataError if it is damaged, or holds names that no honest zip holds."""
        self.path = path
        try:
            self._archive = zipfile.ZipFile(path)
        except Exception as error:  # Damage is raised as six kinds of exceptions.
            raise DataError(f"{path}: {explain_no_zip(path, error)}") from None
        self._members: dict[str, zipfile.ZipInfo] = {}
        for info in self._archive.infolist():
            name = info.filename.replace("\\", "/")  # Some programs for Windows write it so.
            if OUTSIDE.search(name):
                raise DataError(
                    f"{path}: the member {info.filename[:200]!r} points out of the archive. No "
                    "honest zip of pictures does that: fetch it from another place."
                )
            if not name or name.endswith("/") or IGNORED.search(name):
                continue
            if name in self._members:
                raise DataError(f"{path}: {name} is in it twice. Fetch the zip again.")
            self._members[name] = info
        locked = {
            name: why for name, info in self._members.items() if (why := explain_locked(info))
        }
        if locked and len(locked) == len(self._members):
            name, why = next(iter(locked.items()))
            raise DataError(f"{self.where(name)} {why}")
        # One handle and a lock, not one handle a thread: reading is a tenth of the work, and each
        # handle would take a second and 100 MB to list 202,599 members.
        self._lock = threading.Lock()

    def list(self, folder: str = "", *, deep: bool = False) -> dict[str, Stamp]:
        """Returns the stamps of the files in `folder`, sorted by their names within it.

        With `deep`, files in its sub-folders are listed too.
        """
        prefix = f"{folder}/" if folder else ""
        found = {}
        for member, info in self._members.items():
            name = member.removeprefix(prefix)
            if member.startswith(prefix) and (deep or "/" not in name):
                found[name] = (info.file_size, info.CRC)
        return dict(sorted(found.items()))

    def has(self, name: str) -> bool:
        """Tells whether there is a file or a folder of this name."""
        return name in self._members or any(m.startswith(f"{name}/") for m in self._members)

    def where(self, name: str) -> str:
        """Returns the path of the zip and the name of a file, for messages."""
        return f"{self.path}: {name}"

    def read(self, name: str, limit: int = MAX_BYTES) -> bytes:
        """Reads a whole file, from any thread, and compares its CRC.

        DataError if it is damaged or has more than `limit` bytes.
        """
        info = self._members[name]
        check_size(self.where(name), info.file_size, limit)
        if why := explain_locked(info):
            raise DataError(f"{self.where(name)} {why}")
        try:
            with self._lock:
                return self._archive.read(info)
        except Exception as error:  # Damage is raised as six kinds of exceptions.
            raise DataError(
                f"{self.where(name)} is damaged ({error}). Fetch the zip again."
            ) from error


Files = Folder | Zip


def require_path(config: Data, source: str, needs: str, how_to_get: str) -> Path:
    """Returns `config.path` as a path to an existing file or folder.

    `needs` names the files that the source wants, and `how_to_get` is a sentence on where people
    get them: both are for messages. ConfigError if no path is given, DataError if nothing is there.
    """
    if config.path is None:
        raise ConfigError(
            f"config.data.path is not given: source {source!r} needs a folder, or a zip, with "
            f"{needs}, given by --config.data.path=PATH. {how_to_get}"
        )
    path = Path(os.path.expanduser(config.path))
    if not os.path.exists(path):
        raise DataError(
            f"config.data.path={str(path)!r} does not exist; give the folder, or the zip, that "
            f"holds {needs}.{nearest(path.name, list_readable(path.parent))}"
        )
    return path


def open_data(config: Data, source: str, needs: str, how_to_get: str) -> Files:
    """Opens the folder or zip at `config.path`; see `require_path`. DataError if it is damaged."""
    return open_files(require_path(config, source, needs, how_to_get))


def open_files(path: Path) -> Files:
    """Opens the folder or the zip at `path`. DataError if it is neither, damaged, or our own."""
    if is_own_output(path):
        raise DataError(
            f"config.data.path={path} holds a run, or what was made of data. Give the folder with "
            "the pictures that it was made of."
        )
    return Folder(path) if path.is_dir() else Zip(path)


def read_lines(files: Files, name: str) -> list[str]:
    """Reads the lines of a text file in UTF-8, without line ends and without empty last lines.

    DataError if it is not text, cannot be read or is larger than `MAX_TEXT`.
    """
    try:
        text = files.read(name, MAX_TEXT).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{files.where(name)}, byte {error.start}: this is not a text file in UTF-8. If it is "
            "text in another encoding (UTF-16, Latin-1), save it as UTF-8."
        ) from None
    return text.rstrip().replace("\r\n", "\n").split("\n")


def is_whole(text: str, end: int = WHOLE_END) -> bool:
    """Tells whether a text is a whole number from 0 to `end` - 1."""
    return DIGITS.fullmatch(text) is not None and int(text) < end


def read_nth(files: Files, names: Sequence[str], index: int) -> bytes:
    """Reads the file `names[index]`: with `files` and `names` bound, a `Split.read`."""
    return files.read(names[index])


def find_top_folder(files: Files) -> str:
    """Returns the one folder that holds everything in a zip, or "".

    Some people zip the folder itself, others only what is in it.
    """
    if isinstance(files, Folder):
        return ""
    tops = {name.partition("/")[0] if "/" in name else "" for name in files.list(deep=True)}
    return tops.pop() if len(tops) == 1 else ""


def find_file(files: Files, name: str, folders: Sequence[str]) -> str | None:
    """Returns `FOLDER/name` for the first of the folders that has it, or None."""
    paths = (join_names(folder, name) for folder in folders)
    return next((path for path in paths if files.has(path)), None)


def require_file(files: Files, name: str, folders: Sequence[str]) -> str:
    """Returns `FOLDER/name` for the first of the folders that has it. DataError if none has."""
    path = find_file(files, name, folders)
    if path is None:
        raise explain_missing(files, name, folders)
    return path


def explain_missing(
    files: Files, name: str, folders: Sequence[str], or_else: str = ""
) -> DataError:
    """Returns an error that says what lies there instead, or that it lies one folder higher."""
    there = sorted({entry for folder in folders for entry in list_entries(files, folder)})
    remedy = f"{nearest(name, there)} Put it there under its official name."
    if os.path.exists(files.path.parent / name):
        remedy = f" It lies in {files.path.parent}: give that folder as config.data.path."
    inner = sorted({folder for folder in folders if folder})
    nor = f" (nor in its folders {', '.join(inner)})" if inner else ""
    return DataError(
        f"{files.path}: {name}{or_else} is not there{nor}. There lie {first_few(there)}.{remedy}"
    )


def list_entries(files: Files, folder: str) -> list[str]:
    """Lists the names in a folder that may be missing; in a zip, only those of files."""
    if isinstance(files, Folder):
        return list_readable(files.path / folder)
    return list(files.list(folder))


def list_readable(path: Path) -> list[str]:
    """Lists the names in a folder. They are for hints: a folder that cannot be read has none."""
    try:
        return os.listdir(path)
    except (OSError, ValueError):
        return []


def to_text(name: str) -> str:
    """Returns a name with those of its bytes that are no UTF-8 as escapes: Zo\\xeb."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def join_names(folder: str, name: str) -> str:
    """Joins a folder and a name in it, either of which may be empty, by a "/"."""
    return f"{folder}/{name}" if folder and name else folder or name


def check_size(where: str, size: int, limit: int) -> None:
    """Raises DataError if a file of `size` bytes is larger than `limit`."""
    if size > limit:
        raise DataError(f"{where} has {size:,} bytes; at most {limit:,} are read.")


def explain_inner(files: Files) -> str:
    """Returns what to do where archives lie in place of pictures; "" if none lie there."""
    inner = [name for name in files.list(deep=True) if INNER.search(name)]
    if not inner:
        return ""
    if isinstance(files, Zip):
        return (
            f" Archives within a zip are not read ({first_few(inner)}). Unpack it by unzip "
            f"{shlex.quote(str(files.path))}, and give what was in it: "
            f"--config.data.path={inner[0]}"
        )
    return f" Archives are read by their own path: --config.data.path={files.where(inner[0])}"
