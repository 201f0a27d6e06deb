"""Where the files of CelebA's layouts lie, in a folder or in a zip."""

import contextlib
import io
import os
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from gan.config import Data
from gan.data.readers.files import Files, Folder, Stamp, Zip, open_files
from gan.errors import ConfigError, DataError, first_few, nearest

PICTURE = re.compile(r"[0-9]{6}\.jpg")
FRAME = (218, 178)  # Height, width of the official pictures.
MAX_SCALE = 4  # Larger frames are refused: one picture of 20,000 x 20,000 would fill the memory.
ALIGNED = (
    "aligned pictures are 178 x 218, or smaller or larger in proportion (at most "
    f"{MAX_SCALE} times)."
)
TRIED = 100  # Pictures that may be bad, with on_bad=skip, before the first good one.


class Pictures(NamedTuple):
    """Where the pictures are."""

    files: Files
    folder: str  # Within `files`.
    stamps: dict[str, Stamp]  # Of each picture, by its name within `folder`.

    def path(self, name: str) -> str:
        """Its name within `files`."""
        return join(self.folder, name)

    def where(self, name: str) -> str:
        """One of them, for messages."""
        return self.files.where(self.path(name))

    def place(self) -> str:
        """All of them, for messages."""
        return str(
            self.files.path / self.folder if isinstance(self.files, Folder) else self.files.path
        )


def open_data(config: Data, name: str, needs: str, how_to_get: str) -> Files:
    """The folder or zip at `config.path`. ConfigError without one, DataError if it is not there."""
    if config.path is None:
        raise ConfigError(
            f"config.data.path is not given: source {name!r} needs a folder, or a zip, with "
            f"{needs}, given by --config.data.path=PATH. {how_to_get}"
        )
    path = Path(os.path.expanduser(config.path))
    if not os.path.exists(path):
        raise DataError(
            f"config.data.path={str(path)!r} does not exist; give the folder, or the zip, that "
            f"holds {needs}.{nearest(path.name, listdir(path.parent))}"
        )
    return open_files(path)


def top_folder(files: Files) -> str:
    """The folder that all of a zip is in, or "": who zips a folder may zip it with its name."""
    if isinstance(files, Folder):
        return ""
    tops = {name.partition("/")[0] if "/" in name else "" for name in files.list(deep=True)}
    return tops.pop() if len(tops) == 1 else ""


def locate(files: Files, name: str, folders: Sequence[str]) -> str | None:
    """Its name with the first of the folders that has it, or None."""
    paths = (join(folder, name) for folder in folders)
    return next((path for path in paths if files.has(path)), None)


def lies_at(
    path: Path, layout_folders: Callable[[Files], list[str]], labels: str, pictures: str
) -> bool:
    """Whether the labels and the folder, or the zip, of pictures do; False if nothing does."""
    try:
        files = open_files(path)
        folders = layout_folders(files)
        return locate(files, labels, folders) is not None and any(
            locate(files, name, folders) for name in (pictures, f"{pictures}.zip")
        )
    except (OSError, ValueError):  # DataError is one.
        return False


def require(files: Files, name: str, folders: Sequence[str]) -> str:
    """Its name with the first of the folders that has it; DataError says what lies there."""
    path = locate(files, name, folders)
    if path is None:
        raise not_there(files, name, folders)
    return path


def find_pictures(
    files: Files, prefixes: Sequence[str], pattern: re.Pattern[str] = PICTURE
) -> Pictures:
    """The pictures in the zip `PREFIX.zip` or, failing any, in the folder `PREFIX` of `files`.

    The first that has any, zips first (their checksums tell damage). DataError if none has.
    """
    empty = []
    if isinstance(files, Folder):
        for prefix in filter(files.has, (f"{prefix}.zip" for prefix in prefixes)):
            archive = Zip(files.path / prefix)
            base = Path(prefix).stem
            for folder in (base, "", f"{base}/{base}"):
                if stamps := matching(archive, folder, pattern):
                    return Pictures(archive, folder, stamps)
            empty.append((archive.path, list(archive.list(deep=True))))
    for prefix in filter(files.has, prefixes):
        if stamps := matching(files, prefix, pattern):
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
    base = prefixes[0].rpartition("/")[2]
    raise not_there(
        files,
        f"{base}.zip",
        [prefix.rpartition("/")[0] for prefix in prefixes],
        f" or the unpacked folder {base}",
    )


def matching(files: Files, folder: str, pattern: re.Pattern[str]) -> dict[str, Stamp]:
    """The files in the folder whose names are those of pictures."""
    return {name: stamp for name, stamp in files.list(folder).items() if pattern.fullmatch(name)}


def not_there(files: Files, name: str, folders: Sequence[str], or_else: str = "") -> DataError:
    """Says what lies there instead, or that it lies a folder higher."""
    there = sorted({entry for folder in folders for entry in entries(files, folder)})
    remedy = f"{nearest(name, there)} Put it there under its official name."
    if os.path.exists(files.path.parent / name):
        remedy = f" It lies in {files.path.parent}: give that folder as config.data.path."
    inner = sorted({folder for folder in folders if folder})
    nor = f" (nor in its folders {', '.join(inner)})" if inner else ""
    return DataError(
        f"{files.path}: {name}{or_else} is not there{nor}. There lie {first_few(there)}.{remedy}"
    )


def frame_of(files: Files, name: str) -> tuple[int, int]:
    """Height and width of an aligned picture: the official ones or in proportion, or DataError."""
    height, width = size_of(files, name)
    if not aligned(height, width):
        raise DataError(f"{files.where(name)} is {width} x {height}; {ALIGNED}")
    return height, width


def aligned(height: int, width: int) -> bool:
    """Whether this is the frame of the official pictures, or one in proportion to it."""
    return abs(height - width * FRAME[0] / FRAME[1]) < 1 and height <= MAX_SCALE * FRAME[0]


def size_of(files: Files, name: str) -> tuple[int, int]:
    """Height and width of a JPEG, from its header."""
    data = files.read(name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of sizes.
            width, height = Image.open(io.BytesIO(data), formats=("JPEG",)).size
    except Exception:  # Decoders fail in any way.
        raise DataError(
            f"{files.where(name)} is not a JPEG file with a whole header: {len(data):,} bytes, "
            f"beginning with {data[:8]!r}."
        ) from None
    return height, width


def first_size(
    pictures: Pictures, measure: Callable[[Files, str], tuple[int, int]], on_bad: str
) -> tuple[int, int]:
    """`measure` of the first picture; with on_bad=skip, of the first for which it works."""
    names = sorted(pictures.stamps)
    for name in names[:TRIED] if on_bad == "skip" else ():
        with contextlib.suppress(DataError):
            return measure(pictures.files, pictures.path(name))
    return measure(pictures.files, pictures.path(names[0]))


def entries(files: Files, folder: str) -> list[str]:
    """Names of the files in a folder that may be missing, and of a folder's folders."""
    if isinstance(files, Folder):
        return listdir(files.path / folder)
    return list(files.list(folder))


def listdir(path: Path) -> list[str]:
    """What lies in a folder; nothing if it cannot be read: this is for hints."""
    try:
        return os.listdir(path)
    except (OSError, ValueError):
        return []


def join(folder: str, name: str) -> str:
    """A name within a folder, either of which may be empty."""
    return f"{folder}/{name}" if folder and name else folder or name
