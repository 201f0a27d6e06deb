"""Any TFDS data set of labelled images, prepared by TFDS itself or by `gan.data.export_tfds`.

`config.path` is the folder that `tfds.load(..., data_dir=...)` is given, and `config.name` is
`cifar10`, `cifar10:3.0.2` or `dataset/config`; or `config.path` is the folder of the version.
Labels are the feature `label` (a class), or `attributes` (a dict of bools) and, if there is one,
`identity`.
"""

import difflib
import functools
import hashlib
import itertools
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int32, UInt8

from gan.config import Data
from gan.data.decode import ANY_FORMAT
from gan.data.readers.celeba_tfds import names_of
from gan.data.readers.tfds_files import (
    INFO,
    Prepared,
    attributes_of,
    default_data_dir,
    fingerprint,
    integers,
    open_prepared,
    pictures,
    unfinished,
    versions,
)
from gan.data.source import SPLITS, Picture, Source, Split, hash_splits
from gan.errors import ConfigError, DataError, first_few, nearest
from gan.runtime.tensorflow import import_tensorflow

NAME = re.compile(r"(?P<dataset>\w+)(/(?P<config>[\w.+-]+))?(:(?P<version>\d+\.\d+\.\d+))?")
ALIASES = {"validation": ("validation", "valid", "val"), "test": ("test",)}
MAX_CLASSES = 1_000  # Each is a column of the labels and an input of the networks.


class Labels(NamedTuple):
    """Of all records of a split."""

    attributes: UInt8[np.ndarray, "n a"]  # 0 | 1
    identity: Int32[np.ndarray, "n"]  # -1 where unknown.


def recognise(path: Path) -> bool:
    """Whether this is the folder of a prepared version, or of a data set with some."""
    try:
        return (path / INFO).is_file() or bool(versions(path))
    except OSError:
        return False


def open_source(config: Data) -> Source:
    """The prepared data set, classes as one-hot attributes. ConfigError, DataError."""
    prepared, builder = _find(config)
    features = builder.info.features
    kind, names = _names(builder.info.full_name, features)
    there = list(builder.info.splits) or ["train"]  # Empty only under tfds.testing.mock_data.
    if "train" not in there:
        raise DataError(
            f"{builder.info.full_name} has the splits {', '.join(there)}, but no 'train'."
        )
    own = {
        name: next((alias for alias in aliases if alias in there), "train")
        for name, aliases in ALIASES.items()
    }
    own = {"train": "train", **own}
    taken = [name for name in SPLITS if own[name] == "train" and name != "train"]
    read = {"classes": _classes, "attributes": _attributes}[kind]
    labels = functools.cache(functools.partial(read, prepared, builder, names))
    where = prepared.title if prepared else builder.info.full_name
    counts = [f"{prepared.num(name):,} {name}" for name in there] if prepared else there
    return Source(
        name="tfds",
        found=f"TFDS data set {where}: {', '.join(counts)}; {len(names):,} {kind}"
        + (f"; {' and '.join(taken)} taken from train" if taken else ""),
        fingerprint=fingerprint(prepared)
        if prepared
        else hashlib.sha256(builder.info.full_name.encode()).hexdigest(),
        attribute_names=names,
        splits={
            name: functools.cache(
                functools.partial(_split, prepared, builder, labels, name, own[name], taken)
            )
            for name in SPLITS
        },
        formats=ANY_FORMAT,
    )


def _find(config: Data) -> tuple[Prepared | None, Any]:
    """The files and the builder; no files where `tfds.testing.mock_data` stands in for them."""
    root = default_data_dir() if config.path is None else Path(config.path).expanduser()
    match = NAME.fullmatch(config.name or "")
    if config.name and not match:
        raise ConfigError(
            f"config.data.name={config.name!r} should be like 'cifar10', 'cifar10:3.0.2' or "
            "'dataset/config'."
        )
    folder = root if (root / INFO).is_file() else None
    if folder is None and match is None:
        found = list(versions(root).values())
        if not found:
            raise ConfigError(
                "config.data.name is not given: source 'tfds' needs the name of a data set, by "
                f"--config.data.name=NAME. In {root} there lie {first_few(names_in(root))}."
            )
        folder = found[-1]
    if folder is None:
        folder = _locate(root, **match.groupdict())
    if folder is None:
        return None, _mocked(root, config.name, match["dataset"])
    prepared = open_prepared(folder)
    if match and match["dataset"] != prepared.builder.name:
        raise ConfigError(
            f"config.data.name={config.name!r}, but {folder} holds {prepared.builder.name!r}. "
            "Leave one of config.data.path and config.data.name away, or correct it."
        )
    return prepared, prepared.builder


def _locate(root: Path, dataset: str, config: str | None, version: str | None) -> Path | None:
    """The folder of the version that was asked for, or of the newest."""
    base = root / dataset
    if config is None and not versions(base):
        configs = [path.name for path in sorted(base.glob("*")) if versions(path)]
        if len(configs) > 1:
            raise ConfigError(
                f"{base} has several configurations: choose one by --config.data.name="
                f"{dataset}/CONFIG, of {', '.join(configs)}."
            )
        config = configs[0] if configs else None
    base = base / config if config else base
    found = versions(base)
    if found and version and version not in found:
        raise DataError(
            f"{base}: version {version} is not prepared there, but {', '.join(found)} is."
        )
    return found[version or list(found)[-1]] if found else None


def names_in(path: Path) -> list[str]:
    """The names of the data sets that lie prepared in a data_dir. Never raises."""
    names = []
    try:
        for folder in _folders(path):
            if versions(folder):
                names.append(folder.name)
            names += [
                f"{folder.name}/{inner.name}" for inner in _folders(folder) if versions(inner)
            ]
    except (OSError, ValueError):
        pass  # What cannot be read has no names.
    return names


