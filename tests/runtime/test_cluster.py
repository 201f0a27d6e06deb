"""Which process is which among several, and what they tell each other."""

import os
import socket
import subprocess
import sys

import jax
import pytest

from gan.errors import ConfigError, DataError, Unreachable
from gan.runtime import cluster
from gan.runtime.cluster import Place, find_bind_address, find_place

POD = {
    "JAX_COORDINATOR_ADDRESS": "gan-0.gan:1234",
    "JAX_NUM_PROCESSES": "4",
    "JOB_COMPLETION_INDEX": "3",
}
STEP = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_NODELIST": "node[03-04]",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
    "SLURM_STEP_NUM_NODES": "2",
    "CUDA_VISIBLE_DEVICES": "0,1",
}


def find_in(environ, *options):
    return find_place(*(options or (None, None, None)), environ=environ)


def test_find_place__alone_unless_told_otherwise():
    assert find_in({}) is None
    assert find_in({}, None, 1) is None
    assert find_in(POD | {"JAX_NUM_PROCESSES": "1"}) is None
    assert find_in(STEP | {"SLURM_NTASKS": "1"}) is None
    batch_script = {name: value for name, value in STEP.items() if "STEP" not in name}
    assert find_in(batch_script) is None


def test_find_place__options_come_before_the_environment_and_that_before_slurm():
    assert find_in(POD | STEP, "a:1", 2, 0) == Place("a:1", 2, 0)
    assert find_in(POD | STEP) == Place("gan-0.gan:1234", 4, 3)
    assert find_in(POD | {"JAX_PROCESS_ID": "2"}).index == 2
    port = 65535 - 2**12 + 1 + 7
    assert find_in(STEP) == Place(f"node03:{port}", 2, 1)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("node001", "node001"),
        ("node001,host2", "node001"),
        ("node[001-0015],host2", "node001"),
        ("node[001,007-015],host2", "node001"),
        ("node-a[7]", "node-a7"),
        ("127.0.0.[1-2]", "127.0.0.1"),
    ],
)
def test_find_place__takes_the_first_of_slurms_nodes(nodes, first):
    assert find_in(STEP | {"SLURM_STEP_NODELIST": nodes}).coordinator == f"{first}:61447"
    ported = STEP | {"SLURM_STEP_NODELIST": nodes, "JAX_COORDINATOR_PORT": "99"}
    assert find_in(ported).coordinator == f"{first}:99"


def test_find_place__a_task_has_its_own_gpu_only_where_others_are_on_its_node():
    several = STEP | {"SLURM_STEP_NUM_NODES": "1", "SLURM_LOCALID": "1"}
    assert find_in(several).devices == (1,)
    # Slurm has already given it one.
    assert find_in(several | {"CUDA_VISIBLE_DEVICES": "1"}).devices is None
    assert find_in(STEP).devices is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("a:1", None, 0), "--num_processes: not given"),
        ((None, 2, 0), "--coordinator: not given"),
        (("a:1", 2, 2), "--process_id=2 must be below --num_processes=2"),
        (("a", 2, 0), "--coordinator=a must be HOST:PORT"),
    ],
)
def test_find_place__names_options_that_do_not_fit_together(options, said):
    with pytest.raises(ConfigError, match=said):
        find_in({}, *options)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"JAX_PROCESS_ID": "1"}, "JAX_PROCESS_ID is set, and JAX_NUM_PROCESSES is not"),
        (POD | {"JAX_NUM_PROCESSES": "many"}, "JAX_NUM_PROCESSES=many must be a number"),
    ],
)
def test_find_place__names_variables_that_do_not_fit_together(environ, said):
    with pytest.raises(ConfigError, match=said):
        find_in(environ)


def test_find_bind_address__the_address_that_is_named_if_this_host_has_it():
    assert find_bind_address("localhost:5") == "127.0.0.1:5"
    assert find_bind_address("127.0.0.1:5") == "127.0.0.1:5"
    assert find_bind_address("192.0.2.1:5") is None  # For documentation: nobody has it.
    assert find_bind_address("unknown.invalid:5") is None


