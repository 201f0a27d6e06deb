"""Shows a data set before it is trained on for a day: attribute shares and a sheet of faces."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from gan.data.readers.celeba_labels import ATTRIBUTES
from gan.data.store import Store
from gan.runtime.pictures import enlarge_pictures, make_grid, resize_picture, write_png

FACES = 8  # Pictures for each attribute on the contact sheet.
LARGEST = 96  # Pixels: larger pictures are reduced to this on the contact sheet.
MANY_ROWS = 64  # Rows of sheet and table at most: some data sets have a thousand classes.
RARE = 50  # Training images: with fewer, an attribute is hardly learnt.
# Percent of CelebA's 202,599 pictures that have each attribute, in the order of ATTRIBUTES.
CELEBA = (
    11.1, 26.7, 51.3, 20.5, 2.2, 15.2, 24.1, 23.5, 23.9, 14.8, 5.1, 20.5, 14.2, 5.8, 4.7, 6.5,
    6.3, 4.2, 38.7, 45.5, 41.7, 48.3, 4.2, 11.5, 83.5, 28.4, 4.3, 27.7, 8.0, 6.6, 5.7, 48.2,
    20.8, 32.0, 18.9, 4.8, 47.2, 12.3, 7.3, 77.4,
)  # fmt: skip


def shares_table(stores: Mapping[str, Store]) -> str:
    """Returns a table for the log: the share of each attribute in each split, with remarks.

    Above it stand the numbers of pictures, of people, and of attributes a picture.
    """
    train = stores["train"]
    sizes = ", ".join(f"{len(store.images):,} {name}" for name, store in stores.items())
    people = {name: np.unique(s.identity[s.identity >= 0]) for name, s in stores.items()}
    lines = [f"Pictures: {sizes}; people: {sum(map(len, people.values())) or 'unknown'}."]
    if not train.attribute_names:
        lines[0] += " No attributes: training is unconditional."
        return "\n".join([*lines, *changes_table(stores)])
    positives = train.attributes.sum(axis=1, dtype=np.int64)
    lines[0] += f" A training picture has {positives.mean():.2f} of the attributes on average."
    width = max(map(len, train.attribute_names[:MANY_ROWS]))
    shares = {name: 100 * store.attributes.mean(axis=0) for name, store in stores.items()}
    lines.append(" " * width + "".join(f"{name:>12}" for name in stores))
    for column, name in enumerate(train.attribute_names[:MANY_ROWS]):
        values = "".join(f"{share[column]:10.2f} %" for share in shares.values())
        lines.append(f"{name:<{width}}{values}{attribute_remark(train, column)}")
    if len(train.attribute_names) > MANY_ROWS:
        lines.append(
            f"... and {len(train.attribute_names) - MANY_ROWS:,} more, here and on the sheet."
        )
    return "\n".join([*lines, *changes_table(stores)])


def changes_table(stores: Mapping[str, Store]) -> list[str]:
    """Returns lines for the log: how many pictures of each split were changed, and how."""
    changes = list(dict.fromkeys(change for store in stores.values() for change in store.changes))
    if not changes:
        return []
    width = max(map(len, changes))
    lines = [f"{'Pictures that were':<{width}}" + "".join(f"{name:>12}" for name in stores)]
    for change in changes:
        counts = (store.changes.get(change, 0) for store in stores.values())
        lines.append(f"{change:<{width}}" + "".join(f"{count:12,}" for count in counts))
    return lines


def attribute_remark(train: Store, column: int) -> str:
    """Returns what looks wrong with an attribute's labels; "" if nothing does."""
    num, total = int(train.attributes[:, column].sum()), len(train.attributes)
    if num in (0, total):
        return "   the same in all: nothing to learn"
    if min(num, total - num) < RARE:
        return (
            f"   only {min(num, total - num)} pictures {'with' if num < total / 2 else 'without'}"
        )
    if sorted(train.attribute_names) == sorted(ATTRIBUTES):
        usual = CELEBA[ATTRIBUTES.index(train.attribute_names[column])]
        share = 100 * num / total
        if abs(share - usual) > 20 and abs(100 - share - usual) < abs(share - usual):
            return f"   CelebA has {usual:.1f} %: are these labels turned round?"
    return ""


def contact_sheet(store: Store) -> UInt8[np.ndarray, "height width 3"]:
    """Draws a row for each attribute: its name, its share, and eight pictures that have it."""
    size = len(resize_for_sheet(store.images[0]))
    names = store.attribute_names[:MANY_ROWS] or ("any",)
    rows, labels = [], []
    for column, name in enumerate(names):
        having = np.arange(len(store.images))
        if store.attribute_names:
            having = np.flatnonzero(store.attributes[:, column])
        # Spread over the whole set, because neighbours may show the same person.
        spread = having[np.linspace(0, len(having) - 1, min(FACES, len(having))).astype(int)]
        row = np.full((FACES, size, size, 3), 255, np.uint8)
        for place, index in enumerate(spread):
            row[place] = resize_for_sheet(store.images[index])
        rows.append(row)
        labels.append(f"{name} {100 * len(having) / len(store.images):.1f} %")
    return make_grid(np.concatenate(rows), FACES, labels)


def resize_for_sheet(image: UInt8[np.ndarray, "s s 3"]) -> UInt8[np.ndarray, "t t 3"]:
    """Returns a picture at the size of the contact sheet, enlarged or reduced."""
    image = np.asarray(image)
    return resize_picture(image, LARGEST) if len(image) > LARGEST else enlarge_pictures(image)


def write_contact_sheet(path: Path, store: Store) -> None:
    """Writes the contact sheet of a store as PNG. Raises OSError if the disk is full."""
    write_png(path, contact_sheet(store))
