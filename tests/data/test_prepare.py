import dataclasses
import functools
import io
import logging
import shutil
import sys
import threading
import time
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from gan.config import Data
from gan.data import faces
from gan.data import prepare as prepare_module
from gan.data.prepare import CROPS, decode_all, prepare
from gan.data.source import Source, Split
from gan.errors import ConfigError, DataError

SPLITS = ("train", "validation", "test")
FRAMES = [(218, 178), (109, 89)]


class Fake:
    """A source "fake" that counts what is asked of it; picture i of a split is filled with i."""

    def __init__(self, jpeg=None, nums=(300, 5, 5), fingerprint="f" * 64):
        self.jpeg, self.nums, self.fingerprint = jpeg, nums, fingerprint
        self.read_indices, self.drawn_indices, self.loaded = [], [], 0
        self.before_draw = lambda: None

    def __call__(self, config):
        return Source(
            name="fake",
            fingerprint=self.fingerprint,
            attribute_names=("Male", "Young"),
            splits={
                name: functools.partial(self.split, num)
                for name, num in zip(SPLITS, self.nums, strict=True)
            },
            frame=(109, 89) if self.jpeg else None,
        )

    def split(self, num):
        self.loaded += 1
        attributes = np.stack([np.arange(num) % 2, np.arange(num) % 3 == 0], axis=1)
        return Split(
            attributes=attributes.astype(np.uint8),
            identity=np.arange(num, dtype=np.int32),
            read=self.read if self.jpeg else None,
            names=[f"{i}.jpg" for i in range(num)],
            draw=None if self.jpeg else self.draw,
        )

    def read(self, index):
        self.read_indices.append(index)
        return self.jpeg(index % 12, 109, 89)

    def draw(self, indices, image_size):
        self.before_draw()
        self.drawn_indices.append(indices)
        image = np.zeros((len(indices), image_size, image_size, 3), np.uint8)
        return image + (indices % 256).astype(np.uint8)[:, None, None, None]


@pytest.fixture
def use(monkeypatch, tmp_path):
    """Registers a source as "fake" and returns how to prepare it."""

    def register(source, **options):
        monkeypatch.setitem(prepare_module.SOURCES, "fake", source)
        data = Data(source="fake", cache_dir=str(tmp_path / "cache"), image_size=8, **options)
        return lambda **more: prepare(data, **more)

    return register


def prepare_celeba(root, cache, **options):
    return prepare(Data(source="celeba", path=str(root), cache_dir=str(cache), **options))


def same_contents(first, second):
    assert first.keys() == second.keys() == {"train", "validation", "test"}
    for split, store in first.items():
        assert len(store.images) > 0
        for field in ("images", "attributes", "identity"):
            np.testing.assert_array_equal(getattr(store, field), getattr(second[split], field))


@pytest.mark.parametrize(
    ("name", "official", "half"),
    [
        ("center178", (20, 0, 198, 178), (10, 0, 99, 89)),
        ("center160", (29, 9, 189, 169), (14, 4, 94, 84)),
        ("center140", (39, 19, 179, 159), (19, 9, 89, 79)),
        ("center108", (55, 35, 163, 143), (27, 17, 81, 71)),
        ("ddim128", (57, 25, 185, 153), (28, 12, 92, 76)),
        ("squash", (0, 0, 218, 178), (0, 0, 109, 89)),
    ],
)
def test_boxes(name, official, half):
    assert CROPS[name].on((218, 178)) == official
    assert CROPS[name].on((109, 89)) == half


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("name", CROPS)
def test_pixels_come_from_where_the_box_says(jpeg, name, frame):
    size = 32
    box = CROPS[name].on(frame)
    split = Split(
        attributes=np.zeros((1, 1), np.uint8),
        identity=np.zeros(1, np.int32),
        read=lambda i: jpeg(5, *frame),
    )
    (batch,) = decode_all(split, box, size)
    middles = (np.arange(size) + 0.5) / size
    columns = box.left + middles * (box.right - box.left) - 0.5
    rows = box.top + middles * (box.bottom - box.top) - 0.5
    inner = slice(2, -2)  # The kernel is cut off at the border.
    red, green, blue = np.moveaxis(batch[0, inner, inner].astype(float), -1, 0)
    assert np.abs((red - columns[inner]).mean()) < 0.25
    assert np.abs((green - rows[inner, None]).mean()) < 0.25
    assert np.abs(red - columns[inner]).max() < 3
    assert np.abs(green - rows[inner, None]).max() < 3
    assert np.abs(blue - 100).max() < 4


