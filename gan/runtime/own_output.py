"""Tells the folders that we wrote from data, lest a run is trained on what runs have drawn."""

import functools
import logging
import os
from collections.abc import Collection
from pathlib import Path

from gan.errors import ConfigError

log = logging.getLogger("gan")

OWN = (  # Files by which the folders that we write are known: of a run, of prepared data.
    ("config.json", "attributes.npz"),
    ("prepared.png", "train/meta.json"),
    ("meta.json", "images.npy"),
)


def is_own_output(path: Path, beside: Collection[str] = ()) -> bool:
    """Tells whether `path` is a folder that we wrote; `beside` it lie files of these names.

    That is a run, prepared data, or what an evaluation has drawn.
    """
    if path.name == "evaluation" and "scores.jsonl" in beside:
        return True
    return any(all(os.path.exists(path / sign) for sign in signs) for signs in OWN)


@functools.cache
def tell_own_output(path: str) -> None:
    """Logs, once, that a folder is left out."""
    log.warning("%s is left out of the data: it holds a run, or what was made of data.", path)


def check_apart(path: str | None, folder: str, option: str) -> None:
    """Raises ConfigError where the data at `path` lie in `folder`, which `option` says to write to.

    Folders below the data are left out of them; the data's own folder cannot be.
    """
    if path is None:
        return
    data, written = (os.path.realpath(os.path.expanduser(name)) for name in (path, folder))
    if data == written:
        raise ConfigError(
            f"config.data.path={path} and {option}={folder} are one folder: what is written there "
            f"would be taken for data. Name another one: {option}={folder.rstrip('/')}-out"
        )
