"""A small CelebA as Kaggle lays it out."""

import zipfile

from helpers.small_celeba import LABELS, MEMBERS, PARTITION, picture

from gan.data.readers.celeba_labels import ATTRIBUTES

ATTR, PARTITIONS = "list_attr_celeba.csv", "list_eval_partition.csv"
INNER = "img_align_celeba/img_align_celeba"


def contents(folder=INNER, first="image_id", negative="-1", frame=(109, 89)):
    """All files as Kaggle has them: name -> bytes."""
    rows = [
        ",".join([member, *("1" if value else negative for value in LABELS[i])])
        for i, member in enumerate(MEMBERS)
    ]
    table = "".join(f"{line}\n" for line in [",".join([first, *ATTRIBUTES]), *rows])
    partition = [f"{m},{p}" for m, p in zip(MEMBERS, PARTITION, strict=True)]
    files = {
        ATTR: table.encode(),
        PARTITIONS: "\r\n".join([f"{first},partition", *partition]).encode(),
        "list_bbox_celeba.csv": b"image_id,x_1\n",
    }
    return files | {f"{folder}/{m}": picture(i, *frame) for i, m in enumerate(MEMBERS)}


IDENTITIES = "".join(f"{member} {100 + i // 2}\r\n" for i, member in enumerate(MEMBERS)).encode()


def write(path, files, top=""):
    """A zip if `path` ends so, else a folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in files.items():
                archive.writestr(top + name, data)
        return path
    for name, data in files.items():
        (path / top / name).parent.mkdir(parents=True, exist_ok=True)
        (path / top / name).write_bytes(data)
    return path
