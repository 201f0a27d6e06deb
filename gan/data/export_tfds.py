"""Exports any source of encoded pictures as a TFDS data set.

TFDS builds its `celeb_a` only from the authors' original files and refuses all others
(NonMatchingChecksumError): a zip that was packed again, Kaggle's files, a part of the set. Here any
`Source` is written in the same form: names, types, splits and order of the records are those of
`celeb_a` 2.1.0, and the bytes of each picture stay the same.
"""

import concurrent.futures
import contextlib
import errno
import io
import json
import logging
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gan.data.decode import SQUASH, Recipe, decode_picture
from gan.data.readers.tfds_files import FORMATS, INFO, mention_unfinished, shorten_error
from gan.data.source import Source, Split
from gan.errors import ConfigError, DataError, nearest
from gan.runtime.tensorflow import import_tensorflow

log = logging.getLogger("gan")

RECORD = "metadata.json"  # A file of TFDS; an export notes its source there.
OFFICIAL = re.compile(r"\d{6}\.jpg$")
CHUNK = 256  # Pictures checked at a time.


def export_tfds(
    source: Source, data_dir: Path, file_format: str = "tfrecord", on_bad: str = "error"
) -> Path:
    """Writes a source of picture files under `data_dir`; returns the folder of the data set.

    Aligned CelebA becomes `celeb_a` 2.1.0, other pictures a data set of the source's name. Either
    is read by `tfds.builder_from_directory(folder)`, and CelebA by `tfds.load("celeb_a:2.1.0",
    data_dir=...)`. The version is needed: without it TFDS takes the features from its own code,
    whose `landmarks` no `Source` has, and stops at the first record of a tfrecord.

    `file_format` is one of FORMATS. Each picture is decoded once to find damaged ones: they raise
    DataError, or with `on_bad` "skip" are left out. The folder appears when everything is written.
    An export of the same source that is there already is kept. Raises ConfigError for settings and
    folders that do not fit, DataError for bad pictures and for a full disk.
    """
    _check_settings(source, file_format)
    name, version = ("celeb_a", "2.1.0") if source.frame else (_name(source.name), "1.0.0")
    data_dir = data_dir.expanduser().absolute()
    folder = data_dir / name / version
    if folder.exists():
        _check_same(folder, source, file_format, on_bad)
        log.info("%s: this source is exported already.", folder)
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{folder.parent} cannot be made ({error.strerror}): give another folder to export to."
        ) from error
    if remains := mention_unfinished(folder.parent):
        log.warning("%s:%s It may be deleted if no other export runs.", folder.parent, remains)
    splits = {split: load() for split, load in source.splits.items()}
    record = {"source": source.name, "fingerprint": source.fingerprint}
    builder_class = _make_builder(source, splits, name, version, record, on_bad)
    try:
        with _offline(), tempfile.TemporaryDirectory() as downloads:
            builder = builder_class(data_dir=str(data_dir), file_format=file_format)
            builder.download_and_prepare(download_dir=downloads)
    except (OSError, RuntimeError, import_tensorflow().errors.OpError) as error:  # Full disk: any.
        raise DataError(
            f"{folder} cannot be written ({_reason(error)}); {_free(data_dir)} are free there. "
            "Make room, or export to another disk: --out=FOLDER."
        ) from error
    nums = ", ".join(f"{split.num_examples:,} {key}" for key, split in builder.info.splits.items())
    log.info(
        "%s: %s %s (%s), %s; %s left out. Read it with tfds.builder_from_directory(%r)%s.",
        *(folder, name, version, file_format, nums, f"{record['left_out']:,}", str(folder)),
        f" or tfds.load('{name}:{version}', data_dir={str(data_dir)!r})" if source.frame else "",
    )
    return folder


def _check_settings(source: Source, file_format: str) -> None:
    """Raises ConfigError for an unknown format, or a source without files."""
    if file_format not in FORMATS:
        raise ConfigError(
            f"file_format={file_format!r} is not one of {', '.join(FORMATS)}."
            f"{nearest(file_format, FORMATS)}"
        )
    if not source.formats:
        raise ConfigError(
            f"config.data.source={source.name!r} has no picture files to export: its pictures are "
            "drawn, or decoded already. Choose the source of a zip or a folder of pictures."
        )


