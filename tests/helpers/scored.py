"""Makes folders of runs that look evaluated: numbers of the usual sizes, drawn from a seed."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gan.evaluation import score_rows
from gan.evaluation.options import EvaluationOptions
from gan.runtime.pictures import write_png

NUM = 40  # Pictures of a test's evaluation: no multiple of what is drawn at a time.
OPTIONS = EvaluationOptions(num_images=NUM, seeds=(0, 1))
NAMES = ("Smiling", "Eyeglasses", "Bald", "Male")
HASH = "1a2b3c4d"
FIRST = {  # Values of the first checkpoint, and the baselines.
    "swd": (160, 5.1),
    f"FD-attr@{HASH}": (90, 1.3),
    f"KD-attr@{HASH}": (0.09, 0.0004),
    f"MIND-attr@{HASH}": (40, 0.6),
    f"precision-attr@{HASH}": (0.2, 0.78),
    f"recall-attr@{HASH}": (0.05, 0.77),
    f"density-attr@{HASH}": (0.2, 1.0),
    f"coverage-attr@{HASH}": (0.1, 0.96),
    f"authenticity-attr@{HASH}": (0.9, 0.55),
    f"nearest_ratio-attr@{HASH}": (1.8, 1.0),
    f"FJD-attr@{HASH}": (120, 1.9),
    f"balanced_accuracy-attr@{HASH}": (0.52, 0.86),
    f"accuracy_ratio-attr@{HASH}": (0.6, None),
    f"swap-attr@{HASH}": (0.1, None),
    f"leakage-attr@{HASH}": (0.002, None),
}


def protocol(name: str = "5e6f7a8b", **changes: object) -> dict:
    return {
        "id": name,
        "split": "validation",
        "images": 2048,
        "crop": "center178",
        "image_size": 64,
        "data": "faces 32,768 drawn",
        "resize": "bicubic",
        "labels": "of the held-out pictures",
        "seeds": [0, 1, 2],
        "extractors": {"attr": HASH},
        "ema": 0.999,
        "gan": "0.1.0",
        **changes,
    }


def row(
    step: int,
    progress: float = 0.5,
    names: Sequence[str] = NAMES,
    about: dict | None = None,
    seed: int = 0,
) -> dict:
    """Row of a checkpoint that went `progress` of the way from the first one to the baseline."""
    rng = np.random.default_rng([seed, step])
    scores = {}
    for name, (first, baseline) in FIRST.items():
        last = (
            {"swap": 0.85, "leakage": 0.04}.get(name.partition("-")[0], 1)
            if baseline is None
            else baseline
        )
        mean = first + (last - first) * progress * (1 + 0.03 * rng.standard_normal())
        scores[name] = {"mean": mean, "sd": abs(first - last) * 0.01, "floor": baseline}
    return {
        "step": step,
        "scores": scores,
        "attributes": {name: attribute(i, progress, rng) for i, name in enumerate(names)},
        "protocol": about or protocol(),
    }


def few_rows(steps: int = 4, **options: object) -> list[dict]:
    """Rows of two scores at steps 1000, 2000, ...: drawing the charts of all scores takes long."""
    rows = [row(1000 * i, i / 5, **options) for i in range(1, steps + 1)]
    for x in rows:
        x["scores"] = {name: x["scores"][name] for name in ("swd", f"FD-attr@{HASH}")}
    return rows


def attribute(i: int, progress: float, rng: np.random.Generator) -> dict:
    real = {"true_positive": rng.uniform(0.7, 0.98), "true_negative": rng.uniform(0.85, 0.99)}
    fake = {k: v - rng.uniform(0, 0.3) * (1.2 - progress) for k, v in real.items()}
    for found in (real, fake):
        found["balanced_accuracy"] = (found["true_positive"] + found["true_negative"]) / 2
        found["f1"] = rng.uniform(0.5, 0.95)
    return {
        "positives": int(rng.integers(20, 1500)),
        "tier": ("sure", "unsure", "fair")[i % 3],
        **fake,
        "swap": rng.uniform(0.3, 0.95),
        "distance": None if i % 4 == 0 else rng.uniform(2, 9),
        "real": real | {"distance": 1.5},
    }


def value(row: dict, name: str, field: str = "mean") -> float:
    """A field of a row's score, whatever the hash of the classifier is."""
    (found,) = (x for key, x in row["scores"].items() if name in (key, key.split("@")[0]))
    return found[field]


def write(folder: Path, rows: Sequence[dict], best: dict | None = None) -> Path:
    """Writes the scores alone."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if best:
        (folder / "best.json").write_text(json.dumps(best))
    return folder


def write_rest(folder: Path, step: int, names: Sequence[str] = NAMES, rows: int = 50) -> Path:
    """Writes pictures, the swap matrix, training curves and the configuration."""
    rng = np.random.default_rng(1)
    evaluation = score_rows.pictures_folder(folder, protocol()["id"], step)
    for name in ("samples.png", "nearest.png"):
        write_png(evaluation / name, rng.integers(0, 255, (16, 32, 3), dtype=np.uint8))
    matrix = rng.beta(0.5, 12, (len(names), len(names)))
    np.fill_diagonal(matrix, rng.uniform(0.4, 0.95, len(names)))
    np.save(evaluation / "swap.npy", matrix)
    lines = [
        {
            "step": 100 * (i + 1),
            "g_loss": 2 + np.exp(-i / 30) + 0.2 * rng.standard_normal(),
            "d_loss": 0.7 - 0.3 * np.exp(-i / 30) + 0.05 * rng.standard_normal(),
            "d_real_accuracy": 0.8 + 0.03 * rng.standard_normal(),
            "d_fake_accuracy": 0.84 + 0.03 * rng.standard_normal(),
            "images_per_second": 520 + 15 * rng.standard_normal(),
        }
        for i in range(rows)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "config.json").write_text('{"seed": 0, "data": {"source": "faces"}}\n')
    (folder / "environment.json").write_text('{"command": ["gan.main", "--workdir=runs/<x>"]}\n')
    return folder
