"""Copies of prepared data on each host, and its way into a bucket: whole, or not there."""

import dataclasses
import errno
import shutil

import pytest
from helpers import tiny
from helpers.memory_bucket import memory_bucket

from gan.data import copies
from gan.data.copies import download_store, is_whole_store, upload_store
from gan.data.prepare import prepare
from gan.data.source import SPLITS
from gan.errors import DataError
from gan.runtime import cluster, storage


@pytest.fixture
def bucket():
    """A bucket in memory, and a folder in it."""
    with memory_bucket() as bucket:
        yield bucket


@pytest.fixture
def home(faces_cache):
    """A prepared split that lies on a shared disk, say."""
    return next(faces_cache.glob("faces-*/train"))


def break_off(monkeypatch, last: str, error: BaseException) -> None:
    """Makes copying a store break off at one of its files."""
    copy_file = storage.copy_file

    def copy(source, target):
        if source.name == last:
            raise error
        copy_file(source, target)

    monkeypatch.setattr(storage, "copy_file", copy)


def test_download_store__is_equal_and_made_once(home, tmp_path):
    download_store(home, tmp_path / "copy")
    for file in copies.ALL:
        assert (tmp_path / "copy" / file).read_bytes() == (home / file).read_bytes()
    before = {path: path.stat() for path in (tmp_path / "copy").iterdir()}
    download_store(home, tmp_path / "copy")
    assert {path: path.stat().st_ino for path in before} == {
        path: stat.st_ino for path, stat in before.items()
    }


def test_download_store__makes_a_killed_copy_anew(home, tmp_path):
    aside = tmp_path / "copy.copying"
    aside.mkdir()
    (aside / "images.npy").write_bytes(b"half of it")
    download_store(home, tmp_path / "copy")
    assert not aside.exists()
    assert (tmp_path / "copy/images.npy").read_bytes() == (home / "images.npy").read_bytes()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "full")])
def test_download_store__what_ends_a_copy_leaves_none(home, tmp_path, monkeypatch, error):
    break_off(monkeypatch, "meta.json", error)
    with pytest.raises((KeyboardInterrupt, DataError)):
        download_store(home, tmp_path / "copy")
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize("file", copies.FILES)
def test_download_store__finds_damage_in_the_copy(home, tmp_path, file):
    damaged = tmp_path / "home"
    shutil.copytree(home, damaged)
    data = bytearray((damaged / file).read_bytes())
    data[-1] ^= 1
    (damaged / file).write_bytes(data)
    with pytest.raises(DataError, match=f"delete {damaged}"):
        download_store(damaged, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_download_store__another_store_of_that_name_replaces_the_copy(home, tmp_path):
    download_store(home.with_name("test"), tmp_path / "copy")
    download_store(home, tmp_path / "copy")
    assert (tmp_path / "copy/meta.json").read_bytes() == (home / "meta.json").read_bytes()


def test_download_store__looks_for_room_before(home, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DataError, match="data.local_dir"):
        download_store(home, tmp_path / "copy")
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_upload_store__half_of_one_is_no_store(bucket, home, monkeypatch):
    folder = bucket[1]
    upload_store(home, folder)
    assert is_whole_store(folder)
    break_off(monkeypatch, "skipped.csv", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        upload_store(home, folder)
    assert not is_whole_store(folder)


def test_prepare__reads_the_copies_where_there_is_a_local_dir(faces_cache, tmp_path):
    data = dataclasses.replace(tiny.get_config().data, cache_dir=str(faces_cache))
    stores = prepare(dataclasses.replace(data, local_dir=str(tmp_path)))
    assert all(tmp_path in store.path.parents for store in stores.values())
    for name, store in prepare(data).items():
        assert store.digest == stores[name].digest


def test_prepare__fills_a_bucket_once_and_copies_it_to_each_host(bucket, tmp_path):
    files, folder = bucket
    data = dataclasses.replace(tiny.get_config().data, cache_dir=str(folder))
    here, there = (dataclasses.replace(data, local_dir=str(tmp_path / x)) for x in ("a", "b"))
    made = prepare(here)
    written = {path: file.modified for path, file in files.store.items()}
    copied = prepare(there, verify=SPLITS)
    assert {path: file.modified for path, file in files.store.items()} == written
    for name in SPLITS:
        assert tmp_path / "b" in copied[name].path.parents
        assert copied[name].digest == made[name].digest


def test_prepare__of_several_processes_the_first_does_it(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "is_first", lambda: False)
    monkeypatch.setattr(copies, "SOON", 0.0)
    data = dataclasses.replace(
        tiny.get_config().data, cache_dir=str(tmp_path / "home"), local_dir=str(tmp_path / "local")
    )
    with pytest.raises(DataError, match="is not there"):  # Alone, it finds nothing to copy.
        prepare(data)
    assert not [path for path in (tmp_path / "home").rglob("*") if path.suffix == ".npy"]
