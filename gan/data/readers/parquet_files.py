"""Finds parquet files named as on Hugging Face, checks that they are whole, and reads their rows.

train-00000-of-00019.parquet  ...  valid-00000-of-00003.parquet  ...  test-...
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gan.data.source import SPLITS, Picture
from gan.errors import DataError, first_few

SHARD = re.compile(r"(train|valid|validation|val|test)(?:-(\d+)-of-(\d+))?(?:-[0-9a-f]+)?\.parquet")
WORDS = {"no": 0, "yes": 1, "false": 0, "true": 1} | {
    f"{number}{end}": number for number in (-1, 0, 1) for end in ("", ".0")
}
PARQUET_MAGIC = b"PAR1"
PICTURES_AT_A_TIME = 64  # Read into memory together.


class ParquetShard(NamedTuple):
    """One of the files of a split."""

    path: Path
    num: int  # Rows in it.

    def row(self, row: int) -> str:
        """Returns file and number of a row, for messages."""
        return f"{self.path.name}, row {row}"


def list_folders(path: Path) -> list[Path]:
    """Lists the folder itself and those right in it."""
    return [path, *sorted(entry for entry in path.iterdir() if entry.is_dir())]


def list_shards(folder: Path) -> list[Path]:
    """Lists the files that are named as shards are."""
    return sorted(path for path in folder.iterdir() if SHARD.fullmatch(path.name))


def find_folder(path: Path) -> Path:
    """Returns the folder of the shards: `path` or one right in it. DataError if it is unclear."""
    if not path.is_dir():
        raise DataError(f"{path} is a zip: parquet is read from a folder. Unpack it.")
    found = [folder for folder in list_folders(path) if list_shards(folder)]
    if not found:
        raise DataError(
            f"{path}: no train-00000-of-00019.parquet, or the like, lies there, nor in a folder "
            f"right in it. There lie {first_few(sorted(entry.name for entry in path.iterdir()))}."
        )
    if found[0] != path and len(found) > 1:
        raise DataError(
            f"{path}: {first_few([folder.name for folder in found])} all hold parquet files. Name "
            f"the one to use: --config.data.path={found[0]}."
        )
    return found[0]


def find_shards(folder: Path) -> dict[str, list[Path]]:
    """Lists the shards of the three splits, or of train alone. DataError if any is missing."""
    found: dict[str, dict[tuple[int, int], Path]] = {}
    for path in list_shards(folder):
        name, number, total = SHARD.fullmatch(path.name).groups()
        split = "validation" if name.startswith("val") else name
        of_split = found.setdefault(split, {})
        key = (int(number or 0), int(total or 1))
        if key in of_split or any(total != key[1] for _, total in of_split):
            raise DataError(
                f"{folder}: {path.name} and {next(iter(of_split.values())).name} are not of one "
                "download. Remove the one that is too many."
            )
        of_split[key] = path
    for of_split in found.values():
        total, example = next((total, path.name) for (_, total), path in of_split.items())
        missing = [f"{i:05d}" for i in range(total) if (i, total) not in of_split]
        if missing:
            raise DataError(
                f"{folder}: of the {total} files like {example}, {len(missing)} are missing: "
                f"number {first_few(missing)}. Fetch them too."
            )
    absent = [split for split in SPLITS if split not in found]
    if absent and found.keys() != {"train"}:
        raise DataError(
            f"{folder}: there are files of {', '.join(found)}, but none of {', '.join(absent)}. "
            "Fetch them too. (With train alone, it is split in three.)"
        )
    return {split: list(found[split].values()) for split in SPLITS if split in found}


def read_footer(path: Path) -> bytes:
    """Reads the description at the end of a file. DataError if the file is cut or not parquet."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(64)
        file.seek(max(0, size - 8))
        end = file.read()
        length = int.from_bytes(end[:4], "little")
        if head.startswith(PARQUET_MAGIC) and end.endswith(PARQUET_MAGIC) and length <= size - 12:
            file.seek(size - 8 - length)
            return file.read()
    if head.startswith(b"version https://git-lfs"):
        raise DataError(
            f"{path} is only a pointer of Git LFS, not the file. Fetch it: git lfs pull."
        )
    what = f"is no parquet file (it begins {head[:8]!r})"
    if head.startswith(PARQUET_MAGIC):
        what = "breaks off"
    raise DataError(f"{path} {what}: {size:,} bytes. Fetch that file again, in full.")


