"""Reads any TFDS data set of labelled images, prepared by TFDS itself or by `gan.data.export_tfds`.

    FOLDER/cifar10/3.0.2/      dataset_info.json, features.json, cifar10-train.tfrecord-...
    FOLDER/DATASET/CONFIG/1.2.3/

`config.path` is FOLDER, as for `tfds.load(..., data_dir=FOLDER)`, and `config.name` is `cifar10`,
`cifar10:3.0.2` or `DATASET/CONFIG`; or `config.path` is the folder of the version. People get data
sets by `tfds build NAME`.

The source has an attribute for each class of the feature `label`, or those of the feature
`attributes` (a dict of bools), and identities from the feature `identity` if there is one. A
validation or test split that is missing is taken from train by hash.
"""

import difflib
import functools
import hashlib
import itertools
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from gan.config import Data
from gan.data.decode import ANY_FORMAT
from gan.data.readers.tfds_files import (
    INFO,
    Prepared,
    RecordLabels,
    compute_fingerprint,
    default_data_dir,
    find_versions,
    mention_unfinished,
    open_prepared,
    order_attributes,
    read_integers,
    read_record_labels,
    stream_images,
)
from gan.data.source import SPLITS, Picture, Source, Split, hash_splits
from gan.errors import ConfigError, DataError, first_few, nearest
from gan.runtime.tensorflow import import_tensorflow

DATASET_NAME = re.compile(r"(?P<dataset>\w+)(/(?P<config>[\w.+-]+))?(:(?P<version>\d+\.\d+\.\d+))?")
ALIASES = {  # Names that data sets give to each split.
    "train": ("train",),
    "validation": ("validation", "valid", "val"),
    "test": ("test",),
}
MAX_CLASSES = 1_000  # Each is a column of the labels and an input of the networks.


def recognise(path: Path) -> bool:
    """Tells whether `path` is the folder of a prepared version, or of a data set with versions."""
    try:
        return (path / INFO).is_file() or bool(find_versions(path))
    except OSError:
        return False


def open_source(config: Data) -> Source:
    """Opens the prepared data set `config.name` at `config.path`; classes become one-hot.

    ConfigError if the name is missing or wrong; DataError if the data set is not there, is damaged
    or has other features than are needed.
    """
    prepared, builder = _find_dataset(config)
    features = builder.info.features
    kind, names = _read_attribute_names(builder.info.full_name, features)
    there = list(builder.info.splits) or ["train"]  # Empty only under tfds.testing.mock_data.
    if "train" not in there:
        raise DataError(
            f"{builder.info.full_name} has the splits {', '.join(there)}, but no 'train'."
        )
    own = {
        name: next((alias for alias in aliases if alias in there), "train")
        for name, aliases in ALIASES.items()
    }
    taken = [name for name in SPLITS if own[name] == "train" and name != "train"]
    read = {"classes": _read_classes, "attributes": _read_attributes}[kind]
    labels = functools.cache(functools.partial(read, prepared, builder, names))
    where = prepared.title if prepared else builder.info.full_name
    counts = [f"{prepared.num(name):,} {name}" for name in there] if prepared else there
    return Source(
        name="tfds",
        found=f"TFDS data set {where}: {', '.join(counts)}; {len(names):,} {kind}"
        + (f"; {' and '.join(taken)} taken from train" if taken else ""),
        fingerprint=compute_fingerprint(prepared)
        if prepared
        else hashlib.sha256(builder.info.full_name.encode()).hexdigest(),
        attribute_names=names,
        splits={
            name: functools.cache(
                functools.partial(_read_split, prepared, builder, labels, name, own[name], taken)
            )
            for name in SPLITS
        },
        formats=ANY_FORMAT,
        groups=(names,) if kind == "classes" and len(names) > 1 else (),
    )


def _find_dataset(config: Data) -> tuple[Prepared | None, Any]:
    """Returns the files and the TFDS builder of the data set that `config` means.

    There are no files where `tfds.testing.mock_data` stands in for them.
    """
    root = default_data_dir() if config.path is None else Path(config.path).expanduser()
    match = DATASET_NAME.fullmatch(config.name or "")
    if config.name and not match:
        raise ConfigError(
            f"config.data.name={config.name!r} should be like 'cifar10', 'cifar10:3.0.2' or "
            "'dataset/config'."
        )
    folder = root if (root / INFO).is_file() else None
    if folder is None and match is None:
        found = list(find_versions(root).values())
        if not found:
            raise ConfigError(
                "config.data.name is not given: source 'tfds' needs the name of a data set, by "
                f"--config.data.name=NAME. In {root} there lie {first_few(list_datasets(root))}."
            )
        folder = found[-1]
    if folder is None:
        folder = _find_version(root, **match.groupdict())
    if folder is None:
        return None, _find_mocked(root, config.name, match["dataset"])
    prepared = open_prepared(folder)
    if match and match["dataset"] != prepared.builder.name:
        raise ConfigError(
            f"config.data.name={config.name!r}, but {folder} holds {prepared.builder.name!r}. "
            "Leave one of config.data.path and config.data.name away, or correct it."
        )
    return prepared, prepared.builder


