"""Prepared pictures: the one format on disk. One folder a split, each file as plain as can be.

    images.npy      uint8 [n s s 3]    RGB, memory-mapped
    attributes.npy  uint8 [n a]        0 | 1
    identity.npy    int32 [n]          -1 where unknown
    meta.json       what the pictures are, how they were made, and SHA-256 of it all

A folder is written aside and renamed when all of it is on the disk: one that has its name is whole.
"""

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Int32, UInt8

from gan.errors import ConfigError, DataError

log = logging.getLogger("gan")

FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Meta:
    """What the pictures are and how they were made."""

    source: str  # Key of `gan.data.prepare.SOURCES`.
    fingerprint: str  # Of the source: another one, other pictures.
    split: str  # "train" | "validation" | "test"
    crop: str  # Key of `gan.data.prepare.CROPS`; "none" if drawn.
    resize: str  # Rule, for example "bicubic-antialias"; "none" if drawn.
    attribute_names: tuple[str, ...]
    image_size: int  # Pixels, square.
    num: int  # Pictures.


@dataclasses.dataclass(frozen=True, eq=False)
class Store(Meta):
    """A prepared split."""

    path: Path
    images: UInt8[np.ndarray, "n s s 3"]  # Memory-mapped, read-only.
    attributes: UInt8[np.ndarray, "n a"]
    identity: Int32[np.ndarray, "n"]

    @property
    def meta(self) -> Meta:
        """Without the arrays, for comparing and for writing down."""
        return Meta(**{field: getattr(self, field) for field in FIELDS})


FIELDS = [field.name for field in dataclasses.fields(Meta)]
ARRAYS = ("images.npy", "attributes.npy", "identity.npy")


def open_store(path: Path, verify: bool = False) -> Store:
    """The store in `path`. Shapes are compared always, SHA-256 if `verify` (reads every byte)."""

    def bad(file: str, what: object) -> DataError:
        return DataError(
            f"{path / file}: {what}. Delete the folder {path}, and it will be prepared again."
        )

    try:
        document = json.loads((path / "meta.json").read_text())
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']!r}, where {FORMAT} is read")
        meta = Meta(
            **document["meta"] | {"attribute_names": (*document["meta"]["attribute_names"],)}
        )
        checksums = {file: document["sha256"][file] for file in ("meta", *ARRAYS)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise bad("meta.json", f"cannot be read ({error})") from error
    if checksums["meta"] != checksum(meta):
        raise bad("meta.json", "does not match its checksum")
    shapes = {
        "images.npy": (np.uint8, (meta.num, meta.image_size, meta.image_size, 3)),
        "attributes.npy": (np.uint8, (meta.num, len(meta.attribute_names))),
        "identity.npy": (np.int32, (meta.num,)),
    }
    arrays = {}
    for file, (dtype, shape) in shapes.items():
        try:
            array = np.load(path / file, mmap_mode="r", allow_pickle=False)
        except Exception as error:  # A damaged header can fail in any way.
            raise bad(file, f"cannot be read ({error})") from error
        if (array.dtype, array.shape) != (np.dtype(dtype), shape):
            raise bad(file, f"{array.dtype} {[*array.shape]} should be {dtype.__name__} {[*shape]}")
        if verify and file_checksum(path / file) != checksums[file]:
            raise bad(file, "does not match its checksum")
        arrays[file.removesuffix(".npy")] = array
    return Store(**{field: getattr(meta, field) for field in FIELDS}, path=path, **arrays)


def write_store(
    path: Path,
    meta: Meta,
    images: Iterator[np.ndarray],
    attributes: UInt8[np.ndarray, "n a"],
    identity: Int32[np.ndarray, "n"],
) -> None:
    """Writes a store; hold `lock(path.parent)` meanwhile. `images` come in batches [b s s 3].

    DataError if the disk is full. Whatever ends it early, nothing has the name `path` then.
    """
    if meta.num == 0:
        raise DataError(f"{path}: split {meta.split!r} of source {meta.source!r} has no pictures.")
    shape = (meta.num, meta.image_size, meta.image_size, 3)
    needed = int(np.prod(shape)) + attributes.nbytes + identity.nbytes + 2**16
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise disk_full(path, needed, free)
    aside = path.with_name(path.name + ".unfinished")
    shutil.rmtree(aside, ignore_errors=True)  # Of a writer that died: the living hold the lock.
    try:
        aside.mkdir()
        # Written as a file, not through a map: on a full disk a map ends the process (SIGBUS).
        with synced(aside / "images.npy") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            written = 0
            for batch in images:
                if batch.dtype != np.uint8 or batch.shape[1:] != shape[1:]:
                    raise DataError(
                        f"{path}: pictures came as {batch.dtype} {[*batch.shape]}, not as uint8 "
                        f"[b, {meta.image_size}, {meta.image_size}, 3]."
                    )
                file.write(np.ascontiguousarray(batch).data)
                written += len(batch)
        if written != meta.num:
            raise DataError(f"{path}: {written} pictures came for {meta.num} rows of attributes.")
        for name, array in (("attributes.npy", attributes), ("identity.npy", identity)):
            with synced(aside / name) as file:
                np.save(file, array, allow_pickle=False)
        checksums = {name: file_checksum(aside / name) for name in ARRAYS}
        document = {
            "format": FORMAT,
            "meta": dataclasses.asdict(meta),
            "sha256": {"meta": checksum(meta)} | checksums,
        }
        with synced(aside / "meta.json") as file:
            file.write(json.dumps(document).encode())
        sync_folder(aside)
        aside.rename(path)
        sync_folder(path.parent)
    except BaseException as error:
        shutil.rmtree(aside, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(path, needed, shutil.disk_usage(path.parent).free) from error
        raise


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Makes `folder` and holds it against other processes; waits, and says so, if it is taken."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("wb")
    except OSError as error:
        raise ConfigError(
            f"config.data.cache_dir: {folder} cannot be written ({error.strerror}). Name a folder "
            "that can be, by --config.data.cache_dir=FOLDER."
        ) from error
    with file:  # The kernel lets go of the lock when the process ends, however it ends.
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("Another process is preparing %s; waiting for it.", folder)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def synced(path: Path) -> Iterator:
    """A new file that is on the disk, not only in memory, when the block ends."""
    with path.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Brings the names in a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def checksum(meta: Meta) -> str:
    """SHA-256 of the values."""
    return hashlib.sha256(json.dumps(dataclasses.asdict(meta)).encode()).hexdigest()


def file_checksum(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def disk_full(path: Path, needed: int, free: int) -> DataError:
    """The error that says how much room is missing and what helps."""
    return DataError(
        f"{path} needs {needed / 1e6:,.1f} MB, and {free / 1e6:,.1f} MB are free there. Make room, "
        "or name another disk by --config.data.cache_dir=FOLDER."
    )
