"""Prepares a source: makes its stores once; later runs open them."""

import dataclasses
import logging
import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gan.config import Data
from gan.data import copies, summary
from gan.data.attributes import Groups, choose_groups, split_names, tidy_name
from gan.data.build_store import build_store, find_bits
from gan.data.decode import JPEG_VERSION, OLDER, SQUARE, SQUASH, VERSION
from gan.data.registry import find_source
from gan.data.source import SPLITS, Source
from gan.data.store import Meta, Store, open_store, wait_for_lock
from gan.errors import ConfigError, DataError, nearest
from gan.runtime import cluster, storage
from gan.runtime.own_output import check_apart

log = logging.getLogger("gan")


def prepare(
    config: Data, verify: Collection[str] = (), tell: bool = False, known: str | None = None
) -> dict[str, Store]:
    """Opens the stores of the configured source, by split; prepares those that are not cached.

    Every byte of the splits in `verify` is read and compared with its checksum. The share of each
    attribute is logged after preparing, and always with `tell`. Where the data are gone, their
    stores suffice if it is `known` what they were made from: `Store.made_from`. Raises ConfigError,
    DataError.
    """
    if known and config.path and not os.path.exists(os.path.expanduser(config.path)):
        where = find_known_stores(config, known)
        log.info("Data: %s is gone, and what was prepared of it suffices.", config.path)
        return open_stores(where, SPLITS, config, verify)
    return prepare_source(find_source(config), config, verify, tell)


def prepare_source(
    source: Source, config: Data, verify: Collection[str] = (), tell: bool = False
) -> dict[str, Store]:
    """Opens the stores of a source that is open already; otherwise the same as `prepare`."""
    check_apart(config.path, config.cache_dir, "--config.data.cache_dir")
    made = choose_version(source, config, describe_pictures(source, config))
    home = store_folder(config, made)
    where = local_folder(home, config)
    copied = where != home
    storage.check_reachable(home, "config.data.cache_dir")
    sheet = home / "prepared.png"
    new = not (sheet.exists() and all(copies.is_whole_store(home / name) for name in source.splits))
    if new:
        settle_doubts(source, config)
    if not copied:
        if new:
            prepare_splits(source, home, made, config.on_bad)
    else:
        with cluster.fail_together("prepared"):
            if new and cluster.is_first():  # The others copy what the first process makes.
                if storage.is_remote(home):
                    prepare_in_bucket(source, home, where, made, config.on_bad)
                else:
                    prepare_splits(source, home, made, config.on_bad)
        for name in source.splits:
            copies.download_store(home / name, where / name)
    stores = open_stores(where, source.splits, config, verify, made, source.groups)
    if new or tell:
        every = {name: open_store(where / name) for name in source.splits}  # With all attributes.
        log.info("%s", summary.shares_table(every))
        log.info("Look whether these are the faces that you meant: %s", sheet)
    return stores


def local_folder(home: storage.Path, config: Data) -> storage.Path:
    """Folder on this host for the stores in `home`: the same, or that of their copies."""
    if storage.is_remote(home) or config.local_dir:
        return copies.local_copies_folder(config.local_dir) / home.name
    return home


def open_stores(
    where: Path,
    splits: Iterable[str],
    config: Data,
    verify: Collection[str],
    made: Mapping[str, Any] | None = None,
    groups: Groups = (),
) -> dict[str, Store]:
    """Opens the stores in a folder on this host, by split, with the configured attributes.

    The source's `groups` are those of stores that older editions wrote, without any. Raises
    DataError unless they are what `made` describes.
    """
    stores = {}
    for name in splits:
        store = adopt_groups(open_store(where / name, name in verify), groups)
        check_store(store, {**(made or {}), "split": name}, config.on_bad)
        stores[name] = choose_attributes(store, config.attributes)
    return stores


