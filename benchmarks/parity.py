"""Our scores beside their peers', on the same features and on the same folders of PNGs.

    pip install -e '.[peer]'
    python -m benchmarks.parity

Inception has the same random weights on all sides: what is compared is the arithmetic. Ends with 1
where a Frechet distance differs by more than `TOLERANCE` from that by singular values, or, for more
rows than features, from a peer's.
"""

import sys
import tempfile
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.special
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parents[1]))  # For `python benchmarks/parity.py`.
sys.path.insert(1, str(Path(__file__).parents[1] / "tests" / "metrics"))  # The random weights.
from helpers.inception_golden import random_state

from benchmarks import peers, turns
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

SIZE = 64  # Pixels.
TOLERANCE = 1e-6  # Relative.
EXACT = "singular values"
SEEDS = range(5)
SEEDED = "ours, 4 other seeds"  # How far apart draws are without any other difference.
# What prdc's README has for 10,000 x 1,000 from N(0, 1) twice, k = 5.
PRDC = (0.4772, 0.4705, 1.0555, 0.9735)

Pair = tuple[np.ndarray, np.ndarray]  # Real, fake.
Row = dict[str, Any]


def relative(theirs: Any, ours: Any) -> float:
    """The largest difference, over the largest of ours; 0 where both are 0."""
    difference = np.abs(np.subtract(theirs, ours)).max()
    return float(difference / np.abs(ours).max()) if difference else 0.0


def synthetic(num: int, width: int) -> Pair:
    """Correlated features, the fake ones a little wider and shifted."""
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((width, width)) / np.sqrt(width)
    real, fake = rng.standard_normal((2, num, width)) @ mixing
    return real, 1.2 * fake + 0.1


def singular(num: int, width: int) -> Pair:
    """A quarter of the features never changes, another says the same twice."""
    pair, quarter = synthetic(num, width), width // 4
    for features in pair:
        features[:, :quarter] = 0.5
        features[:, quarter : 2 * quarter] = features[:, 2 * quarter : 3 * quarter]
    return pair


def by_singular_values(real: np.ndarray, fake: np.ndarray) -> float:
    """The Frechet distance without a covariance: nothing in it is singular for few rows."""
    a, b = ((x - x.mean(axis=0)) / np.sqrt(len(x) - 1) for x in (real, fake))
    shift = np.square(real.mean(axis=0) - fake.mean(axis=0)).sum()
    trace = scipy.linalg.svdvals(a @ b.T).sum()
    return float(shift + np.square(a).sum() + np.square(b).sum() - 2 * trace)


def same_features(name: str, real: np.ndarray, fake: np.ndarray) -> list[Row]:
    """Scores of one pair of sets that depend on no draw."""
    num = len(real)
    exact = by_singular_values(real, fake)
    distance, kernel = frechet_distance(real, fake), kernel_distance(real, fake, 1, num)
    precise, dense = neighbour_scores(real, fake, 3)[:2], neighbour_scores(real, fake, 3, 5)[2:4]
    at_3, at_5 = (peers.precision_recall_density_coverage(real, fake, k) for k in (3, 5))
    both = {"torch-fidelity": peers.precision_recall(real, fake, 3), "prdc": at_3[:2]}
    return [
        _row("Frechet", name, distance, {EXACT: exact} | _each(peers.FRECHET, real, fake)),
        _row("KID, all rows at once", name, kernel, _each(peers.KERNEL, real, fake, 1, num)),
        _row("precision, recall", name, precise, both),
        _row("density, coverage", name, dense, {"prdc": at_5[2:]}),
    ]


def drawn_features(name: str, real: np.ndarray, fake: np.ndarray) -> list[Row]:
    """Scores that depend on draws: of subsets, directions and splits."""
    kernel, *others = (kernel_distance(real, fake, 100, 100, seed) for seed in SEEDS)
    theirs = _each(peers.KERNEL, real, fake, 100, 100) | {SEEDED: np.array(others)}
    rows = [_row("KID, 100 subsets of 100", name, kernel, theirs)]
    axes = np.random.default_rng(0).standard_normal((1000, real.shape[1]))  # As ours draws them.
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    for title, x in ((name, fake), (f"{name}, half of the fakes", fake[::2])):
        ours = sliced_wasserstein_features(real, x)
        rows.append(_row("MIND", title, ours, {"POT": peers.mind(real, x, axes)}))
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
    differences = {peer: relative(value, ours) for peer, value in theirs.items()}
    return {"score": score, "of": name, "ours": np.ravel(ours).tolist(), "differences": differences}


