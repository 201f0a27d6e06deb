"""Whatever lies there is read, or refused by an error of ours."""

import contextlib
import shutil
import zipfile
from types import ModuleType

import pytest
from helpers.small_celeba import MEMBERS, picture, write_celeba, zip_folder
from helpers.small_kaggle import IDENTITIES, contents, write
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gan.config import Data
from gan.data.decode import Recipe, decode_picture
from gan.data.readers import celeba_kaggle, celeba_official, celebamask_hq, folder
from gan.errors import ConfigError, DataError

FRAME = (27, 22)
TEXTS = [
    celeba_official.ATTRIBUTE_FILE,
    celeba_official.PARTITION_FILE,
    celeba_official.IDENTITY_FILE,
]
HQ_TEXTS = [celebamask_hq.ATTRIBUTE_FILE, celebamask_hq.MAPPING_FILE]
KAGGLE_TEXTS = [celeba_kaggle.ATTRIBUTE_FILE, celeba_kaggle.PARTITION_FILE, "identity_CelebA.csv"]
LARGEST = 2**16  # Positions in a file are drawn up to here, modulo its size.


def budget(examples):
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def flip(data, at, _, extra):
    return data[:at] + bytes([data[at] ^ (extra[0] if extra else 1)]) + data[at + 1 :]


def cut(data, at, *_):
    return data[:at]


def insert(data, at, _, extra):
    return data[:at] + extra + data[at:]


def delete(data, at, to, _):
    return data[: min(at, to)] + data[max(at, to) :]


def duplicate(data, at, to, _):
    chunk = data[min(at, to) : max(at, to)]
    return data[:at] + chunk + data[at:]


def swap_lines(data, at, to, _):
    lines = data.split(b"\n")
    at, to = at % len(lines), to % len(lines)
    lines[at], lines[to] = lines[to], lines[at]
    return b"\n".join(lines)


def swap_tokens(data, at, to, _):
    separator = b" " if b" " in data else b","
    tokens = data.split(separator)
    at, to = at % len(tokens), to % len(tokens)
    tokens[at], tokens[to] = tokens[to], tokens[at]
    return separator.join(tokens)


def drop_columns(data, at, *_):
    """All but the first few of a CSV."""
    rows = [line.split(b",") for line in data.split(b"\n")]
    return b"\n".join(b",".join(row[: 1 + at % len(rows[0])]) for row in rows)


POSITION = st.integers(0, LARGEST)
EXTRA = st.binary(max_size=8) | st.sampled_from(
    [
        b" ",
        b"\n",
        b"\r",
        b"-",
        b"2",
        b"\x00",
        b"\xff\xd9",
        b"PK\x05\x06",
        "١".encode(),
        b"\x1c",
        b",",
        b'"',
        b"\\",
    ]
)
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(
            [flip, cut, insert, delete, duplicate, swap_lines, swap_tokens, drop_columns]
        ),
        *(POSITION, POSITION, EXTRA),
    ),
    min_size=1,
    max_size=4,
)
ON_BAD = st.sampled_from(["error", "skip"])


def mutate(data, changes):
    for change, at, to, extra in changes:
        if data:
            data = change(data, at % len(data), to % len(data), extra)
    return data


def survives(reader: ModuleType, path, on_bad):
    """Reads all of it, as preparing does. Errors that are not ours come through."""
    reader.recognise(path)
    try:
        source = reader.open_source(Data(path=str(path), on_bad=on_bad))
        crop = "center178" if source.frame else "square"
        recipe = Recipe(8, crop, "bicubic", source.formats, source.frame)
        for load in source.splits.values():
            split = load()
            assert len(split.attributes) == len(split.identity) == len(split.names) > 0
            assert (split.attributes <= 1).all()
            for index, name in enumerate(split.names):
                with contextlib.suppress(DataError):
                    assert decode_picture(recipe, split.read(index), name).image.shape == (8, 8, 3)
    except (DataError, ConfigError):
        pass


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_celeba(tmp_path_factory.mktemp("fuzz") / "celeba", frame=FRAME)


