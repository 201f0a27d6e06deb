"""CelebAMask-HQ: 30,000 faces of CelebA at 1024 x 1024 (Lee et al. 2020).

    CelebA-HQ-img/                         0.jpg ... 29999.jpg
    CelebAMask-HQ-attribute-anno.txt       30000 / names / 0.jpg  -1 1 ...
    CelebA-HQ-to-CelebA-mapping.txt        idx orig_idx orig_file / 0 119613 119614.jpg

in a folder or a zip, with or without the top folder CelebAMask-HQ/. With the mapping, CelebA's
own list_eval_partition.txt and identity_CelebA.txt, if they lie there too, hold for it as well.
"""

import functools
import re
from pathlib import Path

from gan.config import Data
from gan.data.readers import celeba_official, celeba_text
from gan.data.readers.celeba_files import (
    find_pictures,
    first_size,
    join,
    lies_at,
    locate,
    open_data,
    require,
    size_of,
    top_folder,
)
from gan.data.readers.celeba_text import Table
from gan.data.readers.files import MAX_TEXT, Files, read_lines
from gan.data.source import SPLITS, Source
from gan.errors import DataError

PICTURE = re.compile(r"[0-9]{1,5}\.jpg")
TOP = "CelebAMask-HQ"
PICTURES = "CelebA-HQ-img"
ATTRIBUTE_FILE = "CelebAMask-HQ-attribute-anno.txt"
MAPPING_FILE = "CelebA-HQ-to-CelebA-mapping.txt"
HOW_TO_GET = (
    "Its authors (Lee et al., 'MaskGAN: Towards Diverse and Interactive Facial Image "
    "Manipulation') offer CelebAMask-HQ for non-commercial research; nothing is downloaded here."
)


def open_source(config: Data) -> Source:
    """The data set in the folder or zip `config.path`; DataError names what is wrong and where."""
    files = open_data(config, "celebamask_hq", f"{PICTURES} and {ATTRIBUTE_FILE}", HOW_TO_GET)
    folders = layout_folders(files)
    attributes = require(files, ATTRIBUTE_FILE, folders)
    mapping = locate(files, MAPPING_FILE, folders)
    partition = mapping and locate(files, celeba_official.PARTITION_FILE, folders)
    identity = mapping and locate(files, celeba_official.IDENTITY_FILE, folders)
    pictures = find_pictures(files, [join(folder, PICTURES) for folder in folders], PICTURE)
    return celeba_official.make_source(
        "celebamask_hq",
        f"CelebAMask-HQ in {files.path}",
        celeba_official.names_of(files, attributes),
        celeba_official.Labels(
            functools.partial(celeba_text.parse_attributes, files, attributes, PICTURE),
            partition and functools.partial(through, files, mapping, partition, len(SPLITS)),
            identity and functools.partial(through, files, mapping, identity),
        ),
        [
            files.read(name, MAX_TEXT) if name else b""
            for name in (attributes, mapping, partition, identity)
        ],
        pictures,
        first_size(pictures, size_of, config.on_bad),
        config.on_bad,
        framed=False,
    )


def recognise(path: Path) -> bool:
    """Whether this layout lies there."""
    return lies_at(path, layout_folders, ATTRIBUTE_FILE, PICTURES)


def layout_folders(files: Files) -> list[str]:
    """Where the files may lie."""
    top = top_folder(files)
    return [join(top, folder) for folder in ("", TOP)]


def through(files: Files, mapping: str, name: str, below: int = 10**9) -> Table:
    """A file of CelebA's with a number for each picture, by the names of CelebAMask-HQ."""
    originals = parse_mapping(files, mapping)
    table = celeba_text.parse_numbers(files, name, celeba_official.PICTURE, below)
    names = [name for name, original in originals.items() if original in table.rows]
    return Table(
        f"{table.where} (through {mapping})",
        {name: row for row, name in enumerate(names)},
        table.of([originals[name] for name in names]),
    )


def parse_mapping(files: Files, name: str) -> dict[str, str]:
    """The picture of CelebA for each of CelebAMask-HQ."""
    lines, where = read_lines(files, name), files.where(name)
    originals = {}
    for number, line in enumerate(lines, start=1):
        values = line.split()
        if number == 1 and values[:1] == ["idx"]:
            continue
        if (
            len(values) != 3
            or not PICTURE.fullmatch(f"{values[0]}.jpg")
            or not celeba_official.PICTURE.fullmatch(values[2])
        ):
            raise DataError(
                f"{where}, line {number}: {line[:80]!r} should be like '0 119613 119614.jpg'."
            )
        member = f"{values[0]}.jpg"
        if member in originals:
            raise DataError(f"{where}, line {number}: {values[0]} stands there a second time.")
        originals[member] = values[2]
    return originals