def _make_builder(
    source: Source,
    splits: Mapping[str, Split],
    title: str,
    version: str,
    record: dict[str, Any],
    on_bad: str,
) -> type:
    """Makes the class by which TFDS writes the splits; it counts in `record` what is left out."""
    import_tensorflow()  # Before TFDS imports it, so that it leaves the accelerator alone.
    import tensorflow_datasets as tfds

    known = any((split.identity >= 0).any() for split in splits.values())
    jpeg = "jpeg" if source.formats == ("JPEG",) else None
    features = {
        "image": tfds.features.Image(
            shape=(*(source.frame or (None, None)), 3), encoding_format=jpeg
        ),
        "attributes": dict.fromkeys(source.attribute_names, np.bool_),
    }
    if known:
        features["identity"] = {"Identity_No": np.int64}
    record["left_out"] = sum(len(split.left_out) for split in splits.values())
    metadata = tfds.core.MetadataDict(record)

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = title
        VERSION = tfds.core.Version(version)

        def _info(self) -> tfds.core.DatasetInfo:
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features), metadata=metadata
            )

        def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
            return {name: self._generate_examples(name) for name in splits}

        def _generate_examples(self, split_name: str) -> Iterator[tuple[str, dict[str, Any]]]:
            split = splits[split_name]
            keys = _keys(split)
            for i, picture in enumerate(_pictures(source, split_name, split)):
                if isinstance(picture, DataError):
                    if on_bad != "skip":
                        raise picture
                    log.warning("Left out: %s", picture)
                    record["left_out"] += 1
                    metadata["left_out"] = record["left_out"]
                    continue
                row = zip(source.attribute_names, split.attributes[i], strict=True)
                example = {"image": picture, "attributes": {key: bool(on) for key, on in row}}
                if known:
                    example["identity"] = {"Identity_No": int(split.identity[i])}
                yield keys[i], example

    return Builder


def _pictures(source: Source, split_name: str, split: Split) -> Iterator[bytes | DataError]:
    """Yields the bytes of each picture of a split, or the DataError of a bad one."""
    # TensorFlow cannot decode WebP, so readers of the data set could not either.
    formats = tuple(name for name in source.formats if name != "WEBP")
    recipe = Recipe(8, SQUASH, "area", formats, source.frame)
    num = len(split.attributes)
    names = split.names or [f"{source.name} {split_name} {i}" for i in range(num)]

    def check(index: int, picture: bytes | None = None) -> bytes | DataError:
        try:
            picture = split.read(index) if picture is None else picture
            decode_picture(recipe, picture, names[index])
        except DataError as error:
            return error
        return picture

    if split.read is None:
        yield from map(check, range(num), split.stream())
        return
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for first in range(0, num, CHUNK):
            yield from pool.map(check, range(first, min(first + CHUNK, num)))


def _keys(split: Split) -> list[str]:
    """Returns the key of each record: official file names if all have one, else row numbers.

    TFDS orders records by the hash of their keys, so `train[:10%]` equals that of the official set.
    """
    found = [OFFICIAL.search(name) for name in split.names]
    keys = [match.group() for match in found if match]
    num = len(split.attributes)
    return keys if len(set(keys)) == num else [str(i) for i in range(num)]


def _check_same(folder: Path, source: Source, file_format: str, on_bad: str) -> None:
    """Checks that the folder holds this very export.

    Raises ConfigError for another source, format or data set, and DataError if pictures were left
    out and `on_bad` is not "skip".
    """
    try:
        record = json.loads((folder / RECORD).read_bytes())
        theirs = record["source"], record["fingerprint"]
        left_out = int(record["left_out"])
        their_format = json.loads((folder / INFO).read_bytes())["fileFormat"]
    except (OSError, ValueError, KeyError, TypeError):
        theirs, left_out, their_format = None, 0, file_format
    remedy = "Export to another folder, or delete this one first."
    if theirs != (source.name, source.fingerprint):
        what = f"an export of another source ({theirs[0]})" if theirs else "another data set"
        raise ConfigError(f"{folder} holds {what} already. {remedy}")
    if their_format != file_format:
        raise ConfigError(f"{folder} holds this source in the format {their_format!r}. {remedy}")
    if left_out and on_bad != "skip":
        raise DataError(
            f"{folder} was exported with --config.data.on_bad=skip: {left_out:,} pictures were "
            "left out. Give that again, or delete the folder and mend them."
        )


def _reason(error: Exception) -> str:
    """Returns why writing failed: libraries put a full disk at the end of a long message."""
    known = map(os.strerror, (errno.ENOSPC, errno.EDQUOT))
    return next((reason for reason in known if reason in str(error)), shorten_error(error))


def _free(folder: Path) -> str:
    """Room on the disk of a folder, with its unit."""
    try:
        return f"{shutil.disk_usage(folder).free / 1e6:,.1f} MB"
    except OSError:  # The folder is gone.
        return "0 MB"


def _name(name: str) -> str:
    """Returns the name with only the characters that TFDS allows."""
    return re.sub(r"\W", "_", name.lower())


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Keeps TFDS off the network, and quiet but for its progress bars on a terminal."""
    from tensorflow_datasets.core.utils import gcs_utils, tqdm_utils

    before = gcs_utils._is_gcs_disabled, tqdm_utils._active
    gcs_utils._is_gcs_disabled = True
    tqdm_utils.display_progress_bar(sys.stderr.isatty())
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # It says "Downloading", which it does not.
            yield
    finally:
        gcs_utils._is_gcs_disabled, tqdm_utils._active = before
