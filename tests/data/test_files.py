import concurrent.futures
import contextlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from gan.config import Data
from gan.data.files import (
    Folder,
    Zip,
    explain_inner,
    is_whole,
    open_files,
    read_lines,
    require_path,
)
from gan.errors import ConfigError, DataError

CONTENT = {
    "readme.txt": b"one\r\ntwo\r\n",
    "pictures/b.jpg": b"bb",
    "pictures/a.jpg": b"a",
    "pictures/deep/c.jpg": b"ccc",
    ".DS_Store": b"x",
    "pictures/._a.jpg": b"x",
    "__MACOSX/pictures/a.jpg": b"x",
    "pictures/Thumbs.db": b"x",
}


def write_zip(path, content=CONTENT, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


@pytest.fixture(params=["folder", "zip"])
def files(request, tmp_path):
    """The same files in both."""
    if request.param == "zip":
        return open_files(write_zip(tmp_path / "all.zip"))
    for name, data in CONTENT.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    return open_files(tmp_path)


def test_list__is_sorted_and_leaves_out_what_systems_leave_behind(files):
    assert list(files.list()) == ["readme.txt"]
    assert list(files.list("pictures")) == ["a.jpg", "b.jpg"]
    assert list(files.list("pictures", deep=True)) == ["a.jpg", "b.jpg", "deep/c.jpg"]
    assert list(files.list(deep=True)) == [
        *("pictures/a.jpg", "pictures/b.jpg", "pictures/deep/c.jpg", "readme.txt")
    ]


def test_read__what_is_there_is_read(files):
    assert files.has("readme.txt")
    assert files.has("pictures")
    assert not files.has("picture")
    assert files.read("pictures/deep/c.jpg") == b"ccc"
    assert files.where("readme.txt").startswith(str(files.path))
    assert read_lines(files, "readme.txt") == ["one", "two"]


def test_read__what_is_too_large_is_refused(files):
    with pytest.raises(DataError, match=r"c.jpg has 3 bytes; at most 2 are read"):
        files.read("pictures/deep/c.jpg", limit=2)


def test_stamps__change_with_the_file(tmp_path):
    stamps = []
    for data in (b"one", b"two", b"four"):
        stamps.append(Zip(write_zip(tmp_path / "a.zip", {"a": data})).list()["a"])
    assert len(set(stamps)) == 3


def test_folder__what_is_missing_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nothing cannot be read: No such file"):
        Folder(tmp_path).list("nothing")
    with pytest.raises(DataError, match=r"nothing.jpg cannot be read: No such file"):
        Folder(tmp_path).read("nothing.jpg")


def test_folder__links_in_a_circle_end(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.jpg").write_bytes(b"a")
    (tmp_path / "deep" / "again").symlink_to(tmp_path, target_is_directory=True)
    assert list(Folder(tmp_path).list(deep=True)) == ["deep/a.jpg"]


def test_folder__links_to_nothing_are_files_that_cannot_be_read(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"a")
    (tmp_path / "lost.jpg").symlink_to(tmp_path / "nothing")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    (tmp_path / "good.jpg").symlink_to(tmp_path / "a.jpg")
    files = Folder(tmp_path)
    stamps = files.list(deep=True)
    assert list(stamps) == ["a.jpg", "good.jpg", "loop.jpg", "lost.jpg"]
    assert stamps["good.jpg"] == stamps["a.jpg"]
    assert stamps["lost.jpg"] == stamps["loop.jpg"] == (-1, -1)
    with pytest.raises(
        DataError, match=r"lost\.jpg cannot be read: No such file or directory.*link"
    ):
        files.read("lost.jpg")
    with pytest.raises(DataError, match=r"loop\.jpg cannot be read: Too many levels"):
        files.read("loop.jpg")


@pytest.mark.parametrize(
    "name",
    ["../../evil.jpg", "a/../b.jpg", "/abs.jpg", "C:/x.jpg", "C:\\x.jpg", "..\\x.jpg", "./.."],
)
def test_zip__names_that_point_out_of_it_are_refused(tmp_path, name):
    path = write_zip(tmp_path / "a.zip", {"good.jpg": b"", name: b""})
    with pytest.raises(DataError, match=r"a\.zip.*points out of the archive"):
        Zip(path)


def test_zip__odd_names_that_stay_in_it_are_read(tmp_path):
    names = ["a\\b\\1.jpg", "10:30:00.jpg", "me..2.jpg", "..3.jpg/x.jpg", "__MACOSX/._me..2.jpg"]
    found = Zip(write_zip(tmp_path / "a.zip", dict.fromkeys(names, b"x")))
    assert list(found.list(deep=True)) == ["10:30:00.jpg", "a/b/1.jpg", "me..2.jpg"]
    assert list(found.list("a/b")) == ["1.jpg"]
    assert found.read("a/b/1.jpg") == b"x"


def patch_members(path, offset, value, only=b""):
    """Sets a field of the members: 6 holds flags, 8 the compression, 2 bytes more in the list."""
    data = bytearray(path.read_bytes())
    for sign, shift, name in ((b"PK\x03\x04", 0, 30), (b"PK\x01\x02", 2, 46)):
        at = data.find(sign)
        while at >= 0:
            if data[at + name :].startswith(only):
                data[at + offset + shift] |= value
            at = data.find(sign, at + 4)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("offset", "value", "why"),
    [
        (6, 1, "is encrypted: it takes a password"),
        (8, 9, "is compressed by Deflate64"),
        (8, 98, "is compressed by PPMd"),
        (8, 77, "is compressed by method 77"),
    ],
)
def test_zip__what_cannot_be_read_is_told_at_once_or_where_it_is_read(tmp_path, offset, value, why):
    content = {"a.jpg": b"1", "b.jpg": b"2"}
    path = write_zip(tmp_path / "a.zip", content)
    patch_members(path, offset, value, only=b"b")
    assert Zip(path).read("a.jpg") == b"1"
    with pytest.raises(DataError, match=rf"a\.zip: b\.jpg {why}.*Unpack the zip, and give the fol"):
        Zip(path).read("b.jpg")
    patch_members(path, offset, value)
    with pytest.raises(DataError, match=rf"a\.zip: a\.jpg {why}"):
        Zip(path)


@pytest.mark.parametrize("kind", ["tar", "gztar", "bztar", "xztar"])
def test_open_files__the_command_for_a_tar_makes_a_folder_that_opens(tmp_path, kind):
    (tmp_path / "in/faces").mkdir(parents=True)
    (tmp_path / "in/faces/a.jpg").write_bytes(b"a")
    path = shutil.make_archive(str(tmp_path / "my set"), kind, tmp_path / "in")
    with pytest.raises(DataError, match=r"but tar.*Unpack it by (.*), and give the") as caught:
        open_files(Path(path))
    command = re.search(r"Unpack it by (.*), and give the", str(caught.value))[1]
    subprocess.run(command, shell=True, check=True, cwd=tmp_path)  # noqa: S602
    assert list(open_files(tmp_path / "faces").list()) == ["a.jpg"]


def test_explain_inner__leads_to_the_archive_that_holds_the_pictures(tmp_path):
    inner = write_zip(tmp_path / "faces.zip", {"a.jpg": b"a"})
    assert str(inner) in explain_inner(open_files(tmp_path))
    outer = write_zip(tmp_path / "outer.zip", {"faces.zip": inner.read_bytes()})
    said = explain_inner(open_files(outer))
    assert f"unzip {outer}" in said
    assert said.endswith("--config.data.path=faces.zip")
    assert explain_inner(open_files(inner)) == ""


def test_zip__a_member_without_a_name_is_left_out_or_an_error_of_ours(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"a": b"1", "b.jpg": b"2"})
    data = path.read_bytes()
    start = data.index(b"PK\x01\x02") + 46  # Its name, where the zip lists its members.
    path.write_bytes(data[:start] + b"\0" + data[start + 1 :])
    with contextlib.suppress(DataError):
        assert list(Zip(path).list()) == ["b.jpg"]


