"""The embedded "network that looks": it needs no download, as it learns the data's own attributes.

Its features are a space to compare sets of pictures in, FD-attr@<hash8>, and its logits tell
whether a picture has the attribute that it was asked for. It is blind to what no attribute is
about, and numbers of two networks do not compare: the hash says which one it was.
"""

import dataclasses
import functools
import hashlib
import io
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Float, Float64, UInt8

from gan.data.attributes import UNREADABLE
from gan.data.store import Store, sync_folder, synced_file, wait_for_lock
from gan.errors import DataError
from gan.metrics.conditional import rates
from gan.metrics.distances import spread
from gan.metrics.extractors.classifier_cnn import RECIPE, AttributeCNN, Variables, fit
from gan.runtime.logs import log
from gan.runtime.parallel import compiler_options

FILE = "attribute_network.npz"
HELD_OUT = 4096  # Pictures at most, on which it is measured.
VARIABLES = "variables/"  # Before the names of their arrays in the file.


class Looks(NamedTuple):
    """What the network says of n images."""

    features: Float[np.ndarray, "n d"]  # float32, after the last pooling; d = 256.
    logits: Float[np.ndarray, "n a"]  # float32; > 0: the attribute is there.


@dataclasses.dataclass(frozen=True, eq=False)
class AttributeNetwork:
    """A trained network."""

    names: tuple[str, ...]  # Of the attributes, all of the store's.
    variables: Variables
    sha256: str  # Of the variables: `content_hash`.
    balanced_accuracy: Float64[np.ndarray, " a"]  # On held-out pictures; NaN if all there are same.

    def look(self, images: UInt8[np.ndarray, "n h w 3"], batch_size: int = 128) -> Looks:
        """What it says of all images, each by itself; `batch_size` at a time are on the device.

        Raises ValueError for images of another type or none: floats would give a number too.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or not images.size:
            raise ValueError(f"images as uint8 [n h w 3]: got {images.dtype} {[*images.shape]}")
        variables = jax.device_put(self.variables)
        apply, parts = _compiled(len(self.names)), []
        for first in range(0, len(images), batch_size):
            batch = images[first : first + batch_size]
            # Always as many: a picture must not depend on how many others there are.
            rows = np.pad(batch, [(0, batch_size - len(batch)), (0, 0), (0, 0), (0, 0)])
            parts.append([x[: len(batch)] for x in apply(variables, rows)])
        return Looks(*(np.concatenate(x) for x in zip(*jax.device_get(parts), strict=True)))


@functools.cache
def _compiled(num_attributes: int) -> Callable:
    """The network for so many attributes, as `look` calls it."""

    def apply(variables: Variables, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        return AttributeCNN(num_attributes).apply(variables, images.astype(np.float32))

    return jax.jit(apply, compiler_options=compiler_options())


def attribute_network(train: Store, held_out: Store) -> AttributeNetwork:
    """The network of a data set: read from `attribute_network.npz` beside its `train` split.

    Where none is there, or one of other pictures, labels or code, it is trained and written, by one
    process while others wait. Raises DataError where it cannot be written.
    """
    path, origin = train.path.parent / FILE, _origin(train, held_out)
    found = _read(path, origin)
    if isinstance(found, AttributeNetwork):
        return found
    with wait_for_lock(path.parent):
        found = _read(path, origin)  # Another process may have written it meanwhile.
        if isinstance(found, str):
            log.info(
                "Training the attribute network on %s pictures of %d px, once for this data set: "
                "%s %s.",
                f"{len(train.images):,}",
                train.image_size,
                path,
                found,
            )
            found = _train(train, held_out)
            _write(path, origin, found)
    return found


def _train(train: Store, held_out: Store) -> AttributeNetwork:
    start = time.monotonic()
    names = train.attribute_names
    variables = fit(train.images, np.asarray(train.attributes))
    unmeasured = AttributeNetwork(names, variables, content_hash(variables), np.empty(0))
    rows = spread(len(held_out.images), HELD_OUT)
    logits = unmeasured.look(np.asarray(held_out.images[rows])).logits
    accuracy = rates(logits, np.asarray(held_out.attributes[rows])).balanced_accuracy
    network = dataclasses.replace(unmeasured, balanced_accuracy=accuracy)
    known = [i for i in np.argsort(accuracy) if not np.isnan(accuracy[i])]
    log.info(
        "attr@%s: balanced accuracy %.4f on %s held-out pictures, the mean of %d attributes; "
        "lowest: %s; %.0f s.",
        network.sha256[:8],
        accuracy[known].mean() if known else np.nan,
        f"{len(logits):,}",
        len(known),
        ", ".join(f"{names[i]} {accuracy[i]:.4f}" for i in known[:3]) or "none",
        time.monotonic() - start,
    )
    return network


def content_hash(variables: Variables) -> str:
    """SHA-256 of the names, shapes and values, as little-endian float32, in the names' order."""
    content = hashlib.sha256()
    for name, array in sorted(flatten_dict(variables, sep="/").items()):
        content.update(f"{name} {[*array.shape]}\n".encode())
        content.update(np.ascontiguousarray(array, "<f4").tobytes())
    return content.hexdigest()


def _origin(train: Store, held_out: Store) -> dict[str, str]:
    """All that a network depends on."""
    origin = {"recipe": str(RECIPE)}
    for split, store in (("training", train), ("held-out", held_out)):
        labels = hashlib.sha256("\n".join(store.attribute_names).encode())
        labels.update(np.ascontiguousarray(store.attributes).data)
        origin |= {
            f"{split} pictures": store.digest,
            f"{split} labels": labels.hexdigest(),
        }
    return origin


def _read(path: Path, origin: dict[str, str]) -> AttributeNetwork | str:
    """The network in the file, or what is the matter with it, to follow the file's name."""
    if not path.exists():
        return "is not there yet"
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            arrays = dict(file)
        for what, value in origin.items():
            if str(arrays[what]) != value:
                return f"is of another {what}" if what == "recipe" else f"is of other {what}"
        variables = unflatten_dict(
            {
                name.removeprefix(VARIABLES): array
                for name, array in arrays.items()
                if name.startswith(VARIABLES)
            },
            sep="/",
        )
        names, accuracy = (*map(str, arrays["names"]),), arrays["balanced_accuracy"]
        network = AttributeNetwork(names, variables, str(arrays["sha256"]), accuracy)
    except UNREADABLE as error:
        return f"is damaged ({error})"
    if content_hash(variables) != network.sha256:
        return "is damaged (another SHA-256)"
    return network


def _write(path: Path, origin: dict[str, str], network: AttributeNetwork) -> None:
    """Aside first: a file that has its name is whole. Hold the lock."""
    arrays = {
        "names": np.array(network.names),
        "balanced_accuracy": network.balanced_accuracy,
        "sha256": np.array(network.sha256),
    }
    arrays |= {what: np.array(value) for what, value in origin.items()}
    for name, array in flatten_dict(network.variables, sep="/").items():
        arrays[VARIABLES + name] = array
    aside = path.with_name(path.name + ".unfinished")
    try:
        with synced_file(aside) as file:
            np.savez(file, **arrays)
        os.replace(aside, path)
        sync_folder(path.parent)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise DataError(
            f"{path} cannot be written ({error.strerror}). Make room, or name another disk by "
            "--config.data.cache_dir=FOLDER."
        ) from error
