"""Checks that the scores answer faults: real pictures, made worse step by step, are scored.

    python -m benchmarks.calibration --workdir=runs/celeba --split=test

The run only says which data to take; its checkpoints are not read. Pictures of the other held-out
split are blurred, get noise, are compressed, lose modes or have their labels shuffled, and are
scored against `--split` as if they were generated. A score that is meant to see a fault has to
become worse with each step of it.

The plot goes to `evaluation/calibration.png` in the workdir, and so into its `report.html`.
"""

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from scipy import ndimage

from benchmarks import turns
from gan.data.prepare import prepare
from gan.evaluation.options import EvaluationOptions
from gan.evaluation.reference_sets import ReferenceSets
from gan.evaluation.report.report import write_report
from gan.metrics.distances import spread_rows
from gan.metrics.reference_set import ReferenceSet
from gan.metrics.scores import better_direction
from gan.runtime import logs
from gan.sampling.open_run import open_run

PICTURES, LABELS = ("swd", "FD", "KD", "MIND"), ("FJD", "control", "accuracy_ratio")
MODES = ("Male", "Smiling", "Young")  # Each combination of these attributes is a mode.
Faulty = tuple[np.ndarray, np.ndarray]  # Pictures uint8 [n h w 3], and labels uint8 [n a].


class Originals:
    """Real pictures with their labels, and ways to make them worse."""

    def __init__(self, reference: ReferenceSet):
        """Takes as many pictures of the other held-out split as the reference set has."""
        self.store, self.num = reference.stores[reference.baseline_split], reference.num
        columns = [self.store.attribute_names.index(name) for name in reference.names]
        self.attributes = np.asarray(self.store.attributes[:, columns])
        self.rows = spread_rows(len(self.store.images), self.num)
        self.modes = [reference.names.index(name) for name in MODES if name in reference.names]

    def take(self, rows: np.ndarray) -> Faulty:
        """Returns the pictures of some rows, and their labels."""
        return np.asarray(self.store.images[rows]), self.attributes[rows]

    def blur(self, sigma: float) -> Faulty:
        """Blurs by a Gaussian of so many pixels."""
        images, labels = self.take(self.rows)
        blurred = ndimage.gaussian_filter(images.astype(np.float32), (0, sigma, sigma, 0))
        return to_uint8(blurred), labels

    def add_noise(self, deviation: float) -> Faulty:
        """Adds Gaussian noise of this deviation to each value of 0..255."""
        images, labels = self.take(self.rows)
        noise = np.random.default_rng(0).standard_normal(images.shape, np.float32)
        return to_uint8(images + deviation * noise), labels

    def compress(self, coarseness: float) -> Faulty:
        """Compresses as JPEG of the quality 100 - coarseness; 0 leaves pictures as they are."""
        images, labels = self.take(self.rows)
        if coarseness:
            images = np.stack([compress_jpeg(image, round(100 - coarseness)) for image in images])
        return images, labels

    def drop_modes(self, share: float) -> Faulty:
        """Leaves out the rarest modes, this share of all, and fills up with other pictures."""
        mode = self.attributes[:, self.modes] @ (1 << np.arange(len(self.modes)))
        counts = np.bincount(mode)
        dropped = np.argsort(counts, kind="stable")[: round(share * len(counts))]
        rows = self.rows[~np.isin(mode[self.rows], dropped)]
        more = np.setdiff1d(np.flatnonzero(~np.isin(mode, dropped)), rows)
        return self.take(np.resize(np.concatenate([rows, more]), self.num))

    def shuffle_labels(self, share: float) -> Faulty:
        """Gives this share of the pictures the labels of another one."""
        images, labels = self.take(self.rows)
        rng = np.random.default_rng(0)
        chosen = rng.permutation(self.num)[: round(share * self.num)]
        labels = labels.copy()
        labels[chosen] = labels[np.roll(chosen, 1)]
        return images, labels