def test_zip__a_name_that_stands_there_twice_is_refused(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"a.jpg": b"1"})
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("a.jpg", b"2")
    with pytest.raises(DataError, match=r"a\.jpg is in it twice"):
        Zip(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\n<!DOCTYPE html><html>Quota exceeded", "HTML page of 36 bytes"),
        (b"PK\x03\x04 and no more", "breaks off after 16 bytes"),
        (b"Rar!\x1a\x07", "not a zip.*rar!.*but RAR.*unrar x"),
        (b"7z\xbc\xaf\x27\x1c", "not a zip.*but 7z.*7z x"),
        (b"\x89PNG\r\n", "a single picture .PNG.. Give the folder .* --config.data.path=/"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "a single picture .WebP."),
        (b"", "not a zip .0 bytes"),
    ],
)
def test_zip__what_is_none_is_told_by_its_beginning(tmp_path, data, message):
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(DataError, match=message):
        open_files(tmp_path / "a.zip")


def test_zip__what_is_missing_is_named(tmp_path):
    with pytest.raises(DataError, match=r"a\.zip: cannot be read: No such file"):
        open_files(tmp_path / "a.zip")


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zip__a_flipped_bit_is_found(tmp_path, compression):
    path = write_zip(tmp_path / "a.zip", {"a.jpg": bytes(range(256)) * 4}, compression)
    data = bytearray(path.read_bytes())
    data[30 + len("a.jpg") + 40] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.jpg is damaged .* Fetch the zip again"):
        Zip(path).read("a.jpg")


