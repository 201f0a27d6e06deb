"""What may be wrong with a user's data, one row a fault: the command says what, before training."""

import functools
import hashlib
import io
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from helpers.small_celeba import MEMBERS, picture, write_celeba
from PIL import Image

TINY = Path(__file__).parent / "helpers" / "tiny.py"
ATTRIBUTES, PARTITION, ZIP, FOLDER = (
    *("list_attr_celeba.txt", "list_eval_partition.txt"),
    *("img_align_celeba.zip", "img_align_celeba"),
)
SIXTH = MEMBERS[5]  # Of the training split.


def options(root: Path, *more: str, source: str = "celeba") -> list[str]:
    """The command that trains on what lies at `root`."""
    return [
        f"--config={TINY}",
        f"--workdir={root.parent / 'run'}",
        f"--config.data.source={source}",
        f"--config.data.path={root}",
        f"--config.data.cache_dir={root.parent / 'cache'}",
        "--config.data.batch_size=4",
        *more,
    ]


def encoded(kind: str, mode: str = "RGB", size: tuple[int, int] = (89, 109)) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size).save(file, kind)
    return file.getvalue()


def png_of(width: int, height: int) -> bytes:
    """The beginning of a picture that would fill the memory."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(10_000)))


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
def test_it_exits_65_and_says_what_is_wrong(run, tmp_path, zipped, damage, text):
    root = write_celeba(tmp_path / "celeba", zipped=zipped, line_end="\n")
    damage(root)
    code, said = run(*options(root))
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
def test_single_bad_pictures_are_skipped_counted_and_listed(run, tmp_path, name):
    root = write_celeba(tmp_path / "celeba", zipped=False)
    (IN_FOLDER | IN_TEXT)[name][0](root)
    code, said = run(*options(root, "--mode=prepare", "--config.data.on_bad=skip"))
    assert code == 0, said
    assert "skipped" in said
    listed = [path.read_text() for path in (tmp_path / "cache").glob("*/*/skipped.csv")]
    assert sum(SIXTH in text for text in listed) == 1
    assert sum(len(np.load(p)) for p in (tmp_path / "cache").glob("*/*/identity.npy")) == 11


@pytest.mark.parametrize("change", [shuffled(ATTRIBUTES), shuffled(PARTITION)])
def test_the_order_of_rows_does_not_matter(run, tmp_path, change):
    stores = []
    for name, action in (("as it is", lambda root: None), ("shuffled", change)):
        root = write_celeba(tmp_path / name / "celeba", line_end="\n")
        action(root)
        code, said = run(*options(root, "--mode=prepare"))
        assert code == 0, said
        (path,) = (root.parent / "cache").glob("*/train")
        rows = zip(np.load(path / "images.npy"), np.load(path / "attributes.npy"), strict=True)
        stores.append(sorted((i.tobytes(), a.tobytes()) for i, a in rows))
    assert stores[0] == stores[1]


def test_grey_is_taken(run, tmp_path):
    root = write_celeba(tmp_path / "celeba", zipped=False)
    replaced(encoded("JPEG", "L"))(root)
    code, said = run(*options(root, "--mode=prepare"))
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
def test_wrong_settings_exit_64(run, tmp_path, setting, text):
    code, said = run(*options(write_celeba(tmp_path / "celeba"), setting))
    assert code == 64
    assert text in said


@pytest.mark.parametrize("name", ["HTML instead of a zip", "zip cut", "path traversal"])
def test_a_bad_zip_is_named_whatever_it_is_looked_for_as(run, tmp_path, name):
    root = write_celeba(tmp_path / "celeba", line_end="\n")
    damage, text = IN_ZIP[name]
    damage(root)
    code, said = run(*options(root / ZIP, source="auto"))
    assert code == 65
    assert text in said
    code, said = run(*options(root.with_name("celeb"), source="auto"))
    assert code == 65
    assert "does not exist. Did you mean 'celeba'?" in said


def mine(root: Path, num: int = 9) -> Path:
    """Pictures of one's own: `num` of them in two classes."""
    for number in range(num):
        target = root / ("a" if number % 2 else "b") / f"{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (25 * number, 0, 0)).save(target)
    return root


