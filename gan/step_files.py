"""The files of a checkpoint, with Orbax. The process that reads or writes waits for no other."""

import contextlib
import errno
import os
import re
import shutil
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from gan import storage
from gan.errors import DataError
from gan.storage import Path

# In the text of an error that is not of the files, but of the machine that they are on.
MARK = "commit_success.txt"
FULL, FORBIDDEN = "RESOURCE_EXHAUSTED", "PERMISSION_DENIED"


def write(
    folder: Path,
    step: int,
    state: Any,
    meta: dict[str, Any],
    policy: policies.AnyPreservationPolicy,
) -> None:
    """Writes arrays of NumPy and JSON to `folder/step`: both or neither. Old ones go by `policy`.

    Raises OSError where the disk is full or not to be written.
    """
    options = ocp.CheckpointManagerOptions(
        preservation_policy=policy,
        enable_async_checkpointing=False,
        create=False,
        multiprocessing_options=_alone(),
    )
    items = ocp.args.Composite(state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta))
    try:
        # Opened for each: it remembers what was there, and even what failed.
        with ocp.CheckpointManager(folder, options=options) as manager:
            manager.save(step, args=items, force=True)
    except ValueError as error:
        code = re.search(r"os_error_code='(\d+)'", str(error))
        if not code and FULL not in str(error):
            raise
        number = int(code[1]) if code else errno.ENOSPC
        raise OSError(number, os.strerror(number)) from error
    _flush(folder / str(step))


def read_meta(path: Path) -> str:
    """The JSON in a step's folder `path`. Raises DataError where it is damaged or not there."""
    try:
        return (path / "meta" / "metadata").read_text()
    except PermissionError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({brief(error)}).") from error


def read_state(path: Path, like: Any) -> Any:
    """The arrays in a step's folder, as NumPy's, in a tree as `like`, of whatever type and shape.

    Raises DataError where they are damaged or not there. What they say may still be wrong.
    """
    options = _alone()
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=options)
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), like)
    try:
        with ocp.Checkpointer(handler, multiprocessing_options=options) as checkpointer:
            items = ocp.args.PyTreeRestore(item=like, restore_args=as_numpy)
            return checkpointer.restore(path / "state", args=items)
    except (MemoryError, PermissionError):
        raise
    except Exception as error:  # Orbax has no common type for what a damaged file raises.
        if any(sign in str(error) for sign in (FULL, FORBIDDEN)):
            raise
        raise DataError(f"{path} cannot be read ({brief(error)}).") from error


def remove_unfinished(folder: Path) -> None:
    """What writing that failed or was killed left behind: it takes the room of the next one."""
    if storage.is_remote(folder):
        for path in folder.glob("*"):
            if path.name.isdecimal() and not is_complete(path):
                path.rmtree()
        return
    for path in folder.glob("*.orbax-checkpoint-tmp*"):
        shutil.rmtree(path, ignore_errors=True)


def is_complete(path: Path) -> bool:
    """Whether it is a folder that Orbax has finished: named so at last or, in a bucket, marked."""
    return (path / MARK).exists() if storage.is_remote(path) else path.is_dir()


def brief(error: Exception) -> str:
    """For people: its kind and the beginning of its text."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _alone() -> ocp.options.MultiprocessingOptions:
    mine = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=mine, active_processes={mine}, barrier_sync_key_prefix=f"process_{mine}"
    )


def _flush(folder: Path) -> None:
    """Brings all of it to the disk: Orbax leaves out its JSON and the folders."""
    if storage.is_remote(folder):
        return
    for path in (*folder.rglob("*"), folder, folder.parent):
        with contextlib.suppress(OSError):
            file = os.open(path, os.O_RDONLY)
            try:
                os.fsync(file)
            finally:
                os.close(file)
