"""Finds TFDS data sets that lie prepared on the disk, checks that they are whole, reads records.

    FOLDER/NAME/1.2.3/         dataset_info.json, features.json
                               NAME-train.tfrecord-00000-of-00016 ...  or .array_record-...

Nothing is downloaded or built. What `dataset_info.json` promises is compared with the files.
"""

import bisect
import functools
import hashlib
import itertools
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32, Int64, UInt8

from gan.data.readers.celeba_labels import ATTRIBUTES
from gan.data.source import narrow_identity
from gan.errors import DataError, first_few, nearest
from gan.runtime.tensorflow import import_tensorflow

INFO = "dataset_info.json"
FORMATS = ("tfrecord", "array_record")
VERSION_FOLDER = re.compile(r"\d+\.\d+\.\d+")
AGAIN = "Copy or build the data set again"
IDENTITY_KEY = "identity/Identity_No"
RECORDS_AT_A_TIME = 256  # Read together, from array_record files.


class RecordShard(NamedTuple):
    """One of the files of a split."""

    path: Path
    num: int  # Records in it, as `dataset_info.json` says.


class RecordLabels(NamedTuple):
    """The labels of the n records of a split."""

    attributes: UInt8[np.ndarray, "n a"]  # 0 | 1.
    identity: Int32[np.ndarray, "n"]  # -1 where unknown.


class Prepared(NamedTuple):
    """A prepared data set."""

    folder: Path  # The folder of the version.
    builder: Any  # A tfds.core.DatasetBuilder that only reads.
    file_format: str  # One of FORMATS.
    shards: Mapping[str, list[RecordShard]]  # By split.

    @property
    def features(self) -> Any:
        """The `tfds.features.FeaturesDict` of the data set."""
        return self.builder.info.features

    @property
    def title(self) -> str:
        """Name, version, format and folder, for messages."""
        info = self.builder.info
        return f"{info.full_name.replace('/', ' ')} ({self.file_format}) in {self.folder}"

    def num(self, split: str) -> int:
        """Returns the number of records in a split."""
        return sum(shard.num for shard in self.shards[split])

    def names(self, split: str) -> list[str]:
        """Returns file and number of each record of a split, for messages."""
        return [f"{path}, record {i}" for path, num in self.shards[split] for i in range(num)]


def default_data_dir() -> Path:
    """The folder in which TFDS puts data sets unless it is told otherwise."""
    return Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()


def find_versions(folder: Path) -> dict[str, Path]:
    """Returns the folders of the prepared versions of a data set by version, the newest last."""
    found = [
        path
        for path in folder.glob("*")
        if VERSION_FOLDER.fullmatch(path.name) and (path / INFO).is_file()
    ]
    found.sort(key=lambda path: [int(number) for number in path.name.split(".")])
    return {path.name: path for path in found}


def mention_unfinished(folder: Path) -> str:
    """Returns a sentence on the builds in a data set's folder that were not finished, or ""."""
    names = sorted(path.name for path in folder.glob("*incomplete*"))
    return f" What was not built to its end is not read: {first_few(names)}." if names else ""


def open_prepared(folder: Path) -> Prepared:
    """Opens the data set in the folder of a version. DataError if files are missing or cut."""
    import tensorflow_datasets as tfds  # TensorFlow itself is not imported by this.

    try:
        builder = tfds.builder_from_directory(folder)
        file_format = builder.info.file_format.file_suffix
        splits = builder.info.splits
        shards = {
            name: [
                RecordShard(Path(path), int(num))
                for path, num in zip(split.filepaths, split.shard_lengths, strict=True)
            ]
            for name, split in splits.items()
        }
    except Exception as error:  # Damaged descriptions fail in any way.
        raise DataError(
            f"{folder}: {INFO} and features.json cannot be read ({shorten_error(error)}). Copy "
            "them or build the data set again; versions of TFDS before 4.0 wrote no features.json."
        ) from error
    if file_format not in FORMATS:
        raise DataError(
            f"{folder} is in the format {file_format!r}; {' and '.join(FORMATS)} are read. "
            f"`tfds convert_format --dataset_dir={folder} --out_file_format=array_record "
            "--out_path=FOLDER` makes another copy."
        )
    missing = [
        shard.path.name for some in shards.values() for shard in some if not shard.path.is_file()
    ]
    if missing:
        there = [path.name for path in folder.glob("*")]
        raise DataError(
            f"{folder}: {len(missing):,} of the files that {INFO} names are missing: "
            f"{first_few(missing)}.{nearest(missing[0], there)} {AGAIN}."
        )
    prepared = Prepared(folder, builder, file_format, shards)
    if file_format == "array_record":
        for shard in itertools.chain(*shards.values()):
            _open(shard).close()  # Compares the counts: a cut file opens as one of 0 records.
    return prepared


def order_attributes(features: Any) -> tuple[str, ...]:
    """Returns the attributes in CelebA's order, or others sorted: features.json keeps no order."""
    names = tuple(sorted(features["attributes"]))
    return ATTRIBUTES if set(names) == set(ATTRIBUTES) else names


def compute_fingerprint(prepared: Prepared) -> str:
    """Returns hexadecimal digits that change whenever a file of the data set does."""
    digest = hashlib.sha256()
    for name in (INFO, "features.json"):
        digest.update((prepared.folder / name).read_bytes())
    for shard in itertools.chain(*prepared.shards.values()):
        stat = shard.path.stat()
        digest.update(repr((shard.path.name, stat.st_size, stat.st_mtime_ns)).encode())
    return digest.hexdigest()