@pytest.fixture(scope="module")
def hq(tmp_path_factory):
    root = tmp_path_factory.mktemp("fuzz") / "hq"
    (root / "CelebA-HQ-img").mkdir(parents=True)
    write_celeba(root, zipped=False, frame=FRAME)
    names = [f"{i}.jpg" for i in range(12)]
    for number, name in enumerate(names):
        (root / "CelebA-HQ-img" / name).write_bytes(picture(number, 24, 24))
    text = (root / celeba_official.ATTRIBUTE_FILE).read_text()
    for member, name in zip(MEMBERS, names, strict=True):
        text = text.replace(member, name)
    (root / celebamask_hq.ATTRIBUTE_FILE).write_text(text)
    rows = [f"{i}  {i}  {member}" for i, member in enumerate(MEMBERS)]
    text = "\n".join(["idx orig_idx orig_file", *rows])
    (root / celebamask_hq.MAPPING_FILE).write_text(text)
    return root


@pytest.fixture(scope="module")
def kaggle(tmp_path_factory):
    identities = b"image_id,identity\n" + IDENTITIES.replace(b" ", b",")
    files = contents(frame=FRAME) | {"identity_CelebA.csv": identities}
    return write(tmp_path_factory.mktemp("fuzz") / "kaggle", files)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """One's own pictures, and a CSV of all that one may say."""
    files = {f"faces/{member}": picture(i, 8, 8) for i, member in enumerate(MEMBERS)}
    parts = ["train", "val", "test"] * 4
    rows = [
        f"faces/{member},{i % 2},{'yes' if i % 3 else 'no'},{parts[i]},p{i}"
        for i, member in enumerate(MEMBERS)
    ]
    text = "\n".join(["picture,Hat,Smiling,split,identity", *rows])
    return write(tmp_path_factory.mktemp("fuzz") / "own", files | {"labels.csv": text.encode()})


@pytest.fixture(scope="module")
def deflated(root):
    """The unpacked layout in one zip, deflated so that damage meets the decompressor."""
    folder = write_celeba(root.parent / "unpacked", zipped=False, frame=FRAME)
    stored = zip_folder(folder, "celeba")
    path = root.parent / "deflated.zip"
    with zipfile.ZipFile(stored) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return path


def try_with(reader, root, name, data, on_bad):
    """Reads with another content of one file, which is put back."""
    path = root / name
    valid = path.read_bytes()
    try:
        path.write_bytes(data(valid))
        survives(reader, root, on_bad)
    finally:
        path.write_bytes(valid)


def test_open_source__what_is_valid_is_read(root, hq, deflated, kaggle, own):
    for reader, path in (
        *((celeba_official, root), (celebamask_hq, hq), (celeba_official, deflated)),
        *((celeba_kaggle, kaggle), (folder, own)),
    ):
        assert reader.recognise(path)
        source = reader.open_source(Data(path=str(path)))
        nums = [4, 4, 4] if reader is folder else [6, 3, 3]
        assert [len(load().names) for load in source.splits.values()] == nums


@pytest.mark.parametrize("name", TEXTS)
@budget(100)
@given(changes=CHANGES, on_bad=ON_BAD)
def test_celeba_official__survives_mutated_texts(root, name, changes, on_bad):
    try_with(celeba_official, root, name, lambda valid: mutate(valid, changes), on_bad)


@pytest.mark.parametrize("name", [*HQ_TEXTS, celeba_official.PARTITION_FILE])
@budget(80)
@given(changes=CHANGES, on_bad=ON_BAD)
def test_celebamask_hq__survives_mutated_texts(hq, name, changes, on_bad):
    try_with(celebamask_hq, hq, name, lambda valid: mutate(valid, changes), on_bad)


@pytest.mark.parametrize("name", KAGGLE_TEXTS)
@budget(60)
@given(changes=CHANGES, on_bad=ON_BAD)
@example(changes=[(drop_columns, 0, 0, b"")], on_bad="error")
def test_celeba_kaggle__survives_mutated_texts(kaggle, name, changes, on_bad):
    try_with(celeba_kaggle, kaggle, name, lambda valid: mutate(valid, changes), on_bad)


