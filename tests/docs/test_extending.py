"""Every section of docs/extending.md is carried out on a copy of the package."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import unoptimised

ROOT = Path(__file__).parents[2]
SECTIONS = dict(
    re.findall(
        r"^## (.*?)\n(.*?)(?=^## |\Z)", (ROOT / "docs/extending.md").read_text(), re.M | re.S
    )
)
STEP_ITSELF = "the step itself"  # The one without edits.
CHANGES = [title for title in SECTIONS if title != STEP_ITSELF]
SMALL = [
    *("--config.steps=2", "--config.log_every=1", "--config.checkpoint_every=2"),
    *("--config.sample_every=2", "--config.data.batch_size=4", "--config.data.num_faces=64"),
    "--config.z_dim=8",
]
NARROW = ["--config.network.g_width=4", "--config.network.d_width=4"]


def blocks(title: str, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", SECTIONS[title], re.M | re.S)


def edits(title: str) -> list[tuple[str, str, str]]:
    """File, place in it, text."""
    found = []
    for block in blocks(title, "python"):
        first, _, text = block.partition("\n")
        file, _, place = first.removeprefix("# ").partition(", ")
        found.append((file, place, text))
    return found


def carry_out(folder: Path, file: str, place: str, text: str) -> None:
    """Makes one edit, the way its first line says."""
    path = folder / file
    if place == "a new file":
        assert not path.exists(), file
        path.write_text(text)
        return
    how, _, name = place.rpartition(" ")
    before = path.read_text()
    if how == "before":
        pattern = rf"^(class {name}\b|{name}\b[^\n]* = )"
        added = f"{text}\n\n"
        after = re.sub(pattern, lambda m: added + m[0], before, count=1, flags=re.M)
    elif how == "a line of":
        pattern = rf"^{name}\b[^\n]* = (?:\w+\()?{{[^\n]*\n"
        after = re.sub(pattern, lambda m: m[0] + text, before, count=1, flags=re.M)
    else:
        assert how == "a field of", place
        pattern = rf'^class {name}:\n    """.*?"""\n\n'
        after = re.sub(pattern, lambda m: m[0] + text, before, count=1, flags=re.M | re.S)
    assert after != before, f"{file} has no {place}"
    path.write_text(after)


def python(folder: Path, *arguments: str) -> str:
    """Runs Python in a copy of the package; what it printed."""
    caches = {
        "XDG_CACHE_HOME": str(folder / "cache"),
        "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".pytest_cache/xla"),  # Shared by all sections.
    }
    environment = {**os.environ, **unoptimised.FLAGS, "JAX_PLATFORMS": "cpu", **caches}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rows(folder: Path, run: str) -> list[dict]:
    return [json.loads(x) for x in (folder / f"runs/{run}/metrics.jsonl").read_text().splitlines()]


def scores(folder: Path) -> dict[str, dict]:
    (line,) = (folder / "runs/quickstart/scores.jsonl").read_text().splitlines()
    return json.loads(line)["scores"]


AUGMENT = """
import jax, numpy as np
from gan.config import Augment
from gan.model.augment import compose
image = np.random.default_rng(0).uniform(-1, 1, (8, 8, 3)).astype("f4")
changed = compose(Augment({setting}))(jax.random.key(0), image, 1.0)
print(float(abs(changed - image).max()), float(abs(changed + image).max()))
"""


def look_at_a_loss(folder: Path, printed: str) -> None:
    assert all(np.isfinite(row["margin"]) for row in rows(folder, "logistic"))
    assert re.search(r"\| margin -?\d", printed)


def look_at_a_weight(folder: Path, printed: str) -> None:
    for row in rows(folder, "calm"):
        assert 0 < row["drift"] < row["d_loss"]
    assert json.loads((folder / "runs/calm/config.json").read_text())["calm"] == 0.5


def look_at_a_penalty(folder: Path, printed: str) -> None:
    assert all(row["d_penalty"] > 0 for row in rows(folder, "far"))


def look_at_an_architecture(folder: Path, printed: str) -> None:
    assert "plain at 32 px" in printed
    settings = json.loads((folder / "runs/plain/config.json").read_text())["network"]
    assert settings == {"name": "plain", "hidden": 32}


def look_at_a_data_set(folder: Path, printed: str) -> None:
    assert "Data: 60 pictures in " in printed
    assert "1 attributes" in printed


def look_at_a_matrix(folder: Path, printed: str) -> None:
    changed, _ = python(folder, "-c", AUGMENT.format(setting="shear=0.5")).split()
    assert float(changed) > 0.1


def look_at_colours(folder: Path, printed: str) -> None:
    changed, negative = python(folder, "-c", AUGMENT.format(setting="invert=1.0")).split()
    assert float(changed) > 0.1
    assert float(negative) < 1e-6


def look_at_a_chip(folder: Path, printed: str) -> None:
    assert "quickstart on abacus:1: 1 x Abacus" in printed
    assert "Largest batch" in printed


def look_at_a_score_of_pictures(folder: Path, printed: str) -> None:
    found = scores(folder)
    assert 0 < found["brightness"]["mean"] < 255
    assert found["brightness"]["floor"] < found["brightness"]["mean"]
    assert "brightness" in printed
    assert (
        "Difference of the mean brightness" in (folder / "runs/quickstart/report.html").read_text()
    )


def look_at_a_score_of_features(folder: Path, printed: str) -> None:
    (name,) = [name for name in scores(folder) if name.startswith("centre-attr@")]
    assert scores(folder)[name]["mean"] > 0
    assert name.partition("@")[0] in printed


def look_at_an_extractor(folder: Path, printed: str) -> None:
    found = scores(folder)
    assert found["FD-blocks"]["mean"] > found["FD-blocks"]["floor"]
    assert "FD-blocks" in printed


def look_at_a_setting(folder: Path, printed: str) -> None:
    assert json.loads((folder / "runs/note/config.json").read_text())["note"] == "first"
    assert "a remark about the run" in python(folder, "-m", "gan.main", "--help")


LOOK = {
    "a loss": look_at_a_loss,
    "a loss with a weight of its own": look_at_a_weight,
    "a penalty": look_at_a_penalty,
    "an architecture": look_at_an_architecture,
    "a data set": look_at_a_data_set,
    "an augmentation that is a matrix": look_at_a_matrix,
    "an augmentation that changes colours": look_at_colours,
    "a chip to preflight for": look_at_a_chip,
    "a score of pictures": look_at_a_score_of_pictures,
    "a score of features": look_at_a_score_of_features,
    "an extractor of features": look_at_an_extractor,
    "a setting": look_at_a_setting,
}


def test_extending__has_a_section_for_each_row_of_the_readme():
    lines = (ROOT / "README.md").read_text().splitlines()
    table = lines[lines.index("| to change | write |") + 2 :]
    table = [line.strip("| ").split(" | ") for line in table[: table.index("")]]
    assert [title for title, _ in table] == CHANGES == [*LOOK]
    for title, text in table:
        files = {file for file, _, _ in edits(title)}
        named = set(re.findall(r"`(gan/[\w/]+\.py)`", text))
        new = {file for file, place, _ in edits(title) if place == "a new file"}
        assert files - new == named - new, title
        for file in new:
            assert f"`{Path(file).parent}/`" in text, title
        assert len(files) <= 2, title


@pytest.mark.slow
@pytest.mark.parametrize("title", CHANGES)
def test_extending__section_is_carried_out(title, finished, faces_cache, tmp_path):
    for name in ("gan", "configs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for edit in edits(title):
        carry_out(tmp_path, *edit)
    (command,) = blocks(title, "bash")
    program, module, *arguments = shlex.split(command)[1:]
    assert [program, module] == ["-m", "gan.main"]
    if "--mode=evaluate" in arguments:
        shutil.copytree(finished[1], tmp_path / "runs/quickstart")
        (tmp_path / "runs/quickstart/checkpoints/2").rename(tmp_path / "aside")
        for name in ("scores.jsonl", "best.json", "report.html"):
            (tmp_path / "runs/quickstart" / name).unlink(missing_ok=True)
        arguments += ["--seeds=0,1"]
    else:
        arguments += SMALL + ([] if "--config.network.name=plain" in arguments else NARROW)
        if "--config.data.source=auto" not in arguments:
            arguments += [f"--config.data.cache_dir={faces_cache.parent / 'extending'}"]
        random = np.random.default_rng(0)
        pictures = random.integers(0, 256, (60, 40, 40, 3), dtype=np.uint8)
        np.savez(tmp_path / "faces.npz", images=pictures, smiling=random.integers(0, 2, 60))
    printed = python(tmp_path, "-m", "gan.main", *arguments)
    LOOK[title](tmp_path, printed)
