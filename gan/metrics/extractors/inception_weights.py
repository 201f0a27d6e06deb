"""Reads weights for `inception` from a file that the user has; nothing is fetched or run.

A distance may be called FID, KID or IS only if the weights are the known ones. With any others it
is `FD-unverified`: a number that compares with nothing published.
"""

import functools
import hashlib
import io
import zipfile
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
KNOWN = {  # By SHA-256.
    # pytorch-fid's; torch-fidelity publishes the same bytes as weights-inception-2015-12-05-...
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2": FILE,
    # NVLabs' and clean-fid's; TorchScript, which is recognised and refused.
    "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4": "inception-2015-12-05.pt",
}
REMEDY = f"Give pytorch-fid's {FILE}, or its arrays as an .npz"

# A variable's name in torch, by its name in Flax.
LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


class Weights(NamedTuple):
    """For `gan.metrics.extractors.inception`, and what they are."""

    variables: dict[str, Any]  # Flax's "params" and "batch_stats", float32.
    sha256: str  # Of the file.
    known: bool  # Whether these are the published weights: else no distance is an FID.


def read_weights(path: Path) -> Weights:
    """From an `.npz`, or a state dict as `torch.save` wrote it; names and layouts are torch's.

    An .npz is written by `np.savez(path, **{k: v.numpy() for k, v in state_dict.items()})`; it is
    never `known`, as none is published. The file's content decides which of the two it is. Raises
    ConfigError if there is no such file, DataError if it is damaged, holds more than arrays, or
    holds another network's.
    """
    try:
        data = path.read_bytes()  # At once: what is hashed is what is read.
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
    return Weights(variables, sha256, sha256 in KNOWN)


def to_variables(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Flax's variables from arrays by torch's names. Raises DataError if one is missing or odd."""
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
    """Names and shapes of the arrays as torch has them, such as `fc.weight` [1008 2048]."""
    return {
        _torch_name(path): tuple(leaf.shape[axis] for axis in _torch_axes(leaf.ndim))
        for path, leaf in flatten_dict(_flax_shapes()).items()
    }


@functools.cache
def _flax_shapes() -> dict[str, Any]:
    image = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.float32)
    return jax.eval_shape(Inception().init, jax.random.key(0), image)


def _torch_name(path: tuple[str, ...]) -> str:
    _, *modules, leaf = path  # The first is the collection.
    return ".".join([*modules, LEAVES[leaf]])


def _torch_axes(ndim: int) -> tuple[int, ...]:
    """Of Flax's axes: HWIO becomes OIHW, and IO becomes OI."""
    return (3, 2, 0, 1) if ndim == 4 else (*reversed(range(ndim)),)


def _to_flax(array: np.ndarray) -> np.ndarray:
    axes = np.argsort(_torch_axes(array.ndim))
    return np.ascontiguousarray(array.transpose(axes), np.float32)


def _is_ignored(name: str) -> bool:
    """Counters of training, the auxiliary classifier, and the bias that FID leaves out."""
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
