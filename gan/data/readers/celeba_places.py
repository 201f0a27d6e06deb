"""Finds CelebA's official files wherever they lie in a folder or zip: labels and pictures.

    img_align_celeba.zip       or the unpacked folder img_align_celeba/, anywhere in a folder or zip

Known places come first; else the whole listing is searched, so that a folder around the data set, a
file that was downloaded twice, and pictures in a folder of another name are found too.
"""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from gan.data.files import (
    Files,
    Folder,
    Stamp,
    Zip,
    explain_missing,
    find_file,
    find_top_folder,
    join_names,
    list_entries,
)
from gan.errors import DataError, first_few

SUB_FOLDERS = ("Anno", "Eval", "Img")  # Of the authors' drive.
PICTURE_NAME = re.compile(r"[0-9]{6}\.jpg")
PICTURES = re.compile(r"[0-9]{6}\.(jpg|png)")
LABELS = {  # The file that tells each layout, and the source that reads it.
    "list_attr_celeba.txt": "celeba",
    "list_attr_celeba.csv": "celeba_kaggle",
    "CelebAMask-HQ-attribute-anno.txt": "celebamask_hq",
}


class Pictures(NamedTuple):
    """The pictures of a data set: files in one folder."""

    files: Files
    folder: str  # Name of the folder within `files`.
    stamps: dict[str, Stamp]  # The stamp of each picture, by the name that labels give it.
    is_png: bool = False  # Whether 000001.jpg of the labels is the file 000001.png.

    @property
    def format(self) -> str:
        """Pillow's name of the files' format."""
        return "PNG" if self.is_png else "JPEG"

    def path(self, name: str) -> str:
        """Returns the name of a picture within `files`."""
        return join_names(self.folder, name.replace(".jpg", ".png") if self.is_png else name)

    def where(self, name: str) -> str:
        """Returns where a picture lies, for messages."""
        return self.files.where(self.path(name))

    def place(self) -> str:
        """Returns where all pictures lie, for messages."""
        return str(
            self.files.path / self.folder if isinstance(self.files, Folder) else self.files.path
        )


def spell_twice(name: str) -> re.Pattern[str]:
    """Returns the pattern of an official name, also as browsers write it at a second download."""
    path = PurePosixPath(name)
    return re.compile(rf"{re.escape(path.stem)}( ?\([0-9]+\))?{re.escape(path.suffix)}", re.I)


def find_home(files: Files, name: str) -> str:
    """Returns the folder, "" for the top, whose files the official file `name` belongs to.

    DataError if it lies in several. Where it is nowhere, that is the top folder.
    """
    top = find_top_folder(files)
    known = [join_names(top, folder) for folder in ("", *SUB_FOLDERS)]
    if find_file(files, name, known):
        return top
    pattern = spell_twice(name)
    homes = set()
    for path in map(PurePosixPath, files.list(deep=True)):
        if pattern.fullmatch(path.name):
            home = path.parent.parent if path.parent.name in SUB_FOLDERS else path.parent
            homes.add("" if str(home) == "." else str(home))
    if len(homes) > 1:
        there = sorted(home or "its top" for home in homes)
        raise DataError(
            f"{files.path}: {name} lies in {first_few(there)}. Name one: "
            f"--config.data.path={files.path / max(homes)}."
        )
    return homes.pop() if homes else top


def find_official(files: Files, name: str, folders: Sequence[str]) -> str | None:
    """Returns an official file in one of the folders, or the only one that was downloaded twice.

    DataError if several were and none has the official name.
    """
    if path := find_file(files, name, folders):
        return path
    pattern = spell_twice(name)
    found = [
        join_names(folder, entry)
        for folder in dict.fromkeys(folders)
        for entry in list_entries(files, folder)
        if pattern.fullmatch(entry)
    ]
    if len(found) > 1:
        raise DataError(
            f"{files.path}: {first_few(sorted(found))} lie there, and no {name}. Remove all but "
            "the right one, or give it that name."
        )
    return found[0] if found else None


