"""From any source to stores. Done once; later runs find the stores."""

import dataclasses
import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from gan.config import Data
from gan.data import copies, summary
from gan.data.build_store import build_store
from gan.data.decode import SQUARE, SQUASH, VERSION
from gan.data.registry import find_source
from gan.data.source import Source
from gan.data.store import Meta, Store, open_store, wait_for_lock
from gan.errors import ConfigError, DataError, nearest
from gan.runtime import cluster, storage

log = logging.getLogger("gan")


def prepare(config: Data, verify: Collection[str] = (), tell: bool = False) -> dict[str, Store]:
    """All splits of the configured source; prepares what the cache does not hold yet.

    Reads each byte of the splits in `verify` and compares its checksum. With `tell`, or after
    preparing, the share of each attribute is logged. Raises ConfigError, DataError.
    """
    source = find_source(config)
    crop = choose_crop(config, source)
    made = {
        "source": source.name,
        "fingerprint": source.fingerprint,
        "version": VERSION,
        "crop": crop,
        "resize": "none" if source.drawn else config.resize,
        "attribute_names": source.attribute_names,
        "image_size": config.image_size,
    }
    home = store_folder(config, source, crop)
    copied = storage.is_remote(home) or config.local_dir
    where = copies.local_copies_folder(config.local_dir) / home.name if copied else home
    storage.check_reachable(home, "config.data.cache_dir")
    sheet = home / "prepared.png"
    new = not (sheet.exists() and all(copies.is_whole_store(home / name) for name in source.splits))
    if not copied:
        if new:
            prepare_splits(source, home, made, config.on_bad)
    else:
        with cluster.fail_together("prepared"):
            if new and cluster.is_first():  # The others copy what it makes.
                if storage.is_remote(home):
                    prepare_in_bucket(source, home, where, made, config.on_bad)
                else:
                    prepare_splits(source, home, made, config.on_bad)
        for name in source.splits:
            copies.download_store(home / name, where / name)
    stores = {name: open_store(where / name, name in verify) for name in source.splits}
    for name, store in stores.items():
        check_store(store, made | {"split": name}, config.on_bad)
    if new or tell:
        log.info("%s", summary.shares_table(stores))
        log.info("Look whether these are the faces that you meant: %s", sheet)
    return {name: choose_attributes(store, config.attributes) for name, store in stores.items()}


def prepared_training_set(config: Data) -> Store | None:
    """What was prepared of it before, if the cache holds it. Raises ConfigError, DataError."""
    source = find_source(config)
    home = store_folder(config, source, choose_crop(config, source))
    if storage.is_remote(home) or not (home / "train").exists():
        return None
    return choose_attributes(open_store(home / "train"), config.attributes)


def store_folder(config: Data, source: Source, crop: str) -> storage.Path:
    """The folder of its stores in the cache."""
    resize = "none" if source.drawn else config.resize
    key = (source.name, source.fingerprint[:12], crop, config.image_size, resize)
    cache = storage.parse_path(config.cache_dir, "config.data.cache_dir")
    return cache / "-".join(map(str, (*key, f"v{VERSION}")))


def prepare_splits(source: Source, where: Path, made: dict[str, Any], on_bad: str) -> None:
    """Prepares the splits that are not in `where` yet, and draws a sheet of them."""
    with wait_for_lock(where):
        for name, load in source.splits.items():
            if not (where / name).exists():  # Another process may have made it meanwhile.
                split = load()
                meta = Meta(split=name, num=len(split.attributes), **made)
                build_store(where / name, meta, split, source, on_bad)
        stores = {name: open_store(where / name) for name in source.splits}
        sheet = where / "prepared.png"
        if not sheet.exists():
            try:
                summary.write_contact_sheet(sheet, stores["train"])
            except OSError as error:
                raise DataError(
                    f"{sheet} cannot be written ({error.strerror}). Make room, or name another "
                    "disk by --config.data.cache_dir=FOLDER."
                ) from error


def prepare_in_bucket(
    source: Source, home: storage.Path, where: Path, made: dict[str, Any], on_bad: str
) -> None:
    """As `prepare_splits`, in `where` on this host's disk; the bucket gets what it lacks."""
    missing = [name for name in source.splits if not copies.is_whole_store(home / name)]
    for name in source.splits:
        if name not in missing:
            copies.download_store(home / name, where / name)
    prepare_splits(source, where, made, on_bad)
    for name in missing:
        copies.upload_store(where / name, home / name)
    storage.copy_file(where / "prepared.png", home / "prepared.png")


def choose_crop(config: Data, source: Source) -> str:
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


def choose_attributes(store: Store, attributes: str | None) -> Store:
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
