"""What several tests of the runtime share."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gan.runtime.cluster import find_free_port
from gan.runtime.logs import log

SCRIPT = Path(__file__).parents[1] / "helpers" / "two_processes.py"


@pytest.fixture(scope="session")
def two_processes():
    """What each of two processes of a cluster found: see `tests/helpers/two_processes.py`."""
    options = [f"--coordinator=localhost:{find_free_port()}", "--num_processes=2"]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), *options, f"--process_id={index}"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [65, 65], "\n".join(outputs)
    return [json.loads(output.splitlines()[-1]) for output in outputs]


@pytest.fixture
def logged(caplog):
    """`caplog` of our log alone, whether or not that passes records on."""
    propagate, log.propagate = log.propagate, False
    log.addHandler(caplog.handler)
    yield caplog
    log.removeHandler(caplog.handler)
    log.propagate = propagate
