"""CelebA in its official layout (Liu et al. 2015, "Deep Learning Face Attributes in the Wild").

    list_attr_celeba.txt       202599 / names / 000001.jpg -1 1 ...
    list_eval_partition.txt    000001.jpg 0       (0 train, 1 validation, 2 test; may be missing)
    identity_CelebA.txt        000001.jpg 2880    (may be missing)
    img_align_celeba.zip       or the unpacked folder img_align_celeba/

in a folder, or all of it in one zip. Any subset of the pictures and any size of the same frame is
read. What the layouts of CelebA have in common is here too: `find_pictures`, `make_source`.
"""

import functools
import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gan.config import Data
from gan.data.readers import celeba_text
from gan.data.readers.celeba_files import FRAME as FRAME
from gan.data.readers.celeba_files import MAX_SCALE as MAX_SCALE
from gan.data.readers.celeba_files import (
    PICTURE,
    Pictures,
    find_pictures,
    first_size,
    frame_of,
    join,
    lies_at,
    locate,
    open_data,
    require,
    top_folder,
)
from gan.data.readers.celeba_text import Table
from gan.data.readers.files import MAX_TEXT, Files, Folder
from gan.data.source import SPLITS, Source, Split, hash_splits, match_names
from gan.errors import DataError, first_few, nearest

log = logging.getLogger("gan")

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
PICTURES = "img_align_celeba"
ATTRIBUTE_FILE = "list_attr_celeba.txt"
PARTITION_FILE = "list_eval_partition.txt"
IDENTITY_FILE = "identity_CelebA.txt"
FOLDERS = ("", "Anno", "Eval", "Img")  # Flat, or in the folders of the authors' drive.
HOW_TO_GET = (
    "Its authors (Liu et al., Multimedia Laboratory of the Chinese University of Hong Kong) offer "
    "CelebA for non-commercial research on their page 'Large-scale CelebFaces Attributes (CelebA) "
    "Dataset'; nothing is downloaded here."
)


class Labels(NamedTuple):
    """How to read each file of labels; None where there is none."""

    attributes: Callable[[], Table]
    partition: Callable[[], Table] | None  # 0 train, 1 validation, 2 test.
    identity: Callable[[], Table] | None


def open_source(config: Data) -> Source:
    """The data set in the folder or zip `config.path`; DataError names what is wrong and where."""
    files = open_data(
        config,
        "celeba",
        f"{PICTURES}.zip, {ATTRIBUTE_FILE} and {PARTITION_FILE}",
        HOW_TO_GET,
    )
    folders = layout_folders(files)
    attributes = require(files, ATTRIBUTE_FILE, folders)
    partition = locate(files, PARTITION_FILE, folders)
    identity = locate(files, IDENTITY_FILE, folders)
    pictures = find_pictures(files, [join(folder, PICTURES) for folder in folders])
    return make_source(
        "celeba",
        f"CelebA's official files in {files.path}",
        names_of(files, attributes),
        Labels(
            functools.partial(celeba_text.parse_attributes, files, attributes, PICTURE),
            partition
            and functools.partial(
                celeba_text.parse_numbers, files, partition, PICTURE, len(SPLITS)
            ),
            identity and functools.partial(celeba_text.parse_numbers, files, identity, PICTURE),
        ),
        [files.read(name, MAX_TEXT) if name else b"" for name in (attributes, partition, identity)],
        pictures,
        first_size(pictures, frame_of, config.on_bad),
        config.on_bad,
    )


def recognise(path: Path) -> bool:
    """Whether the official layout lies there. Opens no zip of pictures within a folder."""
    return lies_at(path, layout_folders, ATTRIBUTE_FILE, PICTURES)


def layout_folders(files: Files) -> list[str]:
    """Where the files may lie."""
    top = top_folder(files)
    return [join(top, folder) for folder in FOLDERS]


def make_source(
    name: str,
    layout: str,
    attribute_names: tuple[str, ...],
    labels: Labels,
    contents: Sequence[bytes],
    pictures: Pictures,
    size: tuple[int, int],
    on_bad: str,
    framed: bool = True,
) -> Source:
    """A `Source` of JPEG files whose labels are in `Table`s by the names of the pictures.

    `contents` is of all that the labels are read from, empty for files that are not there: with
    the stamps of the pictures it makes the fingerprint. `size` is height, width of the first
    picture, which with `framed` all must have. `layout` begins the line `found`.
    """
    digest = hashlib.sha256(repr(sorted(pictures.stamps.items())).encode())
    for content in contents:
        digest.update(hashlib.sha256(content).digest())
    kind = "the folder" if isinstance(pictures.files, Folder) else "the zip"
    if labels.partition:
        how = "official splits"
    elif labels.identity:
        how = "no official splits, so split by identity"
    else:
        how = "no official splits, so split by file (one person may be in several splits)"
    splits = functools.cache(functools.partial(make_splits, labels, pictures, on_bad))
    return Source(
        name=name,
        found=f"{layout}: {len(pictures.stamps):,} pictures of {size[1]} x {size[0]} in {kind} "
        f"{pictures.place()}; {how}; {'with' if labels.identity else 'without'} identities",
        fingerprint=digest.hexdigest(),
        attribute_names=attribute_names,
        splits={split: lambda split=split: splits()[split] for split in SPLITS},
        formats=("JPEG",),
        frame=size if framed else None,
    )


