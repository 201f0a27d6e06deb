"""Several processes, one training: how they find each other, agree, and end together.

The engine is JAX's: its coordination service, in process 0, knows who is alive, carries what they
say to each other, and ends all of them where one no longer answers. What is here decides who is
who, and sees to it that an error of one process ends all of them at once, by its own name.
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
from collections.abc import Iterator
from typing import Any

from gan.errors import OURS, ConfigError, Unreachable
from gan.runtime.jax_private import get_distributed_state, is_tpu_host, start_preemption_service

log = logging.getLogger("gan")
SHUTDOWN = 60  # Seconds until all processes have to have ended once one has.
MAX_THREADS = 64  # A cluster of GPUs needs none of them.
FAILURES = "gan/failures"
LINGER = 3.0  # Seconds the coordinator outlives its own error, so that the others can tell theirs.
SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
FIRST_PORT = 61_440  # Of the 4,096 highest ones.
_uses: Counter[str] = Counter()


@dataclasses.dataclass(frozen=True)
class Place:
    """Which process of how many this is, and where process 0 listens."""

    coordinator: str  # "host:port"
    num: int
    index: int
    devices: tuple[int, ...] | None = None  # Of this host; None: all.


def find(
    coordinator: str | None = None,
    num: int | None = None,
    index: int | None = None,
) -> Place | None:
    """The place that options, environment or Slurm give this process; None where it is alone.

    Raises ConfigError where they contradict each other or leave something open.
    """
    names = ("--coordinator", "--num_processes", "--process_id")
    given: dict[str, Any] = dict(zip(names, (coordinator, num, index), strict=True))
    if all(value is None for value in given.values()):
        environ = os.environ
        task = environ.get("JAX_PROCESS_ID", environ.get("JOB_COMPLETION_INDEX"))
        names = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
        values = (environ.get(names[0]), environ.get(names[1]), task)
        if environ.get(names[1]) is None:
            if "JAX_PROCESS_ID" in environ:
                raise ConfigError("JAX_PROCESS_ID is set, and JAX_NUM_PROCESSES is not.")
            return _in_slurm()
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


def _in_slurm() -> Place | None:
    environ = os.environ
    if not all(name in environ for name in SLURM) or int(environ["SLURM_NTASKS"]) == 1:
        return None
    # JAX gives each task the one GPU of its number, which is right only where a node has several
    # tasks, and Slurm has not given each its own already.
    visible = environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    alone = environ.get("SLURM_STEP_NUM_NODES") == environ["SLURM_NTASKS"] or len(visible) < 2
    # The first of "node03", "node03,host2", "node[03-05,07],host2".
    prefix, number = re.match(r"([^,\[]+)(?:\[(\w+))?", environ["SLURM_STEP_NODELIST"]).groups("")
    # A port that all tasks of the job agree on, and another job on the same node seldom has.
    port = environ.get("JAX_COORDINATOR_PORT") or FIRST_PORT + int(environ["SLURM_JOB_ID"]) % 4096
    return Place(
        f"{prefix}{number}:{port}",
        int(environ["SLURM_NTASKS"]),
        int(environ["SLURM_PROCID"]),
        None if alone else (int(environ["SLURM_LOCALID"]),),
    )


def join(place: Place | None, patience: float, heartbeat: float) -> None:
    """Makes this process one of many, before anything else asks for a device.

    All have to be there within `patience` seconds; one of which nothing is heard for `heartbeat`
    seconds ends the others.

    Without a `place`, those of a TPU pod find each other by its metadata. Raises Unreachable where
    they do not find each other, ConfigError where they never will.
    """
    import jax

    devices = max(jax.config.jax_num_cpu_devices, 1)
    if place is None and devices > 1:
        # Then their sums are gloo's, as those of several processes: the same, bit for bit.
        place = Place(f"127.0.0.1:{_free_port()}", 1, 0)
    if place and place.num * devices > (os.cpu_count() or 1):
        # XLA cuts a CPU's work by the number of threads, and has one for each of its own devices:
        # as many whichever way the devices lie in processes, or the bits would differ.
        os.environ.setdefault("PJRT_NPROC", str(min(place.num * devices, MAX_THREADS)))
    if place is None and not is_tpu_host():
        return
    # It would take SIGTERM over, which ends preparing at once; see `watch_preemption`.
    jax.config.update("jax_enable_preemption_service", False)
    options: dict[str, Any] = {
        "initialization_timeout": max(round(patience), 1),
        "heartbeat_timeout_seconds": max(round(heartbeat), 1),
        "shutdown_timeout_seconds": SHUTDOWN,
    }
    if place is None:
        try:
            jax.distributed.initialize(**options)
        except ValueError:
            if jax.process_count() == 1:  # A single host.
                return
            raise Unreachable("The TPU's metadata do not say where its other hosts are.") from None
        except RuntimeError as error:
            raise Unreachable(
                f"The TPU's hosts do not find each other ({_line(error)})."
            ) from error
    else:
        bind = os.environ.get("JAX_COORDINATOR_BIND_ADDRESS") or bind_address(place.coordinator)
        if place.num > 1:  # JAX ends a process that waits in vain, and does not say for whom.
            log.info(
                "Process %d of %d on %s waits up to %.0f s for the others, at %s.",
                *(place.index, place.num, socket.gethostname(), patience, place.coordinator),
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
    _check_addresses()


def bind_address(coordinator: str) -> str | None:
    """Where process 0 listens: at its own address alone; None (all of them) where that is not ours.

    The service asks nobody who they are: it should not be reachable from other networks.
    """
    host, port = coordinator.rsplit(":", 1)
    try:
        address = socket.gethostbyname(host.strip("[]"))
    except OSError:
        return None
    if ipaddress.ip_address(address).is_loopback and not re.match(r"localhost$|127\.", host):
        return None  # A name that means this host here, and perhaps another address elsewhere.
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError:  # Translated on the way.
            return None
    return f"{address}:{port}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _check_addresses() -> None:
    """Refuses what would only fail in the first exchange between CPUs, and say nothing of why."""
    import jax

    host = socket.gethostname()
    try:
        address = socket.gethostbyname(host)
    except OSError:
        address = "nowhere"
    places = [json.loads(text) for text in gather("addresses", json.dumps([host, address]))]
    wrong = [(h, a) for h, a in places if a == "nowhere" or a.startswith("127.")]
    if jax.default_backend() == "cpu" and wrong and len({h for h, _ in places}) > 1:
        host, address = wrong[0]
        raise ConfigError(
            f"The host name {host} means {address} on that host, so no other host can reach it "
            "there. In its /etc/hosts, give the name the address of its network (Debian writes "
            "127.0.1.1)."
        )


def count() -> int:
    """Number of processes."""
    state = get_distributed_state()
    return state.num_processes if state else 1


def index() -> int:
    """Index of this process, from 0."""
    state = get_distributed_state()
    return state.process_id if state else 0


def first() -> bool:
    """Whether this is the process that writes."""
    return index() == 0


def name() -> str:
    """What an error calls this process; nothing where it is alone."""
    if count() == 1:
        return ""
    return f"process {index()} of {count()} on {socket.gethostname()}"


def gather(what: str, text: str) -> list[str]:
    """What each process says of `what`, in their order; all have to ask. Uses no device.

    Waits for as long as it takes: who dies meanwhile ends all, who hangs ends by its watchdog.
    """
    if count() == 1:
        return [text]
    client = get_distributed_state().client
    _uses[what] += 1
    place = f"gan/{what}/{_uses[what]}"
    client.key_value_set(f"{place}/{index()}", text)

    def listen(process: int) -> str:
        while True:  # In short turns, between which a signal's handler gets its chance.
            try:
                return client.blocking_key_value_get(f"{place}/{process}", 1000)
            except Exception as error:  # JAX has no type of its own for it.
                if "DEADLINE_EXCEEDED" not in str(error):
                    raise
            _raise_failure_of_others()

    return [listen(process) for process in range(count())]


def barrier(what: str) -> None:
    """Returns when all processes have come here."""
    gather(what, "")


@contextlib.contextmanager
def together(what: str) -> Iterator[None]:
    """All processes come through this block or none: what one of them raises of `OURS`, all do.

    The others learn of it where they wait for it, here or further on.
    """
    try:
        yield
        barrier(what)
    except OURS as error:
        tell(error)
        raise


def tell(error: BaseException) -> None:
    """Lets the other processes raise the same of `OURS`, where they wait for this one."""
    if count() > 1 and isinstance(error, OURS) and not hasattr(error, "heard"):
        told = json.dumps([type(error).__name__, str(error)])
        get_distributed_state().client.key_value_set(
            f"{FAILURES}/{index()}", told, allow_overwrite=True
        )


def _raise_failure_of_others() -> None:
    for key, text in get_distributed_state().client.key_value_dir_get(FAILURES):
        process = int(key.rsplit("/", 1)[1])
        if process != index():
            kind, message = json.loads(text)
            error = {cls.__name__: cls for cls in OURS}[kind](f"Process {process}: {message}")
            error.heard = True
            raise error


def watch_preemption() -> None:
    """From now on SIGTERM to one process makes `preempted` true in all; Python sees none."""
    if count() > 1:
        start_preemption_service()


def preempted(calls: int) -> bool:
    """Whether to save and end now: the same answer in all processes.

    All have to ask with each number of `calls` of the step, one after another.
    """
    if count() == 1:
        return False
    from jax.experimental import multihost_utils

    return multihost_utils.reached_preemption_sync_point(calls)


def leave(code: int) -> None:
    """Ends this process now, if it is one of many.

    An ordinary exit would wait for all others, which wait for this one (for five minutes).
    """
    if count() == 1:
        return
    sys.stdout.flush()
    sys.stderr.flush()
    if first():
        time.sleep(LINGER)  # Whoever loses the coordinator is aborted at once.
    os._exit(code)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
