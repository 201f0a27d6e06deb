"""Reads CelebAMask-HQ: 30,000 faces of CelebA at 1024 x 1024 (Lee et al. 2020, MaskGAN).

    CelebA-HQ-img/                         0.jpg ... 29999.jpg
    CelebAMask-HQ-attribute-anno.txt       30000 / names / 0.jpg  -1 1 ...
    CelebA-HQ-to-CelebA-mapping.txt        idx orig_idx orig_file / 0 119613 119614.jpg

These lie in a folder or a zip, with or without the top folder CelebAMask-HQ/. The authors offer
them on the page of their paper. With the mapping, CelebA's own list_eval_partition.txt and
identity_CelebA.txt are used too, if they lie there.

The source has CelebA's 40 attributes, and JPEG files of any size.
"""

import functools
import re
from pathlib import Path

from gan.config import Data
from gan.data.files import (
    WHOLE_END,
    Files,
    find_file,
    find_top_folder,
    join_names,
    open_data,
    read_lines,
    require_file,
)
from gan.data.readers.celeba_files import (
    LabelReaders,
    has_layout,
    make_celeba_source,
)
from gan.data.readers.celeba_labels import (
    LabelTable,
    read_attribute_names,
    read_text_attributes,
    read_text_numbers,
)
from gan.data.readers.celeba_official import IDENTITY_FILE, PARTITION_FILE
from gan.data.readers.celeba_places import (
    PICTURE_NAME,
    find_home,
    find_official,
    find_pictures,
)
from gan.data.source import SPLITS, Source
from gan.errors import DataError

HQ_PICTURE_NAME = re.compile(r"[0-9]{1,5}\.jpg")
TOP_FOLDER = "CelebAMask-HQ"
PICTURE_FOLDER = "CelebA-HQ-img"
ATTRIBUTE_FILE = "CelebAMask-HQ-attribute-anno.txt"
MAPPING_FILE = "CelebA-HQ-to-CelebA-mapping.txt"
HOW_TO_GET = (
    "Its authors (Lee et al., 'MaskGAN: Towards Diverse and Interactive Facial Image "
    "Manipulation') offer CelebAMask-HQ for non-commercial research; nothing is downloaded here."
)


def open_source(config: Data) -> Source:
    """Opens the data set in the folder or zip `config.path`.

    ConfigError without a path; DataError names the file that is missing or damaged.
    """
    files = open_data(config, "celebamask_hq", f"{PICTURE_FOLDER} and {ATTRIBUTE_FILE}", HOW_TO_GET)
    folders = _find_folders(files)
    if not find_file(files, ATTRIBUTE_FILE, folders):
        folders = [find_home(files, ATTRIBUTE_FILE)]
    attributes = find_official(files, ATTRIBUTE_FILE, folders)
    attributes = attributes or require_file(files, ATTRIBUTE_FILE, _find_folders(files))
    mapping = find_file(files, MAPPING_FILE, folders)
    partition = mapping and find_file(files, PARTITION_FILE, folders)
    identity = mapping and find_file(files, IDENTITY_FILE, folders)
    pictures = find_pictures(
        files, [join_names(folder, PICTURE_FOLDER) for folder in folders], HQ_PICTURE_NAME
    )
    read_numbers = functools.partial(read_mapped_numbers, files, mapping)
    return make_celeba_source(
        config,
        "celebamask_hq",
        f"CelebAMask-HQ in {files.path}",
        read_attribute_names(files, attributes),
        LabelReaders(
            functools.partial(read_text_attributes, files, attributes, HQ_PICTURE_NAME),
            partition and functools.partial(read_numbers, partition, len(SPLITS)),
            identity and functools.partial(read_numbers, identity),
        ),
        files,
        (attributes, mapping, partition, identity),
        pictures,
        aligned=False,
    )


def recognise(path: Path) -> bool:
    """Tells whether this layout lies at `path`."""
    return has_layout(path, _find_folders, ATTRIBUTE_FILE, PICTURE_FOLDER)


def read_mapped_numbers(files: Files, mapping: str, name: str, end: int = WHOLE_END) -> LabelTable:
    """Reads CelebA's file `name` of whole numbers below `end`, by the names of CelebAMask-HQ.

    Pictures of the file `mapping` that are not in that file have no row. DataError if either is
    bad.
    """
    originals = read_mapping(files, mapping)
    table = read_text_numbers(files, name, PICTURE_NAME, end)
    names = [name for name, original in originals.items() if original in table.rows]
    return LabelTable(
        f"{table.where} (through {mapping})",
        {name: row for row, name in enumerate(names)},
        table.select([originals[name] for name in names]),
    )


def read_mapping(files: Files, name: str) -> dict[str, str]:
    """Reads the name in CelebA of each picture of CelebAMask-HQ. DataError if the file is bad."""
    lines, where = read_lines(files, name), files.where(name)
    originals = {}
    for number, line in enumerate(lines, start=1):
        values = line.split()
        if number == 1 and values[:1] == ["idx"]:
            continue
        if (
            len(values) != 3
            or not HQ_PICTURE_NAME.fullmatch(f"{values[0]}.jpg")
            or not PICTURE_NAME.fullmatch(values[2])
        ):
            raise DataError(
                f"{where}, line {number}: {line[:80]!r} should be like '0 119613 119614.jpg'."
            )
        member = f"{values[0]}.jpg"
        if member in originals:
            raise DataError(f"{where}, line {number}: {values[0]} stands there a second time.")
        originals[member] = values[2]
    return originals


def _find_folders(files: Files) -> list[str]:
    """Lists the folders in which the files may lie."""
    top = find_top_folder(files)
    return [join_names(top, folder) for folder in ("", TOP_FOLDER)]