def known_values() -> dict[str, list[float]]:
    """Precision, recall, density, coverage: of ours in three draws, and in prdc's README."""
    known = {}
    for seed in range(3):
        real, fake = np.random.default_rng(seed).standard_normal((2, 10_000, 1000))
        known[f"ours, seed {seed}"] = list(neighbour_scores(real, fake, 5, 5)[:4])
    return known | {"prdc's README": list(PRDC)}


def write_folders(root: Path, num: int) -> tuple[Path, Path]:
    """Drawn faces, and others that are blurred and noisy."""
    drawn = np.asarray(dataset.draw_faces(0, jnp.arange(2 * num), SIZE).image)
    noise = 0.05 * np.random.default_rng(0).standard_normal(drawn[num:].shape)
    blurred = ndimage.gaussian_filter(drawn[num:] / 127.5 - 1, (0, 1, 1, 0))
    folders = root / "real", root / "fake"
    for folder, pictures in zip(folders, (drawn[:num], to_uint8(blurred + noise)), strict=True):
        for i, picture in enumerate(pictures):
            write_png(folder / f"{i:05}.png", picture)
    return folders


def same_folders(weights: Path, folders: tuple[Path, Path]) -> tuple[list[Row], Pair]:
    """A row for each peer and what it is told; our features of the folders, too."""
    variables = read_weights(weights).variables
    pictures = [peers.read_pngs(folder) for folder in folders]
    ours = {
        resize: [extract_features(variables, x, resize) for x in pictures] for resize in RESIZES
    }
    pools = {resize: tuple(x.features for x in found) for resize, found in ours.items()}
    rows, num = [], len(pictures[0])
    for package, told, resize, look in peers.LOOKS:
        theirs = [look(weights, folder) for folder in folders]
        pool = [x[0] for x in theirs]
        mine = pools[resize]
        row = {
            "peer": package,
            "told": told,
            "ours": resize,
            "features": max(map(relative, pool, mine)),
            "Frechet": relative(peers.FRECHET[package](*pool), frechet_distance(*mine)),
        }
        if package in peers.KERNEL:
            kernel = peers.KERNEL[package](*pool, 1, num)
            row["KID"] = relative(kernel, kernel_distance(*mine, 1, num))
        if package == "torch-fidelity":
            fakes = ours[resize][1]
            score = inception_score(np.asarray(fakes.probabilities), 1)
            row["Inception score"] = relative(peers.SCORE[package](theirs[1][1], 1), score)
            row["logits"] = relative(theirs[1][1], fakes.logits)
        rows.append(row)
        print(row, file=sys.stderr, flush=True)
    return rows, pools["legacy"]


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table."""
    return "\n".join(
        "| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)
    )


def report_features(rows: list[Row]) -> str:
    """Relative differences: a row for each score and pair of sets, a column for each peer."""
    names = list(dict.fromkeys(name for row in rows for name in row["differences"]))
    return markdown(
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
    """Relative differences: a row for each peer and what it is told."""
    scores = ["features", "Frechet", "KID", "logits", "Inception score"]
    return markdown(
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
    parser = turns.parser(__doc__, {"images": (200, "in each folder")})
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # Peers warn of how they call one another.
    print(", ".join(f"{name} {version(name)}" for name in peers.PACKAGES), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.pth"
        peers.write_weights(random_state(torch_shapes() | {"fc.bias": (1008,)}), weights)
        folders = write_folders(Path(folder), options.images)
        by_folder, features = same_folders(weights, folders)
    few = f"{options.images} x 2,048, the folders'"
    pairs = {
        "300 x 64": synthetic(300, 64),
        "300 x 64, singular": singular(300, 64),
        "3,000 x 2,048": synthetic(3000, 2048),
        few: tuple(x.astype(np.float64) for x in features),
    }
    by_features = [row for name, pair in pairs.items() for row in same_features(name, *pair)]
    by_features += drawn_features("300 x 64", *pairs["300 x 64"])
    known = known_values()
    print(f"\n{report_features(by_features)}\n\n{report_folders(by_folder)}\n")
    for name, values in known.items():
        print(f"{name}: " + ", ".join(f"{x:.4f}" for x in values))
    turns.write(options, features=by_features, folders=by_folder, known=known)
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
