"""Compares our scores with their peers', on the same features and on the same folders of PNGs.

    pip install -e '.[peer]'
    python -m benchmarks.parity

Inception has the same random weights on all sides: what is compared is the arithmetic. Exits with 1
if a Frechet distance differs by more than `TOLERANCE` from the one by singular values, or from a
peer's where there are more rows than features.
"""

import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.special
from scipy import ndimage

from benchmarks import turns
from benchmarks.peers import scores as peers
from gan.data.faces import dataset
from gan.metrics.distances import (
    frechet_distance,
    inception_score,
    kernel_distance,
    sliced_wasserstein_features,
)
from gan.metrics.extractors.inception import RESIZES, extract_features
from gan.metrics.extractors.inception_weights import read_weights, torch_shapes
from gan.metrics.neighbours import neighbour_scores
from gan.runtime.pictures import to_uint8, write_png

SIZE = 64  # Pixels of a picture's side.
TOLERANCE = 1e-6  # Largest relative difference of a Frechet distance.
EXACT = "singular values"
SEEDS = range(5)
SEEDED = "ours, 4 other seeds"  # Column of how far apart draws are without other differences.
# Precision, recall, density, coverage in prdc's README: twice 10,000 x 1,000 of N(0, 1), k = 5.
PRDC = (0.4772, 0.4705, 1.0555, 0.9735)

Pair = tuple[np.ndarray, np.ndarray]  # (real, fake)
Row = dict[str, Any]


def relative_difference(theirs: Any, ours: Any) -> float:
    """Returns the largest difference over the largest of ours; 0 where all are equal."""
    difference = np.abs(np.subtract(theirs, ours)).max()
    return float(difference / np.abs(ours).max()) if difference else 0.0


def draw_features(num: int, width: int) -> Pair:
    """Draws correlated features [num width], the fake ones a little wider and shifted."""
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((width, width)) / np.sqrt(width)
    real, fake = rng.standard_normal((2, num, width)) @ mixing
    return real, 1.2 * fake + 0.1


def draw_singular_features(num: int, width: int) -> Pair:
    """Draws features of which a quarter never changes, and another quarter equals a third."""
    pair, quarter = draw_features(num, width), width // 4
    for features in pair:
        features[:, :quarter] = 0.5
        features[:, quarter : 2 * quarter] = features[:, 2 * quarter : 3 * quarter]
    return pair


def frechet_by_singular_values(real: np.ndarray, fake: np.ndarray) -> float:
    """Returns the Frechet distance without forming a covariance, which few rows make singular."""
    a, b = ((x - x.mean(axis=0)) / np.sqrt(len(x) - 1) for x in (real, fake))
    shift = np.square(real.mean(axis=0) - fake.mean(axis=0)).sum()
    trace = scipy.linalg.svdvals(a @ b.T).sum()
    return float(shift + np.square(a).sum() + np.square(b).sum() - 2 * trace)


def compare_fixed_scores(name: str, real: np.ndarray, fake: np.ndarray) -> list[Row]:
    """Compares the scores that depend on no draw, of one pair of sets."""
    num = len(real)
    exact = frechet_by_singular_values(real, fake)
    distance, kernel = frechet_distance(real, fake), kernel_distance(real, fake, 1, num)
    precise, dense = neighbour_scores(real, fake, 3)[:2], neighbour_scores(real, fake, 3, 5)[2:4]
    at_3, at_5 = (peers.compute_prdc(real, fake, k) for k in (3, 5))
    both = {"torch-fidelity": peers.compute_precision_recall(real, fake, 3), "prdc": at_3[:2]}
    return [
        _row("Frechet", name, distance, {EXACT: exact} | _each(peers.FRECHET, real, fake)),
        _row("KID, all rows at once", name, kernel, _each(peers.KERNEL, real, fake, 1, num)),
        _row("precision, recall", name, precise, both),
        _row("density, coverage", name, dense, {"prdc": at_5[2:]}),
    ]


