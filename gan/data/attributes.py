"""The training set's attributes by name: which there are, how often, and in which company."""

import dataclasses
import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from gan.data.store import Store
from gan.errors import ConfigError, DataError, nearest
from gan.runtime import storage
from gan.runtime.storage import Path

# What NumPy and zipfile raise for a damaged `.npz`: they have no common type.
UNREADABLE = (
    *(OSError, ValueError, KeyError, EOFError, TypeError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error),
)


@dataclasses.dataclass(frozen=True)
class AttributeTable:
    """One row a training image. Kept in the workdir, so that drawing needs no data set."""

    names: tuple[str, ...]
    rows: UInt8[np.ndarray, "n a"]  # 0 | 1
    fingerprint: str  # Of the source that the rows come from.
    pictures: str  # Digest of the pictures that they belong to.

    @classmethod
    def from_store(cls, store: Store) -> "AttributeTable":
        """Of a prepared training set."""
        rows = np.asarray(store.attributes)
        return cls(store.attribute_names, rows, store.fingerprint, store.digest)

    def same_data(self, other: "AttributeTable") -> bool:
        """Whether both are of the same training set.

        One of two is enough to know the pictures: a copied folder has other times, which are in its
        fingerprint, and another machine may draw or decode with a last bit of difference.
        """
        known = self.fingerprint == other.fingerprint or self.pictures == other.pictures
        return known and self.names == other.names and np.array_equal(self.rows, other.rows)

    def identity(self) -> dict[str, Any]:
        """The same as JSON: all of it must agree, of `pictures` one entry."""
        return {
            "images": len(self.rows),
            **{f"attribute {name}": column for column, name in enumerate(self.names)},
            "labels": hashlib.sha256(self.rows.tobytes()).hexdigest()[:16],
            "pictures": {"source": self.fingerprint[:16], "pixels": self.pictures[:16]},
        }

    @cached_property
    def marginals(self) -> Float[np.ndarray, " a"]:
        """Share of the images that have each attribute."""
        return self.rows.mean(axis=0, dtype=np.float64)

    @property
    def varying(self) -> list[int]:
        """Columns that are not the same in all images: those that a model can learn."""
        return [i for i, p in enumerate(self.marginals) if 0 < p < 1]

    def parse(self, text: str) -> dict[int, int]:
        """From "Smiling=1,Male=0" to values by column. Raises ConfigError for what is not so."""
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
        """How many training images agree with `values`."""
        return int(self._agreement(values).min(axis=1, initial=1).sum())

    def draw(self, values: Mapping[int, int], seeds: Sequence[int]) -> UInt8[np.ndarray, "s a"]:
        """For each seed, one of the rows that agree best with `values`, made to agree wholly."""
        agreement = self._agreement(values).sum(axis=1)
        candidates = np.flatnonzero(agreement == agreement.max())
        drawn = [candidates[_uniform(seed, len(candidates))] for seed in seeds]
        rows = self.rows[drawn]
        rows[:, list(values)] = list(values.values())
        return rows

    def nearest_with(
        self, rows: UInt8[np.ndarray, "r a"], name: str, value: int
    ) -> UInt8[np.ndarray, "r a"]:
        """For each of `rows` the training row most like it whose attribute `name` is `value`.

        Raises ConfigError where there is none.
        """
        (column, value), *_ = self.parse(f"{name}={value}").items()
        having = self._distinct[self._distinct[:, column] == value]
        # As -1 and 1, whose product is 1 where two agree and -1 where they differ.
        alike = _signs(having) @ _signs(rows).T
        return having[np.argmax(alike, axis=0)]

    @cached_property
    def _distinct(self) -> UInt8[np.ndarray, "d a"]:
        """Each row once, sorted."""
        bits = np.packbits(self.rows, axis=1)  # Bytes of bits sort as their rows do.
        whole = np.ascontiguousarray(bits).view(f"V{bits.shape[1]}").ravel()
        return self.rows[np.unique(whole, return_index=True)[1]]

    def save(self, path: Path) -> None:
        """Writes one `.npz`, a bit a value."""
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
        """Raises DataError where the file is missing or damaged."""
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
                names = tuple(str(name) for name in file["names"])
                rows = np.unpackbits(file["rows"], axis=1, count=len(names))
                return cls(names, rows, str(file["fingerprint"]), str(file["pictures"]))
        except UNREADABLE as error:
            raise DataError(
                f"{path} cannot be read ({error}). The training command, run again, writes it anew."
            ) from None

    def _agreement(self, values: Mapping[int, int]) -> np.ndarray:
        columns = list(values)
        return self.rows[:, columns] == np.array([values[i] for i in columns], np.uint8)


def _signs(rows: UInt8[np.ndarray, "n a"]) -> Float[np.ndarray, "n a"]:
    return rows.astype(np.float32) * 2 - 1


def _uniform(seed: int, num: int) -> int:
    """A number below `num` from `seed` alone; Philox's raw stream is the same in every NumPy."""
    return int(np.random.Philox(key=seed).random_raw() % num)
