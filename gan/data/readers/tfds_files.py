"""TFDS data sets that lie prepared on the disk: their folder, their shards, the records in them.

Nothing is ever downloaded or built. What `dataset_info.json` promises is compared with the files.
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

from gan.errors import DataError, first_few, nearest
from gan.runtime.tensorflow import import_tensorflow

INFO = "dataset_info.json"
FORMATS = ("tfrecord", "array_record")
VERSION = re.compile(r"\d+\.\d+\.\d+")
AGAIN = "Copy or build the data set again"
IDENTITY = "identity/Identity_No"
CHUNK = 256  # Records at a time.


class Shard(NamedTuple):
    """One of the files of a split."""

    path: Path
    num: int  # Records in it, by `dataset_info.json`.


class Prepared(NamedTuple):
    """A prepared data set."""

    folder: Path
    builder: Any  # tfds.core.DatasetBuilder, which only reads.
    file_format: str  # Of FORMATS.
    shards: Mapping[str, list[Shard]]  # Of each split.

    @property
    def features(self) -> Any:
        """tfds.features.FeaturesDict."""
        return self.builder.info.features

    @property
    def title(self) -> str:
        """Name, version, format and place, for people."""
        info = self.builder.info
        return f"{info.full_name.replace('/', ' ')} ({self.file_format}) in {self.folder}"

    def num(self, split: str) -> int:
        """Records in a split."""
        return sum(shard.num for shard in self.shards[split])

    def name(self, split: str, index: int) -> str:
        """One record of a split, for messages."""
        return self.names(split)[index]

    def names(self, split: str) -> list[str]:
        """Each record of a split, for messages."""
        return [f"{path}, record {i}" for path, num in self.shards[split] for i in range(num)]


def default_data_dir() -> Path:
    """Where TFDS puts data sets unless told otherwise."""
    return Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()


def versions(folder: Path) -> dict[str, Path]:
    """The prepared versions in the folder of a data set, the newest last."""
    found = [
        path
        for path in folder.glob("*")
        if VERSION.fullmatch(path.name) and (path / INFO).is_file()
    ]
    found.sort(key=lambda path: [int(number) for number in path.name.split(".")])
    return {path.name: path for path in found}


def unfinished(folder: Path) -> str:
    """A sentence on the builds in the folder of a data set that were not finished, or ""."""
    names = sorted(path.name for path in folder.glob("*incomplete*"))
    return f" What was not built to its end is not read: {first_few(names)}." if names else ""


def open_prepared(folder: Path) -> Prepared:
    """The data set in the folder of its version. DataError if files are missing or cut."""
    import tensorflow_datasets as tfds  # TensorFlow itself is not imported by this.

    try:
        builder = tfds.builder_from_directory(folder)
        file_format = builder.info.file_format.file_suffix
        splits = builder.info.splits
        shards = {
            name: [
                Shard(Path(path), int(num))
                for path, num in zip(split.filepaths, split.shard_lengths, strict=True)
            ]
            for name, split in splits.items()
        }
    except Exception as error:  # Damaged descriptions fail in any way.
        raise DataError(
            f"{folder}: {INFO} and features.json cannot be read ({beginning(error)}). Copy them "
            "or build the data set again; versions of TFDS before 4.0 wrote no features.json."
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
            _open(shard).close()  # Counts: a cut file opens with 0 records and no error.
    return prepared


def fingerprint(prepared: Prepared) -> str:
    """Another one whenever a file of the data set is another."""
    digest = hashlib.sha256()
    for name in (INFO, "features.json"):
        digest.update((prepared.folder / name).read_bytes())
    for shard in itertools.chain(*prepared.shards.values()):
        stat = shard.path.stat()
        digest.update(repr((shard.path.name, stat.st_size, stat.st_mtime_ns)).encode())
    return digest.hexdigest()


def records(prepared: Prepared, split: str) -> Iterator[bytes]:
    """All records of a split in order, as they were serialised. DataError names a damaged file."""
    for shard in prepared.shards[split]:
        yield from RECORDS[prepared.file_format](shard)


def record_reader(prepared: Prepared, split: str) -> Callable[[int], bytes]:
    """Record i of a split of array_record files, from any thread."""
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


def pictures(prepared: Prepared, split: str) -> Iterator[bytes | DataError]:
    """The encoded pictures of a split in order, a DataError in the place of one that is missing."""
    names = prepared.names(split)
    for i, record in enumerate(records(prepared, split)):
        try:
            yield value(record, "image", lambda i=i: names[i])
        except DataError as error:
            yield error


def integers(prepared: Prepared, split: str, keys: Sequence[str]) -> Int64[np.ndarray, "n k"]:
    """The whole numbers of these keys in each record. DataError names the record that lacks one."""
    names = prepared.names(split)
    values = np.empty((len(names), len(keys)), np.int64)
    for i, record in enumerate(records(prepared, split)):
        feature = parse(record, lambda i=i: names[i])
        try:
            values[i] = [feature[key].int64_list.value[0] for key in keys]
        except IndexError:
            lost = next(key for key in keys if not feature[key].int64_list.value)
            raise DataError(
                f"{names[i]} has no {lost!r}, which features.json promises. {AGAIN}."
            ) from None
    return values


def attributes_of(
    prepared: Prepared, split: str, attribute_names: Sequence[str]
) -> tuple[UInt8[np.ndarray, "n a"], Int32[np.ndarray, "n"]]:
    """Attributes, 0 | 1, and identity (-1 where unknown). DataError names a wrong record."""
    keys = [f"attributes/{name}" for name in attribute_names]
    known = "identity" in prepared.features
    values = integers(prepared, split, [*keys, *[IDENTITY] * known])
    attributes = values[:, : len(keys)]
    people = values[:, -1] if known else np.full(len(values), -1)
    for row, column in np.argwhere((attributes != 0) & (attributes != 1)).tolist():
        raise DataError(
            f"{prepared.name(split, row)}: {keys[column]!r} is {attributes[row, column]}, not 0 or "
            f"1. {AGAIN}."
        )
    largest = np.iinfo(np.int32).max
    for row in np.flatnonzero((people > largest) | (people < -largest)).tolist():
        raise DataError(f"{prepared.name(split, row)}: {IDENTITY!r} is {people[row]}, too large.")
    return attributes.astype(np.uint8), people.astype(np.int32)


def value(record: bytes, key: str, name: Callable[[], str]) -> bytes | int:
    """What a serialised `tf.train.Example` has under `key`. DataError if it has nothing."""
    feature = parse(record, name)[key]
    kind = feature.WhichOneof("kind")
    values = getattr(feature, kind).value if kind else ()
    if not values:
        raise DataError(f"{name()} has no {key!r}, which features.json promises. {AGAIN}.")
    return values[0]


def parse(record: bytes, name: Callable[[], str]) -> Any:
    """The features of a serialised `tf.train.Example`; DataError if it is none."""
    # The parsers of TensorFlow and TFDS convert each of 40 labels of each record by itself, which
    # takes minutes for all of CelebA instead of seconds.
    from google.protobuf.message import DecodeError
    from tensorflow_datasets.proto import tf_example_pb2

    try:
        return tf_example_pb2.Example.FromString(record).features.feature
    except DecodeError as error:
        raise DataError(f"{name()} is no tf.train.Example ({error}). {AGAIN}.") from error


def _tfrecords(shard: Shard) -> Iterator[bytes]:
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


def _array_records(shard: Shard) -> Iterator[bytes]:
    reader = _open(shard)
    for first in range(0, shard.num, CHUNK):
        try:
            chunk = reader.read(list(range(first, min(first + CHUNK, shard.num))))
        except (RuntimeError, ValueError, IndexError) as error:
            raise _damaged(shard, first, error) from error
        yield from chunk


RECORDS = {"tfrecord": _tfrecords, "array_record": _array_records}


def _open(shard: Shard) -> Any:
    """A reader of an array_record file that has all its records."""
    from array_record.python.array_record_module import ArrayRecordReader

    try:
        reader = ArrayRecordReader(str(shard.path), options="readahead_buffer_size:0")
        num = reader.num_records()
    except (RuntimeError, ValueError) as error:
        raise _damaged(shard, 0, error) from error
    if num != shard.num:
        raise _miscounted(shard, num)
    return reader


def _damaged(shard: Shard, position: int, error: Exception) -> DataError:
    return DataError(
        f"{shard.path} is damaged at or after record {position} ({beginning(error)}). {AGAIN}."
    )


def _miscounted(shard: Shard, num: int) -> DataError:
    return DataError(
        f"{shard.path} has {num:,} records, but {INFO} says {shard.num:,}: the file was cut, or is "
        f"of another build. {AGAIN}."
    )


def beginning(error: Exception) -> str:
    """The beginning of what a library says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
