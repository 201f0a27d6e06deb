"""The data sets that can be read, by name. `gan.data.readers` says what a reader is."""

import importlib
import logging
from collections.abc import Collection
from pathlib import Path
from types import ModuleType

from gan.config import Data, check_settings
from gan.data.files import explain_inner, open_files
from gan.data.readers.tfds_sets import list_datasets
from gan.data.source import Source
from gan.errors import ConfigError, DataError, first_few, nearest

log = logging.getLogger("gan")

SOURCES = {  # The module of `gan.data` that reads each; `find_source` asks them in this order.
    "faces": "faces.dataset",
    "celeba": "readers.celeba_official",
    "celeba_kaggle": "readers.celeba_kaggle",
    "celeba_tfds": "readers.celeba_tfds",
    "celeba_parquet": "readers.celeba_parquet",
    "celebamask_hq": "readers.celebamask_hq",
    "tfds": "readers.tfds_sets",
    "folder": "readers.folder",
}
CELEBA_SOURCES = ("celeba", "celeba_kaggle", "celeba_tfds", "celeba_parquet")


NAME_IT = " If it is one of them, name it: --config.data.source=NAME says what is missing."


def source_names() -> tuple[str, ...]:
    """What `config.data.source` may be."""
    return (*SOURCES, "auto")


def find_source(config: Data) -> Source:
    """Opens the configured source, or the one that is recognised at the path, and logs what it is.

    Raises ConfigError for settings that do not exist or do not fit together, DataError for a path
    where nothing is recognised or that cannot be read.
    """
    check_settings(config, "config.data")
    source = load_reader(choose_source(config)).open_source(config)
    log.info("Data: %s", source.found)
    return source


def load_reader(source: str) -> ModuleType:
    """Imports the module that reads a source."""
    return importlib.import_module(f"gan.data.{SOURCES[source]}")


def choose_source(config: Data) -> str:
    """Returns the configured source: for "auto" and "celeba" the first that recognises the path.

    Where none does, "celeba" stays, whose reader then says what is missing. Raises ConfigError for
    "auto" without a path, and DataError if it recognises nothing there.
    """
    if config.source not in ("auto", "celeba") or (config.source, config.path) == ("celeba", None):
        return config.source
    if config.path is None:
        raise ConfigError(
            "config.data.source=auto needs a path to look at: --config.data.path=FOLDER_OR_ZIP."
        )
    known = CELEBA_SOURCES
    if config.source == "auto":
        known = [name for name in SOURCES if hasattr(load_reader(name), "recognise")]
    path = Path(config.path).expanduser()
    for name in known:
        if load_reader(name).recognise(path):
            return name
    if config.source == "auto":
        raise DataError(explain_unknown(path, known))
    return config.source


def explain_unknown(path: Path, known: Collection[str]) -> str:
    """Explains why nothing of the `known` sources was recognised at a path.

    Raises DataError if the path is a damaged zip.
    """
    if not path.exists():
        beside = [other.name for other in path.parent.glob("*")]
        return f"config.data.path={path} does not exist.{nearest(path.name, beside)}"
    files = open_files(path)
    if sets := list_datasets(path):
        return (
            f"config.data.path={path} has data sets of TFDS ({first_few(sets)}). Say which: "
            f"--config.data.source=tfds --config.data.name={sets[0]}."
        )
    return (
        f"config.data.path={path}: nothing there that is known ({', '.join(known)}); there lie "
        f"{first_few(list(files.list(deep=True)))}." + (explain_inner(files) or NAME_IT)
    )
