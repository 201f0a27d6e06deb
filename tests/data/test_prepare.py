"""Preparing a source: once, in a folder that its name, crop and size decide."""

import dataclasses
import logging
import shutil
import threading
import zipfile

import numpy as np
import pytest
from helpers.commands import write_pictures
from helpers.small_source import SmallSource, read_with_bad
from PIL import Image

from gan.config import Data
from gan.data.decode import VERSION
from gan.data.prepare import (
    choose_attributes,
    describe_pictures,
    prepare,
    prepare_source,
    prepare_splits,
    settle_doubts,
    store_folder,
)
from gan.data.registry import find_source
from gan.data.source import Doubt
from gan.errors import ConfigError, DataError


@pytest.fixture
def use(tmp_path):
    """Prepares a small source, pictures of 8 px; further arguments are settings of `Data`."""
    data = Data(cache_dir=str(tmp_path / "cache"), image_size=8)

    def use(fake, verify=(), **options):
        return prepare_source(fake.open(), dataclasses.replace(data, **options), verify)

    return use


def prepare_celeba(root, cache, **options):
    return prepare(Data(source="celeba", path=str(root), cache_dir=str(cache), **options))


def same_contents(first, second):
    assert first.keys() == second.keys() == {"train", "validation", "test"}
    for split, store in first.items():
        assert len(store.images) > 0
        for field in ("images", "attributes", "identity"):
            np.testing.assert_array_equal(getattr(store, field), getattr(second[split], field))


def test_prepare__pictures_and_labels_follow_the_partition(make_celeba, labels, tmp_path):
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


def test_prepare__zip_and_folder_and_line_ends_make_the_same_stores(make_celeba, tmp_path):
    first = prepare_celeba(make_celeba("zip"), tmp_path / "cache", image_size=16)
    folder = make_celeba("folder", zipped=False, line_end="\n")
    same_contents(first, prepare_celeba(folder, tmp_path / "cache", image_size=16))


@pytest.mark.parametrize("drawn", [True, False])
def test_prepare__reads_nothing_the_second_time(jpeg, use, drawn):
    fake = SmallSource(None if drawn else jpeg, nums=(20, 5, 5))
    first = use(fake)
    asked = len(fake.read_indices) + len(fake.drawn_indices)
    assert asked > 0
    same_contents(first, use(fake))
    assert len(fake.read_indices) + len(fake.drawn_indices) == asked
    assert fake.loaded == 3


def test_prepare__makes_only_what_is_missing(use, tmp_path):
    fake = SmallSource()
    use(fake)
    (store,) = (tmp_path / "cache").glob("*/validation")
    store.rename(tmp_path / "elsewhere")
    fake.drawn_indices.clear()
    use(fake)
    assert len(fake.drawn_indices) == 1


def test_store_folder__is_decided_by_all_that_decides_the_pictures(jpeg, use, tmp_path):
    use(SmallSource(jpeg, nums=(2, 1, 1)))
    use(SmallSource(jpeg, nums=(2, 1, 1)), crop="center108")
    use(SmallSource(jpeg, nums=(2, 1, 1), fingerprint="e" * 64))
    use(SmallSource(jpeg, nums=(2, 1, 1)), resize="area")
    use(SmallSource(nums=(2, 1, 1), fingerprint="d" * 64), crop="center108")
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == [
        "fake-dddddddddddd-none-8-none-v1",
        "fake-eeeeeeeeeeee-center178-8-bicubic-v1",
        "fake-ffffffffffff-center108-8-bicubic-v1",
        "fake-ffffffffffff-center178-8-area-v1",
        "fake-ffffffffffff-center178-8-bicubic-v1",
    ]


def test_prepare__uses_what_an_older_edition_prepared_and_says_so(tmp_path, caplog):
    for i in range(12):
        (tmp_path / "mine/faces").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9), (i, 0, 0)).save(tmp_path / f"mine/faces/{i}.png")
    data = Data(source="folder", path=str(tmp_path / "mine"), cache_dir=str(tmp_path / "cache"))
    data.image_size = 8
    source = find_source(data)
    made = describe_pictures(source, data) | {"version": 1}
    prepare_splits(source, store_folder(data, made), made, "error")
    old = prepare(data)["train"]
    assert (old.version, old.made_from) == (1, source.fingerprint)
    assert "v1 was prepared by an older edition" in caplog.text
    assert "delete that folder" in caplog.text
    shutil.rmtree(old.path.parent)
    new = prepare(data)["train"]
    assert (new.version, new.made_from) == (VERSION, f"v{VERSION}-{source.fingerprint}")


