"""The types of this reader: what lies in a folder of one's own pictures, and what labels say."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np

from gan.data.attributes import Groups
from gan.data.files import Files, Stamp
from gan.data.source import Doubt


class FolderContents(NamedTuple):
    """What lies in a folder or zip of one's own pictures."""

    files: Files
    stamps: Mapping[str, Stamp]  # The stamp of each picture, by its name.
    common: tuple[str, ...]  # The folders that all pictures lie in.
    others: Sequence[str]  # Names of the files that are no pictures.


class FolderLabels(NamedTuple):
    """The labels of all n pictures that are used."""

    names: Sequence[str]  # Names of the pictures.
    attributes: np.ndarray  # uint8 [n a] of 0 | 1.
    splits: Sequence[str] | None  # None if they are to be split by hash.
    people: Sequence[str]  # Who is on each picture; "" where unknown.
    left_out: Sequence[tuple[str, str, str]] = ()  # (split, picture, reason) of other pictures.


class LabelFile(NamedTuple):
    """A file of labels, before it is read."""

    files: Files
    name: str
    folder: str = ""  # The folder that its names of pictures begin in.
    split: str | None = None  # The split that it is named for.

    @property
    def where(self) -> str:
        """The file, for messages."""
        return self.files.where(self.name)

    @property
    def kind(self) -> str:
        """The kind of the file, for messages: "CSV" or its name."""
        base = PurePosixPath(self.name).name
        return "CSV" if not base.lower().endswith((".json", ".jsonl")) else base

    @property
    def is_metadata(self) -> bool:
        """Whether the file is named as Hugging Face names its own."""
        return PurePosixPath(self.name).stem.lower() == "metadata"


class FoundLabels(NamedTuple):
    """Labels that were found, and where they are."""

    names: tuple[str, ...]  # Names of the attributes.
    groups: Groups  # Attributes that exclude each other.
    load: Callable[[], FolderLabels]  # Returns the labels.
    files: Sequence[LabelFile]  # The files that they are in.
    how: str  # What they tell, for the log.
    key: str = ""  # How they are read, if older editions read them in another way.
    doubts: tuple[Doubt, ...] = ()
