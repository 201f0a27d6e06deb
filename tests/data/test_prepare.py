import dataclasses
import functools
import io
import logging
import shutil
import sys
import threading
from types import ModuleType, SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from gan.config import Data
from gan.data import build_store
from gan.data.faces import dataset
from gan.data.prepare import prepare
from gan.data.registry import SOURCES
from gan.data.source import Source, Split
from gan.errors import ConfigError, DataError

SPLITS = ("train", "validation", "test")


class Fake:
    """A source "fake" that counts what is asked of it; picture i of a split is filled with i."""

    def __init__(self, jpeg=None, nums=(300, 5, 5), fingerprint="f" * 64):
        self.jpeg, self.nums, self.fingerprint = jpeg, nums, fingerprint
        self.read_indices, self.drawn_indices, self.loaded = [], [], 0
        self.before_draw = lambda: None

    def __call__(self, config):
        return Source(
            name="fake",
            found="a fake",
            fingerprint=self.fingerprint,
            attribute_names=("Male", "Young"),
            splits={
                name: functools.partial(self.split, num)
                for name, num in zip(SPLITS, self.nums, strict=True)
            },
            frame=(109, 89) if self.jpeg else None,
            formats=("JPEG",),
            drawn=self.jpeg is None,
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
        reader = ModuleType("gan.data.readers.fake")
        reader.open_source = source
        monkeypatch.setitem(sys.modules, reader.__name__, reader)
        monkeypatch.setitem(SOURCES, "fake", "readers.fake")
        data = Data(source="fake", cache_dir=str(tmp_path / "cache"), image_size=8, **options)
        return lambda **more: prepare(dataclasses.replace(data, **more))

    return register


def prepare_celeba(root, cache, **options):
    return prepare(Data(source="celeba", path=str(root), cache_dir=str(cache), **options))


def same_contents(first, second):
    assert first.keys() == second.keys() == {"train", "validation", "test"}
    for split, store in first.items():
        assert len(store.images) > 0
        for field in ("images", "attributes", "identity"):
            np.testing.assert_array_equal(getattr(store, field), getattr(second[split], field))


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
    assert (store.crop, store.resize, store.source) == ("center178", "bicubic", "celeba")


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
    same_contents(first, use(fake)())
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
    use(Fake(jpeg, nums=(2, 1, 1)), resize="area")()
    use(Fake(nums=(2, 1, 1), fingerprint="d" * 64), crop="center108")()
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == [
        "fake-dddddddddddd-none-8-none-v1",
        "fake-eeeeeeeeeeee-center178-8-bicubic-v1",
        "fake-ffffffffffff-center108-8-bicubic-v1",
        "fake-ffffffffffff-center178-8-area-v1",
        "fake-ffffffffffff-center178-8-bicubic-v1",
    ]


def test_drawing_in_chunks_of_one_size(use):
    fake = Fake(nums=(300, 256, 1))
    stores = use(fake)()
    assert [len(indices) for indices in fake.drawn_indices] == [256] * 4
    for store, num in zip(stores.values(), fake.nums, strict=True):
        np.testing.assert_array_equal(store.images[:, 0, 0, 0], np.arange(num) % 256)


@pytest.mark.slow
@pytest.mark.parametrize("streamed", [False, True])
def test_all_processes_together_keep_the_order(jpeg, use, monkeypatch, streamed):
    monkeypatch.setattr(build_store, "FEW", 0)
    fake = Fake(jpeg)
    if streamed:
        as_is = fake.split

        def split(num):
            pictures = lambda: (jpeg(i % 12, 109, 89) for i in range(num))  # noqa: E731
            return dataclasses.replace(as_is(num), read=None, stream=pictures)

        fake.split = split
    stores = use(fake)()
    blue = stores["train"].images[..., 2].mean(axis=(1, 2))
    np.testing.assert_allclose(blue, 20 * (np.arange(300) % 12), atol=3)


def bad_at(jpeg, bad, how):
    """`Split.read` of a data set with some bad pictures."""
    whole = jpeg(3, 109, 89)
    scan = whole.index(b"\xff\xda")

    def read(index):
        if index not in bad:
            return jpeg(index % 12, 109, 89)
        if how == "unreadable":
            raise DataError(f"{index}.jpg is not there")
        return whole[:scan] + b"\xff\xd9" if how == "undecodable" else whole[:-9]

    return read


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("unreadable", "is not there"),
        ("undecodable", "no picture that can be decoded"),
        ("cut", "breaks off"),
    ],
)
def test_bad_pictures_are_named_or_skipped(jpeg, use, tmp_path, caplog, how, reason):
    caplog.set_level(logging.INFO, "gan")
    fake = Fake(jpeg, nums=(100, 3, 3))
    fake.read = bad_at(jpeg, {37, 64}, how)
    run = use(fake)
    with pytest.raises(DataError, match=rf"^37.jpg.*{reason}.*--config.data.on_bad=skip"):
        run()
    assert [path.name for path in (tmp_path / "cache").glob("*/*")] == [".lock"]
    store = run(on_bad="skip")["train"]
    left = np.delete(np.arange(100), [37, 64])
    assert (store.num, store.skipped) == (98, 2)
    np.testing.assert_allclose(store.images[..., 2].mean(axis=(1, 2)), 20 * (left % 12), atol=3)
    np.testing.assert_array_equal(store.attributes[:, 0], left % 2)
    np.testing.assert_array_equal(store.identity, left)
    listed = (store.path / "skipped.csv").read_text()
    assert "64.jpg" in listed
    assert reason in listed
    assert "skipped 37.jpg: " in caplog.text
    assert "37.jpg: 37.jpg" not in caplog.text
    with pytest.raises(DataError, match=r"on_bad=skip: 2 left out, listed in"):
        run()  # What was skipped does not become right by having been skipped.
    assert run(on_bad="skip")["train"].num == 98


