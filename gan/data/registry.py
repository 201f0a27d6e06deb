"""The data sets that can be read: each has a name, a way to open it and a way to recognise it."""

import logging
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

from gan.config import Data
from gan.data.decode import CROPS, RESIZES, SQUARE
from gan.data.faces import dataset
from gan.data.readers import (
    celeba_kaggle,
    celeba_official,
    celeba_parquet,
    celeba_tfds,
    celebamask_hq,
    folder,
    tfds_sets,
)
from gan.data.readers.files import open_files
from gan.data.source import Source
from gan.errors import ConfigError, DataError, first_few, nearest

log = logging.getLogger("gan")


class Reader(NamedTuple):
    """A way to read a layout."""

    open_source: Callable[[Data], Source]
    recognise: Callable[[Path], bool] | None = None  # None: it has to be asked for by name.


SOURCES: dict[str, Reader] = {  # Asked in this order what lies at a path.
    "faces": Reader(dataset.open_source),
    "celeba": Reader(celeba_official.open_source, celeba_official.recognise),
    "celeba_kaggle": Reader(celeba_kaggle.open_source, celeba_kaggle.recognise),
    "celeba_tfds": Reader(celeba_tfds.open_source, celeba_tfds.recognise),
    "celeba_parquet": Reader(celeba_parquet.open_source, celeba_parquet.recognise),
    "celebamask_hq": Reader(celebamask_hq.open_source, celebamask_hq.recognise),
    "tfds": Reader(tfds_sets.open_source, tfds_sets.recognise),
    "folder": Reader(folder.open_source, folder.recognise),
}
GROUPS = {
    "auto": [name for name, reader in SOURCES.items() if reader.recognise],
    "celeba": ["celeba", "celeba_kaggle", "celeba_tfds", "celeba_parquet"],  # In any layout.
}


def find_source(config: Data) -> Source:
    """The configured source, or the one that is recognised at the path; says what it is."""
    check_choices(config)
    names = [config.source]
    if config.source in GROUPS:
        if config.path is None and config.source == "auto":
            raise ConfigError(
                "config.data.source=auto needs a path to look at: --config.data.path=FOLDER_OR_ZIP."
            )
        known = GROUPS[config.source]
        path = Path(config.path).expanduser() if config.path else None
        names = [name for name in known if path and SOURCES[name].recognise(path)] or names
    if names[0] not in SOURCES:
        raise DataError(explain_unknown(path, known))
    source = SOURCES[names[0]].open_source(config)
    log.info("Data: %s", source.found)
    return source


def explain_unknown(path: Path, known: Collection[str]) -> str:
    """What is wrong with a path at which nothing was recognised. DataError if it is a bad zip."""
    if not path.exists():
        beside = [other.name for other in path.parent.glob("*")]
        return f"config.data.path={path} does not exist.{nearest(path.name, beside)}"
    files = open_files(path)
    if sets := tfds_sets.list_datasets(path):
        return (
            f"config.data.path={path} has data sets of TFDS ({first_few(sets)}). Say which: "
            f"--config.data.source=tfds --config.data.name={sets[0]}."
        )
    return (
        f"config.data.path={path}: nothing there that is known ({', '.join(known)}); there lie "
        f"{first_few(list(files.list(deep=True)))}. If it is one of them, name it: "
        "--config.data.source=NAME says what is missing."
    )


def check_choices(config: Data) -> None:
    """Raises ConfigError for a source, crop or rule of resizing that does not exist."""
    for field, known in (
        ("source", [*SOURCES, *(name for name in GROUPS if name not in SOURCES)]),
        ("crop", [*CROPS, SQUARE]),
        ("resize", RESIZES),
    ):
        name = getattr(config, field)
        if name not in known:
            raise ConfigError(
                f"config.data.{field}={name!r} is not one of {', '.join(known)}."
                f"{nearest(name, known)}"
            )