def make_splits(labels: Labels, pictures: Pictures, on_bad: str) -> dict[str, Split]:
    """All that the labels say, once it is sure that they are of the same pictures."""
    attributes = labels.attributes()
    partition = labels.partition and labels.partition()
    identity = labels.identity and labels.identity()
    names, left_out = complete(attributes, [partition, identity], pictures, on_bad)
    people = identity.of(names) if identity else np.full(len(names), -1)
    rows = {}
    if partition:
        numbers = partition.of(names)
        rows = {split: np.flatnonzero(numbers == i) for i, split in enumerate(SPLITS)}
    if left_out and not all(map(len, rows.values())):  # The first so many are all of one split.
        log.warning(
            "%s: no picture that is there is of split %s, so they are split anew by %s.",
            partition.where,
            " or ".join(split for split, members in rows.items() if not len(members)),
            "identity" if identity else "file",
        )
        partition = None
    if not partition:
        rows = hash_splits([str(person) for person in people] if identity else names)
    bad = {split: [] for split in SPLITS}
    for name, reason in left_out.items():
        number = int(partition.of([name])[0]) if partition and name in partition.rows else 0
        bad[SPLITS[number]].append((pictures.where(name), reason))
    splits = {}
    for number, split in enumerate(SPLITS):
        members = [names[row] for row in rows[split]]
        if not members:
            raise DataError(
                f"{partition.where}: no picture has the number {number} ({split}), but each of "
                "0 (train), 1 (validation) and 2 (test) needs some. Without that file they are "
                "split by identity, or by picture."
            )
        splits[split] = Split(
            attributes=attributes.of(members),
            identity=people[rows[split]].astype(np.int32),
            names=[pictures.where(member) for member in members],
            read=functools.partial(read_member, pictures, members),
            left_out=bad[split],
        )
    return splits


def complete(
    attributes: Table, others: Sequence[Table | None], pictures: Pictures, on_bad: str
) -> tuple[list[str], dict[str, str]]:
    """The pictures that are there and in each file of labels; and why all others are left out."""
    names, left_out = list(attributes.rows), {}
    for table in others:
        if table is not None:
            names, lost = match_names(attributes.where, names, table.where, table.rows, on_bad)
            reasons = {n: f"not in {table.where}" for n, _ in lost if n in attributes.rows}
            left_out = reasons | left_out  # The first reason stays.
    names, lost = match_names(attributes.where, names, pictures.place(), pictures.stamps, on_bad)
    left_out = dict(lost) | left_out
    if not names:
        raise DataError(
            f"{pictures.place()}: not one of its {len(pictures.stamps):,} pictures has a row in "
            f"each file of labels; {attributes.where} has {first_few(list(attributes.rows))}. All "
            "have to be of the same download."
        )
    return names, left_out


def read_member(pictures: Pictures, members: Sequence[str], index: int) -> bytes:
    """`Split.read` of these members."""
    return pictures.files.read(pictures.path(members[index]))


def names_of(files: Files, name: str) -> tuple[str, ...]:
    """The attributes that a text file has; DataError where they are misspelt."""
    head = celeba_text.read_head(files, name)
    return check_names(f"{files.where(name)}, line {head.first - 1}", head.names)


def check_names(where: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """The names of the attributes. Official ones are all there or none: others may be one's own."""
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise DataError(f"{where}: {first_few(sorted(repeated))} stands there twice.")
    missing = [name for name in ATTRIBUTES if name not in names]
    unknown = [name for name in names if name not in ATTRIBUTES]
    if len(missing) == len(ATTRIBUTES):
        return names
    if unknown:
        raise DataError(
            f"{where}: {unknown[0]!r} is not an attribute of CelebA.{nearest(unknown[0], missing)}"
        )
    if missing:
        raise DataError(f"{where}: {first_few(missing)} is missing of CelebA's attributes.")
    return names
