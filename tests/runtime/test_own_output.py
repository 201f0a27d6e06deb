"""Folders that we wrote are no data."""

import pytest

from gan.errors import ConfigError
from gan.runtime.own_output import check_apart


def test_check_apart__data_are_not_where_we_write(tmp_path):
    path = str(tmp_path / "set")
    for other in (path, path + "/", path + "/../set"):
        with pytest.raises(ConfigError, match=r"are one folder.*: --workdir=\S+-out$") as caught:
            check_apart(path, other, "--workdir")
        check_apart(path, str(caught.value).rpartition("--workdir=")[2], "--workdir")
    check_apart(path, path + "/run", "--workdir")
    check_apart(None, path, "--workdir")