def find_known_stores(config: Data, known: str) -> Path:
    """Returns the folder on this host of the stores made from what is `known`, by its fingerprint.

    Raises DataError if there is none in the cache that has the configured size and crop.
    """
    cache = storage.parse_path(config.cache_dir, "config.data.cache_dir")
    usual = (SQUARE, Data().crop)  # As `choose_crop` reads the default for other pictures.
    for home in sorted(cache.glob(f"*-{known.rpartition('-')[2][:12]}-*")):
        if not all(copies.is_whole_store(home / name) for name in SPLITS):
            continue
        where = local_folder(home, config)
        if where != home:
            with cluster.fail_together("prepared"):
                for name in SPLITS:
                    copies.download_store(home / name, where / name)
        store = open_store(where / "train")
        same = (store.made_from, store.image_size, store.resize) == (
            *(known, config.image_size, config.resize),
        )
        if same and (store.crop == config.crop or (store.crop, config.crop) == usual):
            return where
    raise DataError(
        f"config.data.path={config.path} does not exist, and nothing that was prepared of it lies "
        f"in {cache}. Say where the data are now, --config.data.path=PATH, or what was prepared, "
        "--config.data.cache_dir=FOLDER."
    )


def settle_doubts(
    source: Source,
    config: Data,
    ask: Callable[[str], str] = input,
    in_terminal: bool | None = None,
) -> None:
    """Makes sure that what the source guesses about its layout is meant.

    In a terminal the user confirms it, once: what is prepared is not asked for again. Elsewhere, or
    without a yes, raises ConfigError with the settings that settle it. With
    `config.on_doubt="go"` it is a warning.
    """
    if in_terminal is None:
        in_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    for guess, settings in source.doubts:
        ways = "; ".join(f"{setting} ({meaning})" for setting, meaning in settings.items())
        if config.on_doubt == "go":
            log.warning("%s. Taken so, as config.data.on_doubt=go.", guess)
            continue
        if in_terminal:
            log.warning("%s.", guess)
            try:
                if ask("Is that what you mean? [y/N] ").strip().lower() in ("y", "yes"):
                    continue
            except EOFError:
                pass  # Nobody answers.
        raise ConfigError(f"{guess}. Say what is meant: {ways}.")


def prepared_training_set(config: Data) -> Store | None:
    """Opens the store of the training split; None if it is not in the cache, or that is a bucket.

    Raises ConfigError, DataError.
    """
    source = find_source(config)
    home = store_folder(config, choose_version(source, config, describe_pictures(source, config)))
    if storage.is_remote(home) or not (home / "train").exists():
        return None
    store = adopt_groups(open_store(home / "train"), source.groups)
    return choose_attributes(store, config.attributes)


def describe_pictures(source: Source, config: Data) -> dict[str, Any]:
    """Fields of `Meta` that decide which pictures are made, the same for all splits."""
    return {
        "source": source.name,
        "fingerprint": source.fingerprint,
        "version": VERSION if "PNG" in source.formats else JPEG_VERSION,
        "crop": choose_crop(config, source),
        "resize": "none" if source.drawn else config.resize,
        "attribute_names": source.attribute_names,
        "groups": source.groups,
        "image_size": config.image_size,
    }


def choose_version(source: Source, config: Data, made: dict[str, Any]) -> dict[str, Any]:
    """Returns `made`, or the same of an older edition if that has prepared all splits.

    Its pictures are those that older runs were trained on, so they are used, which is logged.
    """
    for version, difference in ({made["version"]: ""} | OLDER).items():
        older = made | {"version": version}
        home = store_folder(config, older)
        if all(copies.is_whole_store(home / name) for name in source.splits):
            if difference and version < made["version"]:
                log.warning(
                    "%s was prepared by an older edition, which %s. It is used as it is. To "
                    "prepare the data anew, for new runs, delete that folder.",
                    *(home, difference),
                )
            return older
    return made