def test_most_bad_is_an_error_even_if_they_may_be_skipped(jpeg, use):
    fake = Fake(jpeg, nums=(9, 1, 1))
    fake.read = bad_at(jpeg, set(range(3, 9)), "cut")
    with pytest.raises(DataError, match="6 of the 9 pictures are bad.*8.jpg: the JPEG breaks off"):
        use(fake)(on_bad="skip")
    fake.read = bad_at(jpeg, set(range(3, 7)), "cut")
    assert use(fake)(on_bad="skip")["train"].num == 5


@pytest.mark.parametrize("few", [0, 10_000])
def test_a_stream_that_breaks_is_an_error(jpeg, use, monkeypatch, few):
    monkeypatch.setattr(build_store, "FEW", few)
    fake = Fake(jpeg, nums=(100, 1, 1))
    as_is = fake.split

    def broken(error):
        for i in range(50):
            yield jpeg(i % 12, 109, 89)
        if error:
            raise error

    for error, message in ((DataError("cut at 50"), "cut at 50"), (None, "50 pictures came for")):
        fake.split = lambda num, e=error: dataclasses.replace(
            as_is(num), read=None, stream=lambda: broken(e)
        )
        with pytest.raises(DataError, match=message):
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

    monkeypatch.setattr(dataset, "describe_faces", describe)
    monkeypatch.setattr(dataset, "draw_faces", draw)
    monkeypatch.setattr(dataset, "FaceLabels", SimpleNamespace)
    data = Data(source="faces", cache_dir=str(tmp_path), image_size=2, num_faces=300)
    stores = prepare(data)
    assert stores["train"].attribute_names == dataset.ATTRIBUTES
    for name, part in dataset.split_indices(300).items():
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
        ({"crop": "x"}, r"config.data.crop='x' is not one of .*ddim128, squash, square\.$"),
        ({"resize": "bicubik"}, r"config.data.resize='bicubik'.*Did you mean 'bicubic'\?"),
        ({"source": "auto"}, r"auto needs a path.*--config.data.path="),
    ],
)
def test_unknown_names_are_answered_by_the_nearest(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        prepare(Data(cache_dir=str(tmp_path), **options))


def test_a_log_has_a_line_now_and_then_and_one_at_the_end(use, caplog, monkeypatch):
    caplog.set_level(logging.INFO, "gan")
    use(Fake(nums=(256 * 30, 1, 1)))()
    lines = [text for text in caplog.messages if text.startswith("fake train")]
    assert len(lines) == 1
    assert lines[0].startswith("fake train: 7680 pictures in ")
    monkeypatch.setattr(build_store, "TELL_EVERY", 0)
    use(Fake(nums=(256 * 30, 1, 2)))(image_size=4)
    lines = [text for text in caplog.messages[len(lines) :] if text.startswith("fake train")]
    assert "fake train: 50 %" in " ".join(lines)
    assert "s left" in lines[-2]


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


def test_named_attributes_alone_in_that_order(use):
    fake = Fake(nums=(6, 3, 3))
    whole = use(fake)()["train"]
    chosen = use(fake)(attributes=" Young , Male")["train"]
    assert chosen.attribute_names == ("Young", "Male")
    np.testing.assert_array_equal(chosen.attributes, whole.attributes[:, ::-1])
    np.testing.assert_array_equal(chosen.images, whole.images)
    with pytest.raises(ConfigError, match=r"'Yuong' is no attribute.*Did you mean 'Young'\?"):
        use(fake)(attributes="Yuong")
    with pytest.raises(ConfigError, match=r"'Male' is there twice"):
        use(fake)(attributes="Male,Male")


def test_checksums_are_compared_where_asked(use):
    run = use(Fake(nums=(5, 5, 5)))
    data = run.__closure__[0].cell_contents
    path = prepare(data)["validation"].path / "images.npy"
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    prepare(data, verify=("train", "test"))
    with pytest.raises(DataError, match=r"images.npy: pictures 0 to 4 do not match"):
        prepare(data, verify=("train", "validation"))


def test_crops_of_celeba_are_for_its_frame(jpeg, use):
    with pytest.raises(ConfigError, match=r"crop='square'.*center178"):
        use(Fake(jpeg), crop="square")()
    other = Fake(jpeg, nums=(3, 1, 1))
    as_is = other.__call__
    use_other = lambda **o: use(lambda c: dataclasses.replace(as_is(c), frame=None), **o)()  # noqa: E731
    with pytest.raises(ConfigError, match=r"crop='center108' is a box on CelebA's.*'square'"):
        use_other(crop="center108")
    assert use_other()["train"].crop == "square"
    assert use_other(crop="squash")["train"].crop == "squash"


def test_shares_and_faces_are_shown(use, caplog, tmp_path):
    caplog.set_level(logging.INFO, "gan")
    use(Fake(nums=(200, 10, 10)))()
    assert "Young" in caplog.text
    assert "33.50 %" in caplog.text
    (sheet,) = (tmp_path / "cache").glob("*/prepared.png")
    caplog.clear()
    use(Fake(nums=(200, 10, 10)))()
    assert "33.50 %" not in caplog.text
    with Image.open(sheet) as image:
        assert image.width > 8 * 48
        assert image.height == 2 * 48
