"""Networks that look at pictures, behind one interface, and what they said of real ones on disk."""

import hashlib
import io
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from gan.data.attributes import UNREADABLE
from gan.data.store import Store
from gan.errors import ConfigError, nearest
from gan.metrics.extractors import inception
from gan.metrics.extractors.attribute_classifier import AttributeNetwork, Looks
from gan.metrics.extractors.inception_weights import read_weights

Pictures = UInt8[np.ndarray, "_ _ _ 3"]
AT_A_TIME = 512  # Pictures that a device is given.
VERSION = 1  # Raised when the same weights say something else: what is kept would be stale.


class Extractor(NamedTuple):
    """A network that looks, and what its numbers are called."""

    name: str  # "attr@1a2b3c4d", "inception", "inception-clean" or "unverified@1a2b3c4d".
    stamp: str  # The same with all that its numbers depend on.
    look: Callable[[Pictures], Looks]

    def __call__(self, images: Pictures) -> Looks:
        """What it says of each image."""
        return self.look_at(images, np.arange(len(images)))

    def look_at(self, images: Pictures, rows: np.ndarray) -> Looks:
        """The same of some images, a few in memory at a time, by all local devices."""
        devices = jax.local_devices()
        parts = [rows[i : i + AT_A_TIME] for i in range(0, len(rows), AT_A_TIME)]

        def look(number: int) -> Looks:
            with jax.default_device(devices[number % len(devices)]):
                return self.look(np.asarray(images[parts[number]]))

        bar = tqdm(total=len(rows), desc=self.name, unit="img", leave=False, disable=None)
        looks = []
        with bar, ThreadPoolExecutor(len(devices)) as pool:
            for part, seen in zip(parts, pool.map(look, range(len(parts))), strict=True):
                looks.append(seen)
                bar.update(len(part))
        return Looks(*(np.concatenate(x) for x in zip(*looks, strict=True)))


def by_attributes(network: AttributeNetwork) -> Extractor:
    """The embedded one: its distances compare with those of the same hash only."""
    name = f"attr@{network.sha256[:8]}"
    return Extractor(name, f"{network.sha256} v{VERSION}", network.look)


def by_inception(path: Path, resize: str) -> Extractor:
    """FID's, with weights from the user's disk. Only the known ones give an FID.

    Raises ConfigError for an unknown `resize` or no file, DataError for what is no such network.
    """
    if resize not in inception.RESIZES:
        raise ConfigError(
            f"--resize={resize}: one of {', '.join(inception.RESIZES)}."
            f"{nearest(resize, inception.RESIZES)}"
        )
    weights = read_weights(path)

    def look(images: Pictures) -> Looks:
        return Looks(*inception.extract(weights.variables, images, resize))

    name = "inception" if weights.known else f"unverified@{weights.sha256[:8]}"
    name += "" if resize == "legacy" else f"-{resize}"
    return Extractor(name, f"{weights.sha256} {resize} v{VERSION}", look)


def looks_of(extractor: Extractor, store: Store, rows: np.ndarray) -> Looks:
    """Of some pictures of a store, from the disk where they have been looked at before."""
    digest = hashlib.sha256(rows.astype("<i8").tobytes())
    digest.update(f"{extractor.stamp} {store.digest}".encode())
    path = store.path.parent / "looks" / f"{store.split}-{digest.hexdigest()[:16]}.npz"
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            kept = Looks(file["features"], file["logits"])
        if len(kept.features) == len(rows):
            return kept
    except UNREADABLE:
        pass
    looks = extractor.look_at(store.images, rows)
    keep(path, looks)
    return looks


def keep(path: Path, looks: Looks) -> None:
    """Writes the whole file or none; without room for it they are looked at again."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(exist_ok=True)
        with partial.open("wb") as file:
            np.savez(file, features=looks.features, logits=looks.logits)
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
