"""The manifest of a checkpoint: which arrays it holds, what they belong to, their checksums."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from gan.errors import ConfigError

SHOWN = 4  # Number of differences that a message names.
FIRST = {"step", "sha256"}  # The fields of the first format.


@dataclasses.dataclass(frozen=True)
class Manifest:
    """Describes the arrays in the same folder; both are there or neither is."""

    step: int
    sha256: dict[str, str]  # Checksum of each array, by its place in the state.
    arrays: dict[str, str] | None = None  # Type and shape of each; None in the first format.
    about: dict[str, Any] | None = None  # What the state belongs to.
    metrics: dict[str, Any] | None = None  # Those since the last row of the log, by name.

    def to_json(self) -> dict[str, Any]:
        """Returns it as JSON, with a checksum: no flipped bit of it may pass for another model."""
        fields = dataclasses.asdict(self)
        return fields | {"digest": _digest(fields)}

    @property
    def drawing_digest(self) -> str:
        """Digest of the moving averages, the only arrays that drawing needs."""
        drawn = (".averages", ".ema")  # The second name is that of the first format.
        return _digest({k: v for k, v in self.sha256.items() if k.startswith(drawn)})[:16]

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Reads JSON. Raises ValueError if damaged, ConfigError if a newer version wrote it."""
        fields = json.loads(text)
        if not isinstance(fields, dict):
            raise ValueError("it is no table")
        if fields.keys() != FIRST and fields.pop("digest", None) != _digest(fields):
            raise ValueError("its checksum is wrong")
        if unknown := fields.keys() - {field.name for field in dataclasses.fields(cls)}:
            raise ConfigError(f"a newer version wrote {', '.join(sorted(unknown))}: use that one.")
        if not isinstance(fields["sha256"], dict):
            raise ValueError("it has no checksums")
        return cls(**fields)


def _digest(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def on_host(tree: Any) -> Any:
    """Copies replicated arrays to the host, random keys as numbers; on CPU they may be views."""

    def numbers(leaf: Any) -> Any:
        return jax.random.key_data(leaf.addressable_data(0)) if is_key(leaf) else leaf

    return jax.device_get(jax.tree.map(numbers, tree))


def is_key(leaf: Any) -> bool:
    """Whether a leaf is a typed random key."""
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def digests(tree: Any) -> dict[str, str]:
    """Hashes each array's type, shape and bytes with SHA-256, by its place in the tree."""

    def digest(array: np.ndarray) -> str:
        sha256 = hashlib.sha256(f"{array.dtype.str} {array.shape} ".encode())
        sha256.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
        return sha256.hexdigest()

    return {name: digest(array) for name, array in by_place(on_host(tree)).items()}


def types(tree: Any) -> dict[str, str]:
    """Type and shape of each array, as "float32 [100, 1024]"."""

    def describe(leaf: Any) -> str:
        if is_key(leaf):
            leaf = jax.eval_shape(jax.random.key_data, leaf)
        return f"{leaf.dtype} {list(leaf.shape)}"

    return {name: describe(leaf) for name, leaf in by_place(tree).items()}


def by_place(tree: Any) -> dict[str, Any]:
    """Leaves by names like ".generator.params['Dense_0']['kernel']"."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def differences(there: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Describes the differences of two manifests; "" if there are none."""
    texts = [
        f"{name.lstrip('.')}: {_text(there[name])} there, {_text(now[name])} now"
        for name in there
        if name in now and not _agree(there[name], now[name])
    ]
    for where, one, other in (("there", there, now), ("now", now, there)):
        texts += [f"only {where}: {n.lstrip('.')} ({_text(one[n])})" for n in one if n not in other]
    more = f"; and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return "; ".join(texts[:SHOWN]) + more


def _agree(there: Any, now: Any) -> bool:
    """Whether two entries agree. Dicts list alternative identifiers; one match suffices."""
    if isinstance(there, dict) and isinstance(now, dict):
        return any(name in now and there[name] == now[name] for name in there)
    return there == now


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
