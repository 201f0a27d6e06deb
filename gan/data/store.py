"""Stores: the one format of prepared pictures on disk, a folder for each split.

    images.npy      uint8 [n s s 3]    RGB, memory-mapped
    attributes.npy  uint8 [n a]        0 | 1
    identity.npy    int32 [n]          a number for each person; -1 where unknown
    skipped.csv     name,reason        inputs that were left out
    meta.json       what the pictures are, how they were made, and the SHA-256 of everything

A store is written to a folder beside its own, which is renamed when everything is on the disk: a
folder with the name of a store is always whole.
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
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8

from gan.errors import ConfigError, DataError

log = logging.getLogger("gan")

FORMAT = 2
BLOCK = 1024  # Number of pictures that share one checksum.
TEXT = {"newline": "", "encoding": "utf-8", "errors": "backslashreplace"}


@dataclasses.dataclass(frozen=True)
class Meta:
    """What the pictures of a store are, and how they were made."""

    source: str  # Key of `gan.data.registry.SOURCES`.
    fingerprint: str  # Changes whenever any input of the source changes.
    version: int  # `gan.data.decode.VERSION` of the code that made the pictures.
    split: str  # "train" | "validation" | "test"
    crop: str  # Key of `gan.data.decode.CROPS`, or "square"; "none" for drawn pictures.
    resize: str  # Key of `gan.data.decode.RESIZES`; "none" for drawn pictures.
    attribute_names: tuple[str, ...]
    image_size: int  # Side of a picture, in pixels.
    num: int  # Number of pictures.
    skipped: int = 0  # Number of inputs that were left out.
    # Attributes that exclude each other, by name: the values of one column, or the classes.
    groups: tuple[tuple[str, ...], ...] = ()
    # For each change that decoding made, in words: the number of pictures it was made to.
    changes: dict[str, int] = dataclasses.field(default_factory=dict)


class Rows(NamedTuple):
    """Some pictures of a split and their labels, on their way to the disk."""

    images: UInt8[np.ndarray, "b s s 3"]
    attributes: UInt8[np.ndarray, "b a"]
    identity: Int32[np.ndarray, "b"]


@dataclasses.dataclass
class InputReport:
    """What became of the inputs of a split; it is filled in while its `Rows` are made."""

    skipped: list[tuple[str, str]] = dataclasses.field(default_factory=list)  # (name, reason)
    changes: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    # For each change, the name of the first picture that it was made to.
    first: dict[str, str] = dataclasses.field(default_factory=dict)

    def note(self, changes: Iterable[str], name: str) -> None:
        """Counts the changes to the picture of this name."""
        for change in changes:
            self.changes[change] += 1
            self.first.setdefault(change, name)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Store(Meta):
    """A prepared split."""

    path: Path
    digest: str  # SHA-256 of all pictures.
    images: UInt8[np.ndarray, "n s s 3"]  # Memory-mapped, read-only.
    attributes: UInt8[np.ndarray, "n a"]  # 0 | 1
    identity: Int32[np.ndarray, "n"]  # A number for each person; -1 where unknown.

    @property
    def made_from(self) -> str:
        """Fingerprint of the source, and of how its pictures were split and decoded."""
        return f"v{self.version}-{self.fingerprint}" if self.version > 1 else self.fingerprint

    @property
    def meta(self) -> Meta:
        """The fields of `Meta` alone, which can be compared and written down."""
        return Meta(**{field: getattr(self, field) for field in FIELDS})


FIELDS = [field.name for field in dataclasses.fields(Meta)]
FILES = ("images.npy", "attributes.npy", "identity.npy", "skipped.csv")


class _Damage(Exception):
    """A file of a store is not as it was written: its name, and what is wrong with it."""


def open_store(path: Path, verify: bool = False, remedy: str = "") -> Store:
    """Opens the store in the folder `path`, its pictures as a memory map.

    Types and shapes are always checked, SHA-256 with `verify`, which reads every byte. Raises
    DataError for a damaged store, with the `remedy` (by default, to delete the folder).
    """
    try:
        meta, checksums = _read_meta(path)
        arrays = {file: _open_array(path, file, *kind) for file, kind in _array_kinds(meta).items()}
        if verify:
            _verify(path, arrays["images.npy"], checksums)
    except _Damage as damage:
        file, what = damage.args
        remedy = remedy or f"Delete the folder {path}, and it will be prepared again."
        raise DataError(f"{path / file}: {what}. {remedy}") from damage.__cause__
    digest = hashlib.sha256("".join(checksums["images.npy"]).encode()).hexdigest()
    fields = {field: getattr(meta, field) for field in FIELDS}
    fields |= {file.removesuffix(".npy"): array for file, array in arrays.items()}
    return Store(**fields, path=path, digest=digest)


def _read_meta(path: Path) -> tuple[Meta, dict[str, Any]]:
    """Reads `meta.json`: the description, and the checksums by file. Raises _Damage."""
    try:
        document = json.loads((path / "meta.json").read_text())
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']!r}, where {FORMAT} is read")
        meta = Meta(
            **document["meta"]
            | {"attribute_names": (*document["meta"]["attribute_names"],)}
            | {"groups": tuple(map(tuple, document["meta"].get("groups", ())))}
        )
        checksums = {file: document["sha256"][file] for file in ("meta", *FILES)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _Damage("meta.json", f"cannot be read ({error})") from error
    if checksums["meta"] != meta_checksum(meta):
        raise _Damage("meta.json", "does not match its checksum")
    return meta, checksums


def _array_kinds(meta: Meta) -> dict[str, tuple[type, tuple[int, ...]]]:
    """Type and shape of each array, by file."""
    return {
        "images.npy": (np.uint8, (meta.num, meta.image_size, meta.image_size, 3)),
        "attributes.npy": (np.uint8, (meta.num, len(meta.attribute_names))),
        "identity.npy": (np.int32, (meta.num,)),
    }


def _open_array(path: Path, file: str, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    """Maps an array of a store to memory. Raises _Damage unless it has this type and shape."""
    mode = None if 0 in shape else "r"  # An empty array cannot be mapped.
    try:
        array = np.load(path / file, mmap_mode=mode, allow_pickle=False)
    except Exception as error:  # NumPy raises anything for a damaged header.
        raise _Damage(file, f"cannot be read ({error})") from error
    if (array.dtype, array.shape) != (np.dtype(dtype), shape):
        what = f"{array.dtype} {[*array.shape]} should be {dtype.__name__} {[*shape]}"
        raise _Damage(file, what)
    return array


def _verify(path: Path, images: UInt8[np.ndarray, "n s s 3"], checksums: Mapping[str, Any]) -> None:
    """Compares every byte of a store with its checksums. Raises _Damage."""
    expected = images_header(images.shape)
    with (path / "images.npy").open("rb") as file:
        if file.read(len(expected)) != expected:
            raise _Damage("images.npy", "does not begin as it was written")
    for name in FILES[1:]:
        if not (path / name).exists() or file_checksum(path / name) != checksums[name]:
            raise _Damage(name, "does not match its checksum")
    for block in damaged_blocks(images, checksums["images.npy"]):
        last = min((block + 1) * BLOCK, len(images)) - 1
        what = f"pictures {block * BLOCK} to {last} do not match their checksum"
        raise _Damage("images.npy", what)


def damaged_blocks(images: UInt8[np.ndarray, "n s s 3"], checksums: list[str]) -> list[int]:
    """Numbers of the blocks of pictures that do not match their SHA-256, read by several threads.

    If there are more or fewer checksums than blocks, block 0 is returned.
    """

    def matches(block: int) -> bool:
        rows = images[block * BLOCK : (block + 1) * BLOCK]
        return hashlib.sha256(rows.data).hexdigest() == checksums[block]

    num = -(-len(images) // BLOCK)
    if len(checksums) != num:
        return [0]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return [block for block, ok in enumerate(pool.map(matches, range(num))) if not ok]


def write_store(
    path: Path, meta: Meta, rows: Iterable[Rows], report: InputReport | None = None
) -> None:
    """Writes a store to the folder `path`, while the caller holds `wait_for_lock(path.parent)`.

    At most `meta.num` rows may come. The store says how many did, and what the `report` holds after
    the last. Raises DataError for rows of another shape or number, if the disk is full and if the
    folder is removed meanwhile. However it ends early, there is no folder `path` then.
    """
    side = meta.image_size
    report = report or InputReport()
    needed = meta.num * (side * side * 3 + len(meta.attribute_names) + 4) + 2**16
    aside = path.with_name(path.name + ".unfinished")
    try:
        free = shutil.disk_usage(path.parent).free
        if free < needed:
            raise disk_full_error(path, needed, free)
        # A leftover belongs to a writer that died: living ones hold the lock.
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        meta, checksums = _write_rows(aside, path, meta, rows, report)
        with synced_file(aside / "skipped.csv", "w") as file:
            csv.writer(file).writerows([("name", "reason"), *report.skipped])
        document = {
            "format": FORMAT,
            "meta": describe_meta(meta),
            "sha256": {"meta": meta_checksum(meta), "images.npy": checksums}
            | {name: file_checksum(aside / name) for name in FILES[1:]},
        }
        with synced_file(aside / "meta.json", "w") as file:
            file.write(json.dumps(document))
        sync_folder(aside)
        aside.rename(path)
        sync_folder(path.parent)
    except BaseException as error:
        removed = isinstance(error, FileNotFoundError) and not aside.exists()
        shutil.rmtree(aside, ignore_errors=True)
        if removed:
            raise DataError(
                f"{path.parent} was removed while {path.name} was written there. Run the same "
                "command again."
            ) from error
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full_error(path, needed, shutil.disk_usage(path.parent).free) from error
        raise


def _write_rows(
    aside: Path, path: Path, meta: Meta, rows: Iterable[Rows], report: InputReport
) -> tuple[Meta, list[str]]:
    """Writes the three arrays to the folder `aside`.

    Returns `meta` with the numbers that came, and the checksums of the pictures' blocks. Raises
    DataError, which names the store `path`, for rows of another shape or number.
    """
    side = meta.image_size
    checksums, labels = BlockChecksums(), []
    # Written to a file rather than a memory map, which kills the process (SIGBUS) on a full disk.
    with synced_file(aside / "images.npy") as file:
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
        file.write(images_header((num, side, side, 3)))  # Its length does not depend on `num`.
    for name, arrays in zip(FILES[1:3], zip(*labels, strict=True), strict=True):
        with synced_file(aside / name) as file:
            np.save(file, np.concatenate(arrays), allow_pickle=False)
    meta = dataclasses.replace(
        meta, num=num, skipped=len(report.skipped), changes=dict(report.changes)
    )
    return meta, checksums.finish()


class BlockChecksums:
    """SHA-256 of each block of BLOCK pictures, as the pictures come."""

    def __init__(self) -> None:
        self.num = 0  # Number of pictures that came.
        self._done: list[str] = []
        self._block = hashlib.sha256()

    def update(self, images: UInt8[np.ndarray, "b s s 3"]) -> None:
        """Adds some pictures, which have to be contiguous."""
        while len(images):
            room = BLOCK - self.num % BLOCK
            self._block.update(images[:room].data)
            self.num += len(images[:room])
            images = images[room:]
            if self.num % BLOCK == 0:
                self._close_block()

    def finish(self) -> list[str]:
        """Returns all checksums; the last block may be shorter."""
        if self.num % BLOCK:
            self._close_block()
        return self._done

    def _close_block(self) -> None:
        self._done.append(self._block.hexdigest())
        self._block = hashlib.sha256()


def images_header(shape: tuple[int, ...]) -> bytes:
    """Returns the beginning of an `.npy` file of uint8; its length does not depend on the rows."""
    file = io.BytesIO()
    fields = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, fields)
    return file.getvalue()


@contextlib.contextmanager
def wait_for_lock(folder: Path, setting: str = "cache_dir") -> Iterator[None]:
    """Makes `folder` and locks it against other processes; waits, and logs so, while it is taken.

    Raises ConfigError, which names the `setting` of `config.data` that chose the folder, if it
    cannot be written or its file system has no locks.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("wb")
    except OSError as error:
        raise ConfigError(
            f"config.data.{setting}: {folder} cannot be written ({error.strerror}). Name a folder "
            f"that can be, by --config.data.{setting}=FOLDER."
        ) from error
    with file:  # The kernel releases the lock whenever and however the process ends.
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
def synced_file(path: Path, mode: str = "wb") -> Iterator[IO]:
    """Opens a new file for writing; at the end of the block its bytes are on the disk."""
    with path.open(mode, **TEXT if mode == "w" else {}) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Waits until the names of the files in a folder are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def describe_meta(meta: Meta) -> dict[str, Any]:
    """Returns a description for JSON; without groups it is as older editions wrote it."""
    fields = dataclasses.asdict(meta)
    return fields if meta.groups else {name: x for name, x in fields.items() if name != "groups"}


def meta_checksum(meta: Meta) -> str:
    """SHA-256 of a description, as JSON."""
    return hashlib.sha256(json.dumps(describe_meta(meta)).encode()).hexdigest()


def file_checksum(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def disk_full_error(path: Path, needed: int, free: int) -> DataError:
    """Returns the error for a store of `needed` bytes on a disk with `free` bytes."""
    return DataError(
        f"{path} needs {needed / 1e6:,.1f} MB, and {free / 1e6:,.1f} MB are free there. Make room, "
        "or name another disk by --config.data.cache_dir=FOLDER (if that is a bucket, by "
        "--config.data.local_dir=FOLDER)."
    )
