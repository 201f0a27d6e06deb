import dataclasses
import re

import numpy as np
import pytest
import tensorflow_datasets as tfds
from helpers.small_tfds import encoded, make_source, table

from gan.config import Data
from gan.data.decode import SQUARE, Recipe, decode_picture
from gan.data.export_tfds import export_tfds
from gan.data.readers import tfds_files, tfds_sets
from gan.data.readers.celeba_labels import ATTRIBUTES
from gan.data.source import SPLITS
from gan.errors import ConfigError, DataError

pytestmark = pytest.mark.usefixtures("no_network")

CLASSES = ("cat", "dog", "small fish")


def build(root, file_format="tfrecord", title="pets", nums=None, channels=3, kind="PNG", **more):
    """A data set of random pictures, whose label is their number modulo 3."""
    nums = nums or {"train": 30, "test": 7}
    features = {
        "image": tfds.features.Image(shape=(None, None, channels)),
        "label": tfds.features.ClassLabel(names=CLASSES),
        "id": np.int64,
        **more,
    }
    features = {name: feature for name, feature in features.items() if feature is not None}

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = title
        VERSION = tfds.core.Version("1.2.0")

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(split) for split in nums}

        def _generate_examples(self, split):
            first = 100 * list(nums).index(split)
            for i in range(first, first + nums[split]):
                example = {"image": image(i, channels, kind), "label": i % 3, "id": i}
                example |= {
                    "attributes": {"zebra": i % 2 == 0, "ape": i % 3 == 0},
                    "identity": {"Identity_No": i // 4},
                }
                yield str(i), {name: example.get(name, i) for name in features}

    tfds.disable_progress_bar()
    Builder(data_dir=str(root), file_format=file_format).download_and_prepare()
    return root / title / "1.2.0"


def image(number, channels, kind):
    if channels == 3:
        return encoded(number, (8, 10), kind)
    return np.random.default_rng(number).integers(0, 256, (8, 10, channels), dtype=np.uint8)


def read(root, name="pets"):
    return tfds_sets.open_source(Data(source="tfds", path=str(root), name=name))


def load(source):
    splits = {name: make() for name, make in source.splits.items()}
    for split in splits.values():
        assert len(split.attributes) == len(split.identity) == len(split.names)
        assert len(list(split.stream())) == len(split.names)
    return splits


@pytest.mark.parametrize("file_format", tfds_files.FORMATS)
def test_splits__pictures_have_their_classes(tmp_path, file_format):
    build(tmp_path, file_format)
    source = read(tmp_path)
    assert source.attribute_names == CLASSES
    assert source.frame is None
    assert list(source.splits) == list(SPLITS)
    splits = load(source)
    pictures = {encoded(i, (8, 10), "PNG"): i for i in (*range(30), *range(100, 107))}
    seen = []
    for split in splits.values():
        for row, picture in zip(split.attributes, split.stream(), strict=True):
            seen.append(pictures[picture])
            assert row.tolist() == [seen[-1] % 3 == k for k in range(3)]
        assert set(split.identity) == {-1}
    assert sorted(seen) == sorted(pictures.values())
    assert len(splits["test"].attributes) == 7
    assert 0 < len(splits["validation"].attributes) < len(splits["train"].attributes)


@pytest.mark.parametrize(
    ("nums", "sizes"),
    [
        ({"train": 9, "validation": 5, "test": 4}, {"train": 9, "validation": 5, "test": 4}),
        ({"train": 9, "valid": 5, "test": 4}, {"train": 9, "validation": 5, "test": 4}),
        ({"train": 60, "val": 5}, {"validation": 5}),
        ({"train": 60}, {}),
    ],
)
def test_splits__those_that_are_there_are_taken_and_others_come_from_train(tmp_path, nums, sizes):
    build(tmp_path, nums=nums)
    source = read(tmp_path)
    splits = load(source)
    for name, num in sizes.items():
        assert len(splits[name].names) == num
    assert sum(len(split.names) for split in splits.values()) == sum(nums.values())
    names = [name for split in splits.values() for name in split.names]
    assert len(set(names)) == len(names)
    assert all(len(split.names) for split in splits.values())
    assert ("taken from train" in source.found) == (len(nums) < 3)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("names", [("zebra", "small ape"), (), ATTRIBUTES])
@pytest.mark.parametrize("file_format", tfds_files.FORMATS)
def test_open_source__exported_pictures_are_read_back(tmp_path, file_format, names, known):
    def picture(number):
        return encoded(number, (20 + number, 30), "PNG" if number % 2 else "JPEG")

    source = make_source(attributes=len(names), known=known, picture=picture)
    source = dataclasses.replace(
        source, name="folder", attribute_names=names, formats=("JPEG", "PNG"), frame=None
    )
    folder = export_tfds(source, tmp_path, file_format)
    back = read(tmp_path, "folder")
    assert read(folder, None).fingerprint == back.fingerprint
    assert back.attribute_names == (names if names == ATTRIBUTES else tuple(sorted(names)))
    assert f"{len(names)} attributes" in back.found
    order = [names.index(name) for name in back.attribute_names]
    for name, load_split in source.splits.items():
        split = load_split()
        split = dataclasses.replace(split, attributes=split.attributes[:, order])
        assert table(back.splits[name]()) == table(split)


BOOLS = {"zebra": np.bool_, "ape": np.bool_}


def test_splits__those_from_train_are_by_identity_where_it_is_known(tmp_path):
    identity = tfds.features.FeaturesDict({"Identity_No": np.int64})
    attributes = tfds.features.FeaturesDict(BOOLS)
    build(tmp_path, nums={"train": 60}, label=None, attributes=attributes, identity=identity)
    splits = load(read(tmp_path))
    people = [set(split.identity.tolist()) for split in splits.values()]
    assert set.union(*people) == set(range(15))
    assert sum(map(len, people)) == 15
    pictures = {encoded(i, (8, 10), "PNG"): i for i in range(60)}
    for split in splits.values():
        numbers = np.array([pictures[picture] for picture in split.stream()])
        np.testing.assert_array_equal(split.identity, numbers // 4)
        np.testing.assert_array_equal(split.attributes, np.c_[numbers % 3 == 0, numbers % 2 == 0])


def test_stream__grey_pictures_can_be_decoded(tmp_path):
    build(tmp_path, channels=1)
    split = read(tmp_path).splits["test"]()
    recipe = Recipe(8, SQUARE, "area", read(tmp_path).formats)
    done = decode_picture(recipe, next(split.stream()), split.names[0])
    assert done.image.shape == (8, 8, 3)
    assert "grey to RGB" in done.changes


def test_open_source__a_data_set_is_found_by_name_or_by_folder(tmp_path):
    folder = build(tmp_path)
    prints = {
        read(path, name).fingerprint
        for path, name in [
            (tmp_path, "pets"),
            (tmp_path, "pets:1.2.0"),
            (folder, None),
            (folder, "pets"),
            (folder.parent, None),
        ]
    }
    assert len(prints) == 1
    assert tfds_sets.recognise(folder)
    assert not tfds_sets.recognise(tmp_path)
    assert not tfds_sets.recognise(tmp_path / "nothing")


def test_open_source__configurations_are_chosen_by_name(tmp_path):
    for config in ("big", "small"):
        (tmp_path / "pets" / config).mkdir(parents=True)
        build(tmp_path / "new").rename(tmp_path / "pets" / config / "1.2.0")
    with pytest.raises(ConfigError, match=r"pets/CONFIG, of big, small"):
        read(tmp_path)
    with pytest.raises(ConfigError, match="pets/big, pets/small"):
        read(tmp_path, None)
    assert "30 train" in read(tmp_path, "pets/small").found
    assert "30 train" in read(tmp_path, "pets/small:1.2.0").found


@pytest.mark.parametrize(
    ("name", "error", "fragments"),
    [
        ("petz", DataError, ["no data set 'petz' to build. Did you mean 'pets'?"]),
        ("cifar11", DataError, ["no data set 'cifar11' to build. It has cifar10"]),
        ("cifar10", DataError, ["not prepared there, only pets.", "tfds build cifar10 --data_dir"]),
        ("pets:1.0.0", DataError, ["version 1.0.0", "1.2.0"]),
        ("../pets", ConfigError, ["config.data.name", "cifar10:3.0.2"]),
        ("huggingface:pets", ConfigError, ["config.data.name"]),
        (None, ConfigError, ["config.data.name is not given", "pets"]),
    ],
)
def test_open_source__what_is_not_there_is_said_with_the_remedy(tmp_path, name, error, fragments):
    build(tmp_path, nums={"train": 3})
    with pytest.raises(error) as caught:
        read(tmp_path, name)
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_open_source__where_nothing_lies_a_typo_gets_the_nearest_name(tmp_path):
    with pytest.raises(DataError) as caught:
        read(tmp_path, "cifar11")
    assert "'cifar11' is not prepared there, nor is any other. " in str(caught.value)
    assert re.search(r"It has .*\bcifar10\b", str(caught.value))
    assert "tfds build" not in str(caught.value)


def test_list_datasets__names_what_lies_in_a_folder(tmp_path):
    build(tmp_path / "data", nums={"train": 3})
    build(tmp_path / "new", nums={"train": 3}).rename(tmp_path / "data" / "1.2.0")
    (tmp_path / "data" / "zoo" / "small").mkdir(parents=True)
    (tmp_path / "data" / "1.2.0").rename(tmp_path / "data" / "zoo" / "small" / "1.2.0")
    (tmp_path / "data" / "file").write_bytes(b"")
    assert tfds_sets.list_datasets(tmp_path / "data") == ["pets", "zoo/small"]
    for nothing in ("data/file", "data/pets/1.2.0", "nowhere", "\0"):
        assert tfds_sets.list_datasets(tmp_path / nothing) == []


def test_open_source__another_name_than_that_of_the_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"'cifar10', but .* holds 'pets'"):
        read(build(tmp_path), "cifar10")


@pytest.mark.parametrize(
    ("more", "fragments"),
    [
        ({"label": None}, ["id (Scalar), image (Image)", "'label' (ClassLabel)"]),
        ({"image": None}, ["label (ClassLabel)", "'image' (Image)"]),
        ({"label": np.int64}, ["label (Scalar)", "'attributes' (a FeaturesDict of bools)"]),
        (
            {"label": None, "attributes": tfds.features.FeaturesDict(BOOLS | {"ape": np.int64})},
            ["attributes (FeaturesDict)"],
        ),
        ({"label": tfds.features.ClassLabel(num_classes=1001)}, ["1,001 classes"]),
    ],
)
def test_open_source__features_that_do_not_fit_are_listed(tmp_path, more, fragments):
    build(tmp_path, nums={"train": 3}, **more)
    with pytest.raises(DataError, match="pets/1.2.0") as caught:
        read(tmp_path)
    for fragment in fragments:
        assert fragment in re.sub(r"Tensor|ScalarFeature", "Scalar", str(caught.value))


def test_open_source__train_is_needed(tmp_path):
    build(tmp_path, nums={"test": 3})
    with pytest.raises(DataError, match="has the splits test, but no 'train'"):
        read(tmp_path)


@pytest.mark.parametrize("file_format", tfds_files.FORMATS)
def test_splits__a_cut_shard_is_named(tmp_path, file_format):
    folder = build(tmp_path, file_format)
    path = next(folder.glob("pets-train*"))
    path.write_bytes(path.read_bytes()[: -9000 if file_format == "tfrecord" else 100])
    with pytest.raises(DataError, match=re.escape(str(path))):
        load(read(tmp_path))


@pytest.mark.parametrize(("name", "channels"), [("cifar10", 3), ("mnist", 1)])
def test_open_source__mocked_data_needs_no_files(tmp_path, name, channels):
    with tfds.testing.mock_data(num_examples=12):
        source = read(tmp_path, name)
        splits = load(source)
        assert len(source.attribute_names) == 10
        assert sum(len(split.names) for split in splits.values()) == 12
        for split in splits.values():
            np.testing.assert_array_equal(split.attributes.sum(axis=1), 1)
            for picture in split.stream():
                assert picture.dtype == np.uint8
                assert picture.shape[2] == channels
                decode_picture(Recipe(16, SQUARE, "area", source.formats), picture, "x")
