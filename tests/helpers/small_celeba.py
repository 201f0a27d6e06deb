"""A small data set in CelebA's official layout, made by the tests themselves."""

import functools
import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from gan.data.readers.celeba_labels import ATTRIBUTES

NUM = 12
MEMBERS = [f"{i + 1:06d}.jpg" for i in range(NUM)]
LABELS = np.random.default_rng(0).integers(0, 2, (NUM, len(ATTRIBUTES)), dtype=np.uint8)
PARTITION = [0, 0, 1, 2] * 3  # Interleaved: a reader that cuts the rows in three would be wrong.


@functools.cache
def picture(number: int, height: int, width: int) -> bytes:
    """A JPEG whose red is the column, green the row, blue the picture's number times 20."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[..., 0] = np.arange(width)
    pixels[..., 1] = np.arange(height)[:, None]
    pixels[..., 2] = 20 * number
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=100, subsampling=0)
    return file.getvalue()


def write_celeba(
    root: Path,
    *,
    zipped: bool = True,
    line_end: str = "\r\n",
    frame: tuple[int, int] = (109, 89),
    labels: np.ndarray = LABELS,
) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    members = [f"{i + 1:06d}.jpg" for i in range(len(labels))]
    rows = [
        f"{m} " + " ".join(" 1" if v else "-1" for v in labels[i]) for i, m in enumerate(members)
    ]
    texts = {
        "list_attr_celeba.txt": [str(len(labels)), " ".join(ATTRIBUTES) + " ", *rows],
        "list_eval_partition.txt": [f"{m} {PARTITION[i % NUM]}" for i, m in enumerate(members)],
        "identity_CelebA.txt": [f"{m} {100 + i // 2}" for i, m in enumerate(members)],
    }
    for name, lines in texts.items():
        (root / name).write_bytes("".join(line + line_end for line in lines).encode())
    if zipped:
        with zipfile.ZipFile(root / "img_align_celeba.zip", "w") as archive:
            for number, member in enumerate(members):
                archive.writestr(f"img_align_celeba/{member}", picture(number % NUM, *frame))
    else:
        (root / "img_align_celeba").mkdir()
        for number, member in enumerate(members):
            picture_file = root / "img_align_celeba" / member
            picture_file.write_bytes(picture(number % NUM, *frame))
    return root


def zip_folder(root: Path, top: str = "") -> Path:
    """All of the folder in one new zip beside it, under the folder `top` of that zip."""
    path = root.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(root.rglob("*")):
            if file.is_file():
                archive.write(file, Path(top) / file.relative_to(root))
    return path
