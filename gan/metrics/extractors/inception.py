"""FID's extractor: pictures resized as published, then the Inception network.

A published FID that does not say how it resized pictures means "legacy".
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from PIL import Image

from gan.errors import ConfigError, nearest
from gan.metrics.extractors.extractor import (
    VERSION,
    Extracted,
    Extractor,
    ExtractorInputs,
    Pictures,
    extract_in_batches,
)
from gan.metrics.extractors.inception_network import SIDE, Inception
from gan.metrics.extractors.inception_weights import read_weights


def make_extractor(inputs: ExtractorInputs) -> Extractor | None:
    """Makes FID's extractor with the weights in the file `inputs.inception`; None without a file.

    Only the published weights get the name "inception", which gives "FID". Raises ConfigError for
    an unknown `inputs.resize` or no such file, DataError for a file of other contents.
    """
    path, resize = inputs.inception, inputs.resize
    if path is None:
        return None
    if resize not in RESIZES:
        raise ConfigError(
            f"--resize={resize}: one of {', '.join(RESIZES)}.{nearest(resize, RESIZES)}"
        )
    weights = read_weights(path)

    def extract(images: Pictures) -> Extracted:
        return extract_features(weights.variables, images, resize)

    name = "inception" if weights.known else f"unverified@{weights.sha256[:8]}"
    name += "" if resize == "legacy" else f"-{resize}"
    return Extractor(name, f"{weights.sha256} {resize} v{VERSION}", extract)


def resize_legacy(images: UInt8[Array, "n h w 3"]) -> Float[Array, "n 299 299 3"]:
    """Resizes bilinearly as TensorFlow 1 does, to values in [0, 255].

    Pixel x comes from x * old / new, without half-pixel centres or antialiasing, as in TTUR,
    torch-fidelity and NVLabs' networks.
    """
    x = images.astype(jnp.float32)
    for axis in (2, 1):
        old = x.shape[axis]
        position = np.arange(SIDE, dtype=np.float32) * np.float32(old / SIDE)
        low = position.astype(np.int32)
        weight = np.expand_dims(
            position - low.astype(np.float32), [a for a in range(4) if a != axis]
        )
        here = jnp.take(x, low, axis)
        x = here + (jnp.take(x, np.minimum(low + 1, old - 1), axis) - here) * weight
    return x


def resize_clean(images: UInt8[np.ndarray, "n h w 3"]) -> Float[np.ndarray, "n 299 299 3"]:
    """Resizes bicubically with antialiasing, each channel as float by Pillow, to [0, 255].

    It is clean-fid's mode "clean" (Parmar et al. 2022, arXiv 2104.11222).
    """

    def channel(plane: np.ndarray) -> np.ndarray:
        picture = Image.fromarray(plane.astype(np.float32))
        return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC)).clip(0, 255)

    with ThreadPoolExecutor() as pool:
        planes = [*pool.map(channel, images.transpose(0, 3, 1, 2).reshape(-1, *images.shape[1:3]))]
    return np.stack(planes).reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)


apply_inception = jax.jit(Inception().apply)


def extract_features(
    variables: Any,
    images: Pictures,
    resize: str = "legacy",
    batch_size: int = 32,
    apply: Callable = apply_inception,
) -> Extracted:
    """Returns features [n 2048] and logits [n 1008] of `images`, uint8 [n h w 3].

    `variables` are those of `Inception`, `resize` a key of `RESIZES`, and `batch_size` images are
    on the device at a time. Raises ConfigError for another `resize`, ValueError for other images,
    or none.
    """
    if resize not in RESIZES:
        raise ConfigError(f"resize={resize!r} is none of {[*RESIZES]}.{nearest(resize, RESIZES)}")
    variables = jax.device_put(variables)
    network = lambda batch: apply(variables, RESIZES[resize](batch))  # noqa: E731
    return extract_in_batches(network, images, max(1, min(batch_size, len(images))))


RESIZES: dict[str, Callable] = {"legacy": jax.jit(resize_legacy), "clean": resize_clean}
