"""Makes data/inception.npz and data/torch_*.pth with torch-fidelity, under weights from seeds.

    pip install torch==2.13.0 numpy pillow tqdm && pip install --no-deps torch-fidelity==0.4.0
    python tests/helpers/inception_golden.py

The tests make the same weights and images again, with NumPy alone.
"""

import hashlib
import importlib.util
import math
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

DATA = Path(__file__).parent / "data"
IMAGES = (2, 64, 64, 3)
RESIZED = {"enlarged": (1, 32, 48, 3), "reduced": (1, 320, 410, 3)}
EVERY = 13  # Of 299 rows and columns, these many apart are kept.


def random(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform in [0, 1), float32: the same on any machine."""
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")
    return np.random.Generator(np.random.Philox(key=key)).random(shape, np.float32)


def random_images(name: str, shape: tuple[int, ...]) -> np.ndarray:
    return (256 * random(name, shape)).astype(np.uint8)


def random_state(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Weights by torch's names that keep activations in range, statistics other than 0 and 1."""
    state = {}
    for name, shape in shapes.items():
        unit = random(name, shape)
        centred = 2 * unit - 1
        if len(shape) == 4:
            state[name] = centred * math.sqrt(6 / math.prod(shape[1:]))  # He et al. 2015.
        elif len(shape) == 2:
            state[name] = centred * 0.05
        elif name.endswith("running_var"):
            state[name] = unit + 0.5
        elif name.endswith("bn.weight"):
            state[name] = 0.4 * unit + 0.8
        else:
            state[name] = 0.2 * centred
    return state


def main() -> None:
    import torch

    # Without the package's own __init__, which wants torchvision for other networks than this one.
    spec = importlib.util.find_spec("torch_fidelity")
    sys.modules["torch_fidelity"] = importlib.util.module_from_spec(spec)
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    from torch_fidelity.interpolate_compat_tensorflow import (
        interpolate_bilinear_2d_like_tensorflow1x,
    )

    class Peer(FeatureExtractorInceptionV3):
        def load_state_dict(self, _):
            """The constructor calls it with a file's content; here with random weights instead."""
            shapes = {k: (*v.shape,) for k, v in self.state_dict().items() if v.is_floating_point()}
            state = {k: torch.from_numpy(v) for k, v in random_state(shapes).items()}
            super().load_state_dict(state, strict=False)

    def to_torch(images: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())

    taps = {"2048": "pool", "logits_unbiased": "logits"}
    with tempfile.NamedTemporaryFile(suffix=".pth") as file:
        torch.save({}, file.name)
        peer = Peer("inception-v3-compat", [*taps], feature_extractor_weights_path=file.name)

    def look(dtype: torch.dtype) -> dict[str, np.ndarray]:
        # The constructor's argument for this takes "float64" to mean float32.
        peer.to(dtype).feature_extractor_internal_dtype = dtype
        with torch.no_grad():
            features = peer(to_torch(random_images("images", IMAGES)))
        return {name: x.numpy() for name, x in zip(taps.values(), features, strict=True)}

    single, exact = look(torch.float32), look(torch.float64)
    for name, values in exact.items():
        error = np.abs(single[name] - values).max() / np.abs(values).max()
        print(f"{name}: float32 is off float64 by {error:.1e} of the largest")
    resized = {}
    for name, shape in RESIZED.items():
        x = interpolate_bilinear_2d_like_tensorflow1x(
            to_torch(random_images(name, shape)).float(), size=(299, 299), align_corners=False
        )
        resized[name] = x.numpy().transpose(0, 2, 3, 1)[:, ::EVERY, ::EVERY]
    np.savez_compressed(DATA / "inception.npz", **exact, **resized)

    layers = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 1, bias=False), torch.nn.BatchNorm2d(3))
    state = layers.state_dict()
    for number, (name, tensor) in enumerate(state.items()):
        state[name] = (torch.arange(tensor.numel()) + 100 * number).reshape(tensor.shape)
        state[name] = state[name].to(tensor.dtype)
    state["transposed"] = torch.arange(6.0).reshape(2, 3).T  # Shares a storage, with strides.
    torch.save(state, DATA / "torch_zip.pth")
    torch.save(state, DATA / "torch_stream.pth", _use_new_zipfile_serialization=False)


if __name__ == "__main__":
    main()
