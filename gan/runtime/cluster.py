"""How the processes of one training find each other, exchange texts, and end together.

JAX's coordination service, which runs in process 0, knows which processes are alive, carries their
texts, and ends all processes when one no longer answers. This module decides which process is
which, and makes all processes raise an error that one of them raises.
"""

import contextlib
import dataclasses
import ipaddress
import json
import logging
import os
import re
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from gan.errors import OURS, ConfigError, Unreachable
from gan.runtime.jax_private import get_distributed_state, is_tpu_host, start_preemption_service

log = logging.getLogger("gan")
SHUTDOWN = 60  # Seconds that an ending process waits for the others to end.
MAX_THREADS = 64  # Most threads that XLA gets on a CPU; training on GPUs needs fewer.
NO_PROXY = "no_grpc_proxy"  # The variable with the hosts that gRPC reaches without a proxy.
FAILURES = "gan/failures"  # Folder of the coordination service that holds the processes' errors.
LINGER = 3.0  # Seconds that process 0 outlives its own error, so that the others can print theirs.
SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
FIRST_PORT = 61_440  # The lowest of the 4,096 ports that Slurm's jobs share out by their number.
_rounds: Counter[str] = Counter()  # How often `gather_texts` was called for each topic.


@dataclasses.dataclass(frozen=True)
class Place:
    """One process among several: which one it is, and where process 0 listens."""

    coordinator: str  # The address of process 0, as "host:port".
    num: int  # Number of processes.
    index: int  # Index of this process, from 0.
    devices: tuple[int, ...] | None = None  # Local GPUs that this process uses; None uses all.