def test_labels_are_found_from_here_and_in_the_data(run, tmp_path, monkeypatch):
    root = mine(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{number}.png,{number % 3 == 0:d}\n" for number in range(9))
    for name in ("mine/one.csv", "mine/two.csv", "three.csv"):
        (tmp_path / name).write_text("file,Third\n" + rows)
    command = options(root, "--mode=prepare", source="folder")
    code, said = run(*command)
    assert code == 64
    assert "--config.data.labels=" in said
    for name in ("one.csv", "three.csv", str(tmp_path / "three.csv")):
        code, said = run(*command, f"--config.data.labels={name}")
        assert code == 0, said
        assert "Third" in said


@pytest.mark.slow
def test_other_pictures_are_not_the_same_run(run, tmp_path):
    first = mine(tmp_path / "first" / "mine")
    train = [
        f"--config.data.cache_dir={tmp_path / 'cache'}",
        f"--workdir={tmp_path / 'run'}",
    ]
    code, said = run(*options(first, *train, source="folder"))
    assert code == 0, said
    shutil.copytree(first, tmp_path / "copied" / "mine")  # With other times.
    code, said = run(
        *options(tmp_path / "copied" / "mine", *train, "--config.steps=6", source="folder")
    )
    assert code == 0, said
    other = mine(tmp_path / "other" / "mine")
    Image.new("RGB", (40, 40), "white").save(other / "a" / "1.png")
    code, said = run(*options(other, *train, "--config.steps=8", source="folder"))
    assert code == 64
    assert "was trained on other data" in said


def test_a_new_run_compares_what_it_trains_on_and_verify_all(run, tmp_path):
    root = mine(tmp_path / "mine", 60)
    assert run(*options(root, "--mode=prepare", source="folder"))[0] == 0

    def flip(split: str) -> None:
        (path,) = (tmp_path / "cache").glob(f"*/{split}/images.npy")
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)

    flip("train")
    code, said = run(*options(root, source="folder"))
    assert code == 65
    assert "do not match their checksum" in said
    assert not (tmp_path / "run" / "checkpoints").exists()
    flip("train")  # Back.
    flip("test")
    assert run(*options(root, "--mode=prepare", source="folder"))[0] == 0
    for mode in ("prepare", "train"):
        code, said = run(*options(root, f"--mode={mode}", "--verify", source="folder"))
        assert code == 65
        assert "test/images.npy" in said


def test_a_sheet_that_was_lost_is_drawn_again(run, tmp_path):
    command = options(mine(tmp_path / "mine"), "--mode=prepare", source="folder")
    assert run(*command)[0] == 0
    (sheet,) = (tmp_path / "cache").glob("*/prepared.png")
    sheet.unlink()
    assert run(*command)[0] == 0
    assert sheet.exists()


def test_names_may_be_any_bytes(run, tmp_path):
    root = mine(tmp_path / "mine")
    os.rename(root / "a" / "1.png", os.fsencode(root / "a") + b"/\xff.png")
    code, said = run(*options(root, "--mode=prepare", source="folder"))
    assert code == 0, said


def test_pictures_of_too_many_pixels_are_refused_below_what_pillow_refuses(run, tmp_path):
    root = mine(tmp_path / "mine")
    (root / "a" / "1.png").write_bytes(png_of(9_000, 9_000))
    code, said = run(*options(root, "--mode=prepare", source="folder"))
    assert code == 65
    assert "1.png is 9000 x 9000; at most 67,108,864 pixels are decoded" in said


def test_huge_headers_are_refused_for_any_pictures(run, tmp_path):
    root = mine(tmp_path / "mine")
    (root / "b" / "8.png").write_bytes(png_of(20_000, 20_000))
    code, said = run(*options(root, source="folder"))
    assert code == 65
    assert "8.png: Image size (400000000 pixels)" in said