def _find_version(root: Path, dataset: str, config: str | None, version: str | None) -> Path | None:
    """Returns the folder of this version, by default of the newest, or None if none is there.

    ConfigError if the configuration is unclear, DataError if only other versions are there.
    """
    base = root / dataset
    if config is None and not find_versions(base):
        configs = [path.name for path in sorted(base.glob("*")) if find_versions(path)]
        if len(configs) > 1:
            raise ConfigError(
                f"{base} has several configurations: choose one by --config.data.name="
                f"{dataset}/CONFIG, of {', '.join(configs)}."
            )
        config = configs[0] if configs else None
    base = base / config if config else base
    found = find_versions(base)
    if found and version and version not in found:
        raise DataError(
            f"{base}: version {version} is not prepared there, but {', '.join(found)} is."
        )
    return found[version or list(found)[-1]] if found else None


def list_datasets(path: Path) -> list[str]:
    """Lists the names of the data sets that lie prepared in a folder. Never raises."""
    names = []
    try:
        for folder in _list_folders(path):
            if find_versions(folder):
                names.append(folder.name)
            names += [
                f"{folder.name}/{inner.name}"
                for inner in _list_folders(folder)
                if find_versions(inner)
            ]
    except (OSError, ValueError):
        pass  # What cannot be read has no names.
    return names


def _list_folders(path: Path) -> list[Path]:
    """Lists the folders right in a folder."""
    if not path.is_dir():
        return []
    with os.scandir(path) as entries:
        return sorted(path / entry.name for entry in entries if entry.is_dir())


def _find_mocked(root: Path, name: str, dataset: str) -> Any:
    """Returns a builder whose data needs no files. DataError, with how to prepare it, if none."""
    import_tensorflow()
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=str(root))
        builder.as_dataset(split="train")
    except Exception:  # It is not there, for whatever reason.
        there = list_datasets(root)
        known = tfds.list_builders(with_community_datasets=False)  # Needs no network.
        if dataset in known:
            remedy = f"`tfds build {name} --data_dir={root}` prepares it, once."
        else:
            remedy = f"TFDS {tfds.__version__} has no data set {dataset!r} to build."
            alike = difflib.get_close_matches(dataset, known)
            remedy += nearest(name, there) or f" It has {', '.join(alike)}." * bool(alike)
        raise DataError(
            f"{root}: the TFDS data set {name!r} is not prepared there, "
            f"{'only ' + first_few(there) if there else 'nor is any other'}."
            f"{mention_unfinished(root / dataset)} Nothing is downloaded here. {remedy}"
        ) from None
    return builder


def _read_attribute_names(title: str, features: Any) -> tuple[str, tuple[str, ...]]:
    """Returns "classes" or "attributes", and their names.

    DataError unless the features are images and labels that can be learnt.
    """
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
        return "attributes", order_attributes(features)
    if label.num_classes > MAX_CLASSES:
        raise DataError(
            f"{title} has {label.num_classes:,} classes; at most {MAX_CLASSES:,} can be learnt."
        )
    return "classes", tuple(label.int2str(i) for i in range(label.num_classes))


def _read_split(
    prepared: Prepared | None,
    builder: Any,
    labels: Callable[[str], RecordLabels],
    name: str,
    own: str,
    taken: list[str],
) -> Split:
    """Returns the split `name`, whose records are those of `own` in the data set, or some of them.

    Where `own` is train, it is shared by hash with all splits in `taken`.
    """
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
        stream=functools.partial(_stream_pictures, prepared, builder, own, mask),
    )


def _read_classes(
    prepared: Prepared | None, builder: Any, names: tuple[str, ...], split: str
) -> RecordLabels:
    """Reads the classes of a split, as one-hot attributes. DataError if a record has none."""
    if prepared:
        values = read_integers(prepared, split, ["label"])[:, 0]
    else:
        values = np.array([int(label) for label in _mock_values(builder, split, "label")], int)
    for row in np.flatnonzero((values < 0) | (values >= len(names))):
        raise DataError(
            f"{builder.info.full_name}: row {row} of {split} has the label {values[row]}, not one "
            f"from 0 to {len(names) - 1}: it is unlabelled. Labelled splits are needed."
        )
    attributes = np.eye(len(names), dtype=np.uint8)[values]
    return RecordLabels(attributes, np.full(len(values), -1, np.int32))


def _read_attributes(
    prepared: Prepared | None, builder: Any, names: tuple[str, ...], split: str
) -> RecordLabels:
    """Reads the attributes and identities of a split. DataError names a wrong record."""
    if prepared:
        return read_record_labels(prepared, split, names)
    rows = [[row[n] for n in names] for row in _mock_values(builder, split, "attributes")]
    attributes = np.array(rows, np.uint8).reshape(len(rows), len(names))
    return RecordLabels(attributes, np.full(len(rows), -1, np.int32))


def _stream_pictures(
    prepared: Prepared | None, builder: Any, split: str, mask: Bool[np.ndarray, "n"]
) -> Iterator[Picture | DataError]:
    """Yields the pictures of the records in `mask`."""
    images = stream_images(prepared, split) if prepared else _mock_values(builder, split, "image")
    return itertools.compress(images, mask)


def _mock_values(builder: Any, split: str, key: str) -> Iterator[Any]:
    """Yields one feature of each record, under `tfds.testing.mock_data`."""
    import tensorflow_datasets as tfds

    decoders = tfds.decode.PartialDecoding({key: True})
    for example in builder.as_dataset(split=split, decoders=decoders).as_numpy_iterator():
        yield example[key]
