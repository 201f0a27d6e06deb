"""Matches the rows of a table of labels with the pictures that they name.

A row names a picture by its path in the folder, or by the end of it if that is unique, with or
without the extension, and in composed or decomposed letters.
"""

import functools
import posixpath
import unicodedata
from collections.abc import Callable, Mapping, Sequence

from gan.data.files import Stamp, join_names
from gan.data.readers.csv_labels import CsvTable
from gan.data.readers.folder.contents import FolderContents
from gan.errors import DataError, first_few

Find = Callable[[str], Sequence[str]]


def make_finder(found: FolderContents, folder: str) -> Find:
    """Returns a function that finds the pictures that a name may mean; none for another name.

    `folder` is the one that names begin in, if they do not begin at the top.
    """
    ends = functools.cache(functools.partial(index_ends, found.stamps))
    place = found.files.path
    places = [path.as_posix().split("/") for path in {place.absolute(), place.resolve()}]

    def find(name: str) -> Sequence[str]:
        for whole in (name, join_names(folder, name)):
            if whole in found.stamps:
                return [whole]
        return find_spelled(name, ends, places)

    return find


def match_rows(table: CsvTable, find: Find) -> dict[str, int]:
    """Returns the row of each picture that the table names; a name that fits none is kept.

    DataError if a row fits several pictures, or a picture several rows.
    """
    rows: dict[str, int] = {}
    for row, name in enumerate(table.pictures):
        name = name.removeprefix("./")
        fits = find(name) or [name]
        if len(fits) > 1:
            raise DataError(
                f"{table.line(row)}: {name!r} is each of {first_few(fits)}. Write it with folder "
                "and extension."
            )
        if rows.setdefault(fits[0], row) != row:
            raise DataError(
                f"{table.line(row)}: {name!r} stands there a second time, after "
                f"{table.unit} {table.lines[rows[fits[0]]]}."
            )
    return rows


def find_spelled(
    name: str,
    ends: Callable[[Callable[[str], str]], Mapping[str, Sequence[str]]],
    places: Sequence[Sequence[str]],
) -> Sequence[str]:
    """Returns the pictures that a row's name may mean, by the strictest spelling that fits any.

    `ends(spell)` is `index_ends` in that spelling; `places` are paths to the folder, in parts.
    """
    names = [name]
    if "\\" in name:
        names.append(name.replace("\\", "/").removeprefix("./"))
    parts = names[-1].split("/")
    for place in places:  # The name may lead to the folder, and on to the picture.
        for num in range(1, min(len(parts), len(place) + 1)):
            if list(place[-num:]) == parts[:num]:
                names.append("/".join(parts[num:]))
    for spell, written in (
        (str, str),
        (lower_extension, lower_extension),
        (compose, compose),
        (drop_extension, str),
        (drop_composed, compose),
    ):
        for name in names:
            if fits := ends(spell).get(written(name)):
                return fits
    return ()


def index_ends(pictures: Mapping[str, Stamp], spell: Callable[[str], str]) -> dict[str, list[str]]:
    """Returns the pictures by each end of their paths, spelled by `spell`: a/b.jpg and b.jpg.

    Where an end is also the whole path of a picture, only that picture is meant.
    """
    paths: dict[str, list[str]] = {}
    ends: dict[str, list[str]] = {}
    for picture in pictures:
        parts = spell(picture).split("/")
        paths.setdefault("/".join(parts), []).append(picture)
        for first in range(1, len(parts)):
            ends.setdefault("/".join(parts[first:]), []).append(picture)
    return ends | paths


def lower_extension(name: str) -> str:
    """Returns a/B.jpg for a/B.JPG."""
    stem, extension = posixpath.splitext(name)
    return stem + extension.lower()


def drop_extension(name: str) -> str:
    """Returns a/B for a/B.JPG."""
    return posixpath.splitext(name)[0]


def compose(name: str) -> str:
    """Returns a name in composed letters: macOS writes an umlaut as two."""
    return unicodedata.normalize("NFC", lower_extension(name))


def drop_composed(name: str) -> str:
    """Returns a name in composed letters without its extension."""
    return unicodedata.normalize("NFC", drop_extension(name))
