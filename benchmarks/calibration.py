"""Do the scores answer faults? Real pictures, made worse step by step, in place of generated ones.

    python -m benchmarks.calibration --workdir=runs/celeba --split=test

The run says which data; none of its checkpoints is looked at. Pictures of the other held-out split
are blurred, get noise, are compressed, lose modes or have their labels shuffled, and are scored
beside those of this one. Every score that is meant to see a fault must rise with it (or fall, where
higher is better).
The plot goes to `evaluation/calibration.png` in the workdir, and so into its `report.html`.
"""

import argparse
import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parents[1]))  # For `python benchmarks/calibration.py`.
from benchmarks import turns
from gan.data.prepare import prepare
from gan.evaluation.job import Job, Options
from gan.evaluation.report.report import write_report
from gan.metrics.distances import spread_rows
from gan.metrics.reference_set import ReferenceSet
from gan.metrics.scores import better_direction
from gan.runtime import logs
from gan.sampling.open_run import open_run

PICTURES, LABELS = ("swd", "FD", "KD", "MIND"), ("FJD", "control", "accuracy_ratio")
MODES = ("Male", "Smiling", "Young")  # Their combinations are the modes.
Faulty = tuple[np.ndarray, np.ndarray]


class Originals:
    """Real pictures with their labels, and ways to make them worse."""

    def __init__(self, reference: ReferenceSet):
        """As many as there are to compare with, and all others to fill up with."""
        self.store, self.num = reference.stores[reference.baseline_split], reference.num
        columns = [self.store.attribute_names.index(name) for name in reference.names]
        self.attributes = np.asarray(self.store.attributes[:, columns])
        self.rows = spread_rows(len(self.store.images), self.num)
        self.modes = [reference.names.index(name) for name in MODES if name in reference.names]

    def take(self, rows: np.ndarray) -> Faulty:
        """Pictures and their labels."""
        return np.asarray(self.store.images[rows]), self.attributes[rows]

    def blur(self, sigma: float) -> Faulty:
        """By a Gaussian of so many pixels."""
        images, labels = self.take(self.rows)
        blurred = ndimage.gaussian_filter(images.astype(np.float32), (0, sigma, sigma, 0))
        return to_uint8(blurred), labels

    def noise(self, deviation: float) -> Faulty:
        """Added to each value of 0..255."""
        images, labels = self.take(self.rows)
        noise = np.random.default_rng(0).standard_normal(images.shape, np.float32)
        return to_uint8(images + deviation * noise), labels

    def jpeg(self, coarseness: float) -> Faulty:
        """Compressed with the quality 100 - coarseness; 0 leaves the pictures as they are."""
        images, labels = self.take(self.rows)
        if coarseness:
            images = np.stack([through_jpeg(image, round(100 - coarseness)) for image in images])
        return images, labels

    def dropped_modes(self, share: float) -> Faulty:
        """Of the combinations of `MODES` the rarest are missing, others in their place."""
        mode = self.attributes[:, self.modes] @ (1 << np.arange(len(self.modes)))
        counts = np.bincount(mode)
        dropped = np.argsort(counts, kind="stable")[: round(share * len(counts))]
        rows = self.rows[~np.isin(mode[self.rows], dropped)]
        more = np.setdiff1d(np.flatnonzero(~np.isin(mode, dropped)), rows)
        return self.take(np.resize(np.concatenate([rows, more]), self.num))

    def shuffled_labels(self, share: float) -> Faulty:
        """So many pictures have the labels of another one."""
        images, labels = self.take(self.rows)
        rng = np.random.default_rng(0)
        chosen = rng.permutation(self.num)[: round(share * self.num)]
        labels = labels.copy()
        labels[chosen] = labels[np.roll(chosen, 1)]
        return images, labels


FAULTS: dict[str, tuple[Callable[[Originals, float], Faulty], tuple[float, ...]]] = {
    "blur": (Originals.blur, (0, 0.5, 0.75, 1, 1.5, 2)),
    "noise": (Originals.noise, (0, 8, 16, 32, 64)),
    "jpeg": (Originals.jpeg, (0, 25, 50, 75, 85, 95)),
    "dropped_modes": (Originals.dropped_modes, (0, 0.25, 0.5, 0.75, 0.875)),
    "shuffled_labels": (Originals.shuffled_labels, (0, 0.2, 0.4, 0.6, 0.8, 1)),
}


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Rounded, within 0..255."""
    return np.clip(np.rint(images), 0, 255).astype(np.uint8)


def through_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """What is left of a picture."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="JPEG", quality=quality)
    return np.asarray(Image.open(file))


def measure(reference: ReferenceSet) -> dict[str, dict]:
    """For each fault its strengths, and at each of these every score that is meant to see it."""
    originals = Originals(reference)
    found: dict[str, dict] = {}
    for name, (fault, strengths) in FAULTS.items():
        seen = LABELS if name == "shuffled_labels" else PICTURES
        rows = []
        for strength in strengths:
            scores = reference.score(reference.extract(*fault(originals, strength)))
            rows.append({k.partition("@")[0]: v for k, v in scores.items() if base(k) in seen})
            print(name, strength, {k: round(v, 3) for k, v in rows[-1].items()}, flush=True)
        found[name] = {"strengths": strengths, "scores": {k: [r[k] for r in rows] for k in rows[0]}}
    return found


def base(name: str) -> str:
    """A score's name without its extractor."""
    return name.partition("-")[0]


def monotone(name: str, values: list[float]) -> bool:
    """Whether each step is for the worse."""
    return bool((np.diff(values) * (1 if better_direction(name) == "lower" else -1) > 0).all())


def report(found: dict[str, dict]) -> str:
    """A table for each fault, as Markdown."""
    lines = []
    for fault, result in found.items():
        lines += [
            "",
            "| "
            + fault.replace("_", " ")
            + " | "
            + " | ".join(f"{strength:g}" for strength in result["strengths"])
            + " | monotone |",
            "|---" * (len(result["strengths"]) + 2) + "|",
        ]
        for name, values in result["scores"].items():
            cells = " | ".join(f"{value:.4g}" for value in values)
            lines.append(f"| {name} | {cells} | {'yes' if monotone(name, values) else '**no**'} |")
    return "\n".join(lines)


def plot(found: dict[str, dict], path: Path) -> None:
    """Each score over the strength of each fault, as a share of its largest change."""
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
    parser.add_argument("--workdir", type=Path, required=True, help="of a run on the data")
    parser.add_argument("--split", default="test", help="to compare with")
    parser.add_argument("--num_images", type=int, default=2_048)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    options = parser.parse_args()
    logs.log_to_terminal()
    run = open_run(options.workdir)
    job = Job(Options(split=options.split, num_images=options.num_images))
    found = measure(
        job.reference_set(prepare(run.config.data), options.num_images, run.table.names)
    )
    print(report(found))
    folder = options.workdir / "evaluation"
    folder.mkdir(exist_ok=True)
    plot(found, folder / "calibration.png")
    turns.write(options, faults=found)
    if (options.workdir / "scores.jsonl").exists():
        print("Report:", write_report(options.workdir))


if __name__ == "__main__":
    main()
