"""From any source to stores. Done once; later runs find the stores."""

import dataclasses
import logging
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gan.config import Data
from gan.data import copies, summary
from gan.data.build_store import build
from gan.data.decode import CROPS, RESIZES, SQUARE, SQUASH, VERSION
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
from gan.data.store import Meta, Store, lock, open_store
from gan.errors import ConfigError, DataError, first_few, nearest
from gan.runtime import cluster, storage

log = logging.getLogger("gan")


class Reader(NamedTuple):
    """A way to read a layout."""

    source: Callable[[Data], Source]
    recognise: Callable[[Path], bool] | None = None  # None: it has to be asked for by name.


def prepare(config: Data, verify: Collection[str] = (), tell: bool = False) -> dict[str, Store]:
    """All splits of the configured source; prepares what the cache does not hold yet.

    Reads each byte of the splits in `verify` and compares its checksum. With `tell`, or after
    preparing, the share of each attribute is logged. Raises ConfigError, DataError.
    """
    source = find_source(config)
    crop = crop_of(config, source)
    made = {
        "source": source.name,
        "fingerprint": source.fingerprint,
        "version": VERSION,
        "crop": crop,
        "resize": "none" if source.drawn else config.resize,
        "attribute_names": source.attribute_names,
        "image_size": config.image_size,
    }
    home = home_of(config, source, crop)
    copied = storage.is_remote(home) or config.local_dir
    where = copies.local_dir(config.local_dir) / home.name if copied else home
    storage.reach(home, "config.data.cache_dir")
    sheet = home / "prepared.png"
    new = not (sheet.exists() and all(copies.is_whole(home / name) for name in source.splits))
    if not copied:
        if new:
            make(source, home, made, config.on_bad)
    else:
        with cluster.together("prepared"):
            if new and cluster.first():  # The others copy what it makes.
                if storage.is_remote(home):
                    make_in_bucket(source, home, where, made, config.on_bad)
                else:
                    make(source, home, made, config.on_bad)
        for name in source.splits:
            copies.download(home / name, where / name)
    stores = {name: open_store(where / name, name in verify) for name in source.splits}
    for name, store in stores.items():
        check_store(store, made | {"split": name}, config.on_bad)
    if new or tell:
        log.info("%s", summary.table(stores))
        log.info("Look whether these are the faces that you meant: %s", sheet)
    return {name: choose(store, config.attributes) for name, store in stores.items()}


def prepared_training_set(config: Data) -> Store | None:
    """What was prepared of it before, if the cache holds it. Raises ConfigError, DataError."""
    source = find_source(config)
    home = home_of(config, source, crop_of(config, source))
    if storage.is_remote(home) or not (home / "train").exists():
        return None
    return choose(open_store(home / "train"), config.attributes)


def home_of(config: Data, source: Source, crop: str) -> storage.Path:
    """The folder of its stores in the cache."""
    resize = "none" if source.drawn else config.resize
    key = (source.name, source.fingerprint[:12], crop, config.image_size, resize)
    cache = storage.path(config.cache_dir, "config.data.cache_dir")
    return cache / "-".join(map(str, (*key, f"v{VERSION}")))


def make(source: Source, where: Path, made: dict[str, Any], on_bad: str) -> None:
    """Prepares the splits that are not in `where` yet, and draws a sheet of them."""
    with lock(where):
        for name, load in source.splits.items():
            if not (where / name).exists():  # Another process may have made it meanwhile.
                split = load()
                meta = Meta(split=name, num=len(split.attributes), **made)
                build(where / name, meta, split, source, on_bad)
        stores = {name: open_store(where / name) for name in source.splits}
        sheet = where / "prepared.png"
        if not sheet.exists():
            try:
                summary.write(sheet, stores["train"])
            except OSError as error:
                raise DataError(
                    f"{sheet} cannot be written ({error.strerror}). Make room, or name another "
                    "disk by --config.data.cache_dir=FOLDER."
                ) from error


def make_in_bucket(
    source: Source, home: storage.Path, where: Path, made: dict[str, Any], on_bad: str
) -> None:
    """As `make`, in `where` on this host's disk; the bucket gets what it lacks."""
    missing = [name for name in source.splits if not copies.is_whole(home / name)]
    for name in source.splits:
        if name not in missing:
            copies.download(home / name, where / name)
    make(source, where, made, on_bad)
    for name in missing:
        copies.upload(where / name, home / name)
    storage.copy(where / "prepared.png", home / "prepared.png")