def test_prepare__where_the_data_are_gone_their_known_stores_suffice(tmp_path, caplog):
    caplog.set_level(logging.INFO, "gan")
    root = write_pictures(tmp_path / "mine", 20)
    data = Data(source="auto", path=str(root), cache_dir=str(tmp_path / "cache"), image_size=8)
    first = prepare(data)
    known = first["train"].made_from
    root.rename(tmp_path / "moved")
    same_contents(first, prepare(data, known=known))
    assert "is gone, and what was prepared of it suffices" in caplog.text
    (chosen,) = {
        s.attribute_names
        for s in prepare(dataclasses.replace(data, attributes="a"), known=known).values()
    }
    assert chosen == ("a",)
    for wrong in (dict(image_size=16), dict(crop="squash"), dict(resize="area")):
        with pytest.raises(DataError, match=r"nothing that was prepared of it lies in"):
            prepare(dataclasses.replace(data, **wrong), known=known)
    with pytest.raises(DataError, match=r"--config\.data\.path=PATH, or .*cache_dir=FOLDER"):
        prepare(data, known=known[:-1] + "x")
    with pytest.raises(DataError, match="does not exist"):
        prepare(data)
    shutil.rmtree(tmp_path / "cache/" / first["train"].path.parent.name / "test")
    with pytest.raises(DataError, match="nothing that was prepared"):
        prepare(data, known=known)
    moved = prepare(dataclasses.replace(data, path=str(tmp_path / "moved")), known=known)
    assert moved["train"].made_from == known


def test_prepare__a_folder_what_holds_it_and_its_zip_have_one_split(tmp_path):
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as archive:
        for i in range(40):
            file = tmp_path / f"root/deep/faces/{i}\u00fc.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (9, 9), (i, 0, 0)).save(file)
            archive.write(file, f"other/{i}u\u0308.png")  # As macOS spells it.
    paths = ("root", "root/deep/faces", "faces.zip")
    reds = [
        {
            split: sorted(store.images[:, 0, 0, 0].tolist())
            for split, store in prepare(
                Data(
                    source="folder",
                    path=str(tmp_path / path),
                    cache_dir=str(tmp_path / "cache"),
                    image_size=8,
                )
            ).items()
        }
        for path in paths
    ]
    assert reds[0] == reds[1] == reds[2]


def test_check_store__refuses_what_was_made_from_something_else(use, tmp_path):
    use(SmallSource(nums=(4, 4, 4)))
    with pytest.raises(DataError, match=r"fingerprint is .*Delete the folder"):
        use(SmallSource(nums=(4, 4, 4), fingerprint="f" * 12 + "0" * 52))
    (train,) = (tmp_path / "cache").glob("*/train")
    shutil.copytree(train, tmp_path / "copy")
    shutil.rmtree(train.with_name("test"))
    (tmp_path / "copy").rename(train.with_name("test"))
    with pytest.raises(DataError, match=r"test: split is 'train', not 'test'"):
        use(SmallSource(nums=(4, 4, 4)))


def test_check_store__pictures_once_skipped_do_not_become_right(jpeg, use, tmp_path):
    fake = SmallSource(jpeg, nums=(20, 3, 3), read=read_with_bad(jpeg, {7, 14}, "cut"))
    with pytest.raises(DataError, match=r"^7.jpg.*breaks off"):
        use(fake)
    assert [path.name for path in (tmp_path / "cache").glob("*/*")] == [".lock"]
    assert use(fake, on_bad="skip")["train"].num == 18
    with pytest.raises(DataError, match=r"on_bad=skip: 2 left out, listed in"):
        use(fake)
    assert use(fake, on_bad="skip")["train"].num == 18


def test_prepare__names_an_empty_split(use):
    with pytest.raises(DataError, match=r"'test' of source 'fake' has no pictures"):
        use(SmallSource(nums=(4, 4, 0)))


def test_prepare__two_at_once_draw_only_once(use, caplog):
    caplog.set_level(logging.INFO, "gan")
    drawing, waiting, results = threading.Event(), threading.Event(), []

    class Notice(logging.Handler):
        def emit(self, record):
            if "another process" in record.getMessage().lower():
                waiting.set()

    def before_draw():
        drawing.set()
        assert waiting.wait(30), "the second did not wait"

    fake = SmallSource(nums=(4, 4, 4), before_draw=before_draw)
    notice = Notice()
    logging.getLogger("gan").addHandler(notice)
    try:
        first = threading.Thread(target=lambda: results.append(use(fake)))
        first.start()
        assert drawing.wait(30)
        results.append(use(fake))  # Would draw again, if it did not wait and look again.
        first.join(30)
    finally:
        logging.getLogger("gan").removeHandler(notice)
    assert len(fake.drawn_indices) == 3
    same_contents(*results)


