"""Scores and features of other packages, for `benchmarks.parity`; `pip install -e '.[peer]'`."""

import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

try:
    import torchvision  # noqa: F401
except RuntimeError:  # PyPI's wheel misses its compiled operators beside a torch for the CPU.
    for operator in ("nms", "qnms"):  # Nothing here calls them, so declaring them is enough.
        torch.library.define(f"torchvision::{operator}", "(Tensor a, Tensor b, float c) -> Tensor")

import cleanfid.inception_pytorch
import ot
import prdc
import pytorch_fid.inception
from cleanfid import fid as clean_fid
from PIL import Image
from pytorch_fid import fid_score as pytorch_fid_score
from torch_fidelity import metric_fid, metric_isc, metric_kid, metric_prc, utils
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import KernelInceptionDistance

from gan.metrics.extractors.inception import RESIZES

PACKAGES = (
    *("torch", "torchvision", "torch-fidelity", "clean-fid", "pytorch-fid", "torchmetrics"),
    *("POT", "prdc", "scipy"),
)
BATCH = 20  # Pictures.


class PeerExtractor(NamedTuple):
    """How a peer gets from a folder of PNGs to features."""

    package: str
    told: str  # What it is told beyond its defaults.
    resize: str  # Our way of resizing that it is compared with.
    extract: Callable[[Path, Path], tuple[np.ndarray, ...]]  # (weights, folder) -> features, ...


# Scores of features [n d], or logits [n k].


def _tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(array) for array in arrays]


def _identity(width: int) -> torch.nn.Module:
    """Returns a network for torchmetrics that passes on the features that it is given."""
    module = torch.nn.Identity()
    module.num_features = width
    return module


def _computed(metric: Any, real: np.ndarray, fake: np.ndarray) -> Any:
    for features, is_real in ((real, True), (fake, False)):
        metric.update(torch.from_numpy(features), real=is_real)
    return metric.compute()


def _frechet_torch_fidelity(real: np.ndarray, fake: np.ndarray) -> float:
    statistics = map(metric_fid.fid_features_to_statistics, _tensors(real, fake))
    return metric_fid.fid_statistics_to_metric(*statistics, False)[metric_fid.KEY_METRIC_FID]


def _frechet_pytorch_fid(real: np.ndarray, fake: np.ndarray) -> float:
    statistics = [y for x in (real, fake) for y in (np.mean(x, axis=0), np.cov(x, rowvar=False))]
    return pytorch_fid_score.calculate_frechet_distance(*statistics)


def _frechet_torchmetrics(real: np.ndarray, fake: np.ndarray) -> float:
    metric = FrechetInceptionDistance(_identity(real.shape[1]))
    return _computed(metric, real, fake).item()


def _kernel_torch_fidelity(real: np.ndarray, fake: np.ndarray, subsets: int, size: int) -> float:
    options = dict(kid_subsets=subsets, kid_subset_size=size, verbose=False)
    found = metric_kid.kid_features_to_metric(*_tensors(real, fake), **options)
    return found[metric_kid.KEY_METRIC_KID_MEAN]


def _kernel_torchmetrics(real: np.ndarray, fake: np.ndarray, subsets: int, size: int) -> float:
    network = _identity(real.shape[1])
    metric = KernelInceptionDistance(network, subsets=subsets, subset_size=size)
    return _computed(metric, real, fake)[0].item()


def _score_torch_fidelity(logits: np.ndarray, splits: int) -> float:
    found = metric_isc.isc_features_to_metric(torch.from_numpy(logits), splits)
    return found[metric_isc.KEY_METRIC_ISC_MEAN]


def _score_torchmetrics(logits: np.ndarray, splits: int) -> float:
    metric = InceptionScore(_identity(logits.shape[1]), splits=splits)
    metric.update(torch.from_numpy(logits))
    return metric.compute()[0].item()


def compute_precision_recall(real: np.ndarray, fake: np.ndarray, k: int) -> list[float]:
    """Returns precision and recall by torch-fidelity."""
    generated, others = _tensors(fake, real)  # torch-fidelity takes them in this order.
    options = dict(prc_neighborhood=k, verbose=False)
    found = metric_prc.prc_features_to_metric(generated, others, **options)
    return [found[metric_prc.KEY_METRIC_PRECISION], found[metric_prc.KEY_METRIC_RECALL]]


def compute_prdc(real: np.ndarray, fake: np.ndarray, k: int) -> list[float]:
    """Returns the four scores by prdc, the package of the authors of density and coverage."""
    with contextlib.redirect_stdout(io.StringIO()):
        found = prdc.compute_prdc(real, fake, k)
    return [found[name] for name in ("precision", "recall", "density", "coverage")]


def compute_mind(real: np.ndarray, fake: np.ndarray, axes: np.ndarray) -> float:
    """Returns MIND along unit vectors [c d] by POT; torch-fidelity 0.4.0 does not have it yet."""
    distance = ot.sliced_wasserstein_distance(real, fake, projections=axes.T, p=2)
    return 3 * real.shape[1] * distance**2


