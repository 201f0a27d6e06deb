"""The store: what is written is read, and damage, kills and full disks are noticed."""

import csv
import errno
import fcntl
import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gan.data import store as store_module
from gan.data.store import BLOCK, InputReport, Meta, Rows, open_store, wait_for_lock, write_store
from gan.errors import ConfigError, DataError

NUM, SIZE = 7, 4
META = Meta(
    source="test",
    fingerprint="0123456789abcdef",
    version=1,
    split="train",
    crop="center178",
    resize="bicubic-antialias",
    attribute_names=("Male", "Smiling", "Young"),
    image_size=SIZE,
    num=NUM,
)
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (NUM, SIZE, SIZE, 3), dtype=np.uint8)
ATTRIBUTES = RNG.integers(0, 2, (NUM, 3), dtype=np.uint8)
IDENTITY = np.arange(NUM, dtype=np.int32)
FILES = ["images.npy", "attributes.npy", "identity.npy", "meta.json"]
ALL_FILES = [*FILES, "skipped.csv"]


def rows(start, stop):
    return Rows(IMAGES[start:stop], ATTRIBUTES[start:stop], IDENTITY[start:stop])


def write(path, batches=None, meta=META, report=None):
    write_store(path, meta, batches or [rows(0, 3), rows(3, NUM)], report)
    return path


def fails_after_one_batch(error):
    yield rows(0, 3)
    raise error


def save(array):
    return lambda path: np.save(path, array, allow_pickle=True)


def test_open_store__reads_what_was_written(tmp_path):
    store = open_store(write(tmp_path / "train"), verify=True)
    np.testing.assert_array_equal(store.images, IMAGES)
    np.testing.assert_array_equal(store.attributes, ATTRIBUTES)
    np.testing.assert_array_equal(store.identity, IDENTITY)
    assert store.meta == META
    assert store.attribute_names == ("Male", "Smiling", "Young")
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted([*ALL_FILES, "train"])


def test_open_store__maps_pictures_that_cannot_be_changed(tmp_path):
    store = open_store(write(tmp_path / "train"))
    assert isinstance(store.images, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        store.images[0] = 0


@pytest.mark.parametrize("error", [RuntimeError("decode"), KeyboardInterrupt(), OSError(5, "I/O")])
def test_write_store__leaves_nothing_where_it_fails(tmp_path, error):
    with pytest.raises(type(error)):
        write(tmp_path / "train", fails_after_one_batch(error))
    assert not list(tmp_path.iterdir())


def test_write_store__says_that_its_folder_was_removed(tmp_path):
    def remove_meanwhile():
        yield rows(0, 3)
        shutil.rmtree(tmp_path / "cache")
        yield rows(3, NUM)

    (tmp_path / "cache").mkdir()
    with pytest.raises(DataError, match=r"cache was removed while train was written there"):
        write(tmp_path / "cache" / "train", remove_meanwhile())


def test_write_store__a_killed_one_is_not_visible_and_the_next_cleans_up(tmp_path):
    script = f"""
import os, signal
from pathlib import Path
import numpy as np
from gan.data.store import Meta, Rows, write_store

def rows():
    images = np.zeros((3, {SIZE}, {SIZE}, 3), np.uint8)
    yield Rows(images, np.zeros((3, 3), np.uint8), np.zeros(3, np.int32))
    os.kill(os.getpid(), signal.SIGKILL)

write_store(Path("train"), {META}, rows())
"""
    root = Path(store_module.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env={"PYTHONPATH": str(root)}
    )
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "train").exists()
    assert list(tmp_path.iterdir()), "the process died before it wrote anything"
    np.testing.assert_array_equal(open_store(write(tmp_path / "train")).images, IMAGES)
    assert [path.name for path in tmp_path.iterdir()] == ["train"]


@pytest.mark.parametrize("file", ALL_FILES)
def test_open_store__finds_a_flipped_bit_anywhere(tmp_path, file):
    path = write(tmp_path / "train") / file
    whole = path.read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="Delete the folder"):
            open_store(path.parent, verify=True)
    path.write_bytes(whole)
    open_store(path.parent, verify=True)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("size", [0, 10, -1])
def test_open_store__finds_a_cut_file_without_verifying(tmp_path, file, size):
    path = write(tmp_path / "train") / file
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DataError, match=f"{file}.*Delete the folder"):
        open_store(path.parent)


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        *((file, Path.unlink) for file in FILES),
        ("images.npy", save(IMAGES[:6])),
        ("images.npy", save(IMAGES.astype(np.int16))),
        ("attributes.npy", save(ATTRIBUTES[:, :2])),
        ("identity.npy", save(IDENTITY.astype(np.int64))),
        ("identity.npy", save(np.array([print] * NUM))),  # Pickled: it must not be loaded.
        ("meta.json", lambda path: path.write_text("[]")),
        ("meta.json", lambda path: path.write_text(json.dumps({"format": 0}))),
    ],
)
def test_open_store__names_what_does_not_fit(tmp_path, file, damage):
    path = write(tmp_path / "train") / file
    damage(path)
    with pytest.raises(DataError, match=f"{file}.*Delete the folder"):
        open_store(path.parent)