FAULTS: dict[str, tuple[Callable[[Originals, float], Faulty], tuple[float, ...]]] = {
    "blur": (Originals.blur, (0, 0.5, 0.75, 1, 1.5, 2)),
    "noise": (Originals.add_noise, (0, 8, 16, 32, 64)),
    "jpeg": (Originals.compress, (0, 25, 50, 75, 85, 95)),
    "dropped_modes": (Originals.drop_modes, (0, 0.25, 0.5, 0.75, 0.875)),
    "shuffled_labels": (Originals.shuffle_labels, (0, 0.2, 0.4, 0.6, 0.8, 1)),
}


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Rounds values, and clips them to 0..255."""
    return np.clip(np.rint(images), 0, 255).astype(np.uint8)


def compress_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """Compresses a picture and reads it again."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="JPEG", quality=quality)
    return np.asarray(Image.open(file))


def measure(reference: ReferenceSet) -> dict[str, dict]:
    """Returns, for each fault, its strengths, and at each of them the scores meant to see it."""
    originals = Originals(reference)
    found: dict[str, dict] = {}
    for name, (fault, strengths) in FAULTS.items():
        seen = LABELS if name == "shuffled_labels" else PICTURES
        rows = []
        for strength in strengths:
            scores = reference.score(reference.extract(*fault(originals, strength)))
            rows.append(
                {k.partition("@")[0]: v for k, v in scores.items() if strip_extractor(k) in seen}
            )
            print(name, strength, {k: round(v, 3) for k, v in rows[-1].items()}, flush=True)
        found[name] = {"strengths": strengths, "scores": {k: [r[k] for r in rows] for k in rows[0]}}
    return found


def strip_extractor(name: str) -> str:
    """Returns a score's name without its extractor's: "FD" of "FD-attr@1a2b3c4d"."""
    return name.partition("-")[0]


def is_monotone(name: str, values: list[float]) -> bool:
    """Whether each value of a score is worse than the one before."""
    return bool((np.diff(values) * (1 if better_direction(name) == "lower" else -1) > 0).all())


def report(found: dict[str, dict]) -> str:
    """Returns a table in Markdown for each fault."""
    tables = []
    for fault, result in found.items():
        strengths = (f"{strength:g}" for strength in result["strengths"])
        head = [fault.replace("_", " "), *strengths, "monotone"]
        rows = [
            [
                name,
                *(f"{value:.4g}" for value in values),
                "yes" if is_monotone(name, values) else "**no**",
            ]
            for name, values in result["scores"].items()
        ]
        tables.append("\n" + turns.format_markdown(head, rows))
    return "\n".join(tables)


def plot(found: dict[str, dict], path: Path) -> None:
    """Plots each score over each fault's strength, as a share of its largest change."""
    figure = Figure(figsize=(2.6 * len(found), 2.8), layout="constrained")
    for axes, (fault, result) in zip(figure.subplots(1, len(found)), found.items(), strict=True):
        for name, values in result["scores"].items():
            change = np.abs(np.subtract(values, values[0]))
            axes.plot(
                result["strengths"], change / max(change.max(), 1e-12), "o-", label=name, ms=3
            )
        axes.set_title(fault.replace("_", " "), fontsize=10)
        axes.tick_params(labelsize=7)
        axes.legend(fontsize=7, frameon=False)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Prints the tables, writes the plot and the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workdir", type=Path, required=True, help="a run on the data")
    parser.add_argument("--split", default="test", help="the reference set")
    parser.add_argument("--num_images", type=int, default=2_048, help="of each set (2048)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there, too")
    options = parser.parse_args()
    logs.log_to_terminal()
    run = open_run(options.workdir)
    references = ReferenceSets(
        EvaluationOptions(split=options.split, num_images=options.num_images)
    )
    stores = prepare(run.config.data)
    found = measure(references.make(stores, options.num_images, run.table.names))
    print(report(found))
    folder = options.workdir / "evaluation"
    folder.mkdir(exist_ok=True)
    plot(found, folder / "calibration.png")
    turns.write_results(options, faults=found)
    if (options.workdir / "scores.jsonl").exists():
        print("Report:", write_report(options.workdir))


if __name__ == "__main__":
    main()