@contextlib.contextmanager
def open_shard(path: Path) -> Iterator[Any]:
    """Yields a `pyarrow.parquet.ParquetFile`. DataError for what fails while it is open."""
    from pyarrow import parquet  # Slow to import, and only needed here.

    try:
        # With a buffer size, a row group is read in parts, however large it is.
        with parquet.ParquetFile(
            path, buffer_size=2**20, pre_buffer=False, page_checksum_verification=True
        ) as file:
            yield file
    except DataError:
        raise
    except Exception as error:  # Damage is raised as many kinds of exceptions.
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise DataError(f"{path} is damaged ({reason}). Fetch that file again, in full.") from None


def name_rows(shards: Sequence[ParquetShard]) -> list[str]:
    """Returns file and number of all rows, for messages."""
    return [shard.row(row) for shard in shards for row in range(shard.num)]


def read_columns(shards: Sequence[ParquetShard], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Reads columns of booleans or whole numbers, as int64 [n]; words for 0 and 1 are such too.

    DataError if a value is missing, or is neither.
    """
    parts = {name: [np.zeros(0, np.int64)] for name in names}
    for shard in shards:
        with open_shard(shard.path) as file:
            table = file.read(columns=list(names), use_threads=False)
            for name in names:
                column = table[name]
                if column.null_count:
                    row = column.is_null().to_pylist().index(True)
                    raise DataError(
                        f"{shard.row(row)}: the column {name!r} has no value. Fill it, or write "
                        "the files again without that column."
                    )
                parts[name].append(_convert(column.to_numpy(), shard, name))
    return {name: np.concatenate(part) for name, part in parts.items()}


def _convert(values: np.ndarray, shard: ParquetShard, name: str) -> np.ndarray:
    """Converts values to int64. DataError names the first that is no whole number."""
    numbers = values
    if values.dtype == object:
        words = [str(value).strip().lower() for value in values]
        numbers = np.array([WORDS.get(word, np.nan) for word in words])
    if numbers.dtype.kind == "f":
        for row in np.flatnonzero(numbers != np.round(numbers)).tolist():  # NaN is not itself.
            raise DataError(
                f"{shard.row(row)}, column {name!r}: {str(values[row])[:80]!r} is no whole number, "
                "nor a word for 0 or 1. Correct it, or write the files again without that column."
            )
    return numbers.astype(np.int64)


def stream_column(
    shards: Sequence[ParquetShard], column: str, wanted: np.ndarray | None = None
) -> Iterator[Picture | DataError]:
    """Yields the encoded pictures in a column, in order, of all rows or those `wanted` (bool [n]).

    A DataError stands in the place of a picture that is missing.
    """
    first = 0
    for shard in shards:
        keep = np.ones(shard.num, bool) if wanted is None else wanted[first : first + shard.num]
        first += shard.num
        if not keep.any():
            continue
        row = 0
        with open_shard(shard.path) as file:
            for batch in file.iter_batches(PICTURES_AT_A_TIME, columns=[column], use_threads=False):
                pictures = batch.column(0)
                if "." in column:
                    pictures = pictures.flatten()[0]
                for picture in pictures:
                    if keep[row] and picture.is_valid:
                        yield picture.as_py()
                    elif keep[row]:
                        yield DataError(
                            f"{shard.row(row)}: there is no picture, only perhaps its path. The "
                            "files have to be written with the pictures in them."
                        )
                    row += 1
