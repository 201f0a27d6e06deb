import shutil

import numpy as np
import pytest
from helpers.small_celeba import LABELS, PARTITION, picture, write_celeba, zip_folder

from gan.config import Data
from gan.data.decode import Recipe, decode_picture
from gan.data.readers import celeba_official, celebamask_hq
from gan.data.readers.celeba_labels import ATTRIBUTES
from gan.errors import ConfigError, DataError

ATTR, MAPPING = celebamask_hq.ATTRIBUTE_FILE, celebamask_hq.MAPPING_FILE
ORIGINAL = np.random.default_rng(2).permutation(12)  # Of CelebA, for each picture of this set.
NAMES = [f"{i}.jpg" for i in range(12)]  # "10.jpg" comes before "2.jpg" when sorted as text.


@pytest.fixture
def root(tmp_path):
    """The layout, with the mapping but without files of CelebA's."""
    root = tmp_path / "hq"
    (root / "CelebA-HQ-img").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        (root / "CelebA-HQ-img" / name).write_bytes(picture(number, 32, 32))
    rows = [f"{n}  " + " ".join("1" if v else "-1" for v in LABELS[i]) for i, n in enumerate(NAMES)]
    (root / ATTR).write_text("\n".join(["12", " ".join(ATTRIBUTES), *rows]) + "\n")
    rows = [f"{i}        {o}      {o + 1:06d}.jpg" for i, o in enumerate(ORIGINAL)]
    (root / MAPPING).write_text("\n".join(["idx    orig_idx    orig_file", *rows]) + "\n")
    return root


@pytest.fixture
def add_celeba(root, tmp_path):
    """Puts files of CelebA's beside it."""

    def add(*names):
        write_celeba(tmp_path / "celeba")
        for name in names:
            shutil.copy(tmp_path / "celeba" / name, root / name)

    return add


def read(path, on_bad="error"):
    return celebamask_hq.open_source(Data(source="celebamask_hq", path=str(path), on_bad=on_bad))


def splits(source):
    return {name: load() for name, load in source.splits.items()}


def number_of(name):
    return int(name.rpartition("/")[2].removesuffix(".jpg"))


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_splits__labels_and_pictures_belong_together(root):
    source = read(root)
    assert source.attribute_names == ATTRIBUTES
    assert source.frame is None
    seen = []
    for split in splits(source).values():
        assert set(split.identity) == {-1}
        for index, name in enumerate(split.names):
            number = number_of(name)
            np.testing.assert_array_equal(split.attributes[index], LABELS[number])
            assert split.read(index) == picture(number, 32, 32)
            recipe = Recipe(16, "square", "bicubic", source.formats, source.frame)
            assert decode_picture(recipe, split.read(index), name).image.shape == (16, 16, 3)
            seen.append(number)
    assert sorted(seen) == list(range(12))


@pytest.mark.parametrize("top", ["", "CelebAMask-HQ"])
def test_open_source__a_zip_is_read_unopened(root, top):
    expected = splits(read(root))
    source = read(zip_folder(root, top))
    assert celebamask_hq.recognise(zip_folder(root, top))
    for name, split in splits(source).items():
        np.testing.assert_array_equal(split.attributes, expected[name].attributes)
        assert [split.read(i) for i in range(len(split.names))] == [
            expected[name].read(i) for i in range(len(split.names))
        ]


def test_open_source__the_top_folder_may_be_there(root, tmp_path):
    (tmp_path / "around").mkdir()
    root.rename(tmp_path / "around" / "CelebAMask-HQ")
    assert celebamask_hq.recognise(tmp_path / "around")
    assert "12 pictures of 32 x 32" in read(tmp_path / "around").found