@budget(100)
@given(changes=CHANGES, on_bad=ON_BAD)
@example(changes=[(drop_columns, 0, 0, b"")], on_bad="error")
def test_folder__survives_mutated_labels(own, changes, on_bad):
    try_with(folder, own, "labels.csv", lambda valid: mutate(valid, changes), on_bad)


@budget(200)
@given(changes=CHANGES, on_bad=ON_BAD)
def test_celeba_official__survives_a_mutated_zip_of_pictures(root, changes, on_bad):
    try_with(
        celeba_official, root, "img_align_celeba.zip", lambda valid: mutate(valid, changes), on_bad
    )


@budget(150)
@given(changes=CHANGES, on_bad=ON_BAD)
def test_celeba_official__survives_a_mutated_zip_of_all(deflated, changes, on_bad):
    path = deflated.with_name("mutated.zip")
    path.write_bytes(mutate(deflated.read_bytes(), changes))
    survives(celeba_official, path, on_bad)


@budget(150)
@given(
    at=st.integers(0, LARGEST),
    value=st.integers(0, 255),
    on_bad=ON_BAD,
    more=st.integers(0, LARGEST),
)
def test_celeba_official__survives_a_mutated_directory_of_a_zip(root, at, value, more, on_bad):
    """Changes the list of a zip's members: few bytes, so changes of the whole rarely meet them."""

    def change(valid):
        start = valid.index(b"PK\x01\x02")
        size = len(valid) - start
        data = bytearray(valid)
        data[start + at % size] = value
        data[start + more % size] ^= value
        return bytes(data)

    try_with(celeba_official, root, "img_align_celeba.zip", change, on_bad)


@pytest.mark.parametrize("name", [*TEXTS, "img_align_celeba.zip"])
@budget(60)
@given(data=st.binary(max_size=300), on_bad=ON_BAD)
@example(data=b"", on_bad="skip")
@example(data=b"\xef\xbb\xbf", on_bad="error")
@example(data=b"PK\x05\x06" + bytes(18), on_bad="error")  # A zip of nothing.
def test_celeba_official__survives_arbitrary_bytes(root, name, data, on_bad):
    try_with(celeba_official, root, name, lambda _: data, on_bad)


@budget(60)
@given(data=st.binary(max_size=300), on_bad=ON_BAD)
@example(data=b"", on_bad="skip")
@example(data=b"\xef\xbb\xbf", on_bad="error")
@example(data=b"p,Hat\n\\,1\n/,1\n./,0\n", on_bad="error")
def test_csv__survives_arbitrary_bytes(kaggle, own, data, on_bad):
    try_with(folder, own, "labels.csv", lambda _: data, on_bad)
    try_with(celeba_kaggle, kaggle, KAGGLE_TEXTS[0], lambda _: data, on_bad)


@budget(100)
@given(changes=CHANGES, number=st.integers(0, 11), on_bad=ON_BAD)
def test_celebamask_hq__survives_mutated_pictures(hq, changes, number, on_bad):
    name = f"CelebA-HQ-img/{number}.jpg"
    try_with(celebamask_hq, hq, name, lambda valid: mutate(valid, changes), on_bad)


@budget(100)
@given(
    path=st.text(max_size=20).filter(lambda text: "/" not in text)
    | st.sampled_from(["\x00", "~nobody", "x" * 5000, "/dev/null"])
)
def test_open_source__survives_arbitrary_paths(path):
    for reader in (celeba_official, celebamask_hq, celeba_kaggle):
        with contextlib.suppress(DataError, ConfigError):
            reader.open_source(Data(path=path))


def test_celeba_official__files_that_are_folders_are_named(root):
    for name in [*TEXTS, "img_align_celeba.zip"]:
        valid = (root / name).read_bytes()
        (root / name).unlink()
        (root / name).mkdir()
        with pytest.raises(DataError, match=name):
            celeba_official.open_source(Data(path=str(root)))
        shutil.rmtree(root / name)
        (root / name).write_bytes(valid)