def find_source(config: Data) -> Source:
    """The configured source, or the one that is recognised at the path; says what it is."""
    check_names(config)
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
        raise DataError(unknown(path, known))
    source = SOURCES[names[0]].source(config)
    log.info("Data: %s", source.found)
    return source


def unknown(path: Path, known: Collection[str]) -> str:
    """What is wrong with a path at which nothing was recognised. DataError if it is a bad zip."""
    if not path.exists():
        beside = [other.name for other in path.parent.glob("*")]
        return f"config.data.path={path} does not exist.{nearest(path.name, beside)}"
    files = open_files(path)
    if sets := tfds_sets.names_in(path):
        return (
            f"config.data.path={path} has data sets of TFDS ({first_few(sets)}). Say which: "
            f"--config.data.source=tfds --config.data.name={sets[0]}."
        )
    return (
        f"config.data.path={path}: nothing there that is known ({', '.join(known)}); there lie "
        f"{first_few(list(files.list(deep=True)))}. If it is one of them, name it: "
        "--config.data.source=NAME says what is missing."
    )


def check_names(config: Data) -> None:
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


def crop_of(config: Data, source: Source) -> str:
    """The crop that is done and stamped: CelebA's named boxes mean nothing on other frames."""
    if source.drawn:
        return "none"
    if source.frame is None:
        if config.crop not in (Data().crop, SQUARE, SQUASH):
            raise ConfigError(
                f"config.data.crop={config.crop!r} is a box on CelebA's aligned pictures, and "
                f"these are others ({source.found}). Use {SQUARE!r} (the largest in the middle) or "
                f"{SQUASH!r} (all of it, not in proportion)."
            )
        return SQUASH if config.crop == SQUASH else SQUARE
    if config.crop == SQUARE:
        raise ConfigError(
            f"config.data.crop={SQUARE!r}: crops of CelebA have names, since their numbers do not "
            "compare: the largest square is 'center178'."
        )
    return config.crop


def check_store(store: Store, made: dict[str, object], on_bad: str) -> None:
    """DataError where the store is of something else, or lacks inputs that may not be skipped."""
    for field, value in made.items():
        if getattr(store, field) != value:
            raise DataError(
                f"{store.path}: {field} is {getattr(store, field)!r}, not {value!r}. Delete "
                "the folder, and it will be prepared again."
            )
    if store.skipped:
        text = f"{store.skipped:,} left out, listed in {store.path / 'skipped.csv'}"
        if on_bad != "skip":
            raise DataError(
                f"{store.path} was prepared with --config.data.on_bad=skip: {text}. Give that "
                "again, or mend them."
            )
        log.warning("%s: %s.", store.split, text)


def choose(store: Store, attributes: str | None) -> Store:
    """The same pictures with only the named attributes, in that order; all if there are none."""
    names = [name.strip() for name in (attributes or "").split(",") if name.strip()]
    if not names:
        return store
    for name in names:
        if name not in store.attribute_names or names.count(name) > 1:
            what = "is there twice" if names.count(name) > 1 else "is no attribute of this data set"
            raise ConfigError(
                f"config.data.attributes: {name!r} {what}.{nearest(name, store.attribute_names)} "
                f"It has: {', '.join(store.attribute_names)}."
            )
    columns = [store.attribute_names.index(name) for name in names]
    rows = np.ascontiguousarray(store.attributes[:, columns])
    return dataclasses.replace(store, attribute_names=tuple(names), attributes=rows)


SOURCES: dict[str, Reader] = {  # Asked in this order what lies at a path.
    "faces": Reader(dataset.source),
    "celeba": Reader(celeba_official.source, celeba_official.recognise),
    "celeba_kaggle": Reader(celeba_kaggle.source, celeba_kaggle.recognise),
    "celeba_tfds": Reader(celeba_tfds.source, celeba_tfds.recognise),
    "celeba_parquet": Reader(celeba_parquet.source, celeba_parquet.recognise),
    "celebamask_hq": Reader(celebamask_hq.source, celebamask_hq.recognise),
    "tfds": Reader(tfds_sets.source, tfds_sets.recognise),
    "folder": Reader(folder.source, folder.recognise),
}
GROUPS = {
    "auto": [name for name, reader in SOURCES.items() if reader.recognise],
    "celeba": ["celeba", "celeba_kaggle", "celeba_tfds", "celeba_parquet"],  # In any layout.
}
