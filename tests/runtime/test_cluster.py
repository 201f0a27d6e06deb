"""Who is who among several processes, and what they tell each other."""

import socket
import subprocess
import sys
import time
import types
from collections import Counter

import jax
import pytest

from gan.config import Limits
from gan.errors import ConfigError, DataError, Unreachable
from gan.runtime import cluster
from gan.runtime.cluster import Place, find_bind_address, find_place
from gan.runtime.watchdog import Watchdog

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


def test_alone_unless_told_otherwise():
    assert find_in({}) is None
    assert find_in({}, None, 1) is None
    assert find_in(POD | {"JAX_NUM_PROCESSES": "1"}) is None
    assert find_in(STEP | {"SLURM_NTASKS": "1"}) is None
    batch_script = {name: value for name, value in STEP.items() if "STEP" not in name}
    assert find_in(batch_script) is None


def test_options_come_before_the_environment_and_that_before_slurm():
    assert find_in(POD | STEP, "a:1", 2, 0) == Place("a:1", 2, 0)
    assert find_in(POD | STEP) == Place("gan-0.gan:1234", 4, 3)
    assert find_in(POD | {"JAX_PROCESS_ID": "2"}).index == 2
    port = 65535 - 2**12 + 1 + 7
    assert find_in(STEP) == Place(f"node03:{port}", 2, 1)


def test_a_task_has_its_own_gpu_only_where_others_are_on_its_node():
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
def test_what_does_not_fit_together_is_named(options, said):
    with pytest.raises(ConfigError, match=said):
        find_in({}, *options)


def test_a_number_of_a_process_without_their_number_is_named():
    with pytest.raises(ConfigError, match="JAX_PROCESS_ID is set, and JAX_NUM_PROCESSES is not"):
        find_in({"JAX_PROCESS_ID": "1"})


def test_an_environment_that_is_no_number_is_named():
    with pytest.raises(ConfigError, match="JAX_NUM_PROCESSES=many must be a number"):
        find_in(POD | {"JAX_NUM_PROCESSES": "many"})


def test_the_coordinator_listens_where_it_is_named_and_nowhere_else(monkeypatch):
    assert find_bind_address("localhost:5") == "127.0.0.1:5"
    assert find_bind_address("127.0.0.1:5") == "127.0.0.1:5"
    meaning = {"here": "127.0.1.1", "translated": "192.0.2.1"}

    def lookup(host):
        if host not in meaning:
            raise OSError
        return meaning[host]

    monkeypatch.setattr(socket, "gethostbyname", lookup)
    for name in ("here", "translated", "unknown"):  # Others may reach it by another address.
        assert find_bind_address(f"{name}:5") is None


def processes(monkeypatch, *said):
    monkeypatch.setattr(cluster, "process_count", lambda: len(said))
    monkeypatch.setattr(cluster, "gather_texts", lambda what, text: [x or text for x in said])


class Service:
    """What JAX's coordination service knows, for whom nobody else is there."""

    def __init__(self):
        self.said = {}

    def key_value_set(self, key, text, allow_overwrite=False):
        self.said[key] = text

    def key_value_dir_get(self, folder):
        return [(key, text) for key, text in self.said.items() if key.startswith(folder)]

    def blocking_key_value_get(self, key, milliseconds):
        if key not in self.said:
            raise RuntimeError("DEADLINE_EXCEEDED")
        return self.said[key]


@pytest.mark.parametrize(
    ("error", "count"),
    [(RuntimeError("DEADLINE_EXCEEDED"), 1), (ValueError("no coordinator"), 2)],
)
def test_tpu_hosts_that_do_not_find_each_other_may_the_next_time(monkeypatch, error, count):
    on_tpu(monkeypatch, error, count)
    with pytest.raises(Unreachable, match="TPU"):
        cluster.join_cluster(None, 300, 30)


def test_a_tpu_of_a_single_host_is_alone(monkeypatch):
    on_tpu(monkeypatch, ValueError("no coordinator"), 1)
    cluster.join_cluster(None, 300, 30)


def on_tpu(monkeypatch, error, count):
    """A host of a pod, which JAX does not start on."""

    def initialize(**_):
        raise error

    config = types.SimpleNamespace(jax_num_cpu_devices=0, update=lambda *_: None)
    monkeypatch.setattr(jax, "config", config)
    monkeypatch.setattr(cluster, "is_tpu_host", lambda: True)
    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    monkeypatch.setattr(jax, "process_count", lambda: count)


def test_check_host_names__refuses_a_loopback_address_among_several_hosts():
    here, there = ("a", "127.0.1.1"), ("b", "10.0.0.2")
    with pytest.raises(ConfigError, match="host name a means 127.0.1.1 on that host"):
        cluster.check_host_names([here, there])
    with pytest.raises(ConfigError, match="host name c means nowhere on that host"):
        cluster.check_host_names([there, ("c", "nowhere")])
    cluster.check_host_names([there, ("c", "10.0.0.3")])
    cluster.check_host_names([here, here])  # All on one host.