def test_zip__is_read_from_many_threads(tmp_path):
    content = {f"{i}.jpg": bytes([i]) * (1000 + i) for i in range(50)}
    archive = Zip(write_zip(tmp_path / "a.zip", content, zipfile.ZIP_DEFLATED))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda i: archive.read(f"{i % 50}.jpg"), range(1000)))
    assert results == [content[f"{i % 50}.jpg"] for i in range(1000)]


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb\r\n", "\ufeffa\nb\n\n", "a\nb  \n"])
def test_read_lines__line_ends_and_the_byte_order_mark_make_no_difference(tmp_path, text):
    (tmp_path / "a.txt").write_bytes(text.encode())
    assert read_lines(Folder(tmp_path), "a.txt") == ["a", "b"]


@pytest.mark.parametrize(
    ("data", "byte"),
    [(b"abc\xff", 3), ("ab\u00e9".encode("latin-1"), 2), ("ab".encode("utf-16"), 0)],
)
def test_read_lines__what_is_no_text_is_named_with_the_byte(tmp_path, data, byte):
    (tmp_path / "a.txt").write_bytes(data)
    message = rf"a\.txt, byte {byte}: this is not a text file.*save it as UTF-8\.$"
    with pytest.raises(DataError, match=message):
        read_lines(Folder(tmp_path), "a.txt")


def test_require_path__is_given_and_there(tmp_path):
    (tmp_path / "set.npz").write_bytes(b"")
    ask = lambda path: require_path(Data(path=path), "mine", "a.npz", "Write it.")  # noqa: E731
    assert ask(str(tmp_path / "set.npz")) == tmp_path / "set.npz"
    with pytest.raises(ConfigError, match=r"source 'mine' needs .* a\.npz, .*=PATH\. Write it\.$"):
        ask(None)
    with pytest.raises(DataError, match=r"does not exist; .*a\.npz\. Did you mean 'set\.npz'\?"):
        ask(str(tmp_path / "sat.npz"))


@pytest.mark.parametrize("text", ["0", "007", "2879", "999999999"])
def test_is_whole__plain_digits_below_the_end(text):
    assert is_whole(text)
    assert is_whole(text, int(text) + 1)
    assert not is_whole(text, int(text))


@pytest.mark.parametrize(
    "text", ["", " 1", "-1", "+1", "1.0", "1e3", "1000000000", "\u0661", "\u00b2"]
)
def test_is_whole__nothing_else(text):
    assert not is_whole(text)


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


RUN = ("config.json", "attributes.npz", "reals.png", "samples/step_1.png", "checkpoints/1/x")
STORE = ("prepared.png", "train/meta.json", "train/images.npy")


@pytest.mark.parametrize("own", [RUN, STORE, STORE[1:]])
def test_folder__what_we_wrote_is_left_out_and_said(tmp_path, caplog, own):
    touch(tmp_path, "a/1.png", "b/2.png", *(f"deep/mine/{name}" for name in own))
    assert list(open_files(tmp_path).list(deep=True)) == ["a/1.png", "b/2.png"]
    assert "is left out of the data" in caplog.text
    assert len(open_files(tmp_path).list(deep=True)) == 2
    assert len(caplog.messages) == 1
    if own != STORE[1:]:
        with pytest.raises(DataError, match="mine holds a run, or what was made of data"):
            open_files(tmp_path / "deep/mine")


def test_folder__pictures_that_were_scored_stay_and_what_was_drawn_of_them_does_not(tmp_path):
    touch(tmp_path, "1.png", "scores.jsonl", "evaluation/x/samples.png")
    assert list(open_files(tmp_path).list(deep=True)) == ["1.png", "scores.jsonl"]


LOCALE = """
import sys
from gan.data.files import Folder
from gan.data.source import hash_splits
files = Folder(__import__("pathlib").Path(sys.argv[1]))
names = list(files.list(deep=True))
assert [files.read(name) for name in names] == [b"x"] * 3 and files.has(names[0])
print(ascii([names, {k: v.tolist() for k, v in hash_splits(names).items()}]))
"""


def test_folder__names_are_the_same_in_every_locale(tmp_path):
    touch(tmp_path, "\u00fc/\u00e9.png", "b/2.png", "b/3.png")
    os.rename(tmp_path / "b/3.png", os.fsencode(tmp_path / "b") + b"/\xeb.png")
    command = [sys.executable, "-c", LOCALE, str(tmp_path)]
    said = {
        subprocess.run(
            command, env=os.environ | env, capture_output=True, check=True, text=True
        ).stdout
        for env in ({"PYTHONUTF8": "1"}, {"LC_ALL": "C", "PYTHONUTF8": "0"})
    }
    assert len(said) == 1
    assert r"\xfc/\xe9.png" in said.pop()
