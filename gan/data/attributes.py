"""The table of a training set's attributes: parses what users ask for, and draws rows of labels."""

import dataclasses
import hashlib
import io
import json
import re
import unicodedata
import zipfile
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
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


Groups = tuple[tuple[str, ...], ...]  # Names of attributes; a picture has at most one of each.


@dataclasses.dataclass(frozen=True)
class AttributeTable:
    """The attributes of all n training images.

    It is kept in the workdir, so that sampling needs no data set.
    """

    names: tuple[str, ...]
    rows: UInt8[np.ndarray, "n a"]  # 0 | 1
    fingerprint: str  # `Store.made_from`.
    pictures: str  # SHA-256 of the prepared pictures.
    groups: Groups = ()  # Attributes that exclude each other: the values of a column, the classes.

    @classmethod
    def from_store(cls, store: Store) -> "AttributeTable":
        """Returns the table of a prepared training set."""
        rows = np.asarray(store.attributes)
        return cls(store.attribute_names, rows, store.made_from, store.digest, store.groups)

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
        """Parses "Smiling=1,Male=0,age=20-29" into {column: 0 | 1}; age=20-29 is age=20-29=1.

        Raises ConfigError for an unknown attribute, any other value, a contradiction, two values of
        one group, or a value that no training image has.
        """
        values: dict[int, int] = {}
        for part in split_names(text, self._wishes, "--attributes"):
            if part not in self._wishes:
                raise ConfigError(f"--attributes: {self._explain_wish(part)}")
            column, value = self._wishes[part]
            name = self.names[column]
            if values.setdefault(column, value) != value:
                raise ConfigError(f"--attributes: {name} is given as 0 and as 1.")
            if self.marginals[column] == 1 - value:
                raise ConfigError(
                    f"--attributes: {part} cannot be drawn: all {len(self.rows)} training images "
                    f"have {name}={1 - value}, so the model never saw a difference."
                )
        for group in self._columns_of_groups:
            self._check_group(group, values)
        return values

    def _check_group(self, group: Sequence[int], values: Mapping[int, int]) -> None:
        """Raises ConfigError unless the named `values` leave a group exactly one attribute."""
        names = [self.names[column] for column in group if values.get(column)]
        if len(names) > 1:
            raise ConfigError(
                f"--attributes: {' and '.join(names)} exclude each other: each training image has "
                "one of them at most. Name one."
            )
        if not names and not self._allowed_rows(group, values).size:
            raise ConfigError(
                f"--attributes: nothing is left of {self.names[group[0]]} and what excludes it, "
                "and each training image has one of them. Leave one of them open."
            )

    @cached_property
    def _wishes(self) -> dict[str, tuple[int, int]]:
        """What may be asked for, as it is written: the column and its value."""
        grouped = {name for group in self.groups for name in group}
        known = {}
        for column, name in enumerate(self.names):
            name = tidy_name(name)
            known |= {f"{name}=0": (column, 0), f"{name}=1": (column, 1)}
            if self.names[column] in grouped and "=" in name:
                known.setdefault(name, (column, 1))
        return known

    def _explain_wish(self, part: str) -> str:
        """Says what is wrong with a part of a request that is in no list."""
        name, _, value = part.partition("=")
        if name in map(tidy_name, self.names):
            return f"{part!r} must be {name}=1 (with) or {name}=0."
        column = f"{name}="
        if of_it := [x.removeprefix(column) for x in self._wishes if x.startswith(column)]:
            of_it = [x for x in of_it if f"{column}{x}=1" in self._wishes]
            return (
                f"{part!r}: {name} has no value {value!r}.{nearest(value, of_it)} It has: "
                f"{', '.join(of_it)}."
            )
        return (
            f"{name!r} is no attribute of this training set.{nearest(name, self.names)} It has: "
            f"{', '.join(self.names)}."
        )

    @cached_property
    def _columns_of_groups(self) -> list[list[int]]:
        return [[self.names.index(name) for name in group] for group in self.groups]

    def _allowed_rows(self, group: Sequence[int], values: Mapping[int, int]) -> np.ndarray:
        """Numbers of the training rows that have, within a group, nothing that is named as 0."""
        none = [column for column in group if values.get(column) == 0]
        return np.flatnonzero(~self.rows[:, none].any(axis=1))

    def support(self, values: Mapping[int, int]) -> int:
        """Number of training images that agree with all `values` {column: 0 | 1}."""
        return int(self._agreement(values).min(axis=1, initial=1).sum())

    def draw(self, values: Mapping[int, int], seeds: Sequence[int]) -> UInt8[np.ndarray, "s a"]:
        """Draws a training row for each seed, among those that agree best with `values`.

        The named columns are then set to `values`, and what they exclude to 0; the others keep
        their joint distribution. A row depends on its own seed only.
        """
        agreement = self._agreement(values).sum(axis=1)
        candidates = np.flatnonzero(agreement == agreement.max())
        drawn = [candidates[_uniform(seed, len(candidates))] for seed in seeds]
        rows = self.rows[drawn]
        rows[:, list(values)] = list(values.values())
        for group in self._columns_of_groups:
            if any(values.get(column) for column in group):
                rows[:, group] = [values.get(column, 0) for column in group]
            elif any(column in values for column in group):
                # Nothing may be left where the picture's own value is named as 0.
                allowed = self._allowed_rows(group, values)
                for i in np.flatnonzero(~rows[:, group].any(axis=1)):
                    rows[i, group] = self.rows[allowed[_uniform(seeds[i], len(allowed))], group]
        return rows

    def swap(self, rows: UInt8[np.ndarray, "r a"], column: int) -> UInt8[np.ndarray, "r a"]:
        """Changes one attribute in each of `rows`; in a group, one value to another.

        Where the attribute is turned on, what it excludes is turned off. Where it is turned off and
        each training image has one of its group, the others that vary take its place in turn.
        """
        rows = rows.copy()
        rows[:, column] ^= 1
        for group in self._columns_of_groups:
            if column in group:
                others = [other for other in group if other != column]
                on = np.flatnonzero(rows[:, column])
                rows[np.ix_(on, others)] = 0
                if self.rows[:, group].any(axis=1).all():
                    off = np.flatnonzero(rows[:, column] == 0)
                    rows[off, np.resize([x for x in others if x in self.varying], len(off))] = 1
        return rows

    def nearest_with(
        self, rows: UInt8[np.ndarray, "r a"], name: str, value: int
    ) -> UInt8[np.ndarray, "r a"]:
        """Finds, for each of `rows`, the closest training row whose attribute `name` is `value`.

        The distance is the number of attributes that differ; of several, the first in sorted order
        is taken. Raises ConfigError where no training row has the value.
        """
        ((column, value),) = self.parse(f"{name}={value}").items()
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
            groups=np.array(json.dumps(self.groups)),
        )
        storage.write_file(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> "AttributeTable":
        """Reads a table that `save` wrote. Raises DataError if the file is missing or damaged."""
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
                names = tuple(str(name) for name in file["names"])
                rows = np.unpackbits(file["rows"], axis=1, count=len(names))
                groups = find_classes(names, rows)  # Older tables know no groups.
                if "groups" in file:
                    groups = tuple(map(tuple, json.loads(str(file["groups"]))))
                return cls(names, rows, str(file["fingerprint"]), str(file["pictures"]), groups)
        except UNREADABLE as error:
            raise DataError(
                f"{path} cannot be read ({error}). The training command, run again, writes it anew."
            ) from None

    def _agreement(self, values: Mapping[int, int]) -> Bool[np.ndarray, "n v"]:
        columns = list(values)
        return self.rows[:, columns] == np.array([values[i] for i in columns], np.uint8)


def find_classes(names: tuple[str, ...], rows: UInt8[np.ndarray, "n a"]) -> Groups:
    """Returns the group of all attributes, if each picture has exactly one of several; else ()."""
    return (names,) if len(names) > 1 and bool((rows.sum(axis=1) == 1).all()) else ()


def choose_groups(groups: Groups, names: Collection[str]) -> Groups:
    """Returns what is left of the groups where only the attributes `names` are there."""
    left = (tuple(name for name in group if name in names) for group in groups)
    return tuple(group for group in left if len(group) > 1)


def tidy_name(name: str) -> str:
    """Returns a name as it is compared with what is typed: composed letters, no spaces at = or ,"""
    return re.sub(r"\s*([=,])\s*", r"\1", unicodedata.normalize("NFC", name).strip())


def split_names(text: str, known: Iterable[str], setting: str) -> list[str]:
    """Splits "A,B" at the commas into tidy names; a name in `known` may have commas itself.

    Raises ConfigError, which names the `setting`, where a part can be read in two ways.
    """
    known = {*known}
    longest = 1 + max((name.count(",") for name in known), default=0)
    parts, names = text.split(","), []
    while parts:
        tidy = [tidy_name(",".join(parts[:num])) for num in range(1, 1 + min(longest, len(parts)))]
        num = max((num for num, name in enumerate(tidy, start=1) if name in known), default=1)
        if num > 1 and all(tidy_name(part) in known for part in parts[:num]):
            raise ConfigError(
                f"{setting}: {tidy[num - 1]!r} is one name of this data set, and its parts are "
                "names too: give them in another order, so that it is clear which are meant."
            )
        names += filter(None, [tidy[num - 1]])
        parts = parts[num:]
    return names


def _signs(rows: UInt8[np.ndarray, "n a"]) -> Float[np.ndarray, "n a"]:
    return rows.astype(np.float32) * 2 - 1


def _uniform(seed: int, num: int) -> int:
    """Returns a whole number in [0, num) that depends on `seed` only.

    NumPy promises the same raw stream of Philox in every version.
    """
    return int(np.random.Philox(key=seed).random_raw() % num)
