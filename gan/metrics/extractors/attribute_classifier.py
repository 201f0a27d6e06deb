"""The attribute classifier: it is trained on a data set's own attributes, so nothing is downloaded.

Its features are a space in which sets of pictures are compared (FD-attr@<hash8>), and its logits
tell whether a picture shows the attribute that was requested. It does not see what no attribute is
about. Numbers of two classifiers do not compare: the hash says which one gave them.
"""

import dataclasses
import functools
import hashlib
import io
import os
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Float64

from gan.data.attributes import UNREADABLE
from gan.data.store import Store, sync_folder, synced_file, wait_for_lock
from gan.errors import DataError, NotSaved
from gan.metrics.conditional import attribute_rates
from gan.metrics.distances import spread_rows
from gan.metrics.extractors.classifier_cnn import (
    RECIPE,
    AttributeCNN,
    Variables,
    train_classifier,
)
from gan.metrics.extractors.extractor import (
    VERSION,
    Extracted,
    Extractor,
    ExtractorInputs,
    Pictures,
    extract_in_batches,
)
from gan.runtime import storage
from gan.runtime.logs import log
from gan.runtime.parallel import compiler_options

FILE = "attribute_network.npz"
HELD_OUT = 4096  # Held-out pictures at most that its accuracy is measured on.
VARIABLES = "variables/"  # Begins the names of the variables' arrays in the file.


@dataclasses.dataclass(frozen=True, eq=False)
class AttributeClassifier:
    """A trained classifier."""

    names: tuple[str, ...]  # The attributes, all of the data set's.
    variables: Variables
    sha256: str  # What `hash_variables` gives for the variables.
    # Balanced accuracy on held-out pictures, NaN for attributes that do not vary there.
    balanced_accuracy: Float64[np.ndarray, " a"]

    def extract(self, images: Pictures, batch_size: int = 128) -> Extracted:
        """Returns features [n 256] and logits [n a] of `images`, uint8 [n h w 3].

        A logit is above 0 where the classifier finds the attribute. `batch_size` images are on the
        device at a time. Raises ValueError for other images, or none.
        """
        variables = jax.device_put(self.variables)
        apply = functools.partial(_compiled(len(self.names)), variables)
        return extract_in_batches(apply, images, batch_size)


