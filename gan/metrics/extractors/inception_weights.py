"""Reads weights for FID's network from a file that the user has; nothing is downloaded or run.

A score may be called FID, KID or IS only if the weights are the published ones. With others it is
`FD-unverified`, a number that compares with nothing published.
"""

import functools
import hashlib
import io
import zipfile
from collections.abc import Container
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from gan.errors import ConfigError, DataError, nearest
from gan.metrics.extractors.inception_network import SIDE, Inception
from gan.metrics.extractors.torch_pickle import read_state_dict

FILE = "pt_inception-2015-12-05-6726825d.pth"
KNOWN = {  # The published files, by SHA-256.
    # pytorch-fid's; torch-fidelity publishes the same bytes as weights-inception-2015-12-05-...
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2": FILE,
    # NVLabs' and clean-fid's. It is TorchScript, which is recognised and refused.
    "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4": "inception-2015-12-05.pt",
}
REMEDY = f"Give pytorch-fid's {FILE}, or its arrays as an .npz"

# The name of a variable in torch, by its name in Flax.
LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


class Weights(NamedTuple):
    """Weights of FID's network, and which ones they are."""

    variables: dict[str, Any]  # Flax's "params" and "batch_stats", float32.
    sha256: str  # Hash of the file.
    known: bool  # Whether the file is a published one; without that no distance is an FID.


def read_weights(path: Path, known: Container[str] = KNOWN) -> Weights:
    """Reads weights with torch's names and layouts, from an `.npz` or a file of `torch.save`.

    The content of the file decides which of the two it is. An `.npz` is written by
    `np.savez(path, **{k: v.numpy() for k, v in state_dict.items()})`. `known` holds the hashes of
    the published files. Raises ConfigError if there is no such file, DataError if it is damaged,
    holds more than arrays, or holds those of another network.
    """
    try:
        data = path.read_bytes()  # Read once, so that what is hashed is what is used.
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}). {REMEDY}.") from error
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        arrays = _read_npz(data) if _is_npz(data) else read_state_dict(data)
    except Exception as error:  # A damaged file can fail in any way.
        raise DataError(f"{path} cannot be read: {str(error) or repr(error)}. {REMEDY}.") from error
    try:
        variables = to_variables(arrays)
    except DataError as error:
        raise DataError(f"{path}: {error} {REMEDY}.") from None
    return Weights(variables, sha256, sha256 in known)


def to_variables(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Makes Flax's variables of arrays by torch's names.

    Raises DataError for missing or unknown names, other shapes or types, and impossible values.
    """
    expected = torch_shapes()
    names = {name for name in arrays if not _is_ignored(name)}
    for name in sorted(expected.keys() - names):
        raise DataError(f"has no {name}, which FID's InceptionV3 has.{nearest(name, names)}")
    for name in sorted(names - expected.keys()):
        raise DataError(f"has {name[:100]}, which FID's InceptionV3 does not have.")
    for name, shape in expected.items():
        array = arrays[name]
        if array.shape != shape or array.dtype.kind != "f":
            raise DataError(
                f"{name} is {array.dtype} {[*array.shape]}, where FID's InceptionV3 has float32 "
                f"{[*shape]}."
            )
        if not np.isfinite(array).all() or (name.endswith("running_var") and array.min() < 0):
            raise DataError(f"{name} has values that no weights have: the file is damaged.")
    return unflatten_dict(
        {path: _to_flax(arrays[_torch_name(path)]) for path in flatten_dict(_flax_shapes())}
    )


@functools.cache
def torch_shapes() -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays by their names in torch, such as `fc.weight` [1008 2048]."""
    return {
        _torch_name(path): tuple(leaf.shape[axis] for axis in _torch_axes(leaf.ndim))
        for path, leaf in flatten_dict(_flax_shapes()).items()
    }


@functools.cache
def _flax_shapes() -> dict[str, Any]:
    image = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.float32)
    return jax.eval_shape(Inception().init, jax.random.key(0), image)


def _torch_name(path: tuple[str, ...]) -> str:
    _, *modules, leaf = path  # The first part is the collection.
    return ".".join([*modules, LEAVES[leaf]])


def _torch_axes(ndim: int) -> tuple[int, ...]:
    """Order of Flax's axes in torch: HWIO becomes OIHW, and IO becomes OI."""
    return (3, 2, 0, 1) if ndim == 4 else (*reversed(range(ndim)),)


def _to_flax(array: np.ndarray) -> np.ndarray:
    axes = np.argsort(_torch_axes(array.ndim))
    return np.ascontiguousarray(array.transpose(axes), np.float32)


def _is_ignored(name: str) -> bool:
    """Whether it is a counter, of the auxiliary classifier, or the bias that FID leaves out."""
    return (
        name.endswith(".num_batches_tracked") or name.startswith("AuxLogits.") or name == "fc.bias"
    )


def _is_npz(data: bytes) -> bool:
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return False
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return all(name.endswith(".npy") for name in archive.namelist())


def _read_npz(data: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
