"""What may be wrong with pictures of one's own, and with what was prepared of them."""

import os
import shutil

import pytest
from helpers.commands import command_on, encode_huge_png, write_pictures
from PIL import Image


def test_labels__are_found_from_here_and_in_the_data(run, tmp_path, monkeypatch):
    root = write_pictures(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{number}.png,{number % 3 == 0:d}\n" for number in range(9))
    for name in ("mine/one.csv", "mine/two.csv", "three.csv"):
        (tmp_path / name).write_text("file,Third\n" + rows)
    command = command_on(root, "--mode=prepare", source="folder")
    code, said = run(*command)
    assert code == 64
    assert "--config.data.labels=" in said
    for name in ("one.csv", "three.csv", str(tmp_path / "three.csv")):
        code, said = run(*command, f"--config.data.labels={name}")
        assert code == 0, said
        assert "Third" in said


@pytest.mark.slow
def test_train__refuses_other_pictures_than_those_of_the_run(run, tmp_path):
    first = write_pictures(tmp_path / "first" / "mine")
    train = [
        f"--config.data.cache_dir={tmp_path / 'cache'}",
        f"--workdir={tmp_path / 'run'}",
    ]
    code, said = run(*command_on(first, *train, source="folder"))
    assert code == 0, said
    shutil.copytree(first, tmp_path / "copied" / "mine")  # With other times.
    code, said = run(
        *command_on(tmp_path / "copied" / "mine", *train, "--config.steps=6", source="folder")
    )
    assert code == 0, said
    shutil.rmtree(tmp_path / "copied")  # What was prepared of it suffices.
    gone = command_on(tmp_path / "copied" / "mine", *train, "--config.steps=7", source="folder")
    code, said = run(*gone)
    assert code == 0, said
    assert "is gone, and what was prepared of it suffices" in said
    (tmp_path / "cache").rename(tmp_path / "cached")
    code, said = run(*gone, "--config.steps=8")
    assert code == 65
    assert "--config.data.cache_dir=FOLDER" in said
    moved = [f"--config.data.path={first}", f"--config.data.cache_dir={tmp_path / 'cached'}"]
    code, said = run(f"--workdir={tmp_path / 'run'}", *moved)
    assert code == 0, said
    other = write_pictures(tmp_path / "other" / "mine")
    Image.new("RGB", (40, 40), "white").save(other / "a" / "1.png")
    code, said = run(*command_on(other, *train, "--config.steps=8", source="folder"))
    assert code == 64
    assert "was trained on other data" in said


def test_train__compares_checksums_of_its_split_and_verify_all(run, tmp_path):
    root = write_pictures(tmp_path / "mine", 60)
    assert run(*command_on(root, "--mode=prepare", source="folder"))[0] == 0

    def flip(split: str) -> None:
        (path,) = (tmp_path / "cache").glob(f"*/{split}/images.npy")
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)

    flip("train")
    code, said = run(*command_on(root, source="folder"))
    assert code == 65
    assert "do not match their checksum" in said
    assert not (tmp_path / "run" / "checkpoints").exists()
    flip("train")  # Back.
    flip("test")
    assert run(*command_on(root, "--mode=prepare", source="folder"))[0] == 0
    for mode in ("prepare", "train"):
        code, said = run(*command_on(root, f"--mode={mode}", "--verify", source="folder"))
        assert code == 65
        assert "test/images.npy" in said


def test_prepare__draws_a_lost_sheet_again(run, tmp_path):
    command = command_on(write_pictures(tmp_path / "mine"), "--mode=prepare", source="folder")
    assert run(*command)[0] == 0
    (sheet,) = (tmp_path / "cache").glob("*/prepared.png")
    sheet.unlink()
    assert run(*command)[0] == 0
    assert sheet.exists()


def test_prepare__takes_names_of_any_bytes(run, tmp_path):
    root = write_pictures(tmp_path / "mine")
    os.rename(root / "a" / "1.png", os.fsencode(root / "a") + b"/\xff.png")
    code, said = run(*command_on(root, "--mode=prepare", source="folder"))
    assert code == 0, said


def test_prepare__refuses_too_many_pixels_below_what_pillow_refuses(run, tmp_path):
    root = write_pictures(tmp_path / "mine")
    (root / "a" / "1.png").write_bytes(encode_huge_png(9_000, 9_000))
    code, said = run(*command_on(root, "--mode=prepare", source="folder"))
    assert code == 65
    assert "1.png is 9000 x 9000; at most 67,108,864 pixels are decoded" in said


def test_train__refuses_huge_headers(run, tmp_path):
    root = write_pictures(tmp_path / "mine")
    (root / "b" / "8.png").write_bytes(encode_huge_png(20_000, 20_000))
    code, said = run(*command_on(root, source="folder"))
    assert code == 65
    assert "8.png: Image size (400000000 pixels)" in said
