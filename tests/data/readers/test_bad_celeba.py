"""What may be wrong with CelebA, one row a fault: the command says what, before training."""

import io
import re
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import command_on
from helpers.small_celeba import MEMBERS, picture, write_celeba
from PIL import Image

ATTRIBUTES, PARTITION, ZIP, FOLDER = (
    *("list_attr_celeba.txt", "list_eval_partition.txt"),
    *("img_align_celeba.zip", "img_align_celeba"),
)
SIXTH = MEMBERS[5]  # Of the training split.


def encoded(kind: str, mode: str = "RGB", size: tuple[int, int] = (89, 109)) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size).save(file, kind)
    return file.getvalue()


def jpeg_of(width: int, height: int) -> bytes:
    """A picture whose header says that it is larger than it is."""
    data = bytearray(picture(5, 109, 89))
    frame = data.index(b"\xff\xc0") + 5
    data[frame : frame + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def replaced(data: bytes):
    """The sixth picture in the folder becomes `data`."""
    return lambda root: (root / FOLDER / SIXTH).write_bytes(data)


def edited(name: str, old: str, new: str):
    def damage(root: Path) -> None:
        text = (root / name).read_text()
        assert re.search(old, text)
        (root / name).write_text(re.sub(old, new, text, count=1))

    return damage


def member(name: str, data: bytes = b"x", compression: int = zipfile.ZIP_STORED):
    """One more member of the zip, whatever its name."""

    def damage(root: Path) -> None:
        with warnings.catch_warnings(), zipfile.ZipFile(root / ZIP, "a") as archive:
            warnings.simplefilter("ignore")
            archive.writestr(zipfile.ZipInfo(name), data, compression)

    return damage


def flipped(root: Path) -> None:
    data = bytearray((root / ZIP).read_bytes())
    with zipfile.ZipFile(root / ZIP) as archive:
        info = archive.getinfo(f"{FOLDER}/{SIXTH}")
    data[info.header_offset + 30 + len(info.filename) + info.file_size // 2] ^= 1
    (root / ZIP).write_bytes(data)


def cut(name: str, share: float):
    def damage(root: Path) -> None:
        data = (root / name).read_bytes()
        (root / name).write_bytes(data[: int(share * len(data))])

    return damage


def shuffled(name: str):
    def change(root: Path) -> None:
        head, rows = [], (root / name).read_text().splitlines()
        if name == ATTRIBUTES:
            head, rows = rows[:2], rows[2:]
        rows = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
        (root / name).write_text("\n".join([*head, *rows]))

    return change


whole = picture(5, 109, 89)
IN_FOLDER = {
    "truncated JPEG": (replaced(whole[: len(whole) // 2]), "the JPEG breaks off"),
    "last two bytes lost": (replaced(whole[:-2]), "the JPEG breaks off"),
    "no scan": (
        replaced(whole[: whole.index(b"\xff\xda")] + b"\xff\xd9"),
        "no picture that can be decoded",
    ),
    "PNG named .jpg": (replaced(encoded("PNG")), "is not a JPEG file"),
    "WebP named .jpg": (replaced(encoded("WEBP")), "is not a JPEG file"),
    "GIF named .jpg": (replaced(encoded("GIF")), "is not a JPEG file"),
    "HTML named .jpg": (replaced(b"<html>404"), "is not a JPEG file"),
    "empty": (replaced(b""), "is not a JPEG file"),
    "CMYK": (replaced(encoded("JPEG", "CMYK")), "CMYK"),
    "another frame": (replaced(encoded("JPEG", size=(89, 89))), "89 x 89"),
    "20000 x 20000": (replaced(jpeg_of(20_000, 20_000)), "400000000 pixels"),
}
IN_ZIP = {
    "flipped bit": (flipped, "damaged"),
    "HTML instead of a zip": (
        lambda root: (root / ZIP).write_bytes(b"<!DOCTYPE html><html>quota"),
        "this is an HTML page",
    ),
    "zip cut": (cut(ZIP, 0.9), "the zip breaks off"),
    "zip bomb": (
        lambda root: [member("a.txt")(root), bomb(root)],
        "at most 67,108,864 are read",
    ),
    "path traversal": (member("../../evil.jpg"), "'../../evil.jpg' points out of the archive"),
    "absolute name": (member("/etc/evil.jpg"), "'/etc/evil.jpg' points out of the archive"),
    "twice": (member(f"{FOLDER}/{SIXTH}"), f"{SIXTH} is in it twice"),
    "picture without a row": (member(f"{FOLDER}/000013.jpg"), "000013.jpg"),
}
IN_TEXT = {
    "count": (edited(ATTRIBUTES, "^12", "13"), "line 1: says 13 pictures, but 12"),
    "column lost": (edited(ATTRIBUTES, " Young ", " "), "Young is missing"),
    "column misspelt": (edited(ATTRIBUTES, "Smiling", "Smileing"), "Did you mean 'Smiling'?"),
    "value": (edited(ATTRIBUTES, r"(000004.jpg) +-?1", r"\1 2"), "line 6: 000004.jpg has"),
    "row twice": (edited(ATTRIBUTES, "000004.jpg", "000003.jpg"), "a second time, after line 5"),
    "row without a picture": (lambda root: (root / FOLDER / SIXTH).unlink(), SIXTH),
    "cut": (cut(ATTRIBUTES, 0.7), ATTRIBUTES),
    "partition cut": (cut(PARTITION, 0.5), PARTITION),
    "not text": (lambda root: (root / PARTITION).write_bytes(b"\xff\xfe"), "not a text file"),
}


def bomb(root: Path) -> None:
    """A member of 195 kB that would be 200 MB."""
    with zipfile.ZipFile(root / ZIP) as archive:
        contents = {info.filename: archive.read(info) for info in archive.infolist()}
    contents[f"{FOLDER}/{SIXTH}"] = bytes(200_000_000)
    with zipfile.ZipFile(root / ZIP, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            archive.writestr(name, data)


CASES = [
    *((False, name, *case) for name, case in (IN_FOLDER | IN_TEXT).items()),
    *((True, name, *case) for name, case in IN_ZIP.items()),
]


@pytest.mark.parametrize(
    ("zipped", "damage", "text"),
    [(zipped, damage, text) for zipped, _, damage, text in CASES],
    ids=[name for _, name, _, _ in CASES],
)
def test_main__exits_65_and_says_what_is_wrong(run, tmp_path, zipped, damage, text):
    root = write_celeba(tmp_path / "celeba", zipped=zipped, line_end="\n")
    damage(root)
    code, said = run(*command_on(root))
    assert code == 65, said
    message = next(line for line in said.splitlines() if line.startswith("DataError: "))
    assert text in message
    assert str(root) in message
    assert not (tmp_path / "run" / "checkpoints").exists()
    assert not list((tmp_path / "cache").glob("*/train*"))
    assert not (tmp_path / "evil.jpg").exists()
    assert not Path("/etc/evil.jpg").exists()


@pytest.mark.parametrize(
    "name", [name for name in IN_FOLDER if name != "another frame"] + ["row without a picture"]
)
def test_on_bad__skips_counts_and_lists_single_pictures(run, tmp_path, name):
    root = write_celeba(tmp_path / "celeba", zipped=False)
    (IN_FOLDER | IN_TEXT)[name][0](root)
    code, said = run(*command_on(root, "--mode=prepare", "--config.data.on_bad=skip"))
    assert code == 0, said
    assert "skipped" in said
    listed = [path.read_text() for path in (tmp_path / "cache").glob("*/*/skipped.csv")]
    assert sum(SIXTH in text for text in listed) == 1
    assert sum(len(np.load(p)) for p in (tmp_path / "cache").glob("*/*/identity.npy")) == 11


@pytest.mark.parametrize("change", [shuffled(ATTRIBUTES), shuffled(PARTITION)])
def test_prepare__ignores_the_order_of_rows(run, tmp_path, change):
    stores = []
    for name, action in (("as it is", lambda root: None), ("shuffled", change)):
        root = write_celeba(tmp_path / name / "celeba", line_end="\n")
        action(root)
        code, said = run(*command_on(root, "--mode=prepare"))
        assert code == 0, said
        (path,) = (root.parent / "cache").glob("*/train")
        rows = zip(np.load(path / "images.npy"), np.load(path / "attributes.npy"), strict=True)
        stores.append(sorted((i.tobytes(), a.tobytes()) for i, a in rows))
    assert stores[0] == stores[1]


def test_prepare__takes_grey_pictures(run, tmp_path):
    root = write_celeba(tmp_path / "celeba", zipped=False)
    replaced(encoded("JPEG", "L"))(root)
    code, said = run(*command_on(root, "--mode=prepare"))
    assert code == 0
    assert "1 pictures grey to RGB" in said


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("--config.data.attributes=Smiling,Eyeglases", "Did you mean 'Eyeglasses'?"),
        ("--config.data.source=celebb", "Did you mean 'celeba'?"),
        ("--config.data.on_bad=ignore", "config.data.on_bad='ignore': must be one of error, skip"),
        ("--config.data.feed=ram", "config.data.feed='ram': must be one of"),
    ],
)
def test_main__exits_64_for_a_wrong_setting(run, tmp_path, setting, text):
    code, said = run(*command_on(write_celeba(tmp_path / "celeba"), setting))
    assert code == 64
    assert text in said


@pytest.mark.parametrize("name", ["HTML instead of a zip", "zip cut", "path traversal"])
def test_auto__names_a_bad_zip(run, tmp_path, name):
    root = write_celeba(tmp_path / "celeba", line_end="\n")
    damage, text = IN_ZIP[name]
    damage(root)
    code, said = run(*command_on(root / ZIP, source="auto"))
    assert code == 65
    assert text in said
    code, said = run(*command_on(root.with_name("celeb"), source="auto"))
    assert code == 65
    assert "does not exist. Did you mean 'celeba'?" in said