def test_what_one_process_raises_all_raise(monkeypatch):
    service = Service()
    monkeypatch.setattr(cluster, "process_count", lambda: 2)
    monkeypatch.setattr(
        cluster, "get_distributed_state", lambda: types.SimpleNamespace(client=service)
    )

    def this_is(process):
        monkeypatch.setattr(cluster, "process_index", lambda: process)
        monkeypatch.setattr(cluster, "_rounds", Counter())

    this_is(1)
    with pytest.raises(DataError, match="^a bad file$"), cluster.fail_together("data"):
        raise DataError("a bad file")
    this_is(0)
    for other in ("data", "something else"):  # Wherever this one waits for it.
        with pytest.raises(DataError, match="Process 1: a bad file"), cluster.fail_together(other):
            pass
        assert f"{cluster.FAILURES}/0" not in service.said  # It is not this one's.
    service.said = {"gan/data/1/1": ""}
    this_is(0)
    with cluster.fail_together("data"):
        done = True
    assert done


def test_alone_there_is_nothing_to_agree_on():
    assert cluster.gather_texts("x", "text") == ["text"]
    assert cluster.is_first()
    assert cluster.process_name() == ""
    assert not cluster.is_preempted(1)
    cluster.end_process(70)
    with pytest.raises(DataError), cluster.fail_together("data"):
        raise DataError("bad")


def test_that_others_are_missing_is_no_reason_not_to_try_again():
    assert Unreachable.exit_code not in (64, 65)


class Ended(Exception):
    pass


@pytest.fixture
def watched(monkeypatch):
    """A watchdog whose clock the test turns, and what it barked."""
    dog, barked = Watchdog(Limits(step=10, compile=100, save=50)), []
    monkeypatch.setattr(dog, "_end", lambda expected: barked.append(expected.doing))

    def later(seconds):
        """As its thread would look meanwhile."""
        dog._look(0)
        dog._look(seconds)

    return dog, barked, later


def test_each_thing_has_its_limit(watched):
    dog, barked, later = watched
    with dog.during("saving", "save"):
        later(49)
        assert not barked
        later(2)
        assert barked == ["saving"]
    later(99)  # What nobody has named has a limit as well.
    assert len(barked) == 1
    later(2)
    assert barked == ["saving", "starting or ending"]


def test_reading_ends_before_waiting_for_others_does(watched):
    dog, barked, later = watched

    def batches():
        for step in (1, 2, 3):
            later(9)
            yield step, jax.numpy.zeros(3)

    limits = []
    for step, _ in dog.watch_calls(batches()):
        limits.append(dog._expected.limit)
        if step == 2:
            with dog.during("saving", "save"):
                pass
        assert dog._expected.doing == f"the call that ends with step {step}"
    # The first compiles; the third may wait for others that save and draw.
    assert limits == [pytest.approx(x) for x in (1.5 * 210, 1.5 * 110, 1.5 * 110 + 3 * 50)]
    assert not barked


def test_a_call_may_take_as_long_as_all_from_log_to_log(watched, monkeypatch):
    dog, _, _ = watched
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    dog.note_sync()
    dog._calls = 10
    now[0] += 500
    dog.note_sync()
    assert dog._patience() == 3 * 500
    dog._calls = 10
    now[0] += 1
    dog.note_sync()
    assert dog._patience() == 10


def test_others_wait_longer_for_what_the_first_does_alone(watched, monkeypatch):
    dog, _, _ = watched
    for first, limit in ((True, 50), (False, 150)):
        monkeypatch.setattr(cluster, "is_first", lambda first=first: first)
        with dog.during("saving", "save"):
            assert dog._expected.limit == limit


def test_a_log_that_hangs_does_not_keep_it_from_ending():
    code = """
import logging, threading
from gan.runtime import watchdog
from gan.config import Limits
class Stuck(logging.Handler):
    def emit(self, record):
        threading.Event().wait()
logging.getLogger("gan").addHandler(Stuck())
watchdog.TICK, watchdog.SAID = 0.05, 0.5
with watchdog.Watchdog(Limits(compile=0.2)):
    threading.Event().wait()
"""
    ended = subprocess.run([sys.executable, "-c", code], timeout=60, check=False)
    assert ended.returncode != 0


def test_time_in_which_a_process_was_stopped_is_not_counted(watched, monkeypatch):
    dog, barked, _ = watched
    now = iter([0.0, 0.5, 1000.0, 1000.5, 1001.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    waits = iter([False, False, False, False, True])
    monkeypatch.setattr(dog._ended, "wait", lambda _: next(waits))
    dog._watch()
    assert dog._looked[1] == pytest.approx(3.0)
    assert not barked
