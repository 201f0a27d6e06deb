import signal
import subprocess
import sys
import time
from pathlib import Path

import joblib
import pytest

from gan.data import build_store

SCRIPT = """
import sys, time
import numpy as np
from gan.data import build
from gan.data.decode import Recipe
from gan.data.source import Split
from gan.data.store import InputReport

def read(index):
    time.sleep(0.02)
    return np.zeros((8, 8, 3), np.uint8)

if __name__ == "__main__":
    num = 10_000
    split = Split(
        np.zeros((num, 1), np.uint8), np.zeros(num, np.int32), [str(i) for i in range(num)], read
    )
    for _ in build_store.decode_rows(split, Recipe(8, "square", "bicubic"), InputReport(), "error"):
        print("some", flush=True)
"""


def children(parent: int) -> set[int]:
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # It ended meanwhile.
            continue
        if int(fields[1]) == parent and fields[0] != "Z":
            found.add(int(path.parent.name))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="it looks there for processes")
@pytest.mark.skipif(joblib.cpu_count() == 1, reason="one core works alone")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_nobody_stays_behind_who_worked_for_a_killed_process(tmp_path, end):
    (tmp_path / "script.py").write_text(SCRIPT)
    root = Path(build_store.__file__).parents[2]
    command = [sys.executable, str(tmp_path / "script.py")]
    with subprocess.Popen(
        command,
        env={"PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout.readline() == b"some\n"
        workers = children(process.pid)
        assert len(workers) >= 2
        process.send_signal(end)
        process.wait()
        for _ in range(100):
            left = {pid for pid in workers if Path(f"/proc/{pid}").exists()}
            if not left:
                return
            time.sleep(0.1)
    assert not left