def find_pictures(
    files: Files, prefixes: Sequence[str], pattern: re.Pattern[str] = PICTURE_NAME
) -> Pictures:
    """Finds the pictures in the zip `PREFIX.zip` or, failing any, in the folder `PREFIX`.

    Zips come first, since their checksums tell damage. Failing both, the only folder that holds
    official pictures serves, and PNG files of official names do. DataError if there is none whose
    name matches `pattern`.
    """
    empty = []
    if isinstance(files, Folder):
        for prefix in filter(files.has, (f"{prefix}.zip" for prefix in prefixes)):
            archive = Zip(files.path / prefix)
            base = Path(prefix).stem
            for folder in (base, "", f"{base}/{base}"):
                if stamps := list_pictures(archive, folder, pattern):
                    return Pictures(archive, folder, stamps)
            empty.append((archive.path, list(archive.list(deep=True))))
    for prefix in filter(files.has, prefixes):
        if stamps := list_pictures(files, prefix, pattern):
            return Pictures(files, prefix, stamps)
        empty.append((files.where(prefix), list(files.list(prefix))))
    for path, there in empty:
        raise DataError(
            f"{path}: no picture in it is named as in the official set; there lie "
            f"{first_few(there)}. Put the pictures there under their official names."
        )
    for prefix in prefixes:
        if files.has(f"{prefix}.zip"):
            raise DataError(
                f"{files.where(prefix)}.zip: a zip within a zip is not read. Unpack the outer one, "
                "and give its folder as config.data.path."
            )
    home = prefixes[0].rpartition("/")[0]
    for is_png, names in (
        (False, pattern),
        (True, re.compile(pattern.pattern.replace("jpg", "png"))),
    ):
        found = search_pictures(files, home, names)
        if len(found) > 1:
            raise DataError(
                f"{files.where(home)}: official pictures lie in {first_few(sorted(found))}. Name "
                f"the folder to use {prefixes[0]}, or remove the others."
            )
        for folder, stamps in found.items():
            renamed = {name.replace(".png", ".jpg"): stamp for name, stamp in stamps.items()}
            return Pictures(files, folder, renamed, is_png)
    base = prefixes[0].rpartition("/")[2]
    raise explain_missing(
        files,
        f"{base}.zip",
        [prefix.rpartition("/")[0] for prefix in prefixes],
        f" or the unpacked folder {base}",
    )


def list_pictures(files: Files, folder: str, pattern: re.Pattern[str]) -> dict[str, Stamp]:
    """Lists the files in the folder whose names match `pattern`, with their stamps."""
    return {name: stamp for name, stamp in files.list(folder).items() if pattern.fullmatch(name)}


def search_pictures(
    files: Files, home: str, pattern: re.Pattern[str]
) -> dict[str, dict[str, Stamp]]:
    """Returns the stamps of the pictures whose names match, by each folder below `home`."""
    found: dict[str, dict[str, Stamp]] = {}
    for name, stamp in files.list(home, deep=True).items():
        folder, _, base = name.rpartition("/")
        if pattern.fullmatch(base):
            found.setdefault(join_names(home, folder), {})[base] = stamp
    return found


def find_celeba(path: Path, names: Sequence[str]) -> str | None:
    """Returns the source that reads the official files at a path, or None if there are none.

    `names` are those of all files there. DataError if the official files lie beside the path
    instead, which holds CelebA's pictures alone.
    """
    names = [PurePosixPath(name).name for name in names]
    for label_file, source in LABELS.items():
        if any(map(spell_twice(label_file).fullmatch, names)):
            return source
    beside = list_entries(Folder(path.absolute().parent), "")
    for label_file in LABELS:
        there = [name for name in beside if spell_twice(label_file).fullmatch(name)]
        if there and any(map(PICTURES.fullmatch, names)):
            raise DataError(
                f"config.data.path={path} holds CelebA's pictures, and its {there[0]} lies beside: "
                f"give the folder of both, --config.data.path={path.absolute().parent}. "
                "--config.data.labels=none takes the pictures alone, without labels."
            )
    return None