def compare_drawn_scores(name: str, real: np.ndarray, fake: np.ndarray) -> list[Row]:
    """Compares the scores that depend on draws of subsets, directions or splits."""
    kernel, *others = (kernel_distance(real, fake, 100, 100, seed) for seed in SEEDS)
    theirs = _each(peers.KERNEL, real, fake, 100, 100) | {SEEDED: np.array(others)}
    rows = [_row("KID, 100 subsets of 100", name, kernel, theirs)]
    axes = np.random.default_rng(0).standard_normal((1000, real.shape[1]))  # As ours draws them.
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    for title, x in ((name, fake), (f"{name}, half of the fakes", fake[::2])):
        ours = sliced_wasserstein_features(real, x)
        rows.append(_row("MIND", title, ours, {"POT": peers.compute_mind(real, x, axes)}))
    logits = 3 * np.random.default_rng(1).standard_normal((1000, 100))
    p = scipy.special.softmax(logits, axis=1)
    for splits in (1, 10):
        ours, *others = (inception_score(p, splits, seed) for seed in SEEDS)
        theirs = _each(peers.SCORE, logits, splits) | {SEEDED: np.array(others)}
        rows.append(_row(f"Inception score, splits={splits}", "1,000 x 100 logits", ours, theirs))
    return rows


def _each(functions: dict[str, Callable], *arguments: Any) -> dict[str, Any]:
    return {name: function(*arguments) for name, function in functions.items()}


def _row(score: str, name: str, ours: Any, theirs: dict[str, Any]) -> Row:
    differences = {peer: relative_difference(value, ours) for peer, value in theirs.items()}
    return {"score": score, "of": name, "ours": np.ravel(ours).tolist(), "differences": differences}


def compare_known_values(draws: int) -> dict[str, list[float]]:
    """Returns our precision, recall, density and coverage of some draws, and prdc's README's."""
    known = {}
    for seed in range(draws):
        real, fake = np.random.default_rng(seed).standard_normal((2, 10_000, 1000))
        known[f"ours, seed {seed}"] = list(neighbour_scores(real, fake, 5, 5)[:4])
    return known | {"prdc's README": list(PRDC)}


