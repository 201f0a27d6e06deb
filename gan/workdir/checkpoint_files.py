"""Reads and writes the files of a checkpoint, with Orbax, waiting for no other process."""

import contextlib
import errno
import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from gan.errors import DataError
from gan.runtime import storage
from gan.runtime.storage import Path

# What says that a file is not there, or something else is; other errors of the system may pass.
MISSING = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
GONE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)
MARK = "commit_success.txt"
FULL = "RESOURCE_EXHAUSTED"
# In the text of an error that is not of the files, but of what lies between them and us.
PASSING = (FULL, "PERMISSION_DENIED", "UNAVAILABLE", "DEADLINE_EXCEEDED", "UNAUTHENTICATED")


def write(
    folder: Path,
    step: int,
    state: Any,
    meta: dict[str, Any],
    policy: policies.AnyPreservationPolicy,
) -> None:
    """Writes NumPy arrays and JSON to `folder/step`, both or neither; deletes old ones by `policy`.

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
        # A new manager for each write: it would remember what was there, and even what failed.
        with (
            name_without_patterns(folder) as named,
            ocp.CheckpointManager(named, options=options) as manager,
        ):
            manager.save(step, args=items, force=True)
    except OSError:
        raise
    except Exception as error:
        if storage.is_remote(folder):  # Each storage client has its own types of errors.
            raise OSError(errno.EIO, storage.describe_error(error)) from error
        code = re.search(r"os_error_code='(\d+)'", str(error))
        if not code and FULL not in str(error):
            raise
        number = int(code[1]) if code else errno.ENOSPC
        raise OSError(number, os.strerror(number)) from error
    try:
        _flush(folder / str(step))
    except OSError:
        remove(folder / str(step))
        raise


@contextlib.contextmanager
def name_without_patterns(folder: Path) -> Iterator[Path]:
    """A name of `folder` for Orbax, which takes `[`, `*` and `\\` in its parents for patterns.

    It is a link in a temporary folder where the path has such a character.
    """
    if not storage.has_pattern(str(folder)):
        yield folder
        return
    with tempfile.TemporaryDirectory() as aside:
        link = pathlib.Path(aside) / "link"
        link.symlink_to(folder, target_is_directory=True)
        yield link


def read_meta(path: Path) -> str:
    """Reads the JSON in a step's folder. Raises DataError where it is damaged or missing."""
    try:
        return (path / "meta" / "metadata").read_text()
    except (*MISSING, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({brief(error)}).") from error


def read_state(path: Path, like: Any) -> Any:
    """Reads the arrays in a step's folder that `like` names, as NumPy arrays in a tree like it.

    Raises DataError where they are damaged or not there. What they say may still be wrong.
    """
    options = _alone()
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=options)
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), like)
    try:
        with (
            name_without_patterns(path) as named,
            ocp.Checkpointer(handler, multiprocessing_options=options) as checkpointer,
        ):
            items = ocp.args.PyTreeRestore(item=like, restore_args=as_numpy, partial_restore=True)
            state = checkpointer.restore(named / "state", args=items)
    except MISSING as error:
        raise DataError(f"{path} cannot be read ({brief(error)}).") from error
    except (MemoryError, OSError):  # Not the files' fault, or not for ever.
        raise
    except Exception as error:  # Orbax has no common type for what a damaged file raises.
        code = re.search(r"os_error_code='(\d+)'", str(error))
        if any(sign in str(error) for sign in PASSING) or (code and int(code[1]) not in GONE):
            raise
        raise DataError(f"{path} cannot be read ({brief(error)}).") from error
    for name, leaf in jax.tree.leaves_with_path(state):
        if not isinstance(leaf, np.ndarray):  # Orbax leaves out what a damaged list does not name.
            raise DataError(f"{path} cannot be read ({jax.tree_util.keystr(name)} is not there).")
    return state


def remove_unfinished(folder: Path) -> None:
    """Deletes what a failed or killed write has left: it takes the room of the next one."""
    if storage.is_remote(folder):
        with storage.raise_as_os_error():
            for path in folder.glob("*"):
                if path.name.isdecimal() and not is_complete(path):
                    path.rmtree()
        return
    for path in folder.glob("*.orbax-checkpoint-tmp*"):
        shutil.rmtree(path, ignore_errors=True)


def remove(path: Path) -> None:
    """Deletes a step's folder as far as it can."""
    if storage.is_remote(path):
        with contextlib.suppress(Exception):  # Each client has its own types of errors.
            path.rmtree()
    else:
        shutil.rmtree(path, ignore_errors=True)


def is_complete(path: Path) -> bool:
    """Whether Orbax has finished this folder: renamed it into place or, in a bucket, marked it."""
    return (path / MARK).exists() if storage.is_remote(path) else path.is_dir()


def brief(error: Exception) -> str:
    """Describes an error by its type and the beginning of its text."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _alone() -> ocp.options.MultiprocessingOptions:
    mine = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=mine, active_processes={mine}, barrier_sync_key_prefix=f"process_{mine}"
    )


def _flush(folder: Path) -> None:
    """Syncs all of a folder to the disk; Orbax leaves out its JSON and the folders."""
    if storage.is_remote(folder):
        return
    for path in (*folder.rglob("*"), folder, folder.parent):
        file = os.open(path, os.O_RDONLY)
        try:
            os.fsync(file)
        except OSError as error:
            if error.errno != errno.EINVAL:  # Some file systems know no such thing of folders.
                raise
        finally:
            os.close(file)
