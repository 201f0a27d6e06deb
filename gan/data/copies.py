"""Copies prepared stores from a bucket or a shared disk to each host, once."""

import contextlib
import errno
import logging
import os
import pathlib
import shutil
import time

from gan.data.store import FILES, open_store, sync_folder, wait_for_lock
from gan.errors import DataError
from gan.runtime import storage
from gan.runtime.storage import Path

log = logging.getLogger("gan")
SOON = 60.0  # Seconds to wait for a file that another host has just written.
# `meta.json` holds the checksums of the others and is written last: a store that has it is whole.
ALL = (*FILES, "meta.json")


def local_copies_folder(name: str | None) -> pathlib.Path:
    """Folder of the copies on this host: `name`, or by default one in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return pathlib.Path(name or f"{cache}/gan/local").expanduser()


def is_whole_store(store: Path) -> bool:
    """Whether `store` exists with all its files."""
    return (store / "meta.json").exists()


def download_store(store: Path, copy: pathlib.Path) -> None:
    """Copies `store` to the folder `copy` on this host, unless that is a copy of it already.

    Other processes of the host wait meanwhile. The files are written to a folder beside `copy` and
    compared with their checksums, then it is renamed: a folder named `copy` is always whole.
    Raises DataError if the store is damaged or the disk is full, OSError if it cannot be read.
    """
    meta = _read_soon(store / "meta.json")
    if _is_copy(copy, meta):
        return
    with wait_for_lock(copy.parent, "local_dir"):
        if _is_copy(copy, meta):  # Another process made it meanwhile.
            return
        aside = copy.with_name(f"{copy.name}.copying")
        # A leftover belongs to a process that died: living ones hold the lock.
        shutil.rmtree(aside, ignore_errors=True)
        needed = sum(storage.file_size(store / file) for file in ALL)
        free = shutil.disk_usage(copy.parent).free
        full = DataError(
            f"The copy of {store} in {copy.parent} needs {needed / 1e6:,.1f} MB, and "
            f"{free / 1e6:,.1f} MB were free there. Make room, or name another disk by "
            "--config.data.local_dir=FOLDER."
        )
        if free < needed:
            raise full
        log.info("Copying %s to this host: %s MB to %s.", store, f"{needed / 1e6:,.0f}", copy)
        aside.mkdir()
        try:
            for file in ALL:
                storage.copy_file(store / file, aside / file)
            remedy = f"Run again; if it stays so, delete {store}, and it will be prepared again."
            open_store(aside, verify=True, remedy=remedy)
            sync_folder(aside)
            shutil.rmtree(copy, ignore_errors=True)  # An older store.
            aside.rename(copy)
            sync_folder(copy.parent)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise full from error
            raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _read_soon(path: Path) -> bytes:
    """Reads a file that another host may just have written.

    NFS remembers for a while that a file was missing. Raises DataError if it is still missing
    after SOON seconds.
    """
    deadline = time.monotonic() + SOON
    while True:
        try:
            return path.read_bytes()
        except FileNotFoundError as error:
            if time.monotonic() > deadline:
                raise DataError(f"{path} is not there, though it was just prepared.") from error
            time.sleep(1)


def upload_store(store: pathlib.Path, home: Path) -> None:
    """Copies `store` to `home` in a bucket, `meta.json` last.

    Raises DataError if the store on this host is damaged.
    """
    open_store(store, verify=True)
    log.info("Copying %s to %s.", store, home)
    with contextlib.suppress(FileNotFoundError):
        (home / "meta.json").unlink()
    for file in ALL:
        storage.copy_file(store / file, home / file)


def _is_copy(copy: pathlib.Path, meta: bytes) -> bool:
    """Whether `copy` holds the files that the contents `meta` of a `meta.json` describe."""
    path = copy / "meta.json"
    return path.exists() and path.read_bytes() == meta