def test_choose_attributes__keeps_the_named_in_that_order(use):
    fake = SmallSource(nums=(6, 3, 3))
    whole = use(fake)["train"]
    chosen = use(fake, attributes=" Young , Male")["train"]
    assert chosen.attribute_names == ("Young", "Male")
    np.testing.assert_array_equal(chosen.attributes, whole.attributes[:, ::-1])
    np.testing.assert_array_equal(chosen.images, whole.images)
    with pytest.raises(ConfigError, match=r"'Yuong' is no attribute.*Did you mean 'Young'\?"):
        use(fake, attributes="Yuong")
    with pytest.raises(ConfigError, match=r"'Male' is there twice"):
        use(fake, attributes="Male,Male")


def test_prepare__compares_checksums_where_asked(use):
    fake = SmallSource(nums=(5, 5, 5))
    path = use(fake)["validation"].path / "images.npy"
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    use(fake, verify=("train", "test"))
    with pytest.raises(DataError, match=r"images.npy: pictures 0 to 4 do not match"):
        use(fake, verify=("train", "validation"))


def test_choose_crop__named_boxes_are_for_celebas_frame(jpeg, use):
    with pytest.raises(ConfigError, match=r"crop='square'.*center178"):
        use(SmallSource(jpeg), crop="square")
    other = SmallSource(jpeg, nums=(3, 1, 1), frame=None)
    with pytest.raises(ConfigError, match=r"crop='center108' is a box on CelebA's.*'square'"):
        use(other, crop="center108")
    assert use(other)["train"].crop == "square"
    assert use(other, crop="squash")["train"].crop == "squash"


def test_prepare__shows_shares_and_faces_once(use, caplog, tmp_path):
    caplog.set_level(logging.INFO, "gan")
    use(SmallSource(nums=(200, 10, 10)))
    assert "Young" in caplog.text
    assert "33.50 %" in caplog.text
    (sheet,) = (tmp_path / "cache").glob("*/prepared.png")
    caplog.clear()
    use(SmallSource(nums=(200, 10, 10)))
    assert "33.50 %" not in caplog.text
    with Image.open(sheet) as image:
        assert image.width > 8 * 64
        assert image.height == 2 * 64


DOUBT = Doubt("set: 2 classes: 0 (9), 1 (9)", {"--config.data.labels=none": "they are not"})


@pytest.fixture
def doubtful(tmp_path):
    """A source with a doubt and groups, and settings to prepare it."""
    source = dataclasses.replace(SmallSource().open(), doubts=(DOUBT,), groups=(("Male", "Young"),))
    return source, Data(cache_dir=str(tmp_path / "cache"), image_size=8)


def test_prepare__a_doubt_stops_with_what_settles_it_until_it_is_confirmed(doubtful, caplog):
    source, data = doubtful
    with pytest.raises(ConfigError, match=r"^set: 2 classes.*labels=none \(they are not\)\.$"):
        prepare_source(source, data)
    stores = prepare_source(source, dataclasses.replace(data, on_doubt="go"))
    assert "Taken so, as config.data.on_doubt=go" in caplog.text
    assert stores["train"].groups == (("Male", "Young"),)
    assert prepare_source(source, data)["train"].path == stores["train"].path  # Asked once.


@pytest.mark.parametrize(
    ("answer", "is_yes"), [("y", True), (" Yes", True), ("", False), ("n", False)]
)
def test_settle_doubts__in_a_terminal_the_user_is_asked(doubtful, answer, is_yes):
    source, data = doubtful
    asked = []

    def ask(question):
        asked.append(question)
        return answer

    if is_yes:
        settle_doubts(source, data, ask, in_terminal=True)
    else:
        with pytest.raises(ConfigError, match="labels=none"):
            settle_doubts(source, data, ask, in_terminal=True)
    assert asked == ["Is that what you mean? [y/N] "]


def test_prepare__stores_of_older_editions_get_the_groups_of_their_source(doubtful):
    source, data = doubtful
    older = prepare_source(dataclasses.replace(source, doubts=(), groups=()), data)
    assert older["train"].groups == ()
    assert prepare_source(source, data)["train"].groups == (("Male", "Young"),)


def test_choose_attributes__a_column_stands_for_its_values(doubtful):
    source, data = doubtful
    store = prepare_source(dataclasses.replace(source, doubts=(), groups=()), data)["train"]
    names = ("age=0-2", "age=20-29")
    store = dataclasses.replace(store, attribute_names=names, groups=(names,))
    for wish in ("age", "age=0-2,age=20-29", None):
        chosen = choose_attributes(store, wish)
        assert (chosen.attribute_names, chosen.groups) == (names, (names,))
    assert choose_attributes(store, "age=20-29").groups == ()
    with pytest.raises(ConfigError, match=r"'ages' is no attribute.*Did you mean 'age'"):
        choose_attributes(store, "ages")
