"""What an extractor is, and the features of stored pictures, kept on disk."""

import hashlib
import io
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int, UInt8
from tqdm import tqdm

from gan.data.attributes import UNREADABLE
from gan.data.store import Store

Pictures = UInt8[np.ndarray, "_ _ _ 3"]
AT_A_TIME = 512  # Pictures that are read and given to a device in one call.
VERSION = 1  # Raised when the same weights give other numbers: files with the old ones are stale.


class Extracted(NamedTuple):
    """What an extractor returns for n pictures, a row for each."""

    features: Float[np.ndarray, "n d"]  # float32; sets of pictures are compared in this space.
    logits: Float[np.ndarray, "n a"]  # float32; [n 0] if the extractor does not classify.

    @property
    def probabilities(self) -> Float[Array, "n a"]:
        """Softmax of the logits: each row sums to 1."""
        return jax.nn.softmax(self.logits)


class Extractor(NamedTuple):
    """A function from pictures to features, with the name and version that its scores carry."""

    name: str  # Ends the names of its scores: "attr@1a2b3c4d" gives "FD-attr@1a2b3c4d".
    stamp: str  # All that its numbers depend on, such as the hash of its weights.
    extract: Callable[[Pictures], Extracted]  # Each picture by itself, whichever others there are.
    attributes: tuple[str, ...] = ()  # Names of the logits if these tell attributes (above 0: yes).

    def extract_rows(
        self, images: Pictures, rows: Int[np.ndarray, " n"], at_a_time: int = AT_A_TIME
    ) -> Extracted:
        """Extracts from the pictures `rows` of `images`, `at_a_time` on each local device.

        `images` may be a memory map: no more of it than that is read at a time.
        """
        devices = jax.local_devices()
        parts = [rows[i : i + at_a_time] for i in range(0, len(rows), at_a_time)]

        def extract(number: int) -> Extracted:
            with jax.default_device(devices[number % len(devices)]):
                return self.extract(np.asarray(images[parts[number]]))

        bar = tqdm(total=len(rows), desc=self.name, unit="img", leave=False, disable=None)
        found = []
        with bar, ThreadPoolExecutor(len(devices)) as pool:
            for part, extracted in zip(parts, pool.map(extract, range(len(parts))), strict=True):
                found.append(extracted)
                bar.update(len(part))
        return Extracted(*(np.concatenate(x) for x in zip(*found, strict=True)))


class ExtractorInputs(NamedTuple):
    """What there is to make an extractor of."""

    train: Store  # With all attributes of the data set, whichever of them a run was trained on.
    validation: Store
    inception: Path | None = None  # File with the weights of FID's network.
    resize: str = "legacy"  # How pictures are resized for that network.


def extract_in_batches(
    apply: Callable[[Pictures], tuple[Any, Any]], images: Pictures, batch_size: int
) -> Extracted:
    """Calls `apply` with `batch_size` images at a time, and joins what it returns.

    `apply` returns features [b d] and logits [b a]. The last batch is filled up with black images,
    whose rows are dropped: another size would be compiled anew, and could round otherwise. Raises
    ValueError for images that are not uint8 [n h w 3], or none: floats would give a number too.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or not images.size:
        raise ValueError(f"images as uint8 [n h w 3]: got {images.dtype} {[*images.shape]}")
    parts = []
    for first in range(0, len(images), batch_size):
        batch = images[first : first + batch_size]
        filled = np.pad(batch, [(0, batch_size - len(batch)), (0, 0), (0, 0), (0, 0)])
        parts.append([np.asarray(x)[: len(batch)] for x in apply(filled)])
    return Extracted(*(np.concatenate(x) for x in zip(*parts, strict=True)))


def extract_from_store(
    extractor: Extractor, store: Store, rows: Int[np.ndarray, " n"], at_a_time: int = AT_A_TIME
) -> Extracted:
    """Extracts from the pictures `rows` of a store, or reads what an earlier call found.

    The file lies in `looks/` in the store's folder and goes with it; its name depends on the
    extractor's stamp, on the store's pictures and on the rows. A damaged file is written anew. The
    pictures must have been compared with their checksums.
    """
    digest = hashlib.sha256(rows.astype("<i8").tobytes())
    digest.update(f"{extractor.stamp} {store.digest}".encode())
    path = store.path / "looks" / f"{digest.hexdigest()[:16]}.npz"
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            kept = Extracted(file["features"], file["logits"])
        if len(kept.features) == len(rows):
            return kept
    except UNREADABLE:
        pass
    extracted = extractor.extract_rows(store.images, rows, at_a_time)
    _write(path, extracted)
    return extracted


def _write(path: Path, extracted: Extracted) -> None:
    """Writes the whole file or none: without room for it the pictures are extracted from again."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(exist_ok=True)
        with partial.open("wb") as file:
            np.savez(file, features=extracted.features, logits=extracted.logits)
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