def test_fine_detail_is_resized_like_pillow_does(jpeg):
    noise = np.random.default_rng(0).integers(0, 256, (218, 178, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG", quality=95)
    split = Split(np.zeros((1, 1), np.uint8), np.zeros(1, np.int32), read=lambda i: file.getvalue())
    (batch,) = decode_all(split, CROPS["center178"], 64)
    box = Image.open(file).convert("RGB").crop((0, 20, 178, 198))
    expected = np.asarray(box.resize((64, 64), Image.Resampling.BICUBIC))
    assert np.abs(batch[0].astype(int) - expected).max() <= 4  # Without antialiasing above 100.


def test_pictures_and_labels_follow_the_partition(make_celeba, labels, tmp_path):
    stores = prepare_celeba(make_celeba(), tmp_path / "cache", image_size=16)
    attributes, partition = labels
    for number, (split, store) in enumerate(stores.items()):
        rows = np.flatnonzero(partition == number)
        assert store.split == split
        assert store.images.shape == (len(rows), 16, 16, 3)
        np.testing.assert_array_equal(store.attributes, attributes[rows])
        np.testing.assert_array_equal(store.identity, 100 + rows // 2)
        np.testing.assert_allclose(store.images[..., 2].mean(axis=(1, 2)), 20 * rows, atol=3)
    assert (store.crop, store.resize, store.source) == ("center178", "bicubic-antialias", "celeba")


def test_zip_and_folder_and_line_ends_make_the_same_stores(make_celeba, tmp_path):
    first = prepare_celeba(make_celeba("zip"), tmp_path / "cache", image_size=16)
    folder = make_celeba("folder", zipped=False, line_end="\n")
    same_contents(first, prepare_celeba(folder, tmp_path / "cache", image_size=16))


@pytest.mark.parametrize("drawn", [True, False])
def test_the_second_time_nothing_is_read(jpeg, use, drawn):
    fake = Fake(None if drawn else jpeg, nums=(20, 5, 5))
    first = use(fake)()
    asked = len(fake.read_indices) + len(fake.drawn_indices)
    assert asked > 0
    same_contents(first, use(fake)(verify=True))
    assert len(fake.read_indices) + len(fake.drawn_indices) == asked
    assert fake.loaded == 3


def test_only_what_is_missing_is_prepared(use, tmp_path):
    fake = Fake()
    use(fake)()
    (store,) = (tmp_path / "cache").glob("*/validation")
    store.rename(tmp_path / "elsewhere")
    fake.drawn_indices.clear()
    use(fake)()
    assert len(fake.drawn_indices) == 1


def test_what_decides_the_pictures_decides_the_folder(jpeg, use, tmp_path):
    use(Fake(jpeg, nums=(2, 1, 1)))()
    use(Fake(jpeg, nums=(2, 1, 1)), crop="center108")()
    use(Fake(jpeg, nums=(2, 1, 1), fingerprint="e" * 64))()
    use(Fake(nums=(2, 1, 1), fingerprint="d" * 64), crop="center108")()
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == [
        "fake-dddddddddddd-none-8",
        "fake-eeeeeeeeeeee-center178-8",
        "fake-ffffffffffff-center108-8",
        "fake-ffffffffffff-center178-8",
    ]


def test_drawing_in_chunks_of_one_size(use):
    fake = Fake(nums=(300, 256, 1))
    stores = use(fake)()
    assert [len(indices) for indices in fake.drawn_indices] == [256] * 4
    for store, num in zip(stores.values(), fake.nums, strict=True):
        np.testing.assert_array_equal(store.images[:, 0, 0, 0], np.arange(num) % 256)


def test_more_than_one_chunk_is_decoded_in_order(jpeg, use):
    fake = Fake(jpeg)

    def read(index):
        time.sleep(0.01 * (index % 12 == 0))  # Its neighbours overtake it.
        return jpeg(index % 12, 109, 89)

    fake.read = read
    stores = use(fake)()
    blue = stores["train"].images[..., 2].mean(axis=(1, 2))
    np.testing.assert_allclose(blue, 20 * (np.arange(300) % 12), atol=3)


def test_a_picture_that_cannot_be_read_is_named_and_nothing_is_left(jpeg, use, tmp_path):
    fake = Fake(jpeg)

    def read(index):
        if index >= 290:
            raise DataError(f"{index}.jpg is not there")
        return jpeg(0, 109, 89)

    fake.read = read
    with pytest.raises(DataError, match=r"^290.jpg is not there$"):
        use(fake)()
    assert [path.name for path in (tmp_path / "cache").glob("*/*")] == [".lock"]
    del fake.read
    assert use(fake)()["train"].num == 300


def test_a_picture_that_cannot_be_decoded_is_named(jpeg, use):
    fake = Fake(jpeg)
    whole = jpeg(0, 109, 89)
    scan = whole.index(b"\xff\xda")
    fake.read = lambda i: whole[:scan] + b"\xff\xd9" if i == 270 else whole
    with pytest.raises(DataError, match=r"^270.jpg is no picture that can be decoded"):
        use(fake)()


def test_what_was_made_from_something_else_is_not_taken(use, tmp_path):
    use(Fake(nums=(4, 4, 4)))()
    with pytest.raises(DataError, match=r"fingerprint is .*Delete the folder"):
        use(Fake(nums=(4, 4, 4), fingerprint="f" * 12 + "0" * 52))()
    (train,) = (tmp_path / "cache").glob("*/train")
    shutil.copytree(train, tmp_path / "copy")
    shutil.rmtree(train.with_name("test"))
    (tmp_path / "copy").rename(train.with_name("test"))
    with pytest.raises(DataError, match=r"test: split is 'train', not 'test'"):
        use(Fake(nums=(4, 4, 4)))()


def test_rendered_faces_are_those_of_the_indices(monkeypatch, tmp_path):
    def describe(seed, index):
        bits = (index[:, None] >> jnp.arange(40)[None] % 10) & 1
        return SimpleNamespace(attributes=bits.astype(jnp.uint8), identity=index // 4)

    def draw(seed, index, image_size):
        shape = (len(index), image_size, image_size, 3)
        colour = jnp.stack([index // 256, index % 256, 0 * index + seed], axis=-1)
        return SimpleNamespace(
            image=jnp.broadcast_to(colour[:, None, None, :], shape).astype(jnp.uint8)
        )

    monkeypatch.setattr(faces, "describe", describe)
    monkeypatch.setattr(faces, "draw", draw)
    monkeypatch.setattr(faces, "Labels", SimpleNamespace)
    data = Data(source="faces", cache_dir=str(tmp_path), image_size=2, num_faces=300)
    stores = prepare(data)
    assert stores["train"].attribute_names == faces.ATTRIBUTES
    for name, part in faces.split_indices(300).items():
        index = np.arange(part.start, part.stop)
        drawn = stores[name].images[:, 0, 0].astype(int)
        np.testing.assert_array_equal(256 * drawn[:, 0] + drawn[:, 1], index)
        np.testing.assert_array_equal(stores[name].identity, index // 4)
        np.testing.assert_array_equal(
            stores[name].attributes[:, :10], index[:, None] >> range(10) & 1
        )
    other = prepare(dataclasses.replace(data, num_faces=301))
    assert other["train"].fingerprint != stores["train"].fingerprint


def test_an_empty_split_is_named(use):
    with pytest.raises(DataError, match=r"'test' of source 'fake' has no pictures"):
        use(Fake(nums=(4, 4, 0)))()


def test_two_at_once_draw_only_once(use, caplog):
    caplog.set_level(logging.INFO, "gan")
    fake = Fake(nums=(4, 4, 4))
    drawing, waiting, results = threading.Event(), threading.Event(), []

    class Notice(logging.Handler):
        def emit(self, record):
            if "another process" in record.getMessage().lower():
                waiting.set()

    def before_draw():
        drawing.set()
        assert waiting.wait(30), "the second did not wait"

    fake.before_draw = before_draw
    run = use(fake)
    notice = Notice()
    logging.getLogger("gan").addHandler(notice)
    try:
        first = threading.Thread(target=lambda: results.append(run()))
        first.start()
        assert drawing.wait(30)
        results.append(run())  # Would draw a second time, if it did not wait and look again.
        first.join(30)
    finally:
        logging.getLogger("gan").removeHandler(notice)
    assert len(fake.drawn_indices) == 3
    same_contents(*results)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "celebA"}, r"config.data.source='celebA'.*Did you mean 'celeba'\?"),
        ({"crop": "centre178"}, r"config.data.crop='centre178'.*Did you mean 'center178'\?"),
        ({"crop": "x"}, r"config.data.crop='x' is not one of .*ddim128, squash\.$"),
    ],
)
def test_unknown_names_are_answered_by_the_nearest(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        prepare(Data(cache_dir=str(tmp_path), **options))


def test_a_log_has_a_line_each_tenth_and_one_at_the_end(use, caplog):
    caplog.set_level(logging.INFO, "gan")
    use(Fake(nums=(256 * 30, 1, 1)))()
    lines = [text for text in caplog.messages if text.startswith("fake train")]
    assert len(lines) == 10
    assert all("img/s" in line for line in lines)
    assert "10 %" in lines[0]
    assert lines[-1].startswith("fake train: 7680 pictures in ")


def test_a_terminal_has_a_bar_instead(use, caplog, monkeypatch):
    caplog.set_level(logging.INFO, "gan")
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    use(Fake(nums=(256 * 30, 1, 1)))()
    lines = [text for text in caplog.messages if text.startswith("fake train")]
    assert len(lines) == 1
    assert "fake train" in terminal.getvalue()
    assert "7680" in terminal.getvalue()
