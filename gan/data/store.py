"""Prepared pictures: the one format on disk. One folder a split, each file as plain as can be.

    images.npy      uint8 [n s s 3]    RGB, memory-mapped
    attributes.npy  uint8 [n a]        0 | 1
    identity.npy    int32 [n]          -1 where unknown
    skipped.csv     name,reason        the inputs that are not in it
    meta.json       what the pictures are, how they were made, and SHA-256 of it all

A folder is written aside and renamed when all of it is on the disk: one that has its name is whole.
"""

import collections
import concurrent.futures
import contextlib
import csv
import dataclasses
import errno
import fcntl
import hashlib
import io
import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8

from gan.errors import ConfigError, DataError

log = logging.getLogger("gan")

FORMAT = 2
BLOCK = 1024  # Pictures with one checksum.
TEXT = {"newline": "", "encoding": "utf-8", "errors": "backslashreplace"}


@dataclasses.dataclass(frozen=True)
class Meta:
    """What the pictures are and how they were made."""

    source: str  # Key of `gan.data.registry.SOURCES`.
    fingerprint: str  # Of the source: another one, other pictures.
    version: int  # Of the code that read and decoded them.
    split: str  # "train" | "validation" | "test"
    crop: str  # Key of `gan.data.decode.CROPS`, or "square"; "none" if drawn.
    resize: str  # Key of `gan.data.decode.RESIZES`; "none" if drawn.
    attribute_names: tuple[str, ...]
    image_size: int  # Pixels, square.
    num: int  # Pictures.
    skipped: int = 0  # Inputs that are not among them.
    changes: dict[str, int] = dataclasses.field(default_factory=dict)  # To how many was what done.


class Rows(NamedTuple):
    """Some pictures of a split on their way to the disk."""

    images: UInt8[np.ndarray, "b s s 3"]
    attributes: UInt8[np.ndarray, "b a"]
    identity: Int32[np.ndarray, "b"]


@dataclasses.dataclass
class InputReport:
    """What was done to the inputs, filled in while `Rows` are made."""

    skipped: list[tuple[str, str]] = dataclasses.field(default_factory=list)  # (name, reason)
    changes: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Store(Meta):
    """A prepared split."""

    path: Path
    digest: str  # SHA-256 of all pictures.
    images: UInt8[np.ndarray, "n s s 3"]  # Memory-mapped, read-only.
    attributes: UInt8[np.ndarray, "n a"]
    identity: Int32[np.ndarray, "n"]

    @property
    def meta(self) -> Meta:
        """Without the arrays, for comparing and for writing down."""
        return Meta(**{field: getattr(self, field) for field in FIELDS})


FIELDS = [field.name for field in dataclasses.fields(Meta)]
FILES = ("images.npy", "attributes.npy", "identity.npy", "skipped.csv")