@functools.cache
def exported(file_format: str, folder: Path) -> Path:
    from gan.config import Data
    from gan.data.export_tfds import export_tfds
    from gan.data.readers.celeba_official import open_source

    root = write_celeba(folder / "celeba")
    return export_tfds(
        open_source(Data(source="celeba", path=str(root))), folder / "tfds", file_format
    )


@pytest.fixture(scope="module")
def data_sets(tmp_path_factory):
    """TFDS data sets of both formats."""
    folder = tmp_path_factory.mktemp("exported")
    return {name: exported(name, folder / name) for name in ("tfrecord", "array_record")}


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
@pytest.mark.parametrize("how", ["truncated", "flipped", "missing"])
def test_damaged_records_are_named(run, tmp_path, data_sets, file_format, how):
    root = tmp_path / "data"
    shutil.copytree(data_sets[file_format].parents[1], root)
    (shard,) = root.glob("celeb_a/*/celeb_a-train*")
    data = bytearray(shard.read_bytes())
    if how == "missing":
        shard.unlink()
    elif how == "truncated":
        shard.write_bytes(data[: len(data) // 2])
    else:
        used = np.flatnonzero(np.frombuffer(data, np.uint8))  # The rest only fills blocks.
        data[used[len(used) // 2]] ^= 1
        shard.write_bytes(data)
    code, said = run(*options(root, "--config.data.source=celeba_tfds"))
    assert code == 65, said
    assert "train" in next(line for line in said.splitlines() if line.startswith("DataError"))
    assert not list((tmp_path / "cache").glob("*/train*"))


@pytest.fixture
def tmpfs(make_disk):
    return make_disk("1m")


def test_a_disk_that_is_too_small_is_said_before(run, tmp_path, tmpfs):
    root = write_celeba(tmp_path / "celeba")
    more = (f"--config.data.cache_dir={tmpfs}", "--mode=prepare", "--config.data.image_size=256")
    code, said = run(*options(root, *more))
    assert code == 65
    assert re.search(r"needs [\d.]+ MB, and 1.0 MB are free.*cache_dir", said)


def test_a_disk_that_fills_meanwhile_leaves_nothing(run, tmp_path, tmpfs, monkeypatch):
    from gan.data import build_store

    def progress(batches, name, num):
        for batch in batches:
            (tmpfs / "others").write_bytes(bytes(2**20 - 16 * os.statvfs(tmpfs).f_bsize))
            yield batch

    monkeypatch.setattr(build_store, "show_progress", progress)
    root = write_celeba(tmp_path / "celeba")
    more = (f"--config.data.cache_dir={tmpfs}", "--config.data.image_size=128")
    code, said = run(*options(root, *more))
    assert code == 65, said
    assert re.search(r"needs [\d.]+ MB, and 0.\d MB are free.*cache_dir", said)
    assert not [path for path in tmpfs.rglob("*") if path.name not in ("others", ".lock")][1:]


def test_a_target_that_is_read_only_exits_64(run, tmp_path, tmpfs):
    subprocess.run(["mount", "-o", "remount,ro", str(tmpfs)], check=True)
    root = write_celeba(tmp_path / "celeba")
    code, said = run(*options(root, f"--config.data.cache_dir={tmpfs}"))
    assert code == 64
    assert "cannot be written (Read-only file system)" in said


@pytest.mark.slow
def test_killed_at_any_moment_the_next_one_finishes(run, tmp_path):
    root = write_celeba(tmp_path / "celeba")
    command = [sys.executable, "-m", "gan.main", *options(root, "--mode=prepare")]
    begin = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    whole = time.monotonic() - begin
    digest = {path.relative_to(tmp_path): sha256(path) for path in files(tmp_path / "cache")}
    assert len(digest) == 16  # Five files a split, and the sheet.
    shutil.rmtree(tmp_path / "cache")
    for share in np.random.default_rng(0).uniform(0.6, 1, 4):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(share * whole)
        process.send_signal(signal.SIGKILL)
        process.wait()
    code, said = run(*options(root, "--mode=prepare", "--verify"))
    assert code == 0, said
    assert digest == {
        path.relative_to(tmp_path): sha256(path) for path in files(tmp_path / "cache")
    }


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
