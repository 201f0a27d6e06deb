"""What may be wrong with data sets of TFDS: the command says what, before training."""

import functools
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import command_on
from helpers.small_celeba import write_celeba


@functools.cache
def exported(file_format: str, folder: Path) -> Path:
    from gan.config import Data
    from gan.data.export_tfds import export_tfds
    from gan.data.readers.celeba_official import open_source

    root = write_celeba(folder / "celeba")
    return export_tfds(
        open_source(Data(source="celeba", path=str(root))), folder / "tfds", file_format
    )


@pytest.fixture(scope="module")
def data_sets(tmp_path_factory):
    """TFDS data sets of both formats."""
    folder = tmp_path_factory.mktemp("exported")
    return {name: exported(name, folder / name) for name in ("tfrecord", "array_record")}


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
@pytest.mark.parametrize("how", ["truncated", "flipped", "missing"])
def test_main__names_damaged_records(run, tmp_path, data_sets, file_format, how):
    root = tmp_path / "data"
    shutil.copytree(data_sets[file_format].parents[1], root)
    (shard,) = root.glob("celeb_a/*/celeb_a-train*")
    data = bytearray(shard.read_bytes())
    if how == "missing":
        shard.unlink()
    elif how == "truncated":
        shard.write_bytes(data[: len(data) // 2])
    else:
        used = np.flatnonzero(np.frombuffer(data, np.uint8))  # The rest only fills blocks.
        data[used[len(used) // 2]] ^= 1
        shard.write_bytes(data)
    code, said = run(*command_on(root, "--config.data.source=celeba_tfds"))
    assert code == 65, said
    assert "train" in next(line for line in said.splitlines() if line.startswith("DataError"))
    assert not list((tmp_path / "cache").glob("*/train*"))