def draw_weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Draws Inception's weights, by torch's names, such that activations stay in range."""
    rng, weights = np.random.default_rng(0), {}
    for name, shape in shapes.items():
        if len(shape) > 1:  # He et al. 2015, equation 14, by a uniform distribution.
            low, high = -np.sqrt(6 / np.prod(shape[1:])), np.sqrt(6 / np.prod(shape[1:]))
        elif name.endswith(("running_var", "bn.weight")):
            low, high = 0.5, 1.5
        else:
            low, high = -0.2, 0.2
        weights[name] = rng.uniform(low, high, shape).astype(np.float32)
    return weights


def write_folders(root: Path, num: int) -> tuple[Path, Path]:
    """Writes a folder of rendered faces, and one of others that are blurred and noisy."""
    drawn = np.asarray(dataset.draw_faces(0, jnp.arange(2 * num), SIZE).image)
    noise = 0.05 * np.random.default_rng(0).standard_normal(drawn[num:].shape)
    blurred = ndimage.gaussian_filter(drawn[num:] / 127.5 - 1, (0, 1, 1, 0))
    folders = root / "real", root / "fake"
    for folder, pictures in zip(folders, (drawn[:num], to_uint8(blurred + noise)), strict=True):
        for i, picture in enumerate(pictures):
            write_png(folder / f"{i:05}.png", picture)
    return folders


def compare_folders(weights: Path, folders: tuple[Path, Path]) -> tuple[list[Row], Pair]:
    """Returns a row for each peer and what it is told, and our features of the folders."""
    variables = read_weights(weights).variables
    pictures = [peers.read_pngs(folder) for folder in folders]
    ours = {
        resize: [extract_features(variables, x, resize) for x in pictures] for resize in RESIZES
    }
    pools = {resize: tuple(x.features for x in found) for resize, found in ours.items()}
    rows, num = [], len(pictures[0])
    for package, told, resize, extract in peers.EXTRACTORS:
        theirs = [extract(weights, folder) for folder in folders]
        pool = [x[0] for x in theirs]
        mine = pools[resize]
        row = {
            "peer": package,
            "told": told,
            "ours": resize,
            "features": max(map(relative_difference, pool, mine)),
            "Frechet": relative_difference(peers.FRECHET[package](*pool), frechet_distance(*mine)),
        }
        if package in peers.KERNEL:
            kernel = peers.KERNEL[package](*pool, 1, num)
            row["KID"] = relative_difference(kernel, kernel_distance(*mine, 1, num))
        if package == "torch-fidelity":
            fakes = ours[resize][1]
            score = inception_score(np.asarray(fakes.probabilities), 1)
            row["Inception score"] = relative_difference(
                peers.SCORE[package](theirs[1][1], 1), score
            )
            row["logits"] = relative_difference(theirs[1][1], fakes.logits)
        rows.append(row)
        print(row, file=sys.stderr, flush=True)
    return rows, pools["legacy"]


def report_features(rows: list[Row]) -> str:
    """Returns relative differences, a row for each score and pair of sets."""
    names = list(dict.fromkeys(name for row in rows for name in row["differences"]))
    return turns.format_markdown(
        ["score", "of", "ours", *names],
        [
            [
                row["score"],
                row["of"],
                ", ".join(f"{x:.5g}" for x in row["ours"]),
                *(_short(row["differences"].get(name)) for name in names),
            ]
            for row in rows
        ],
    )


def report_folders(rows: list[Row]) -> str:
    """Returns relative differences: a row for each peer and what it is told."""
    scores = ["features", "Frechet", "KID", "logits", "Inception score"]
    return turns.format_markdown(
        ["peer", "told", "our resizing", *scores],
        [
            [row["peer"], row["told"] or "(defaults)", row["ours"]]
            + [_short(row.get(score)) for score in scores]
            for row in rows
        ],
    )


def _short(difference: float | None) -> str:
    return "" if difference is None else f"{difference:.0e}" if difference else "0"


def main() -> None:
    """Prints the tables."""
    numbers = {
        "images": (200, "in each folder"),
        "rows": (3_000, "of the largest features"),
        "width": (2_048, "of the largest features"),
        "draws": (3, "of ours, beside the values in prdc's README"),
    }
    options = turns.make_parser(__doc__, numbers).parse_args()
    warnings.simplefilter("ignore")  # Peers warn of how they call one another.
    print(", ".join(f"{name} {version(name)}" for name in peers.PACKAGES), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.pth"
        peers.write_weights(draw_weights(torch_shapes() | {"fc.bias": (1008,)}), weights)
        folders = write_folders(Path(folder), options.images)
        by_folder, features = compare_folders(weights, folders)
    few = f"{options.images} x 2,048, the folders'"
    pairs = {
        "300 x 64": draw_features(300, 64),
        "300 x 64, singular": draw_singular_features(300, 64),
        f"{options.rows:,} x {options.width:,}": draw_features(options.rows, options.width),
        few: tuple(x.astype(np.float64) for x in features),
    }
    by_features = [row for name, pair in pairs.items() for row in compare_fixed_scores(name, *pair)]
    by_features += compare_drawn_scores("300 x 64", *pairs["300 x 64"])
    known = compare_known_values(options.draws)
    print(f"\n{report_features(by_features)}\n\n{report_folders(by_folder)}\n")
    for name, values in known.items():
        print(f"{name}: " + ", ".join(f"{x:.4f}" for x in values))
    turns.write_results(options, features=by_features, folders=by_folder, known=known)
    worst = max(
        difference
        for row in by_features
        if row["score"] == "Frechet"
        for peer, difference in row["differences"].items()
        if peer == EXACT or row["of"] != few
    )
    if worst > TOLERANCE:
        sys.exit(f"A Frechet distance differs by {worst:.1e}, more than {TOLERANCE:.0e}.")


if __name__ == "__main__":
    main()
