"""Pictures whose attributes are easy to see."""

from pathlib import Path

import numpy as np

from gan.data.store import Meta, Rows, Store, open_store, write_store

NAMES = ("Bright", "Red", "Always", "Never")
SIDE = 32


def draw_pictures(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise that is brighter, or redder, or both; and two attributes that do not vary."""
    random = np.random.default_rng(seed)
    attributes = random.integers(0, 2, (n, 4), dtype=np.uint8)
    attributes[:, 2:] = 1, 0
    images = random.normal(90, 30, (n, SIDE, SIDE, 3))
    images += 60 * attributes[:, 0, None, None, None]
    images[..., 0] += 40 * attributes[:, 1, None, None]
    return images.clip(0, 255).astype(np.uint8), attributes


def write_split(folder: Path, split: str = "train", seed: int = 0, n: int = 96) -> Store:
    """Writes a prepared split of such pictures."""
    images, attributes = draw_pictures(seed, n)
    meta = Meta("test", "0123456789abcdef", 1, split, "none", "none", NAMES, SIDE, n)
    folder.mkdir(exist_ok=True)
    write_store(folder / split, meta, [Rows(images, attributes, np.full(n, -1, np.int32))])
    return open_store(folder / split)