def find_place(
    coordinator: str | None = None,
    num: int | None = None,
    index: int | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Place | None:
    """Finds the place of this process from options, else JAX's environment variables, else Slurm.

    Returns None for a process that is alone. Raises ConfigError if the options or variables
    contradict each other or if one of them is missing.
    """
    names = ("--coordinator", "--num_processes", "--process_id")
    given: dict[str, Any] = dict(zip(names, (coordinator, num, index), strict=True))
    if all(value is None for value in given.values()):
        task = environ.get("JAX_PROCESS_ID", environ.get("JOB_COMPLETION_INDEX"))
        names = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
        values = (environ.get(names[0]), environ.get(names[1]), task)
        if environ.get(names[1]) is None:
            if "JAX_PROCESS_ID" in environ:
                raise ConfigError("JAX_PROCESS_ID is set, and JAX_NUM_PROCESSES is not.")
            return _find_place_in_slurm(environ)
        given = dict(zip(names, values, strict=True))
    for name in names[1:]:
        if given[name] is not None and not re.fullmatch(r"\d+", str(given[name])):
            raise ConfigError(f"{name}={given[name]} must be a number.")
    coordinator, num, index = (given[name] for name in names)
    if num is not None and int(num) == 1:
        return None
    missing = [name for name in names if given[name] is None]
    if missing:
        raise ConfigError(
            f"{', '.join(missing)}: not given. Several processes need {', '.join(names)}; one "
            "process needs none of them."
        )
    if not re.fullmatch(r".+:\d+", coordinator):
        raise ConfigError(
            f"{names[0]}={coordinator} must be HOST:PORT, where process 0 runs and a free port."
        )
    if not int(index) < int(num):
        raise ConfigError(f"{names[2]}={index} must be below {names[1]}={num}.")
    return Place(coordinator, int(num), int(index))


def _find_place_in_slurm(environ: Mapping[str, str]) -> Place | None:
    if not all(name in environ for name in SLURM) or int(environ["SLURM_NTASKS"]) == 1:
        return None
    # A task takes the GPU of its number if it shares its node with other tasks and Slurm shows all
    # of the node's GPUs to each of them.
    visible = environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    alone = environ.get("SLURM_STEP_NUM_NODES") == environ["SLURM_NTASKS"] or len(visible) < 2
    # The first host of "node03", "node03,host2" or "node[03-05,07],host2".
    prefix, number = re.match(r"([^,\[]+)(?:\[(\w+))?", environ["SLURM_STEP_NODELIST"]).groups("")
    # All tasks of a job compute the same port, and two jobs on a node seldom the same one.
    port = environ.get("JAX_COORDINATOR_PORT") or FIRST_PORT + int(environ["SLURM_JOB_ID"]) % 4096
    return Place(
        f"{prefix}{number}:{port}",
        int(environ["SLURM_NTASKS"]),
        int(environ["SLURM_PROCID"]),
        None if alone else (int(environ["SLURM_LOCALID"]),),
    )


def join_cluster(place: Place | None, patience: float, heartbeat: float) -> None:
    """Connects this process to the others. Has to be called before JAX starts any device.

    All processes have to come within `patience` seconds. A process that is silent for `heartbeat`
    seconds counts as dead, and the others end. Without a `place`, the hosts of a TPU pod find each
    other by the pod's metadata, and any other process stays alone.

    Raises Unreachable if the processes do not find each other (the next start may succeed), and
    ConfigError if one host's name means an address that the other hosts cannot reach.
    """
    import jax

    devices = max(jax.config.jax_num_cpu_devices, 1)
    if place is None and devices > 1:
        # A cluster of one process: gloo then adds up over its CPU devices, as it does over several
        # processes, so that the sums are the same bit for bit.
        place = Place(f"127.0.0.1:{find_free_port()}", 1, 0)
    if place and place.num * devices > (os.cpu_count() or 1):
        # XLA divides work on a CPU by its number of threads, by default one for each device of this
        # process. The number has to be the same however the devices are spread over processes, or
        # the sums would differ in their last bits.
        os.environ.setdefault("PJRT_NPROC", str(min(place.num * devices, MAX_THREADS)))
    # JAX would take over SIGTERM, which has to end a process at once while it prepares data. See
    # `watch_for_preemption`.
    jax.config.update("jax_enable_preemption_service", False)
    options: dict[str, Any] = {
        "initialization_timeout": max(round(patience), 1),
        "heartbeat_timeout_seconds": max(round(heartbeat), 1),
        "shutdown_timeout_seconds": SHUTDOWN,
    }
    if place:
        _join_place(place, options)
    elif is_tpu_host():
        _join_tpu_pod(options)
    if jax.distributed.is_initialized():
        _check_addresses()


def _join_place(place: Place, options: dict[str, Any]) -> None:
    import jax

    bind = os.environ.get("JAX_COORDINATOR_BIND_ADDRESS") or find_bind_address(place.coordinator)
    _bypass_proxy(place.coordinator.rsplit(":", 1)[0])
    jax.config.update("jax_check_proxy_envs", False)  # JAX would warn of the proxy.
    if place.num > 1:  # JAX ends a process that waits in vain, and does not say for what.
        log.info(
            "Process %d of %d on %s waits up to %d s for the others, at %s.",
            *(place.index, place.num, socket.gethostname(), options["initialization_timeout"]),
            place.coordinator,
        )
    try:
        jax.distributed.initialize(
            place.coordinator,
            place.num,
            place.index,
            local_device_ids=place.devices and list(place.devices),
            cluster_detection_method="deactivate",
            coordinator_bind_address=bind,
            **options,
        )
    except RuntimeError as error:
        raise Unreachable(
            f"Process {place.index} of {place.num} cannot join: nobody listens at "
            f"{place.coordinator}, or others are missing ({_line(error)})."
        ) from error


def _bypass_proxy(host: str) -> None:
    """Makes gRPC reach a host directly: the processes of a training need no proxy between them."""
    before = os.environ.get(NO_PROXY) or os.environ.get("no_proxy")  # noqa: SIM112
    os.environ[NO_PROXY] = f"{before},{host}" if before else host


def _join_tpu_pod(options: dict[str, Any]) -> None:
    import jax

    try:
        jax.distributed.initialize(**options)
    except ValueError:
        if jax.process_count() > 1:  # Else the TPU has a single host, which is alone.
            raise Unreachable("The TPU's metadata do not say where its other hosts are.") from None
    except (RuntimeError, OSError) as error:  # OSError: nobody answers for the TPU's metadata.
        raise Unreachable(f"The TPU's hosts do not find each other ({_line(error)}).") from error


def find_bind_address(coordinator: str) -> str | None:
    """Finds the one address ("ip:port") at which process 0 should listen.

    The service accepts everybody, so it should not be reachable from other networks. Returns None,
    which listens at all addresses, if `coordinator` names an address that this host does not have.
    """
    host, port = coordinator.rsplit(":", 1)
    try:
        address = socket.gethostbyname(host.strip("[]"))
    except OSError:
        return None
    if ipaddress.ip_address(address).is_loopback and not re.match(r"localhost$|127\.", host):
        return None  # Here the name means this host; elsewhere it may mean another address.
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError:  # A router translates this address to one of the host's own.
            return None
    return f"{address}:{port}"


def find_free_port() -> int:
    """Finds a port of this host that nobody uses just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _check_addresses() -> None:
    import jax

    host = socket.gethostname()
    try:
        address = socket.gethostbyname(host)
    except OSError:
        address = "nowhere"
    places = [json.loads(text) for text in gather_texts("addresses", json.dumps([host, address]))]
    if jax.default_backend() == "cpu":  # GPUs and TPUs find each other by their own network.
        check_host_names(places)


def check_host_names(places: list[tuple[str, str]]) -> None:
    """Raises ConfigError if a host's name means an address at which other hosts cannot reach it.

    `places` are the host name and address of each process. Gloo, which exchanges the numbers of
    CPUs, would only time out and not say why.
    """
    wrong = [(host, address) for host, address in places if re.match(r"nowhere|127\.", address)]
    if wrong and len({host for host, _ in places}) > 1:
        host, address = wrong[0]
        raise ConfigError(
            f"The host name {host} means {address} on that host, so no other host can reach it "
            "there. In its /etc/hosts, give the name the address of its network (Debian writes "
            "127.0.1.1)."
        )


def process_count() -> int:
    """Number of processes."""
    state = get_distributed_state()
    return state.num_processes if state else 1


def process_index() -> int:
    """Index of this process, from 0."""
    state = get_distributed_state()
    return state.process_id if state else 0


def is_first() -> bool:
    """Whether this is process 0, which alone writes files."""
    return process_index() == 0


def process_name() -> str:
    """Name of this process for messages: "process 1 of 4 on HOST"; empty if it is alone."""
    if process_count() == 1:
        return ""
    return f"process {process_index()} of {process_count()} on {socket.gethostname()}"


def gather_texts(topic: str, text: str) -> list[str]:
    """Returns what each process has to say on `topic`, in the order of the processes.

    All processes have to call it. It uses no device. It waits without a limit: a process that dies
    meanwhile ends all of them, and one that hangs is ended by its watchdog. Raises the error that
    another process has raised in `fail_together`.
    """
    if process_count() == 1:
        return [text]
    client = get_distributed_state().client
    _rounds[topic] += 1
    folder = f"gan/{topic}/{_rounds[topic]}"
    client.key_value_set(f"{folder}/{process_index()}", text)

    def wait_for(process: int) -> str:
        while True:  # Waits in short turns, so that Python can handle signals between them.
            try:
                return client.blocking_key_value_get(f"{folder}/{process}", 1000)
            except Exception as error:  # JAX has no type of its own for a time-out.
                if "DEADLINE_EXCEEDED" not in str(error):
                    raise
            _raise_failure_of_others()

    return [wait_for(process) for process in range(process_count())]


def wait_for_all(topic: str) -> None:
    """Waits until all processes have called this for `topic`."""
    gather_texts(topic, "")


@contextlib.contextmanager
def fail_together(topic: str) -> Iterator[None]:
    """If one process raises one of `OURS` in this block, all processes raise it.

    The others raise it as soon as they wait for that process, at the end of this block or earlier.
    """
    try:
        yield
        wait_for_all(topic)
    except OURS as error:
        tell_others(error)
        raise


def tell_others(error: BaseException) -> None:
    """Makes the other processes raise `error` where they wait for this one, if it is of `OURS`."""
    if process_count() > 1 and isinstance(error, OURS) and not hasattr(error, "heard"):
        told = json.dumps([type(error).__name__, str(error)])
        client = get_distributed_state().client
        client.key_value_set(f"{FAILURES}/{process_index()}", told, allow_overwrite=True)


def _raise_failure_of_others() -> None:
    for key, text in get_distributed_state().client.key_value_dir_get(FAILURES):
        process = int(key.rsplit("/", 1)[1])
        if process != process_index():
            kind, message = json.loads(text)
            error = {cls.__name__: cls for cls in OURS}[kind](f"Process {process}: {message}")
            error.heard = True
            raise error


def watch_for_preemption() -> None:
    """Lets a SIGTERM to any process make `is_preempted` true in all of them, from now on.

    JAX takes the signal, and handlers in Python no longer see it. Does nothing in a process that is
    alone.
    """
    if process_count() > 1:
        start_preemption_service()


def is_preempted(calls: int) -> bool:
    """Whether all processes should save and end now; the same answer in all of them.

    All processes have to ask after each call of the step; `calls` counts the calls of this start.
    """
    if process_count() == 1:
        return False
    from jax.experimental import multihost_utils

    return multihost_utils.reached_preemption_sync_point(calls)


def end_process(code: int) -> None:
    """Ends this process now with an exit code, if it is one of several; returns if it is alone.

    An ordinary exit would wait for the other processes, while they wait for this one.
    """
    if process_count() == 1:
        return
    sys.stdout.flush()
    sys.stderr.flush()
    if is_first():
        time.sleep(LINGER)  # The end of the coordinator aborts all other processes at once.
    os._exit(code)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