def store_folder(config: Data, made: Mapping[str, Any]) -> storage.Path:
    """Folder in the cache for the stores that `made` describes."""
    size = made["image_size"]
    key = (made["source"], made["fingerprint"][:12], made["crop"], size, made["resize"])
    cache = storage.parse_path(config.cache_dir, "config.data.cache_dir")
    return cache / "-".join(map(str, (*key, f"v{made['version']}")))


def prepare_splits(source: Source, where: Path, made: Mapping[str, Any], on_bad: str) -> None:
    """Prepares the splits that `where` lacks, and draws the contact sheet if it lacks that.

    Raises DataError for bad pictures and for a full disk, ConfigError if `where` cannot be written.
    """
    with wait_for_lock(where):
        # Another process may have made some meanwhile.
        missing = {
            name: load for name, load in source.splits.items() if not (where / name).exists()
        }
        bits = find_bits(source) if missing else 16
        for name, load in missing.items():
            split = load()
            meta = Meta(split=name, num=len(split.attributes), **made)
            build_store(where / name, meta, split, source, on_bad, bits)
        sheet = where / "prepared.png"
        if not sheet.exists():
            try:
                summary.write_contact_sheet(sheet, open_store(where / "train"))
            except OSError as error:
                raise DataError(
                    f"{sheet} cannot be written ({error.strerror}). Make room, or name another "
                    "disk by --config.data.cache_dir=FOLDER."
                ) from error


def prepare_in_bucket(
    source: Source, home: storage.Path, where: Path, made: Mapping[str, Any], on_bad: str
) -> None:
    """Prepares the splits that the bucket's folder `home` lacks, in `where` on this host.

    Then copies them to `home`. Raises the same errors as `prepare_splits`.
    """
    missing = [name for name in source.splits if not copies.is_whole_store(home / name)]
    for name in source.splits:
        if name not in missing:
            copies.download_store(home / name, where / name)
    prepare_splits(source, where, made, on_bad)
    for name in missing:
        copies.upload_store(where / name, home / name)
    storage.copy_file(where / "prepared.png", home / "prepared.png")


def choose_crop(config: Data, source: Source) -> str:
    """Returns the crop to use: a key of CROPS, "square", or "none" for drawn pictures.

    Raises ConfigError for a crop that does not fit: CelebA's named boxes mean nothing on other
    frames, and "square" has no name there that results could be compared by.
    """
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


def check_store(store: Store, made: Mapping[str, Any], on_bad: str) -> None:
    """Raises DataError unless the store is what `made` describes.

    It also does if inputs were left out and `on_bad` is not "skip".
    """
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


def adopt_groups(store: Store, groups: Groups) -> Store:
    """Returns the store with its source's groups, which older editions did not write."""
    return store if store.groups else dataclasses.replace(store, groups=groups)


def choose_attributes(store: Store, attributes: str | None) -> Store:
    """Returns the store with only the attributes of a list "A,B", in its order; all by default.

    The name of a column stands for all its values: "age" for "age=20-29" and so on. Raises
    ConfigError for a name that is unknown or there twice.
    """
    known = {tidy_name(name): [name] for name in store.attribute_names}
    for group in store.groups:
        if (column := group[0].partition("=")[0]) and "=" in group[0]:
            known.setdefault(tidy_name(column), list(group))
    wishes = split_names(attributes or "", known, "config.data.attributes")
    if not wishes:
        return store
    names = [name for wish in wishes for name in known.get(wish, [wish])]
    for name in names:
        if name not in store.attribute_names or names.count(name) > 1:
            what = "is there twice" if names.count(name) > 1 else "is no attribute of this data set"
            raise ConfigError(
                f"config.data.attributes: {name!r} {what}.{nearest(name, known)} "
                f"It has: {', '.join(store.attribute_names)}."
            )
    columns = [store.attribute_names.index(name) for name in names]
    rows = np.ascontiguousarray(store.attributes[:, columns])
    groups = choose_groups(store.groups, names)
    return dataclasses.replace(store, attribute_names=tuple(names), attributes=rows, groups=groups)