FRECHET: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "torch-fidelity": _frechet_torch_fidelity,
    "clean-fid": clean_fid.fid_from_feats,
    "pytorch-fid": _frechet_pytorch_fid,
    "torchmetrics": _frechet_torchmetrics,
}
KERNEL: dict[str, Callable[[np.ndarray, np.ndarray, int, int], float]] = {
    "torch-fidelity": _kernel_torch_fidelity,
    "clean-fid": clean_fid.kernel_distance,
    "torchmetrics": _kernel_torchmetrics,
}
SCORE: dict[str, Callable[[np.ndarray, int], float]] = {
    "torch-fidelity": _score_torch_fidelity,
    "torchmetrics": _score_torchmetrics,
}


# Features of a folder.


def write_weights(state: dict[str, np.ndarray], path: Path) -> None:
    """Writes a state dict in the form of pytorch-fid's file."""
    torch.save({name: torch.from_numpy(array) for name, array in state.items()}, path)


def read_pngs(folder: Path) -> np.ndarray:
    """Reads pictures, uint8 [n h w 3], in the order of their names."""
    return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))])


def _batches(folder: Path) -> Iterator[np.ndarray]:
    pictures = read_pngs(folder)
    for first in range(0, len(pictures), BATCH):
        yield pictures[first : first + BATCH]


def _extract_torch_fidelity(weights: Path, folder: Path) -> tuple[np.ndarray, ...]:
    taps = ["2048", "logits_unbiased"]
    options = dict(cuda=False, verbose=False, save_cpu_ram=True, batch_size=BATCH)
    network = utils.create_feature_extractor(
        "inception-v3-compat", taps, feature_extractor_weights_path=str(weights), **options
    )
    found = utils.extract_featuresdict_from_input_id(1, network, input1=str(folder), **options)
    return tuple(found[name].numpy() for name in taps)


def _pytorch_inception(module: Any, weights: Path, **options: Any) -> torch.nn.Module:
    """Returns the module's network, with these weights in place of a download."""
    module.load_state_dict_from_url = lambda *_, **__: torch.load(weights)
    return module.InceptionV3(**options).eval()


def _extract_clean_fid(weights: Path, folder: Path) -> tuple[np.ndarray, ...]:
    # Its default network is a TorchScript file with weights in it, so its other one is taken.
    unchanged = dict(resize_input=False, normalize_input=False)
    network = _pytorch_inception(cleanfid.inception_pytorch, weights, **unchanged)
    options = dict(num_workers=0, batch_size=BATCH, device=torch.device("cpu"), verbose=False)
    look = lambda x: network((x - 128) / 128)[0].flatten(1)  # noqa: E731
    return (clean_fid.get_folder_features(str(folder), look, mode="clean", **options),)


def _extract_pytorch_fid(weights: Path, folder: Path) -> tuple[np.ndarray, ...]:
    network = _pytorch_inception(pytorch_fid.inception, weights)
    files = sorted(folder.glob("*.png"))
    return (pytorch_fid_score.get_activations(files, network, BATCH, num_workers=0),)


def _extract_pytorch_fid_resized(weights: Path, folder: Path) -> tuple[np.ndarray, ...]:
    unchanged = dict(resize_input=False, normalize_input=False)
    network = _pytorch_inception(pytorch_fid.inception, weights, **unchanged)
    parts = []
    for pictures in _batches(folder):
        x = (np.asarray(RESIZES["legacy"](pictures)) - 128) / 128
        with torch.no_grad():
            parts.append(network(torch.from_numpy(x.transpose(0, 3, 1, 2)))[0].flatten(1).numpy())
    return (np.concatenate(parts),)


def _extract_torchmetrics(antialias: bool, normalize: bool) -> Callable:
    def look(weights: Path, folder: Path) -> tuple[np.ndarray, ...]:
        metric = FrechetInceptionDistance(
            normalize=normalize,
            feature_extractor_weights_path=str(weights),
            antialias=antialias,
        )
        seen = []
        metric.inception.register_forward_hook(lambda _, __, found: seen.append(found))
        for pictures in _batches(folder):
            x = torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy())
            metric.update(x / 255 if normalize else x, real=True)
        return (torch.cat(seen).numpy(),)

    return look


OURS = "our resizing and (x - 128) / 128"
EXTRACTORS = [
    PeerExtractor("torch-fidelity", "", "legacy", _extract_torch_fidelity),
    PeerExtractor("clean-fid", "", "clean", _extract_clean_fid),
    PeerExtractor("pytorch-fid", "", "legacy", _extract_pytorch_fid),
    PeerExtractor("pytorch-fid", OURS, "legacy", _extract_pytorch_fid_resized),
    PeerExtractor("torchmetrics", "", "legacy", _extract_torchmetrics(True, False)),
    PeerExtractor("torchmetrics", "antialias=False", "legacy", _extract_torchmetrics(False, False)),
    PeerExtractor(
        "torchmetrics",
        "antialias=False, normalize=True",
        "legacy",
        _extract_torchmetrics(False, True),
    ),
]