@functools.cache
def _compiled(num_attributes: int) -> Callable:
    """The compiled network for this number of attributes."""

    def apply(variables: Variables, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        return AttributeCNN(num_attributes).apply(variables, images.astype(np.float32))

    return jax.jit(apply, compiler_options=compiler_options())


def make_extractor(inputs: ExtractorInputs) -> Extractor | None:
    """Makes the extractor of the data set's attribute classifier; None if no attribute varies.

    The classifier is read or trained as by `load_or_train_classifier`. Its scores compare with
    those of the same hash only, which is part of its name.
    """
    if not any(0 < share < 1 for share in inputs.train.attributes.mean(axis=0)):
        log.info("This data set has no attributes: no classifier can be trained for it.")
        return None
    classifier = load_or_train_classifier(inputs.train, inputs.validation)
    return Extractor(
        name=f"attr@{classifier.sha256[:8]}",
        stamp=f"{classifier.sha256} v{VERSION}",
        extract=classifier.extract,
        attributes=classifier.names,
    )


def load_or_train_classifier(
    train: Store,
    held_out: Store,
    train_classifier: Callable[..., Variables] = train_classifier,
) -> AttributeClassifier:
    """Reads a data set's classifier from `attribute_network.npz` beside its `train` split.

    If the file is not there, or is of other pictures, labels or code, the classifier is trained on
    `train`, measured on `held_out` and written, by one process while others wait. Raises NotSaved
    where the disk is full, DataError where it cannot be written for other reasons.
    """
    path, origin = train.path.parent / FILE, _origin(train, held_out)
    found = _read(path, origin)
    if isinstance(found, AttributeClassifier):
        return found
    with wait_for_lock(path.parent):
        found = _read(path, origin)  # Another process may have written it meanwhile.
        if isinstance(found, str):
            log.info(
                "Training the attribute classifier on %s pictures of %d px, once for this data "
                "set: %s %s.",
                f"{len(train.images):,}",
                train.image_size,
                path,
                found,
            )
            found = _train(train, held_out, train_classifier)
            _write(path, origin, found)
    return found


def _train(
    train: Store, held_out: Store, train_classifier: Callable[..., Variables]
) -> AttributeClassifier:
    start = time.monotonic()
    names = train.attribute_names
    variables = train_classifier(train.images, np.asarray(train.attributes))
    unmeasured = AttributeClassifier(names, variables, hash_variables(variables), np.empty(0))
    rows = spread_rows(len(held_out.images), HELD_OUT)
    logits = unmeasured.extract(np.asarray(held_out.images[rows])).logits
    accuracy = attribute_rates(logits, np.asarray(held_out.attributes[rows])).balanced_accuracy
    classifier = dataclasses.replace(unmeasured, balanced_accuracy=accuracy)
    known = [i for i in np.argsort(accuracy) if not np.isnan(accuracy[i])]
    log.info(
        "attr@%s: balanced accuracy %.4f on %s held-out pictures, the mean of %d attributes; "
        "lowest: %s; %.0f s.",
        classifier.sha256[:8],
        accuracy[known].mean() if known else np.nan,
        f"{len(logits):,}",
        len(known),
        ", ".join(f"{names[i]} {accuracy[i]:.4f}" for i in known[:3]) or "none",
        time.monotonic() - start,
    )
    return classifier


def hash_variables(variables: Variables) -> str:
    """SHA-256 of names, shapes and values (little-endian float32), in the order of the names."""
    content = hashlib.sha256()
    for name, array in sorted(flatten_dict(variables, sep="/").items()):
        content.update(f"{name} {[*array.shape]}\n".encode())
        content.update(np.ascontiguousarray(array, "<f4").tobytes())
    return content.hexdigest()


def _origin(train: Store, held_out: Store) -> dict[str, str]:
    """All that a classifier depends on, by its name in messages."""
    origin = {"recipe": str(RECIPE)}
    for split, store in (("training", train), ("held-out", held_out)):
        labels = hashlib.sha256("\n".join(store.attribute_names).encode())
        labels.update(np.ascontiguousarray(store.attributes).data)
        origin |= {
            f"{split} pictures": store.digest,
            f"{split} labels": labels.hexdigest(),
        }
    return origin


def _read(path: Path, origin: dict[str, str]) -> AttributeClassifier | str:
    """Reads the classifier, or says why it cannot serve, as the end of "FILE ..."."""
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
        classifier = AttributeClassifier(names, variables, str(arrays["sha256"]), accuracy)
    except UNREADABLE as error:
        return f"is damaged ({error})"
    if hash_variables(variables) != classifier.sha256:
        return "is damaged (another SHA-256)"
    return classifier


def _write(path: Path, origin: dict[str, str], classifier: AttributeClassifier) -> None:
    """Writes the classifier aside and renames the file when it is whole. The lock must be held."""
    arrays = {
        "names": np.array(classifier.names),
        "balanced_accuracy": classifier.balanced_accuracy,
        "sha256": np.array(classifier.sha256),
    }
    arrays |= {what: np.array(value) for what, value in origin.items()}
    for name, array in flatten_dict(classifier.variables, sep="/").items():
        arrays[VARIABLES + name] = array
    aside = path.with_name(path.name + ".unfinished")
    try:
        with synced_file(aside) as file:
            np.savez(file, **arrays)
        os.replace(aside, path)
        sync_folder(path.parent)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise (NotSaved if error.errno in storage.FULL else DataError)(
            f"{path} cannot be written ({error.strerror}). Make room, or name another disk by "
            "--config.data.cache_dir=FOLDER."
        ) from error
