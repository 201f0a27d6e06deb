"""All that is used of `jax._src`, which JAX may change with any release: tried on jax 0.10.2.

Nothing else in this project imports `jax._src`. Each function uses what is public where it can, and
says why that is not enough.
"""

import sys
from typing import Any


def get_distributed_state() -> Any:
    """JAX's `State` of `jax.distributed`; None where that was not initialized.

    It has `num_processes`, `process_id` and `client`, which exchanges texts (`key_value_set`,
    `key_value_dir_get`, `blocking_key_value_get`). The public `jax.process_count()` and
    `jax.process_index()` start the devices, which have to wait for all processes, and the public
    `jax.experimental.multihost_utils` exchanges arrays between devices.
    """
    if "jax" not in sys.modules:  # Importing it takes a second, which `--help` does not need.
        return None
    import jax

    if not jax.distributed.is_initialized():
        return None
    from jax._src import distributed

    return distributed.global_state


def start_preemption_service() -> None:
    """Lets JAX take over SIGTERM from now on, for `multihost_utils.reached_preemption_sync_point`.

    The public option `jax_enable_preemption_service` is read by `jax.distributed.initialize` alone,
    which is too early for us: until the first step, SIGTERM has to end a process at once.
    """
    import jax

    jax.config.update("jax_enable_preemption_service", True)
    get_distributed_state().initialize_preemption_sync_manager()


def is_tpu_host() -> bool:
    """Whether this machine has TPUs and libtpu.

    The public `jax.devices()` starts the devices, which is too early before the processes have met.
    """
    from jax._src import cloud_tpu_init

    return cloud_tpu_init.running_in_cloud_tpu_vm


def has_started_devices() -> bool:
    """Whether this process has started any device. The public `jax.devices()` would start them."""
    if "jax" not in sys.modules:
        return False
    from jax._src import xla_bridge

    return xla_bridge.backends_are_initialized()
