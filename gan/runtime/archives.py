"""Says what an archive is that cannot be read, and what helps."""

import shlex
import zipfile
from pathlib import Path

METHODS = {  # Of compression in a zip that Python may not read, by their numbers.
    9: "Deflate64",
    14: "LZMA",
    93: "Zstandard",
    95: "XZ",
    96: "JPEG",
    98: "PPMd",
    99: "AES",
}
READABLE = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
READABLE += (getattr(zipfile, "ZIP_ZSTANDARD", zipfile.ZIP_STORED),)  # From Python 3.14 on.
PICTURES = {b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"GIF8": "GIF", b"BM": "BMP"}
ARCHIVES = {  # How files begin that hold others, and a command that unpacks them.
    b"\x1f\x8b": ("tar or another file in gzip", "tar xzf {}"),
    b"BZh": ("tar or another file in bzip2", "tar xjf {}"),
    b"\xfd7zXZ\0": ("tar or another file in xz", "tar xJf {}"),
    b"\x28\xb5\x2f\xfd": ("tar or another file in Zstandard", "tar --zstd -xf {}"),
    b"7z\xbc\xaf\x27\x1c": ("7z", "7z x {}"),
    b"Rar!": ("RAR", "unrar x {}"),
}


def explain_no_zip(path: Path, error: Exception) -> str:
    """Returns what the file at `path` is, since it is no zip, and what helps."""
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror}."
    with path.open("rb") as file:
        begin = file.read(512)
    head, size = begin.lstrip().lower(), path.stat().st_size
    if head.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")):
        return (
            f"this is an HTML page of {size:,} bytes, not a zip. The server sent a message (a "
            "quota, a log-in) instead of the file: open it in a browser, and fetch the zip again."
        )
    if "multiple disks" in str(error):
        name = shlex.quote(str(path))
        return f"this is one part of a zip. Join the parts: zip -s 0 {name} --out whole.zip"
    if head.startswith(b"pk"):
        return f"the zip breaks off after {size:,} bytes. Fetch it again, in full."
    what = f"this is not a zip ({size:,} bytes, beginning with {head[:8]!r})"
    kinds = [("tar", "tar xf {}")] if begin[257:262] == b"ustar" else []
    kinds += [kind for start, kind in ARCHIVES.items() if begin.startswith(start)]
    for kind, command in kinds:
        return (
            f"{what} but {kind}, which cannot be read picture by picture. Unpack it by "
            f"{command.format(shlex.quote(str(path)))}, and give the folder as config.data.path."
        )
    riff = {begin[:12]: "WebP"} if begin[8:12] == b"WEBP" else {}
    for start, kind in (PICTURES | riff).items():
        if begin.startswith(start):
            return (
                f"{what} but a single picture ({kind}). Give the folder that holds all of them: "
                f"--config.data.path={path.parent}"
            )
    return f"{what}. Fetch it again, or give the folder in which the pictures lie."


def explain_locked(info: zipfile.ZipInfo) -> str:
    """Returns why a member of a zip cannot be read, and what helps; "" if it can."""
    unpack = "Unpack the zip, and give the folder as config.data.path."
    if info.flag_bits & 1:
        return f"is encrypted: it takes a password, which cannot be given here. {unpack}"
    if info.compress_type not in READABLE:
        method = METHODS.get(info.compress_type, f"method {info.compress_type}")
        return f"is compressed by {method}, which Python does not read. {unpack}"
    return ""