def _folders(path: Path) -> list[Path]:
    """Those right in a folder."""
    if not path.is_dir():
        return []
    with os.scandir(path) as entries:
        return sorted(path / entry.name for entry in entries if entry.is_dir())


def _mocked(root: Path, name: str, dataset: str) -> Any:
    """A builder whose data TFDS has without files; else the DataError how to prepare it."""
    import_tensorflow()
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=str(root))
        builder.as_dataset(split="train")
    except Exception:  # It is not there, for whatever reason.
        there = names_in(root)
        known = tfds.list_builders(with_community_datasets=False)  # Those in its code: no network.
        if dataset in known:
            remedy = f"`tfds build {name} --data_dir={root}` prepares it, once."
        else:
            remedy = f"TFDS {tfds.__version__} has no data set {dataset!r} to build."
            alike = difflib.get_close_matches(dataset, known)
            remedy += nearest(name, there) or f" It has {', '.join(alike)}." * bool(alike)
        raise DataError(
            f"{root}: the TFDS data set {name!r} is not prepared there, "
            f"{'only ' + first_few(there) if there else 'nor is any other'}."
            f"{unfinished(root / dataset)} Nothing is downloaded here. {remedy}"
        ) from None
    return builder


def _names(title: str, features: Any) -> tuple[str, tuple[str, ...]]:
    """("classes" or "attributes", their names). DataError unless there are images and labels."""
    import tensorflow_datasets as tfds

    image, label, attributes = map(dict(features).get, ("image", "label", "attributes"))
    is_class = isinstance(label, tfds.features.ClassLabel)
    is_dict = isinstance(attributes, tfds.features.FeaturesDict) and all(
        feature.np_dtype == np.bool_ and feature.shape == () for feature in attributes.values()
    )
    if not isinstance(image, tfds.features.Image) or not (is_class or is_dict):
        listed = [f"{name} ({type(feature).__name__})" for name, feature in features.items()]
        raise DataError(
            f"{title} has the features {', '.join(sorted(listed))}, but 'image' (Image) and "
            "'label' (ClassLabel), or 'attributes' (a FeaturesDict of bools), are needed. Write "
            "its pictures to a folder a class, and use --config.data.source=folder."
        )
    if image.np_dtype != np.uint8:
        raise DataError(
            f"{title} has images of {np.dtype(image.np_dtype)}, which are no ordinary pictures: "
            "uint8 is needed."
        )
    if not is_class:
        return "attributes", names_of(features)
    if label.num_classes > MAX_CLASSES:
        raise DataError(
            f"{title} has {label.num_classes:,} classes; at most {MAX_CLASSES:,} can be learnt."
        )
    return "classes", tuple(label.int2str(i) for i in range(label.num_classes))


def _split(
    prepared: Prepared | None, builder: Any, labels: Callable, name: str, own: str, taken: list[str]
) -> Split:
    """Of the data set's split `own`; the rows of all splits `taken` from train are disjoint."""
    attributes, identity = labels(own)
    mask = np.ones(len(attributes), bool)
    if own == "train" and taken:
        people = enumerate(identity.tolist())
        parts = hash_splits([str(i) if who < 0 else f"person {who}" for i, who in people])
        rows = parts[name]
        if name == "train":  # What no other split takes.
            rows = np.concatenate([parts[part] for part in SPLITS if part not in taken])
        mask = np.isin(np.arange(len(attributes)), rows)
    place = prepared.folder if prepared else builder.info.full_name
    return Split(
        attributes=attributes[mask],
        identity=identity[mask],
        names=[f"{place}: {own}, row {i}" for i in np.flatnonzero(mask)],
        stream=functools.partial(_pictures, prepared, builder, own, mask),
    )


def _classes(prepared: Prepared | None, builder: Any, names: tuple[str, ...], split: str) -> Labels:
    """One-hot."""
    if prepared:
        values = integers(prepared, split, ["label"])[:, 0]
    else:
        values = np.array([int(label) for label in _mock_values(builder, split, "label")], int)
    for row in np.flatnonzero((values < 0) | (values >= len(names))):
        raise DataError(
            f"{builder.info.full_name}: row {row} of {split} has the label {values[row]}, not one "
            f"from 0 to {len(names) - 1}: it is unlabelled. Labelled splits are needed."
        )
    return Labels(np.eye(len(names), dtype=np.uint8)[values], np.full(len(values), -1, np.int32))


def _attributes(
    prepared: Prepared | None, builder: Any, names: tuple[str, ...], split: str
) -> Labels:
    """Each by itself."""
    if prepared:
        return Labels(*attributes_of(prepared, split, names))
    rows = [[row[n] for n in names] for row in _mock_values(builder, split, "attributes")]
    attributes = np.array(rows, np.uint8).reshape(len(rows), len(names))
    return Labels(attributes, np.full(len(rows), -1, np.int32))


def _pictures(
    prepared: Prepared | None, builder: Any, split: str, mask: Bool[np.ndarray, "n"]
) -> Iterator[Picture | DataError]:
    images = pictures(prepared, split) if prepared else _mock_values(builder, split, "image")
    return itertools.compress(images, mask)


def _mock_values(builder: Any, split: str, key: str) -> Iterator[Any]:
    """One feature of each record, under `tfds.testing.mock_data`."""
    import tensorflow_datasets as tfds

    decoders = tfds.decode.PartialDecoding({key: True})
    for example in builder.as_dataset(split=split, decoders=decoders).as_numpy_iterator():
        yield example[key]
