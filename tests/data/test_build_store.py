"""Building a store: order, bad pictures, progress, and worker processes that end."""

import dataclasses
import io
import logging
import signal
import subprocess
import sys
import time
from pathlib import Path

import joblib
import numpy as np
import pytest
from helpers.small_source import FRAME, SmallSource, read_with_bad
from PIL import Image

from gan.data import build_store as module
from gan.data.build_store import (
    CHUNK,
    FEW,
    WORKER_BYTES,
    Task,
    build_store,
    cut_into_tasks,
    decode_in_workers,
    find_bits,
    show_progress,
)
from gan.data.decode import Recipe
from gan.data.source import Source, Split
from gan.data.store import Meta, Rows, open_store
from gan.errors import DataError

SCRIPT = """
import sys, time
import numpy as np
from gan.data import build_store
from gan.data.decode import Recipe
from gan.data.source import Split
from gan.data.store import InputReport

def read(index):
    time.sleep(0.02)
    return np.zeros((8, 8, 3), np.uint8)

if __name__ == "__main__":
    num = 10_000
    split = Split(
        np.zeros((num, 1), np.uint8), np.zeros(num, np.int32), [str(i) for i in range(num)], read
    )
    for _ in build_store.decode_rows(split, Recipe(8, "square", "bicubic"), InputReport(), "error"):
        print("some", flush=True)
"""


@pytest.fixture
def build(tmp_path):
    """Builds the training split of a small source, pictures of 8 px, and opens it."""

    def build(fake, on_bad="error"):
        source = fake.open()
        split = source.splits["train"]()
        crop, resize = ("none", "none") if source.drawn else ("center178", "bicubic")
        meta = Meta(
            *("fake", source.fingerprint, 1, "train", crop, resize, source.attribute_names),
            image_size=8,
            num=len(split.attributes),
        )
        build_store(tmp_path / "train", meta, split, source, on_bad)
        return open_store(tmp_path / "train")

    return build


def blues(store):
    return store.images[..., 2].mean(axis=(1, 2))


@pytest.mark.parametrize("num", [300, 256, 1])
def test_draw_rows__draws_chunks_of_one_size(build, num):
    fake = SmallSource(nums=(num, 1, 1))
    store = build(fake)
    assert [len(indices) for indices in fake.drawn_indices] == [CHUNK] * -(-num // CHUNK)
    np.testing.assert_array_equal(store.images[:, 0, 0, 0], np.arange(num) % 256)


@pytest.mark.slow
@pytest.mark.parametrize("streamed", [False, True])
def test_decode_rows__all_processes_together_keep_the_order(jpeg, build, streamed):
    num = FEW + 300
    stream = lambda: (jpeg(i % 12, *FRAME) for i in range(num))  # noqa: E731
    fake = SmallSource(jpeg, nums=(num, 1, 1), stream=stream if streamed else None)
    np.testing.assert_allclose(blues(build(fake)), 20 * (np.arange(num) % 12), atol=3)


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("unreadable", "is not there"),
        ("undecodable", "no picture that can be decoded"),
        ("cut", "breaks off"),
    ],
)
def test_build_store__bad_pictures_are_named_or_skipped(jpeg, build, tmp_path, caplog, how, reason):
    caplog.set_level(logging.INFO, "gan")
    fake = SmallSource(jpeg, nums=(100, 3, 3), read=read_with_bad(jpeg, {37, 64}, how))
    with pytest.raises(DataError, match=rf"^37.jpg.*{reason}.*--config.data.on_bad=skip"):
        build(fake)
    assert not list(tmp_path.iterdir())
    store = build(fake, on_bad="skip")
    left = np.delete(np.arange(100), [37, 64])
    assert (store.num, store.skipped) == (98, 2)
    np.testing.assert_allclose(blues(store), 20 * (left % 12), atol=3)
    np.testing.assert_array_equal(store.attributes[:, 0], left % 2)
    np.testing.assert_array_equal(store.identity, left)
    listed = (store.path / "skipped.csv").read_text()
    assert "64.jpg" in listed
    assert reason in listed
    assert "skipped 37.jpg: " in caplog.text
    assert "37.jpg: 37.jpg" not in caplog.text


def test_build_store__stops_the_other_processes_without_a_word(jpeg, build, recwarn):
    num = FEW + 1000
    fake = SmallSource(jpeg, nums=(num, 1, 1), read=read_with_bad(jpeg, {40}, "cut"))
    with pytest.raises(DataError, match="^40.jpg"):
        build(fake)
    assert not recwarn.list


def test_build_store__most_pictures_may_not_be_skipped(jpeg, build):
    fake = SmallSource(jpeg, nums=(9, 1, 1), read=read_with_bad(jpeg, set(range(3, 9)), "cut"))
    with pytest.raises(DataError, match="6 of the 9 pictures are bad.*8.jpg: the JPEG breaks off"):
        build(fake, on_bad="skip")
    fake.read = read_with_bad(jpeg, set(range(3, 7)), "cut")
    assert build(fake, on_bad="skip").num == 5


