"""CelebA in its official layout (Liu et al. 2015, "Deep Learning Face Attributes in the Wild").

    list_attr_celeba.txt       202599 / names / 000001.jpg -1 1 ...
    list_eval_partition.txt    000001.jpg 0       (0 train, 1 validation, 2 test)
    identity_CelebA.txt        000001.jpg 2880    (may be missing)
    img_align_celeba.zip       or the unpacked folder img_align_celeba/

Any subset of the pictures and any size of the same frame is read. Each fault is named by file and
line or member; nothing is repaired or left out in silence.
"""

import functools
import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from gan.config import Data
from gan.data.archive import Archive, first_few, from_folder, from_zip, jpeg_shape
from gan.data.source import Source, Split
from gan.errors import ConfigError, DataError, nearest

# fmt: off
ATTRIBUTES = (
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs",
    "Big_Lips", "Big_Nose", "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows",
    "Chubby", "Double_Chin", "Eyeglasses", "Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones",
    "Male", "Mouth_Slightly_Open", "Mustache", "Narrow_Eyes", "No_Beard", "Oval_Face", "Pale_Skin",
    "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks", "Sideburns", "Smiling", "Straight_Hair",
    "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick", "Wearing_Necklace",
    "Wearing_Necktie", "Young",
)
# fmt: on
SPLITS = ("train", "validation", "test")
PICTURE = re.compile(r"[0-9]{6}\.jpg")
NUMBER = re.compile(r"[0-9]{1,9}")
FRAME = (218, 178)  # Height, width of the official pictures.
MAX_SCALE = 4  # Larger frames are refused: one picture of 20,000 x 20,000 would fill the memory.
FOLDERS = ("", "Anno", "Eval", "Img")  # Flat, or in the folders of the authors' drive.


def source(config: Data) -> Source:
    """The data set in the folder `config.path`; DataError names what is wrong and where."""
    if config.path is None:
        raise ConfigError(
            "config.data.path is not given: source 'celeba' needs a folder with "
            "img_align_celeba.zip, list_attr_celeba.txt and list_eval_partition.txt, given by "
            "--config.data.path=FOLDER. Its authors (Liu et al., Multimedia Laboratory of the "
            "Chinese University of Hong Kong) offer CelebA for non-commercial research on their "
            "page 'Large-scale CelebFaces Attributes (CelebA) Dataset'; nothing is downloaded here."
        )
    root = Path(config.path).expanduser()
    files = {
        "attributes": require(root, "list_attr_celeba.txt"),
        "partition": require(root, "list_eval_partition.txt"),
        "identity": locate(root, "identity_CelebA.txt"),
    }
    pictures = find_pictures(root)
    digest = hashlib.sha256(repr(sorted(pictures.stamps.items())).encode())
    for file in files.values():
        digest.update(hashlib.sha256(read_bytes(file) if file else b"").digest())
    frame = frame_of(pictures, min(pictures.stamps))
    splits = functools.cache(
        functools.partial(read_splits, **files, pictures=pictures, frame=frame)
    )
    return Source(
        name="celeba",
        fingerprint=digest.hexdigest(),
        attribute_names=read_names(files["attributes"]),
        splits={name: lambda name=name: splits()[name] for name in SPLITS},
        frame=frame,
    )


def read_splits(
    attributes: Path,
    partition: Path,
    identity: Path | None,
    pictures: Archive,
    frame: tuple[int, int],
) -> dict[str, Split]:
    """All that the files say, once it is sure that they are of the same pictures."""
    labels = parse_attributes(attributes)
    numbers = parse_numbers(partition, below=len(SPLITS))
    same_pictures(attributes, labels, partition, numbers)
    people = dict.fromkeys(labels, -1)
    if identity is not None:
        people = parse_numbers(identity)
        same_pictures(attributes, labels, identity, people)
    same_pictures(attributes, labels, pictures.path, pictures.stamps)
    splits = {}
    for number, name in enumerate(SPLITS):
        members = [member for member in labels if numbers[member] == number]
        if not members:
            raise DataError(
                f"{partition}: no picture has the number {number} ({name}), but each of "
                "0 (train), 1 (validation) and 2 (test) needs some."
            )
        splits[name] = Split(
            attributes=np.stack([labels[member] for member in members]),
            identity=np.array([people[member] for member in members], np.int32),
            read=reader(pictures, members, frame),
            names=[f"{pictures.path.name}: {member}" for member in members],
        )
    return splits


def locate(root: Path, name: str) -> Path | None:
    """Where `name` lies under `root`, or None."""
    paths = (root / folder / name for folder in FOLDERS)
    return next((path for path in paths if path.exists()), None)


def require(root: Path, name: str, or_else: str = "") -> Path:
    """Where `name` lies under `root`; DataError says what lies there instead."""
    path = locate(root, name)
    if path is not None:
        return path
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "does not exist"
        beside = [path.name for path in root.parent.glob("*")]
        raise DataError(
            f"config.data.path={str(root)!r} {what}; give the folder that holds {name}."
            f"{nearest(root.name, beside)}"
        )
    there = sorted(path.name for folder in FOLDERS for path in (root / folder).glob("*"))
    raise DataError(
        f"{root}: {name}{or_else} is not there (nor in its folders Anno, Eval and Img). There lie "
        f"{first_few(there)}.{nearest(name, there)} Put it there under its official name."
    )


def find_pictures(root: Path) -> Archive:
    """The zip if there is one (its checksums tell damage), or else the unpacked folder."""
    folder = locate(root, "img_align_celeba")
    if folder is not None and locate(root, "img_align_celeba.zip") is None:
        return from_folder(folder, PICTURE)
    path = require(root, "img_align_celeba.zip", " or the unpacked folder img_align_celeba")
    return from_zip(path, "img_align_celeba/", PICTURE)


