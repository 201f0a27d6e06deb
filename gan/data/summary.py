"""What a user should see of a data set before training on it for a day: shares and faces."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from gan.data.readers.celeba_labels import ATTRIBUTES
from gan.data.store import Store
from gan.runtime.pictures import make_grid, resize_picture, write_png

FACES = 8  # An attribute, on the contact sheet.
SMALLEST, LARGEST = 48, 96  # Pixels, of a face on it.
MANY_ROWS = 100  # Of the sheet and the table: for data sets of a thousand classes.
RARE = 50  # Training images: with fewer, an attribute is hardly learnt.
# Percent of CelebA's 202,599 pictures, in the order of its names.
CELEBA = (
    11.1, 26.7, 51.3, 20.5, 2.2, 15.2, 24.1, 23.5, 23.9, 14.8, 5.1, 20.5, 14.2, 5.8, 4.7, 6.5,
    6.3, 4.2, 38.7, 45.5, 41.7, 48.3, 4.2, 11.5, 83.5, 28.4, 4.3, 27.7, 8.0, 6.6, 5.7, 48.2,
    20.8, 32.0, 18.9, 4.8, 47.2, 12.3, 7.3, 77.4,
)  # fmt: skip


def shares_table(stores: Mapping[str, Store]) -> str:
    """The share of each attribute in each split, and what looks wrong with it."""
    train = stores["train"]
    sizes = ", ".join(f"{len(store.images):,} {name}" for name, store in stores.items())
    people = {name: np.unique(s.identity[s.identity >= 0]) for name, s in stores.items()}
    lines = [f"Pictures: {sizes}; people: {sum(map(len, people.values())) or 'unknown'}."]
    if not train.attribute_names:
        return f"{lines[0]} No attributes: training is unconditional."
    positives = train.attributes.sum(axis=1, dtype=np.int64)
    lines[0] += f" A training picture has {positives.mean():.2f} of the attributes on average."
    width = max(map(len, train.attribute_names[:MANY_ROWS]))
    shares = {name: 100 * store.attributes.mean(axis=0) for name, store in stores.items()}
    lines.append(" " * width + "".join(f"{name:>12}" for name in stores))
    for column, name in enumerate(train.attribute_names[:MANY_ROWS]):
        values = "".join(f"{share[column]:10.2f} %" for share in shares.values())
        lines.append(f"{name:<{width}}{values}{attribute_remark(train, column)}")
    if len(train.attribute_names) > MANY_ROWS:
        lines.append(f"... and {len(train.attribute_names) - MANY_ROWS:,} more.")
    return "\n".join(lines)


def attribute_remark(train: Store, column: int) -> str:
    """What looks wrong with an attribute; "" if nothing does."""
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


def contact_sheet(store: Store) -> np.ndarray:
    """Eight pictures that have it for each attribute, with its name; uint8 [height width 3]."""
    size = min(max(store.image_size, SMALLEST), LARGEST)
    names = store.attribute_names[:MANY_ROWS] or ("any",)
    rows, labels = [], []
    for column, name in enumerate(names):
        having = np.arange(len(store.images))
        if store.attribute_names:
            having = np.flatnonzero(store.attributes[:, column])
        # From everywhere in the set: neighbours may show one person.
        spread = having[np.linspace(0, len(having) - 1, min(FACES, len(having))).astype(int)]
        row = np.full((FACES, size, size, 3), 255, np.uint8)
        for place, index in enumerate(spread):
            image = np.asarray(store.images[index])
            row[place] = image if len(image) == size else resize_picture(image, size)
        rows.append(row)
        labels.append(f"{name} {100 * len(having) / len(store.images):.1f} %")
    return make_grid(np.concatenate(rows), FACES, labels)


def write_contact_sheet(path: Path, store: Store) -> None:
    """Writes the sheet."""
    write_png(path, contact_sheet(store))
