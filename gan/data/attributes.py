"""The table of a training set's attributes: parses what users ask for, and draws rows of labels."""

import dataclasses
import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from gan.data.store import Store
from gan.errors import ConfigError, DataError, nearest
from gan.runtime import storage
from gan.runtime.storage import Path

# NumPy and zipfile raise all of these for a damaged `.npz`.
UNREADABLE = (
    *(OSError, ValueError, KeyError, EOFError, TypeError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error),
)


@dataclasses.dataclass(frozen=True)
class AttributeTable:
    """The attributes of all n training images.

    It is kept in the workdir, so that sampling needs no data set.
    """

    names: tuple[str, ...]
    rows: UInt8[np.ndarray, "n a"]  # 0 | 1
    fingerprint: str  # `Store.made_from`.
    pictures: str  # SHA-256 of the prepared pictures.

    @classmethod
    def from_store(cls, store: Store) -> "AttributeTable":
        """Returns the table of a prepared training set."""
        rows = np.asarray(store.attributes)
        return cls(store.attribute_names, rows, store.made_from, store.digest)

    def same_data(self, other: "AttributeTable") -> bool:
        """Whether both tables belong to the same training set.

        A match of either fingerprint or pixel digest counts as the same pictures: a copied folder
        has other file times, which change its fingerprint, and another machine may draw or decode
        a picture with a difference in the last bit.
        """
        known = self.fingerprint == other.fingerprint or self.pictures == other.pictures
        return known and self.names == other.names and np.array_equal(self.rows, other.rows)

    def describe(self) -> dict[str, Any]:
        """Returns what `same_data` compares as JSON, for a checkpoint's manifest.

        Two descriptions are of the same data if all entries agree; of `pictures`, one suffices.
        """
        return {
            "images": len(self.rows),
            **{f"attribute {name}": column for column, name in enumerate(self.names)},
            "labels": hashlib.sha256(self.rows.tobytes()).hexdigest()[:16],
            "pictures": {"source": self.fingerprint[:16], "pixels": self.pictures[:16]},
        }

    @cached_property
    def marginals(self) -> Float[np.ndarray, " a"]:
        """Share of the images that have each attribute, in 0..1."""
        return self.rows.mean(axis=0, dtype=np.float64)

    @property
    def varying(self) -> list[int]:
        """Columns that differ between images: those that a model can learn."""
        return [i for i, p in enumerate(self.marginals) if 0 < p < 1]

    def parse(self, text: str) -> dict[int, int]:
        """Parses "Smiling=1,Male=0" into {column: 0 | 1}.

        Raises ConfigError for an unknown attribute, any other value, a contradiction, or a value
        that no training image has.
        """
        values: dict[int, int] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, _, value = (piece.strip() for piece in part.partition("="))
            if name not in self.names:
                raise ConfigError(
                    f"--attributes: {name!r} is no attribute of this training set."
                    f"{nearest(name, self.names)} It has: {', '.join(self.names)}."
                )
            if value not in ("0", "1"):
                raise ConfigError(f"--attributes: {part!r} must be {name}=1 (with) or {name}=0.")
            column = self.names.index(name)
            if values.setdefault(column, int(value)) != int(value):
                raise ConfigError(f"--attributes: {name} is given as 0 and as 1.")
            if self.marginals[column] == 1 - int(value):
                raise ConfigError(
                    f"--attributes: {part} cannot be drawn: all {len(self.rows)} training images "
                    f"have {name}={1 - int(value)}, so the model never saw a difference."
                )
        return values

    def support(self, values: Mapping[int, int]) -> int:
        """Number of training images that agree with all `values` {column: 0 | 1}."""
        return int(self._agreement(values).min(axis=1, initial=1).sum())

    def draw(self, values: Mapping[int, int], seeds: Sequence[int]) -> UInt8[np.ndarray, "s a"]:
        """Draws a training row for each seed, among those that agree best with `values`.

        The named columns are then set to `values`; the others keep their joint distribution. A row
        depends on its own seed only.
        """
        agreement = self._agreement(values).sum(axis=1)
        candidates = np.flatnonzero(agreement == agreement.max())
        drawn = [candidates[_uniform(seed, len(candidates))] for seed in seeds]
        rows = self.rows[drawn]
        rows[:, list(values)] = list(values.values())
        return rows

    def nearest_with(
        self, rows: UInt8[np.ndarray, "r a"], name: str, value: int
    ) -> UInt8[np.ndarray, "r a"]:
        """Finds, for each of `rows`, the closest training row whose attribute `name` is `value`.

        The distance is the number of attributes that differ; of several, the first in sorted order
        is taken. Raises ConfigError where no training row has the value.
        """
        (column, value), *_ = self.parse(f"{name}={value}").items()
        having = self._distinct[self._distinct[:, column] == value]
        # Products of signs: 1 where two rows agree, -1 where they differ.
        alike = _signs(having) @ _signs(rows).T
        return having[np.argmax(alike, axis=0)]

    @cached_property
    def _distinct(self) -> UInt8[np.ndarray, "d a"]:
        """The different rows, sorted."""
        bits = np.packbits(self.rows, axis=1)  # Packed rows sort like the rows themselves.
        whole = np.ascontiguousarray(bits).view(f"V{bits.shape[1]}").ravel()
        return self.rows[np.unique(whole, return_index=True)[1]]

    def save(self, path: Path) -> None:
        """Writes the table to one `.npz` file, one bit for each value."""
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            names=np.array(self.names),
            rows=np.packbits(self.rows, axis=1),
            fingerprint=np.array(self.fingerprint),
            pictures=np.array(self.pictures),
        )
        storage.write_file(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> "AttributeTable":
        """Reads a table that `save` wrote. Raises DataError if the file is missing or damaged."""
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
                names = tuple(str(name) for name in file["names"])
                rows = np.unpackbits(file["rows"], axis=1, count=len(names))
                return cls(names, rows, str(file["fingerprint"]), str(file["pictures"]))
        except UNREADABLE as error:
            raise DataError(
                f"{path} cannot be read ({error}). The training command, run again, writes it anew."
            ) from None

    def _agreement(self, values: Mapping[int, int]) -> Bool[np.ndarray, "n v"]:
        columns = list(values)
        return self.rows[:, columns] == np.array([values[i] for i in columns], np.uint8)


def _signs(rows: UInt8[np.ndarray, "n a"]) -> Float[np.ndarray, "n a"]:
    return rows.astype(np.float32) * 2 - 1


def _uniform(seed: int, num: int) -> int:
    """Returns a whole number in [0, num) that depends on `seed` only.

    NumPy promises the same raw stream of Philox in every version.
    """
    return int(np.random.Philox(key=seed).random_raw() % num)