def test_open_store__a_missing_folder_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match=r"meta.json"):
        open_store(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES[:6], "6 pictures, 7 rows"),
        (IMAGES.astype(np.float32), "float32"),
        (IMAGES[:, :2], r"\[7, 2, 4, 3\]"),
    ],
)
def test_write_store__refuses_wrong_pictures(tmp_path, images, message):
    with pytest.raises(DataError, match=message):
        write(tmp_path / "train", [Rows(images, ATTRIBUTES, IDENTITY)])
    assert not list(tmp_path.iterdir())


def test_write_store__refuses_more_pictures_than_said(tmp_path):
    with pytest.raises(DataError, match="14 pictures, 14 rows for 7"):
        write(tmp_path / "train", [rows(0, NUM), rows(0, NUM)])


def test_write_store__notes_what_was_left_out_and_changed(tmp_path):
    report = InputReport(skipped=[("a,b.jpg", 'not "a" picture')])

    def batches():
        yield rows(0, 3)
        report.skipped.append(("\u00e4.jpg", "cut"))
        report.changes.update(["grey to RGB", "grey to RGB"])
        yield rows(4, 5)

    store = open_store(write(tmp_path / "train", batches(), report=report), verify=True)
    np.testing.assert_array_equal(store.images, IMAGES[[0, 1, 2, 4]])
    np.testing.assert_array_equal(store.attributes, ATTRIBUTES[[0, 1, 2, 4]])
    np.testing.assert_array_equal(store.identity, IDENTITY[[0, 1, 2, 4]])
    assert (store.num, store.skipped, store.changes) == (4, 2, {"grey to RGB": 2})
    with (store.path / "skipped.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.reader(file))
    assert table[1:] == [["a,b.jpg", 'not "a" picture'], ["\u00e4.jpg", "cut"]]


def test_write_store__refuses_to_write_no_pictures(tmp_path):
    with pytest.raises(
        DataError, match=r"'train' of source 'test' has no pictures; 1 were skipped"
    ):
        write(tmp_path / "train", iter([]), report=InputReport(skipped=[("a", "b")]))


@pytest.mark.parametrize("quarters", [(5, 5, 5), (1, 7, 7), (4, 4), (3,), (13,)])
def test_damaged_blocks__each_block_has_its_checksum(tmp_path, quarters):
    sizes = [BLOCK // 4 * quarter for quarter in quarters]
    num = sum(sizes)
    images = RNG.integers(0, 256, (num, SIZE, SIZE, 3), dtype=np.uint8)
    meta = Meta(**META.__dict__ | {"num": num})
    ends = np.cumsum(sizes)
    parts = np.split(images, ends[:-1])
    zeros = lambda n: (np.zeros((n, 3), np.uint8), np.zeros(n, np.int32))  # noqa: E731
    write(tmp_path / "train", [Rows(part, *zeros(len(part))) for part in parts], meta)
    open_store(tmp_path / "train", verify=True)
    data = bytearray((tmp_path / "train" / "images.npy").read_bytes())
    data[-1] ^= 1
    (tmp_path / "train" / "images.npy").write_bytes(data)
    first = (num - 1) // BLOCK * BLOCK
    with pytest.raises(DataError, match=f"images.npy: pictures {first} to {num - 1} do not match"):
        open_store(tmp_path / "train", verify=True)
    open_store(tmp_path / "train")


def test_write_store__a_full_disk_says_how_much_is_needed(tmp_path):
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(DataError, match=r"needs .* MB, and .* MB are free"):
        write(tmp_path / "train", fails_after_one_batch(full))
    large = Meta(**META.__dict__ | {"num": 10**15})  # More than any disk has.
    said = r"needs 55,000,000,000\.1 MB, and ([\d,.]+) MB are free.*cache_dir"
    with pytest.raises(DataError, match=said) as caught:
        write(tmp_path / "train", meta=large)
    free = float(re.search(said, str(caught.value))[1].replace(",", ""))
    assert free == pytest.approx(shutil.disk_usage(tmp_path).free / 1e6, rel=0.05)
    assert not list(tmp_path.iterdir())


def test_wait_for_lock__lets_one_in_at_a_time(tmp_path):
    script = """
import sys
from pathlib import Path
from gan.data.store import wait_for_lock
with wait_for_lock(Path("set")):
    print("in", flush=True)
    sys.stdin.read()
"""
    root = Path(store_module.__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(root)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout.readline() == b"in\n"
        with (tmp_path / "set" / ".lock").open("wb") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        other.kill()  # The kernel lets go for it.
    with wait_for_lock(tmp_path / "set"):
        pass


def test_wait_for_lock__an_unwritable_cache_is_a_config_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cache_dir"), wait_for_lock(tmp_path / "file" / "set"):
        pass
