"""The data sets that can be read, by name. `gan.data.readers` says what a reader is."""

import importlib
import logging
import re
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath
from types import ModuleType

from gan.config import Data, check_settings
from gan.data.files import explain_inner, open_files
from gan.data.readers.celeba_places import find_celeba
from gan.data.readers.folder import is_picture
from gan.data.readers.parquet_files import SHARD
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
# Where kagglehub and Hugging Face's hub keep the copies of one data set.
VERSION_FOLDER = re.compile(r"(.*/)?(versions/[0-9]+|snapshots/[0-9a-f]{40})/")
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
        if name == "folder" and (better := find_better(path, config.labels)):
            return better
        if load_reader(name).recognise(path):
            return name
    if config.source == "celeba" and path.exists() and (better := find_better(path, "auto")):
        return better
    if config.source == "auto":
        raise DataError(explain_unknown(path, known))
    return config.source


def find_better(path: Path, labels: str) -> str | None:
    """Returns the source of official files that lie at a path, if anywhere in its listing.

    None where there are none, or where `labels` says how the pictures are labelled. DataError for
    folders in which other programs keep data sets, with the place of the data set in it.
    """
    if labels != "auto" or not path.exists():
        return None
    names = list(open_files(path).list(deep=True))
    explain_cache(path, names)
    return find_celeba(path, names)


def explain_cache(path: Path, names: Sequence[str]) -> None:
    """Raises DataError for folders of Hugging Face's and Kaggle's programs, with what to do.

    `names` are those of all files there.
    """
    folders = {str(PurePosixPath(name).parent) for name in names}
    versions = sorted(
        {match[0] for folder in folders if (match := VERSION_FOLDER.match(f"{folder}/"))}
    )
    if len(versions) > 1:
        raise DataError(
            f"config.data.path={path} holds several copies of data: {first_few(versions)}. Name "
            f"the one to read: --config.data.path={path / versions[-1].rstrip('/')}."
        )
    if any(map(is_picture, names)):
        return
    if parquet := sorted(name for name in names if name.endswith(".parquet")):
        shards = [name for name in parquet if SHARD.fullmatch(PurePosixPath(name).name)]
        remedy = (
            f"name their folder, --config.data.path={path / PurePosixPath(shards[0]).parent}."
            if shards
            else "name them as Hugging Face does, train-00000-of-00001.parquet or train.parquet."
        )
        raise DataError(f"config.data.path={path} holds {first_few(parquet)}: {remedy}")
    if arrow := [name for name in names if name.endswith(".arrow")]:
        raise DataError(
            f"config.data.path={path} holds Arrow files, as Hugging Face's save_to_disk and its "
            f"cache write them ({first_few(arrow)}): these are not read. Write parquet once: "
            'datasets.load_from_disk(FOLDER)["train"].to_parquet("OUT/train.parquet"), and '
            "give --config.data.path=OUT."
        )


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