def read_names(file: Path) -> tuple[str, ...]:
    """The names of the attributes. Official ones are all there or none: others may be one's own."""
    lines = read_lines(file)
    if len(lines) < 3:
        raise DataError(f"{file}: {len(lines)} lines, where count, names and rows should stand.")
    if not NUMBER.fullmatch(lines[0].strip()):
        raise DataError(
            f"{file}, line 1: {lines[0][:80]!r} should be the number of pictures. If that line "
            f"was deleted, put it back: {len(lines) - 1}, if all rows are there."
        )
    names = tuple(lines[1].split())
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise DataError(f"{file}, line 2: {first_few(sorted(repeated))} stands there twice.")
    missing = [name for name in ATTRIBUTES if name not in names]
    unknown = [name for name in names if name not in ATTRIBUTES]
    if len(missing) == len(ATTRIBUTES):
        return names
    if unknown:
        raise DataError(
            f"{file}, line 2: {unknown[0]!r} is not an attribute of CelebA."
            f"{nearest(unknown[0], missing)}"
        )
    if missing:
        raise DataError(f"{file}, line 2: {first_few(missing)} is missing of CelebA's attributes.")
    return names


def parse_attributes(file: Path) -> dict[str, np.ndarray]:
    """uint8 [a] of 0 | 1 for each picture, in the file's order."""
    lines = read_lines(file)
    attributes = {}
    for number, member, values in rows(file, lines, first=3, columns=len(lines[1].split())):
        used = set(values)
        if not (used <= {"-1", "1"} or used <= {"0", "1"}):
            wrong = next((v for v in values if v not in ("-1", "0", "1")), None)
            what = f"the value {wrong!r}" if wrong else "-1 and 0 in one row"
            raise DataError(f"{file}, line {number}: {what}; each value is -1 or 1 (or 0 or 1).")
        attributes[member] = np.array([value == "1" for value in values], np.uint8)
    if len(attributes) != int(lines[0]):
        raise DataError(
            f"{file}, line 1: says {int(lines[0])} pictures, but {len(attributes)} rows follow. "
            "The file was cut or put together; fetch it again, or correct line 1 if it was meant."
        )
    return attributes


def parse_numbers(file: Path, below: int = 10**9) -> dict[str, int]:
    """One whole number from 0 to below `below` for each picture."""
    numbers = {}
    for number, member, (value,) in rows(file, read_lines(file), first=1, columns=1):
        if not NUMBER.fullmatch(value) or int(value) >= below:
            raise DataError(
                f"{file}, line {number}: {value[:80]!r} should be a whole number from 0 to "
                f"{below - 1:,}."
            )
        numbers[member] = int(value)
    return numbers


def read_lines(file: Path) -> list[str]:
    """The lines of a text file whose lines end in LF or CRLF, without empty ones at the end."""
    try:
        text = read_bytes(file).decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{file}, byte {error.start}: this is not a text file.") from None
    return text.rstrip().replace("\r\n", "\n").split("\n")


def read_bytes(file: Path) -> bytes:
    """All of a file."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}.") from error


def rows(
    file: Path, lines: list[str], first: int, columns: int
) -> Iterator[tuple[int, str, list[str]]]:
    """Yields (line number, picture, values) from line number `first` on."""
    seen = {}
    for number, line in enumerate(lines[first - 1 :], start=first):
        member, *values = line.split() or [""]
        if not PICTURE.fullmatch(member):
            raise DataError(f"{file}, line {number}: {member[:80]!r} should be like '000001.jpg'.")
        if len(values) != columns:
            raise DataError(
                f"{file}, line {number}: {len(values)} values follow {member}, not {columns}."
            )
        if member in seen:
            raise DataError(
                f"{file}, line {number}: {member} stands there a second time, after line "
                f"{seen[member]}."
            )
        seen[member] = number
        yield number, member, values


def same_pictures(file: Path, ours: dict, other_file: Path, others: dict) -> None:
    """DataError with the first few that only one of the two has."""
    for here, mine, there, theirs in (
        (file, ours, other_file, others),
        (other_file, others, file, ours),
    ):
        lost = sorted(mine.keys() - theirs.keys())
        if lost:
            raise DataError(
                f"{there}: {len(lost)} of the {len(mine)} pictures in {here.name} are not in it: "
                f"{first_few(lost)}. Both have to be of the same download."
            )


def frame_of(pictures: Archive, member: str) -> tuple[int, int]:
    """Height and width of the set, from its first picture: the official ones or in proportion."""
    height, width, _ = jpeg_shape(pictures.read(member), f"{pictures.path}: {member}")
    expected = width * FRAME[0] / FRAME[1]
    if abs(height - expected) >= 1 or height > MAX_SCALE * FRAME[0]:
        raise DataError(
            f"{pictures.path}: {member} is {width} x {height}; aligned pictures are 178 x 218, or "
            f"smaller or larger in proportion (at most {MAX_SCALE} times)."
        )
    return height, width


def reader(pictures: Archive, members: list[str], frame: tuple[int, int]) -> Callable[[int], bytes]:
    """`Split.read` of these members, which checks what can be seen without decoding."""

    def read(index: int) -> bytes:
        where = f"{pictures.path}: {members[index]}"
        data = pictures.read(members[index])
        height, width, channels = jpeg_shape(data, where)
        if (height, width) != frame:
            raise DataError(
                f"{where} is {width} x {height}, but the set's first picture is "
                f"{frame[1]} x {frame[0]}."
            )
        if channels not in (1, 3):
            raise DataError(f"{where} has {channels} colour channels, not 3 (or 1: grey).")
        return data

    return read