def read_records(prepared: Prepared, split: str) -> Iterator[bytes]:
    """Yields the serialised records of a split, in order. DataError names a damaged file."""
    for shard in prepared.shards[split]:
        yield from RECORDS[prepared.file_format](shard)


def open_records(prepared: Prepared, split: str) -> Callable[[int], bytes]:
    """Returns a function that reads record i of a split of array_record files, from any thread.

    It raises a DataError that names a damaged file.
    """
    shards = prepared.shards[split]
    ends = list(itertools.accumulate(shard.num for shard in shards))
    open_once = functools.cache(_open)

    def read(index: int) -> bytes:
        number = bisect.bisect_right(ends, index)
        shard = shards[number]
        position = index - (ends[number] - shard.num)
        try:
            return open_once(shard).read([position])[0]
        except (RuntimeError, ValueError, IndexError) as error:
            raise _damaged(shard, position, error) from error

    return read


def stream_images(prepared: Prepared, split: str) -> Iterator[bytes | DataError]:
    """Yields the encoded pictures of a split, in order.

    A DataError stands in the place of a picture that is missing.
    """
    names = prepared.names(split)
    for i, record in enumerate(read_records(prepared, split)):
        try:
            yield read_image(record, names[i])
        except DataError as error:
            yield error


def read_integers(prepared: Prepared, split: str, keys: Sequence[str]) -> Int64[np.ndarray, "n k"]:
    """Reads the whole numbers of these keys in each record. DataError names one that lacks one."""
    names = prepared.names(split)
    values = np.empty((len(names), len(keys)), np.int64)
    for i, record in enumerate(read_records(prepared, split)):
        feature = parse_record(record, names[i])
        try:
            values[i] = [feature[key].int64_list.value[0] for key in keys]
        except IndexError:
            lost = next(key for key in keys if not feature[key].int64_list.value)
            raise DataError(
                f"{names[i]} has no {lost!r}, which features.json promises. {AGAIN}."
            ) from None
    return values


def read_record_labels(
    prepared: Prepared, split: str, attribute_names: Sequence[str]
) -> RecordLabels:
    """Reads attributes and, if there are any, identities. DataError names a wrong record."""
    keys = [f"attributes/{name}" for name in attribute_names]
    known = "identity" in prepared.features
    values = read_integers(prepared, split, [*keys, *[IDENTITY_KEY] * known])
    names = prepared.names(split)
    attributes = values[:, : len(keys)]
    people = values[:, -1] if known else np.full(len(values), -1)
    for row, column in np.argwhere((attributes != 0) & (attributes != 1)).tolist():
        raise DataError(
            f"{names[row]}: {keys[column]!r} is {attributes[row, column]}, not 0 or 1. {AGAIN}."
        )
    return RecordLabels(attributes.astype(np.uint8), narrow_identity(people, IDENTITY_KEY, names))


def read_image(record: bytes, name: str) -> bytes:
    """Returns the encoded picture in a serialised record. DataError if it has none."""
    values = parse_record(record, name)["image"].bytes_list.value
    if not values:
        raise DataError(f"{name} has no 'image', which features.json promises. {AGAIN}.")
    return values[0]


def parse_record(record: bytes, name: str) -> Any:
    """Returns the features of a serialised `tf.train.Example`. DataError if it is none."""
    # The parsers of TensorFlow and TFDS convert each of 40 labels of each record by itself, which
    # takes minutes for all of CelebA instead of seconds.
    from google.protobuf.message import DecodeError
    from tensorflow_datasets.proto import tf_example_pb2

    try:
        return tf_example_pb2.Example.FromString(record).features.feature
    except DecodeError as error:
        raise DataError(f"{name} is no tf.train.Example ({error}). {AGAIN}.") from error


def _read_tfrecords(shard: RecordShard) -> Iterator[bytes]:
    tf = import_tensorflow()
    num = 0
    try:
        for record in tf.data.TFRecordDataset(str(shard.path)).as_numpy_iterator():
            if num < shard.num:
                yield record
            num += 1
    except tf.errors.OpError as error:
        raise _damaged(shard, num, error) from error
    if num != shard.num:
        raise _miscounted(shard, num)


def _read_array_records(shard: RecordShard) -> Iterator[bytes]:
    reader = _open(shard)
    for first in range(0, shard.num, RECORDS_AT_A_TIME):
        try:
            chunk = reader.read(list(range(first, min(first + RECORDS_AT_A_TIME, shard.num))))
        except (RuntimeError, ValueError, IndexError) as error:
            raise _damaged(shard, first, error) from error
        yield from chunk


RECORDS = {"tfrecord": _read_tfrecords, "array_record": _read_array_records}


def _open(shard: RecordShard) -> Any:
    """Opens an array_record file. DataError if it is damaged or lacks records."""
    from array_record.python.array_record_module import ArrayRecordReader

    try:
        reader = ArrayRecordReader(str(shard.path), options="readahead_buffer_size:0")
        num = reader.num_records()
    except (RuntimeError, ValueError) as error:
        raise _damaged(shard, 0, error) from error
    if num != shard.num:
        raise _miscounted(shard, num)
    return reader


def _damaged(shard: RecordShard, position: int, error: Exception) -> DataError:
    return DataError(
        f"{shard.path} is damaged at or after record {position} ({shorten_error(error)}). {AGAIN}."
    )


def _miscounted(shard: RecordShard, num: int) -> DataError:
    return DataError(
        f"{shard.path} has {num:,} records, but {INFO} says {shard.num:,}: the file was cut, or is "
        f"of another build. {AGAIN}."
    )


def shorten_error(error: Exception) -> str:
    """Returns the beginning of a library's error, in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