@pytest.mark.parametrize("num", [100, FEW + 76])  # In this process, and in several.
@pytest.mark.parametrize(
    ("error", "message"), [(DataError("cut at 50"), "cut at 50"), (None, "50 pictures came for")]
)
def test_decode_rows__a_stream_that_breaks_is_an_error(jpeg, build, num, error, message):
    def broken():
        for i in range(50):
            yield jpeg(i % 12, *FRAME)
        if error:
            raise error

    with pytest.raises(DataError, match=message):
        build(SmallSource(jpeg, nums=(num, 1, 1), stream=broken))


def batches(num):
    """`num` pictures of one pixel, in batches of 256."""
    for first in range(0, num, 256):
        size = min(256, num - first)
        images = np.zeros((size, 1, 1, 3), np.uint8)
        yield Rows(images, np.zeros((size, 1), np.uint8), np.zeros(size, np.int32))


def test_show_progress__logs_a_line_at_the_end(caplog):
    caplog.set_level(logging.INFO, "gan")
    assert len(list(show_progress(batches(7680), "fake train", 7680))) == 30
    (line,) = caplog.messages
    assert line.startswith("fake train: 7680 pictures in ")


def test_show_progress__logs_a_line_now_and_then(caplog):
    caplog.set_level(logging.INFO, "gan")
    list(show_progress(batches(7680), "fake train", 7680, tell_every=0.0))
    assert "fake train: 50 %" in " ".join(caplog.messages)
    assert "s left" in caplog.messages[-2]


def test_show_progress__shows_a_bar_on_a_terminal(caplog, monkeypatch):
    caplog.set_level(logging.INFO, "gan")
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    list(show_progress(batches(7680), "fake train", 7680, tell_every=0.0))
    assert len(caplog.messages) == 1
    assert "fake train" in terminal.getvalue()
    assert "7680" in terminal.getvalue()


def children(parent: int) -> set[int]:
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # It ended meanwhile.
            continue
        if int(fields[1]) == parent and fields[0] != "Z":
            found.add(int(path.parent.name))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="it looks there for processes")
@pytest.mark.skipif(joblib.cpu_count() == 1, reason="one core works alone")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_end_with_parent__leaves_no_worker_of_a_killed_process(tmp_path, end):
    (tmp_path / "script.py").write_text(SCRIPT)
    root = Path(module.__file__).parents[2]
    command = [sys.executable, str(tmp_path / "script.py")]
    with subprocess.Popen(
        command,
        env={"PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout.readline() == b"some\n"
        workers = children(process.pid)
        assert len(workers) >= 2
        process.send_signal(end)
        process.wait()
        for _ in range(100):
            left = {pid for pid in workers if Path(f"/proc/{pid}").exists()}
            if not left:
                return
            time.sleep(0.1)
    assert not left


def test_cut_into_tasks__reads_no_more_ahead_than_bytes_allow(jpeg):
    large = np.zeros((1_000, 2_000, 3), np.uint8)  # 6 MB
    split = Split(np.zeros((50, 0), np.uint8), np.zeros(50, np.int32), [str(i) for i in range(50)])
    tasks = list(cut_into_tasks(dataclasses.replace(split, read=lambda _: large)))
    assert [len(task.pictures) for task in tasks] == [2] * 25
    assert [name for task in tasks for name in task.names] == [*split.names]
    assert {task.size for task in tasks} == {4 * large.nbytes}
    tasks = list(cut_into_tasks(dataclasses.replace(split, read=lambda i: jpeg(i % 12, *FRAME))))
    assert [len(task.pictures) for task in tasks] == [32, 18]


def test_decode_in_workers__reading_waits_while_many_bytes_are_on_their_way():
    read = []

    def tasks():
        for i in range(6):
            read.append(i)
            yield Task([np.full((8, 8, 3), i, np.uint8)], [str(i)], WORKER_BYTES)

    results = decode_in_workers(tasks(), Recipe(8, "square", "bicubic"), 1)
    for i, (result,) in enumerate(results):
        assert result.image[0, 0, 0] == i
        assert len(read) <= i + 2


def test_build_store__nearly_empty_pictures_are_counted_and_named(build, tmp_path, caplog):
    caplog.set_level(logging.INFO, "gan")
    flat = {3, 7}

    def read(i):
        pixels = np.zeros((109, 89, 3), np.uint8)
        pixels[50:] = 12 if i in flat else 99
        return pixels

    store = build(SmallSource(lambda *_: b"", nums=(9, 1, 1), read=read))
    assert store.changes == {"nearly all of one colour": 2}
    assert "2 pictures nearly all of one colour (the first: 3.jpg)" in caplog.text


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("levels", "bits"), [((900, 3000), 12), ((200,), 8), ((), 16)])
def test_find_bits__is_the_depth_that_the_training_pictures_use(streamed, levels, bits):
    def encode(i):
        file = io.BytesIO()
        kind = (np.uint16, levels[i % len(levels)]) if levels else (np.uint8, 255)
        Image.fromarray(np.full((8, 8), kind[1], kind[0])).save(file, "PNG")
        return file.getvalue()

    way = dict(stream=lambda: map(encode, range(9))) if streamed else dict(read=encode)
    split = Split(
        np.zeros((9, 0), np.uint8), np.zeros(9, np.int32), [str(i) for i in range(9)], **way
    )
    source = Source("mine", "", "", (), {"train": lambda: split}, formats=("JPEG", "PNG"))
    assert find_bits(source) == bits