def test_find_bind_address__all_addresses_if_a_name_means_loopback_here():
    name = str(127 * 2**24 + 1)
    assert socket.gethostbyname(name) == "127.0.0.1"
    assert find_bind_address(f"{name}:5") is None


@pytest.mark.parametrize(
    ("error", "count"),
    [
        (RuntimeError("DEADLINE_EXCEEDED"), 1),
        (ConnectionError("no metadata"), 1),
        (ValueError("no coordinator"), 2),
    ],
)
def test_join_cluster__tpu_hosts_that_do_not_find_each_other_may_the_next_time(
    monkeypatch, error, count
):
    def initialize(**_):
        raise error

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    monkeypatch.setattr(jax, "process_count", lambda: count)
    with pytest.raises(Unreachable, match="TPU"):
        cluster._join_tpu_pod({})


def start(code: str, **environment: str) -> str:
    """What a process prints that runs `code` before it uses any device."""
    code = f"import jax; from gan.runtime import cluster; {code}"
    environment = os.environ | {"JAX_PLATFORMS": "cpu"} | environment
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_join_cluster__a_tpu_of_a_single_host_is_alone():
    code = "cluster.join_cluster(None, 300, 30); print(jax.distributed.is_initialized())"
    assert start(f"assert cluster.is_tpu_host(); {code}", JAX_FORCE_TPU_INIT="1") == "False"


def test_join_cluster__needs_no_proxy_to_reach_its_processes():
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "grpc_proxy"), "http://localhost:9")
    code = "cluster.join_cluster(None, 30, 30); print(jax.distributed.is_initialized())"
    code += "; import os; print(os.environ['no_grpc_proxy'])"
    said = start(code, JAX_NUM_CPU_DEVICES="2", no_proxy="example.com", **proxies)
    assert said.split() == ["True", "example.com,127.0.0.1"]


def test_check_host_names__refuses_a_loopback_address_among_several_hosts():
    here, there = ("a", "127.0.1.1"), ("b", "10.0.0.2")
    with pytest.raises(ConfigError, match="host name a means 127.0.1.1 on that host"):
        cluster.check_host_names([here, there])
    with pytest.raises(ConfigError, match="host name c means nowhere on that host"):
        cluster.check_host_names([there, ("c", "nowhere")])
    cluster.check_host_names([there, ("c", "10.0.0.3")])
    cluster.check_host_names([here, here])  # All on one host.


def test_process_name__says_which_of_how_many_and_where(two_processes):
    names = [found["name"] for found in two_processes]
    assert names == [f"process {index} of 2 on {socket.gethostname()}" for index in (0, 1)]


def test_gather_texts__brings_the_texts_of_all_in_their_order(two_processes):
    for found in two_processes:
        for round_ in (1, 2):
            assert found[f"texts {round_}"] == [f"{index} in round {round_}" for index in (0, 1)]


def test_fail_together__what_one_process_raises_all_raise(two_processes):
    first, second = two_processes
    assert first["done"]
    assert second["done"]
    assert second["raised"] == "a bad file"
    assert first["raised"] == "Process 1: a bad file"


def test_fail_together__raises_wherever_one_waits_for_the_other(two_processes):
    assert two_processes[0]["raised later"] == "Process 1: a bad file"


def test_fail_together__an_error_that_was_heard_is_not_told_again(two_processes):
    assert two_processes[1]["told"] == [f"{cluster.FAILURES}/1"]


def test_unreachable__is_no_reason_not_to_try_again():
    assert Unreachable.exit_code not in (64, 65, 73)  # Where launchers stop.


def test_cluster__alone_there_is_nothing_to_agree_on():
    assert cluster.gather_texts("x", "text") == ["text"]
    assert cluster.is_first()
    assert cluster.process_name() == ""
    assert not cluster.is_preempted(1)
    cluster.end_process(70)
    with pytest.raises(DataError), cluster.fail_together("data"):
        raise DataError("bad")