def open_store(path: Path, verify: bool = False, remedy: str = "") -> Store:
    """The store in `path`. Shapes are compared always, SHA-256 if `verify` (reads every byte).

    Raises DataError where it is damaged, which tells the `remedy` (by default, to delete it).
    """
    remedy = remedy or f"Delete the folder {path}, and it will be prepared again."

    def bad(file: str, what: object) -> DataError:
        return DataError(f"{path / file}: {what}. {remedy}")

    try:
        document = json.loads((path / "meta.json").read_text())
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']!r}, where {FORMAT} is read")
        meta = Meta(
            **document["meta"] | {"attribute_names": (*document["meta"]["attribute_names"],)}
        )
        checksums = {file: document["sha256"][file] for file in ("meta", *FILES)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise bad("meta.json", f"cannot be read ({error})") from error
    if checksums["meta"] != meta_checksum(meta):
        raise bad("meta.json", "does not match its checksum")
    shapes = {
        "images.npy": (np.uint8, (meta.num, meta.image_size, meta.image_size, 3)),
        "attributes.npy": (np.uint8, (meta.num, len(meta.attribute_names))),
        "identity.npy": (np.int32, (meta.num,)),
    }
    arrays = {}
    for file, (dtype, shape) in shapes.items():
        mode = None if 0 in shape else "r"  # Nothing cannot be mapped.
        try:
            array = np.load(path / file, mmap_mode=mode, allow_pickle=False)
        except Exception as error:  # A damaged header can fail in any way.
            raise bad(file, f"cannot be read ({error})") from error
        if (array.dtype, array.shape) != (np.dtype(dtype), shape):
            raise bad(file, f"{array.dtype} {[*array.shape]} should be {dtype.__name__} {[*shape]}")
        arrays[file.removesuffix(".npy")] = array
    if verify:
        expected = images_header(shapes["images.npy"][1])
        with (path / "images.npy").open("rb") as file:
            if file.read(len(expected)) != expected:
                raise bad("images.npy", "does not begin as it was written")
        for file in FILES[1:]:
            if not (path / file).exists() or file_checksum(path / file) != checksums[file]:
                raise bad(file, "does not match its checksum")
        for block in damaged_blocks(arrays["images"], checksums["images.npy"]):
            last = min((block + 1) * BLOCK, meta.num) - 1
            raise bad(
                "images.npy", f"pictures {block * BLOCK} to {last} do not match their checksum"
            )
    digest = hashlib.sha256("".join(checksums["images.npy"]).encode()).hexdigest()
    fields = {field: getattr(meta, field) for field in FIELDS}
    return Store(**fields, path=path, digest=digest, **arrays)


def damaged_blocks(images: UInt8[np.ndarray, "n s s 3"], checksums: list[str]) -> list[int]:
    """The blocks of pictures whose SHA-256 is another; several threads read."""

    def right(block: int) -> bool:
        rows = images[block * BLOCK : (block + 1) * BLOCK]
        return hashlib.sha256(rows.data).hexdigest() == checksums[block]

    num = -(-len(images) // BLOCK)
    if len(checksums) != num:
        return [0]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return [block for block, ok in enumerate(pool.map(right, range(num))) if not ok]


def write_store(
    path: Path, meta: Meta, rows: Iterable[Rows], report: InputReport | None = None
) -> None:
    """Writes a store; hold `wait_for_lock(path.parent)` meanwhile.

    At most `meta.num` rows may come; how many did, and the `report` as it is then, is noted in the
    store. DataError if the disk is full. Whatever ends it early, nothing has the name `path` then.
    """
    side = meta.image_size
    report = report or InputReport()
    needed = meta.num * (side * side * 3 + len(meta.attribute_names) + 4) + 2**16
    try:
        free = shutil.disk_usage(path.parent).free
        if free < needed:
            raise disk_full_error(path, needed, free)
        aside = path.with_name(path.name + ".unfinished")
        shutil.rmtree(aside, ignore_errors=True)  # Of a writer that died: the living hold the lock.
        aside.mkdir()
        # Written as a file, not through a map: on a full disk a map ends the process (SIGBUS).
        with synced_file(aside / "images.npy") as file:
            checksums = BlockChecksums()
            labels = []
            file.write(images_header((meta.num, side, side, 3)))
            for images, *others in rows:
                if images.dtype != np.uint8 or images.shape[1:] != (side, side, 3):
                    raise DataError(
                        f"{path}: pictures came as {images.dtype} {[*images.shape]}, not as uint8 "
                        f"[b, {side}, {side}, 3]."
                    )
                images = np.ascontiguousarray(images)
                file.write(images.data)
                checksums.update(images)
                labels.append(others)
            num = sum(len(identity) for _, identity in labels)
            if not num:
                raise DataError(
                    f"{path}: split {meta.split!r} of source {meta.source!r} has no pictures"
                    + (f"; {len(report.skipped):,} were skipped." if report.skipped else ".")
                )
            if num > meta.num or num != checksums.num:
                raise DataError(f"{path}: {checksums.num} pictures, {num} rows for {meta.num}.")
            file.seek(0)
            file.write(images_header((num, side, side, 3)))  # As long as the first one.
        for name, arrays in zip(FILES[1:3], zip(*labels, strict=True), strict=True):
            with synced_file(aside / name) as file:
                np.save(file, np.concatenate(arrays), allow_pickle=False)
        with synced_file(aside / "skipped.csv", "w") as file:
            csv.writer(file).writerows([("name", "reason"), *report.skipped])
        meta = dataclasses.replace(
            meta, num=num, skipped=len(report.skipped), changes=dict(report.changes)
        )
        document = {
            "format": FORMAT,
            "meta": dataclasses.asdict(meta),
            "sha256": {"meta": meta_checksum(meta), "images.npy": checksums.finish()}
            | {name: file_checksum(aside / name) for name in FILES[1:]},
        }
        with synced_file(aside / "meta.json", "w") as file:
            file.write(json.dumps(document))
        sync_folder(aside)
        aside.rename(path)
        sync_folder(path.parent)
    except BaseException as error:
        shutil.rmtree(path.with_name(path.name + ".unfinished"), ignore_errors=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full_error(path, needed, shutil.disk_usage(path.parent).free) from error
        raise


class BlockChecksums:
    """SHA-256 of each block of pictures, as they come."""

    def __init__(self) -> None:
        """Of none yet."""
        self.num = 0
        self._done: list[str] = []
        self._block = hashlib.sha256()

    def update(self, images: UInt8[np.ndarray, "b s s 3"]) -> None:
        """Some more pictures, contiguous."""
        while len(images):
            room = BLOCK - self.num % BLOCK
            self._block.update(images[:room].data)
            self.num += len(images[:room])
            images = images[room:]
            if self.num % BLOCK == 0:
                self._next()

    def finish(self) -> list[str]:
        """All of them, the last of a shorter block."""
        if self.num % BLOCK:
            self._next()
        return self._done

    def _next(self) -> None:
        self._done.append(self._block.hexdigest())
        self._block = hashlib.sha256()


def images_header(shape: tuple[int, ...]) -> bytes:
    """The beginning of an `.npy` of uint8; as long for any number of rows."""
    file = io.BytesIO()
    fields = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, fields)
    return file.getvalue()


@contextlib.contextmanager
def wait_for_lock(folder: Path, setting: str = "cache_dir") -> Iterator[None]:
    """Makes `folder` and holds it against other processes; waits, and says so, if it is taken.

    Raises ConfigError, naming the `setting` that chose it, where it cannot be written or locked.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("wb")
    except OSError as error:
        raise ConfigError(
            f"config.data.{setting}: {folder} cannot be written ({error.strerror}). Name a folder "
            f"that can be, by --config.data.{setting}=FOLDER."
        ) from error
    with file:  # The kernel lets go of the lock when the process ends, however it ends.
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("Another process is preparing %s; waiting for it.", folder)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            raise ConfigError(
                f"config.data.{setting}: the file system of {folder} has no locks "
                f"({error.strerror}), which keep several processes from preparing the same data at "
                f"once. Name a folder on another disk, by --config.data.{setting}=FOLDER."
            ) from error
        yield


@contextlib.contextmanager
def synced_file(path: Path, mode: str = "wb") -> Iterator:
    """A new file that is on the disk, not only in memory, when the block ends."""
    with path.open(mode, **TEXT if mode == "w" else {}) as file:
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


def meta_checksum(meta: Meta) -> str:
    """SHA-256 of the values."""
    return hashlib.sha256(json.dumps(dataclasses.asdict(meta)).encode()).hexdigest()


def file_checksum(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def disk_full_error(path: Path, needed: int, free: int) -> DataError:
    """The error that says how much room is missing and what helps."""
    return DataError(
        f"{path} needs {needed / 1e6:,.1f} MB, and {free / 1e6:,.1f} MB are free there. Make room, "
        "or name another disk by --config.data.cache_dir=FOLDER (if that is a bucket, by "
        "--config.data.local_dir=FOLDER)."
    )
