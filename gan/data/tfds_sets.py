"""Any TFDS data set of labelled images, such as `cifar10`, prepared by TFDS itself.

`config.path` is the folder that `tfds.load(..., data_dir=...)` is given, and `config.name` is
`cifar10`, `cifar10:3.0.2` or `dataset/config`; or `config.path` is the folder of the version.
"""

import functools
import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from gan.config import Data
from gan.data.decode import ANY_FORMAT
from gan.data.files import first_few
from gan.data.source import SPLITS, Picture, Source, Split, hash_splits
from gan.data.tfds_files import (
    INFO,
    Prepared,
    default_data_dir,
    fingerprint,
    open_prepared,
    records,
    unfinished,
    value,
    versions,
)
from gan.errors import ConfigError, DataError, nearest
from gan.lazy import tensorflow

NAME = re.compile(r"(?P<dataset>\w+)(/(?P<config>[\w.+-]+))?(:(?P<version>\d+\.\d+\.\d+))?")
ALIASES = {"validation": ("validation", "valid", "val"), "test": ("test",)}
MAX_CLASSES = 1_000  # Each is a column of the labels and an input of the networks.


def recognise(path: Path) -> bool:
    """Whether this is the folder of a prepared version, or of a data set with some."""
    try:
        return (path / INFO).is_file() or bool(versions(path))
    except OSError:
        return False


def source(config: Data) -> Source:
    """The prepared data set, its classes as one-hot attributes. ConfigError, DataError."""
    prepared, builder = _find(config)
    features = builder.info.features
    names = _classes(builder.info.full_name, features)
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
    labels = functools.cache(functools.partial(_labels, prepared, builder, len(names)))
    where = prepared.title if prepared else builder.info.full_name
    counts = [f"{prepared.num(name):,} {name}" for name in there] if prepared else there
    return Source(
        name="tfds",
        found=f"TFDS data set {where}: {', '.join(counts)}; {len(names):,} classes"
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
                f"--config.data.name=NAME. In {root} there lie {first_few(_prepared_in(root))}."
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


def _prepared_in(root: Path) -> list[str]:
    """The names of the data sets that lie prepared in a data_dir."""
    names = []
    for folder in sorted(root.glob("*")):
        if versions(folder):
            names.append(folder.name)
        names += [f"{folder.name}/{p.name}" for p in sorted(folder.glob("*")) if versions(p)]
    return names


def _mocked(root: Path, name: str, dataset: str) -> Any:
    """A builder whose data TFDS has without files; else the DataError how to prepare it."""
    tensorflow()
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=str(root))
        builder.as_dataset(split="train")
    except Exception:  # It is not there, for whatever reason.
        there = _prepared_in(root)
        raise DataError(
            f"{root}: the TFDS data set {name!r} is not prepared there, but {first_few(there)}."
            f"{nearest(name, there)}{unfinished(root / dataset)} Nothing is downloaded here; "
            f"`tfds build {name} --data_dir={root}` prepares it, once."
        ) from None
    return builder


def _classes(title: str, features: Any) -> tuple[str, ...]:
    """The names of the classes. DataError unless there are an image and one label."""
    import tensorflow_datasets as tfds

    there = {name: type(feature).__name__ for name, feature in sorted(features.items())}
    image, label = (features[name] if name in there else None for name in ("image", "label"))
    if not isinstance(image, tfds.features.Image) or not isinstance(
        label, tfds.features.ClassLabel
    ):
        listed = ", ".join(f"{name} ({kind})" for name, kind in there.items())
        raise DataError(
            f"{title} has the features {listed}, but 'image' (Image) and 'label' (ClassLabel) are "
            "needed. Write its pictures to a folder a class, and use --config.data.source=folder."
        )
    if image.np_dtype != np.uint8:
        raise DataError(
            f"{title} has images of {np.dtype(image.np_dtype)}, which are no ordinary pictures: "
            "uint8 is needed."
        )
    if label.num_classes > MAX_CLASSES:
        raise DataError(
            f"{title} has {label.num_classes:,} classes; at most {MAX_CLASSES:,} can be learnt."
        )
    return tuple(label.int2str(i) for i in range(label.num_classes))


def _split(
    prepared: Prepared | None, builder: Any, labels: Callable, name: str, own: str, taken: list[str]
) -> Split:
    """Of the data set's split `own`; the rows of all splits `taken` from train are disjoint."""
    attributes = labels(own)
    mask = np.ones(len(attributes), bool)
    if own == "train" and taken:
        parts = hash_splits([str(i) for i in range(len(attributes))])
        rows = parts[name]
        if name == "train":  # What no other split takes.
            rows = np.concatenate([parts[part] for part in SPLITS if part not in taken])
        mask = np.isin(np.arange(len(attributes)), rows)
    rows = np.flatnonzero(mask)
    place = prepared.folder if prepared else builder.info.full_name
    return Split(
        attributes=attributes[mask],
        identity=np.full(len(rows), -1, np.int32),
        names=[f"{place}: {own}, row {i}" for i in rows],
        stream=functools.partial(_pictures, prepared, builder, own, mask),
    )


def _labels(
    prepared: Prepared | None, builder: Any, num_classes: int, split: str
) -> UInt8[np.ndarray, "n a"]:
    """One-hot."""
    values = np.array([int(label) for label in _values(prepared, builder, split, "label")], int)
    wrong = np.flatnonzero((values < 0) | (values >= num_classes))
    if len(wrong):
        raise DataError(
            f"{builder.info.full_name}: row {wrong[0]} of {split} has the label "
            f"{values[wrong[0]]}, not one from 0 to {num_classes - 1}: it is unlabelled. Labelled "
            "splits are needed."
        )
    return np.eye(num_classes, dtype=np.uint8)[values]


def _pictures(
    prepared: Prepared | None, builder: Any, split: str, mask: Bool[np.ndarray, "n"]
) -> Iterator[Picture]:
    images = _values(prepared, builder, split, "image")
    for wanted, image in zip(mask, images, strict=True):
        if wanted:
            yield image


def _values(prepared: Prepared | None, builder: Any, split: str, key: str) -> Iterator[Any]:
    """One feature of each record of a split, in order; images as they are encoded."""
    if prepared is None:
        import tensorflow_datasets as tfds

        decoders = tfds.decode.PartialDecoding({key: True})
        for example in builder.as_dataset(split=split, decoders=decoders).as_numpy_iterator():
            yield example[key]
        return
    for i, record in enumerate(records(prepared, split)):
        yield value(record, key, lambda i=i: prepared.name(split, i))
