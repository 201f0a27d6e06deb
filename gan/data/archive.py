"""JPEG files in a zip or a folder: read by name, never unpacked, looked at before decoding."""

import re
import struct
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from gan.errors import DataError

MAX_BYTES = 8 * 2**20  # Of one picture; official ones have about 10 kB. Stops zip bombs.


class Archive(NamedTuple):
    """Named pictures."""

    path: Path
    stamps: dict[str, tuple[int, ...]]  # Name -> what changes when the picture does.
    read: Callable[[str], bytes]  # Thread-safe; DataError names the picture.


def from_zip(path: Path, prefix: str, pattern: re.Pattern) -> Archive:
    """The members `prefix` + a name like `pattern`; what else lies in the zip is never touched."""
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:  # Damage comes as any of six kinds.
        raise DataError(f"{path}: {not_a_zip(path, error)}") from None
    members = {}
    for info in archive.infolist():
        name = info.filename.removeprefix(prefix)
        if name != info.filename and pattern.fullmatch(name):
            if name in members:
                raise DataError(f"{path}: {info.filename} is in it twice. Fetch the zip again.")
            members[name] = info
    if not members:
        there = first_few([info.filename for info in archive.infolist()])
        raise DataError(f"{path}: no member is like {prefix}000001.jpg; there are {there}.")
    # A lock rather than a handle a thread: reading is a tenth of the work, and the list of
    # 202,599 members, which each handle would hold, takes a second and 100 MB.
    lock = threading.Lock()

    def read(name: str) -> bytes:
        where, info = f"{path}: {prefix}{name}", members[name]
        check_size(where, info.file_size)
        try:
            with lock:
                return archive.read(info)  # Compares the CRC, so that a flipped bit is found.
        except Exception as error:  # Damage comes as any of six kinds.
            raise DataError(f"{where} is damaged ({error}). Fetch the zip again.") from error

    stamps = {name: (info.file_size, info.CRC) for name, info in members.items()}
    return Archive(path, stamps, read)


def from_folder(path: Path, pattern: re.Pattern) -> Archive:
    """The files with a name like `pattern` right in the folder `path`."""
    stamps = {}
    for file in path.iterdir():
        if pattern.fullmatch(file.name):
            stat = file.stat()
            stamps[file.name] = (stat.st_size, stat.st_mtime_ns)
    if not stamps:
        there = first_few(sorted(file.name for file in path.iterdir()))
        raise DataError(f"{path}: no file is like 000001.jpg; there are {there}.")

    def read(name: str) -> bytes:
        try:
            check_size(f"{path / name}", (path / name).stat().st_size)
            return (path / name).read_bytes()
        except OSError as error:
            raise DataError(f"{path / name} cannot be read: {error.strerror}.") from error

    return Archive(path, stamps, read)


def not_a_zip(path: Path, error: Exception) -> str:
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


def check_size(where: str, size: int) -> None:
    """DataError before anything so large is read."""
    if size > MAX_BYTES:
        raise DataError(f"{where} has {size:,} bytes; at most {MAX_BYTES:,} are read.")


def jpeg_shape(data: bytes, where: str) -> tuple[int, int, int]:
    """Height, width and channels from the header; DataError if `data` is not one whole JPEG."""
    if data[:2] != b"\xff\xd8":
        raise DataError(f"{where} is not a JPEG file: it begins with {data[:8]!r}.")
    if data[-2:] != b"\xff\xd9":
        raise DataError(f"{where}: the JPEG breaks off after {len(data):,} bytes.")
    at = 2
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # Start of frame.
            height, width, channels = struct.unpack_from(">HHB", data, at + 5)
            return height, width, channels
        # 0xFF before a marker only fills; all other segments here say how long they are.
        at += 1 if marker == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4])
    raise DataError(f"{where}: the JPEG has no header that says how large it is.")


def first_few(names: list[str]) -> str:
    """At most five names, and how many there are besides."""
    more = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
    return (", ".join(names[:5]) or "nothing") + more
