"""Reads CelebA in its official layout (Liu et al. 2015, Deep Learning Face Attributes in the Wild).

    list_attr_celeba.txt       202599 / names / 000001.jpg -1 1 ...
    list_eval_partition.txt    000001.jpg 0       (0 train, 1 validation, 2 test; may be missing)
    identity_CelebA.txt        000001.jpg 2880    (may be missing)
    img_align_celeba.zip       or the unpacked folder img_align_celeba/

These lie in a folder, or all in one zip; side by side, or in the folders Anno, Eval and Img of the
authors' drive; or so in a folder within the one that is given. The authors offer them on their page
"Large-scale CelebFaces Attributes (CelebA) Dataset". Any subset of the pictures, and any size of
the same frame, can be read.

The source has CelebA's 40 attributes in its order (or one's own, if none has a name of CelebA's),
JPEG files of one frame, and identities if there is a file of them.
"""

import functools
from pathlib import Path

from gan.config import Data
from gan.data.files import (
    Files,
    find_top_folder,
    join_names,
    open_data,
    require_file,
)
from gan.data.readers.celeba_files import (
    LabelReaders,
    has_layout,
    make_celeba_source,
)
from gan.data.readers.celeba_labels import (
    read_attribute_names,
    read_text_attributes,
    read_text_numbers,
)
from gan.data.readers.celeba_places import (
    PICTURE_NAME,
    SUB_FOLDERS,
    find_home,
    find_official,
    find_pictures,
)
from gan.data.source import SPLITS, Source

PICTURE_FOLDER = "img_align_celeba"
ATTRIBUTE_FILE = "list_attr_celeba.txt"
PARTITION_FILE = "list_eval_partition.txt"
IDENTITY_FILE = "identity_CelebA.txt"
HOW_TO_GET = (
    "Its authors (Liu et al., Multimedia Laboratory of the Chinese University of Hong Kong) offer "
    "CelebA for non-commercial research on their page 'Large-scale CelebFaces Attributes (CelebA) "
    "Dataset'; nothing is downloaded here."
)


def open_source(config: Data) -> Source:
    """Opens the data set in the folder or zip `config.path`.

    ConfigError without a path; DataError names the file that is missing or damaged.
    """
    files = open_data(
        config,
        "celeba",
        f"{PICTURE_FOLDER}.zip, {ATTRIBUTE_FILE} and {PARTITION_FILE}",
        HOW_TO_GET,
    )
    home = find_home(files, ATTRIBUTE_FILE)
    folders = [join_names(home, folder) for folder in ("", *SUB_FOLDERS)]
    attributes, partition, identity = (
        find_official(files, name, folders)
        for name in (ATTRIBUTE_FILE, PARTITION_FILE, IDENTITY_FILE)
    )
    attributes = attributes or require_file(files, ATTRIBUTE_FILE, folders)
    pictures = find_pictures(files, [join_names(folder, PICTURE_FOLDER) for folder in folders])
    read_numbers = functools.partial(read_text_numbers, files)
    return make_celeba_source(
        config,
        "celeba",
        f"CelebA's official files in {files.path}",
        read_attribute_names(files, attributes),
        LabelReaders(
            functools.partial(read_text_attributes, files, attributes, PICTURE_NAME),
            partition and functools.partial(read_numbers, partition, PICTURE_NAME, len(SPLITS)),
            identity and functools.partial(read_numbers, identity, PICTURE_NAME),
        ),
        files,
        (attributes, partition, identity),
        pictures,
    )


def recognise(path: Path) -> bool:
    """Tells whether the official layout lies at `path`. Opens no zip within a folder."""
    return has_layout(path, _find_folders, ATTRIBUTE_FILE, PICTURE_FOLDER)


def _find_folders(files: Files) -> list[str]:
    """Lists the folders in which the files may lie."""
    top = find_top_folder(files)
    return [join_names(top, folder) for folder in ("", *SUB_FOLDERS)]