def test_splits__the_official_partition_holds_for_the_original_pictures(root, add_celeba):
    add_celeba(celeba_official.PARTITION_FILE, celeba_official.IDENTITY_FILE)
    source = read(root)
    assert "official splits; with identities" in source.found
    for number, split in enumerate(splits(source).values()):
        originals = ORIGINAL[[number_of(name) for name in split.names]]
        assert sorted(originals) == [i for i in range(12) if PARTITION[i] == number]
        np.testing.assert_array_equal(split.identity, 100 + originals // 2)


def test_splits__with_identities_one_person_stays_in_one(root, add_celeba):
    add_celeba(celeba_official.IDENTITY_FILE)
    source = read(root)
    assert "split by identity; with identities" in source.found
    people = [set(split.identity) for split in splits(source).values()]
    assert all(people)
    assert sum(map(len, people)) == len(set.union(*people)) == 6


def test_splits__without_the_mapping_celebas_files_say_nothing(root, add_celeba):
    add_celeba(celeba_official.PARTITION_FILE, celeba_official.IDENTITY_FILE)
    (root / MAPPING).unlink()
    source = read(root)
    assert "one person may be in several splits" in source.found
    assert "without identities" in source.found
    assert set(splits(source)["train"].identity) == {-1}


def test_fingerprint__changes_with_every_input(root, add_celeba):
    prints = [read(root).fingerprint]
    add_celeba(celeba_official.IDENTITY_FILE)
    prints.append(read(root).fingerprint)
    edit(root / MAPPING, f"{ORIGINAL[0] + 1:06d}.jpg", f"{ORIGINAL[1] + 1:06d}.jpg")
    prints.append(read(root).fingerprint)
    edit(root / ATTR, "0.jpg  -1" if LABELS[0, 0] == 0 else "0.jpg  1", "0.jpg  0")
    prints.append(read(root).fingerprint)
    (root / "CelebA-HQ-img" / "3.jpg").write_bytes(picture(9, 32, 32) + b"  ")
    prints.append(read(root).fingerprint)
    assert len(set(prints)) == 5


def test_on_bad__skip_takes_a_part_of_the_pictures(root):
    (root / "CelebA-HQ-img" / "3.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of the 12.*3.jpg.*on_bad=skip"):
        splits(read(root))
    found = splits(read(root, "skip"))
    assert sum(len(split.names) for split in found.values()) == 11
    assert [(number_of(n), why) for n, why in found["train"].left_out] == [(3, "no picture")]


BAD = {
    "mapping row": (lambda r: edit(r / MAPPING, "\n4 ", "\nfour "), [MAPPING, "line 6", "four"]),
    "mapping column": (
        lambda r: edit(r / MAPPING, f"{ORIGINAL[4] + 1:06d}.jpg", ""),
        [MAPPING, "line 6", "119614.jpg"],
    ),
    "mapping twice": (lambda r: edit(r / MAPPING, "\n4 ", "\n3 "), [MAPPING, "line 6", "second"]),
    "mapping short": (lambda r: edit(r / MAPPING, "\n11 ", "\n12 "), [MAPPING, "1 of the 12"]),
    "value": (lambda r: edit(r / ATTR, "\n3.jpg  ", "\n3.jpg 2 "), [ATTR, "line 6", "41 values"]),
    "name": (lambda r: edit(r / ATTR, "Young", "Yung"), [ATTR, "line 2", "Did you mean 'Young'"]),
    "labels missing": (lambda r: (r / ATTR).unlink(), [ATTR, "not there", "CelebA-HQ-img"]),
    "pictures missing": (
        lambda r: shutil.rmtree(r / "CelebA-HQ-img"),
        ["CelebA-HQ-img.zip or the unpacked folder CelebA-HQ-img", ATTR],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_open_source__bad_input_is_named(root, add_celeba, name):
    damage, fragments = BAD[name]
    add_celeba(celeba_official.PARTITION_FILE)
    splits(read(root))
    damage(root)
    with pytest.raises(DataError) as caught:
        splits(read(root))
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_recognise__the_layout_and_nothing_else(root, tmp_path):
    assert celebamask_hq.recognise(root)
    assert not celebamask_hq.recognise(tmp_path / "nothing")
    assert not celebamask_hq.recognise(root / ATTR)
    assert not celebamask_hq.recognise(write_celeba(tmp_path / "celeba"))
    assert not celeba_official.recognise(root)


def test_open_source__without_a_path_it_says_how_to_get_one():
    with pytest.raises(ConfigError, match=r"--config.data.path=PATH.*Lee et al"):
        celebamask_hq.open_source(Data(source="celebamask_hq"))
