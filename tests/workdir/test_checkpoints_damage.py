"""Whatever is done to the files of a checkpoint: its numbers come back, or it is set aside."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.states import ORBAX_FAILS, like, make_metrics, make_state, same

from gan.workdir.checkpoints import Checkpoints

pytestmark = ORBAX_FAILS
FLIPS = 150  # Of one bit, in each file.
ABOUT = {"images": 256, "pictures": {"source": "ab", "pixels": "cd"}}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Two checkpoints, of steps 1 and 2."""
    folder = tmp_path_factory.mktemp("sound")
    with Checkpoints(folder, keep=3, about=ABOUT) as checkpoints:
        for step in (1, 2):
            checkpoints.save(make_state(step), step, make_metrics(step))
        checkpoints.wait()
    return folder


def flip(path: Path, seed: int) -> None:
    content = bytearray(path.read_bytes())
    bit = random.Random(f"{seed} {len(content)}").randrange(8 * len(content))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def cut(path: Path, num: int) -> None:
    path.write_bytes(path.read_bytes()[:num])


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def link_instead(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("nothing"))


DAMAGES: dict[str, Callable[[Path], None]] = {
    "gone": Path.unlink,
    "half": lambda path: cut(path, path.stat().st_size // 2),
    "last byte gone": lambda path: cut(path, -1),
    "empty": lambda path: cut(path, 0),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "folder": folder_instead,
    "link": link_instead,
    **{f"flip {seed}": lambda path, seed=seed: flip(path, seed) for seed in range(FLIPS)},
}
FAST = ("gone", "half", "flip 0")
RARE = tuple(f"flip {seed}" for seed in range(12, FLIPS))


def newest_whole(folder: Path) -> int:
    """The step that training goes on from, having checked that it is what was saved there."""
    with Checkpoints(folder, keep=3, about=ABOUT) as checkpoints:
        state, metrics = checkpoints.restore_newest(like())
        step = int(state.step)
        assert same(state, make_state(step))
        assert metrics == make_metrics(step)
        assert checkpoints.steps() == list(range(1, step + 1))
    assert len(list((folder / "checkpoints").glob("2.damaged-*"))) == (step == 1)
    return step


def marked(damage: str) -> Any:
    if damage in FAST:
        return damage
    return pytest.param(damage, marks=pytest.mark.series if damage in RARE else pytest.mark.slow)


@pytest.mark.parametrize("damage", [marked(damage) for damage in DAMAGES])
def test_damage__no_damaged_file_gives_wrong_numbers(sound, tmp_path, damage):
    newest = sound / "checkpoints/2"
    files = sorted(path.relative_to(sound) for path in newest.rglob("*") if path.is_file())
    assert len(files) > 10
    found = {}
    for num, file in enumerate(files):
        copy = tmp_path / str(num)
        shutil.copytree(sound, copy)
        DAMAGES[damage](copy / file)
        found[str(file)] = newest_whole(copy)
    # The arrays and the manifest cannot be done without.
    assert list(found.values()).count(1) >= (1 if damage.startswith("flip") else 4), found
    assert found["checkpoints/2/meta/metadata"] == 1


@pytest.mark.parametrize("what", ["meta", "state", "state/d", "state/ocdbt.process_0", "."])
def test_damage__a_folder_that_is_empty_or_not_there_is_damage(sound, tmp_path, what):
    for emptied in (True, False) if what != "." else (True,):
        copy = tmp_path / str(emptied)
        shutil.copytree(sound, copy)
        shutil.rmtree(copy / "checkpoints/2" / what)
        if emptied:
            (copy / "checkpoints/2" / what).mkdir()
        assert newest_whole(copy) == 1


def test_damage__what_is_no_checkpoint_is_left_alone(sound, tmp_path):
    shutil.copytree(sound, tmp_path, dirs_exist_ok=True)
    checkpoints = tmp_path / "checkpoints"
    shutil.copytree(checkpoints / "2", checkpoints / "3.orbax-checkpoint-tmp")
    shutil.copytree(checkpoints / "1", checkpoints / "4.damaged-17")
    (checkpoints / "5").write_text("")
    (checkpoints / "06").mkdir()
    assert newest_whole(tmp_path) == 2
