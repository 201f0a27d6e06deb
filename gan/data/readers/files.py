"""Files in a folder or in a zip, read by name. A zip is never unpacked."""

import os
import re
import stat
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

from gan.errors import DataError

MAX_BYTES = 64 * 2**20  # Of one picture. Stops zip bombs.
MAX_TEXT = 512 * 2**20  # Of one file of labels; the largest official one has 27 MB.
IGNORED = re.compile(r"(^|/)([.]|__MACOSX(/|$)|Thumbs[.]db$)")  # What systems leave behind.
Stamp = tuple[int, ...]  # Another one whenever the file is another.
NOWHERE: Stamp = (-1, -1)  # Of a link to what is not there: git-annex and DVC leave such.


class Folder:
    """The files under a folder."""

    def __init__(self, path: Path):
        """`path` has to be a folder."""
        self.path = path

    def list(self, folder: str = "", *, deep: bool = False) -> dict[str, Stamp]:
        """The files right in `folder`, or with `deep` below it too: names within it -> stamps."""
        seen = {os.path.realpath(self.path / folder)}
        return dict(sorted(self._walk(folder, deep, seen)))

    def has(self, name: str) -> bool:
        """Whether there is a file or a folder of this name."""
        return os.path.exists(self.path / name)  # Never raises, unlike Path.exists.

    def where(self, name: str) -> str:
        """The file, for messages."""
        return str(self.path / name)

    def read(self, name: str, limit: int = MAX_BYTES) -> bytes:
        """All of a file, from any thread. DataError if it cannot be read or is too large."""
        path = self.path / name
        try:
            check_size(self.where(name), path.stat().st_size, limit)
            return path.read_bytes()
        except OSError as error:
            link = " It is a link: fetch what it leads to." if path.is_symlink() else ""
            raise DataError(f"{path} cannot be read: {error.strerror}.{link}") from error

    def _walk(self, folder: str, deep: bool, seen: set[str]) -> Iterator[tuple[str, Stamp]]:
        try:
            entries = list(os.scandir(self.path / folder))
        except OSError as error:
            raise DataError(f"{self.path / folder} cannot be read: {error.strerror}.") from error
        for entry in entries:
            if IGNORED.search(entry.name):
                continue
            try:
                status = entry.stat()
            except OSError:  # Said by who reads it.
                yield entry.name, NOWHERE
                continue
            if stat.S_ISREG(status.st_mode):
                yield entry.name, (status.st_size, status.st_mtime_ns)
            elif deep and entry.is_dir() and (real := os.path.realpath(entry.path)) not in seen:
                seen.add(real)  # Links may lead in a circle.
                below = f"{folder}/{entry.name}" if folder else entry.name
                for name, stamp in self._walk(below, deep, seen):
                    yield f"{entry.name}/{name}", stamp


class Zip:
    """The members of a zip; the names of folders in it end in no slash."""

    def __init__(self, path: Path):
        """DataError where `path` is no whole zip, or holds names that no honest one holds."""
        self.path = path
        try:
            self._archive = zipfile.ZipFile(path)
        except Exception as error:  # Damage comes as any of six kinds.
            raise DataError(f"{path}: {_not_a_zip(path, error)}") from None
        self._members: dict[str, zipfile.ZipInfo] = {}
        for info in self._archive.infolist():
            name = info.filename
            if not name or name.endswith("/") or (IGNORED.search(name) and ".." not in name):
                continue
            if name.startswith("/") or ":" in name or "\\" in name or ".." in name.split("/"):
                raise DataError(
                    f"{path}: the member {name[:200]!r} points out of the archive. No honest "
                    "zip of pictures does that: fetch it from another place."
                )
            if name in self._members:
                raise DataError(f"{path}: {name} is in it twice. Fetch the zip again.")
            self._members[name] = info
        # A lock rather than a handle a thread: reading is a tenth of the work, and the list of
        # 202,599 members, which each handle would hold, takes a second and 100 MB.
        self._lock = threading.Lock()

    def list(self, folder: str = "", *, deep: bool = False) -> dict[str, Stamp]:
        """As `Folder.list`."""
        prefix = f"{folder}/" if folder else ""
        found = {}
        for member, info in self._members.items():
            name = member.removeprefix(prefix)
            if member.startswith(prefix) and (deep or "/" not in name):
                found[name] = (info.file_size, info.CRC)
        return dict(sorted(found.items()))

    def has(self, name: str) -> bool:
        """As `Folder.has`."""
        return name in self._members or any(m.startswith(f"{name}/") for m in self._members)

    def where(self, name: str) -> str:
        """As `Folder.where`."""
        return f"{self.path}: {name}"

    def read(self, name: str, limit: int = MAX_BYTES) -> bytes:
        """As `Folder.read`. The CRC is compared, so that a flipped bit is found."""
        info = self._members[name]
        check_size(self.where(name), info.file_size, limit)
        try:
            with self._lock:
                return self._archive.read(info)
        except Exception as error:  # Damage comes as any of six kinds.
            raise DataError(
                f"{self.where(name)} is damaged ({error}). Fetch the zip again."
            ) from error


Files = Folder | Zip


def open_files(path: Path) -> Files:
    """The folder or the zip at `path`."""
    return Folder(path) if path.is_dir() else Zip(path)


def read_lines(files: Files, name: str) -> list[str]:
    """The lines of a text file whose lines end in LF or CRLF, without empty ones at the end."""
    try:
        text = files.read(name, MAX_TEXT).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{files.where(name)}, byte {error.start}: this is not a text file in UTF-8. If it is "
            "text in another encoding (UTF-16, Latin-1), save it as UTF-8."
        ) from None
    return text.rstrip().replace("\r\n", "\n").split("\n")


def check_size(where: str, size: int, limit: int) -> None:
    """DataError before anything so large is read."""
    if size > limit:
        raise DataError(f"{where} has {size:,} bytes; at most {limit:,} are read.")


def _not_a_zip(path: Path, error: Exception) -> str:
    """What the file is instead, and what to do about it."""
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror}."
    with path.open("rb") as file:
        head = file.read(512).lstrip().lower()
    size = path.stat().st_size
    if head.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")):
        return (
            f"this is an HTML page of {size:,} bytes, not a zip. The server sent a message (a "
            "quota, a log-in) instead of the file: open it in a browser, and fetch the zip again."
        )
    if head.startswith(b"pk"):
        return f"the zip breaks off after {size:,} bytes. Fetch it again, in full."
    return f"this is not a zip ({size:,} bytes, beginning with {head[:8]!r}). Fetch it again."
