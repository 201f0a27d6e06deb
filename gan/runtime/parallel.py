"""Runs a pure step on many devices, by `jit` over a mesh or by `pmap`.

A step is written once, for the batch that it gets. Under `jit` that is the global batch, and XLA
inserts the communication. Under `pmap` it is one device's slice, and `axis_name` names the axis to
average over. `mean_over_devices` and `example_keys` hide the difference, so that a run gives the
same numbers either way, on any number of devices.
"""

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Key

from gan.errors import ConfigError, nearest
from gan.runtime.jax_setup import hide_stdout

AXIS = "data"
PARALLEL_MODES = ("jit", "pmap")


def mean_over_devices(tree: Any, axis_name: str | None) -> Any:
    """Averages arrays over all devices under `pmap`; returns them as they are under `jit`."""
    return tree if axis_name is None else jax.lax.pmean(tree, axis_name)


def example_keys(key: Key[Array, ""], num: int, axis_name: str | None) -> Key[Array, "{num}"]:
    """Keys for `num` examples, each folded from its index in the global batch.

    An example gets the same key on any number of devices.
    """
    first = 0 if axis_name is None else num * jax.lax.axis_index(axis_name)
    return jax.vmap(functools.partial(jax.random.fold_in, key))(first + jnp.arange(num))


# Versions of JAX on whose CPU convolutions are faster in XLA's own kernels than in YNNPACK's:
# `benchmarks/README.md` says by how much. Another version may not know the option.
OWN_KERNELS = ((0, 10), (0, 11), (0, 12))
OWN_KERNELS_OPTION = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE"}


def compiler_options(platform: str | None = None) -> dict[str, str]:
    """Options with which XLA compiles fast programs for a platform (JAX's own if None)."""
    if (platform or jax.default_backend()) == "cpu" and jax.__version_info__[:2] in OWN_KERNELS:
        return OWN_KERNELS_OPTION
    return {}


def compile_for_one_call(function: Callable, **options: Any) -> Callable:
    """Compiles a function that is called once, by `jax.jit` with as little optimisation as can be.

    Compiling then takes less time than the optimised program would save.
    """
    cpu = jax.default_backend() == "cpu"
    level = {"xla_backend_optimization_level": 0} if cpu else {}
    return jax.jit(function, compiler_options=level, **options)


@dataclasses.dataclass(frozen=True)
class Parallel:
    """Data parallelism: each device holds the whole state and a slice of the batch."""

    mode: str  # One of PARALLEL_MODES.
    mesh: Mesh  # All devices along one axis, AXIS.

    @classmethod
    def create(cls, mode: str) -> "Parallel":
        """Uses all devices of all processes.

        Raises ConfigError for an unknown mode, and for `pmap` with several processes.
        """
        if mode not in PARALLEL_MODES:
            raise ConfigError(
                f"config.parallel={mode!r} is not one of {PARALLEL_MODES}."
                f"{nearest(mode, PARALLEL_MODES)}"
            )
        if mode == "pmap" and jax.process_count() > 1:
            raise ConfigError(
                f"config.parallel='pmap' with {jax.process_count()} processes: its arrays belong "
                "to one process and cannot be saved together. Use config.parallel='jit'."
            )
        # In the order of processes, so that each process feeds consecutive rows of the batch.
        devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
        return cls(mode, Mesh(np.array(devices), (AXIS,)))

    def connect_devices(self) -> None:
        """Connects all devices of a cluster by one small sum over them.

        Gloo, which connects CPUs, gives up after half a minute, and processes may be further apart
        once they compile. It also prints a line for each device.
        """
        if not jax.distributed.is_initialized():
            return
        ones = jax.make_array_from_callback((self.mesh.size,), self.by_rows, lambda _: np.ones(1))
        with hide_stdout():
            jax.jit(jnp.sum, out_shardings=self.replicated)(ones).block_until_ready()

    @property
    def axis_name(self) -> str | None:
        """Axis over which the step averages under `pmap`; None under `jit`, where XLA does it."""
        return AXIS if self.mode == "pmap" else None

    @property
    def platform(self) -> str:
        """Platform of the devices: "cpu", "gpu" or "tpu". They need not exist on this machine."""
        return self.mesh.devices.flat[0].platform

    @property
    def replicated(self) -> NamedSharding:
        """Sharding that keeps the whole array on each device."""
        return NamedSharding(self.mesh, P())

    @property
    def by_rows(self) -> NamedSharding:
        """Sharding that keeps a slice of the rows on each device."""
        return self.split_along(0)

    def split_along(self, axis: int) -> NamedSharding:
        """Sharding that keeps a slice along `axis` on each device."""
        return NamedSharding(self.mesh, P(*(None,) * axis, AXIS))

    def local_rows(self, batch_size: int) -> slice:
        """Rows of the global batch that this process feeds."""
        num = batch_size // jax.process_count()
        return slice(num * jax.process_index(), num * (jax.process_index() + 1))

    def put_batch(self, batch: Any, axis: int = 0) -> Any:
        """Starts to copy this process's part of a batch, split along `axis`, to its devices."""

        def put_one(x: np.ndarray) -> jax.Array:
            if self.mode == "pmap":
                x = x.reshape(*x.shape[:axis], self.mesh.size, -1, *x.shape[axis + 1 :])
                return jax.make_array_from_process_local_data(self.by_rows, np.moveaxis(x, axis, 0))
            return jax.make_array_from_process_local_data(self.split_along(axis), x)

        return jax.tree.map(put_one, batch)

    def placed_shape(
        self, shape: tuple[int, ...], dtype: Any, sharding: NamedSharding
    ) -> jax.ShapeDtypeStruct:
        """Shape, type and sharding of what `place_rows` makes of rows of this shape."""
        num, *rest = shape
        padded = num if sharding.is_fully_replicated else -(-num // self.mesh.size) * self.mesh.size
        return jax.ShapeDtypeStruct((padded, *rest), dtype, sharding=sharding)

    def place_rows(self, rows: np.ndarray, sharding: NamedSharding) -> jax.Array:
        """Copies rows, which every process can read, to the devices.

        Pads them with zeros so that each device holds equally many. On CPU, aligned memory is not
        copied: a memory map stays one.
        """
        shape = self.placed_shape(rows.shape, rows.dtype, sharding).shape

        def part(index: tuple[slice, ...]) -> np.ndarray:
            start, stop, _ = index[0].indices(shape[0])
            x = rows[start:stop]
            lack = np.zeros((stop - start - len(x), *rows.shape[1:]), rows.dtype)
            return np.concatenate([x, lack]) if len(lack) else x

        return jax.make_array_from_callback(shape, sharding, part)

    def compile(
        self,
        step: Callable,
        axis: int = 0,
        data: Sequence[jax.Array | jax.ShapeDtypeStruct] = (),
    ) -> Callable:
        """Compiles `step(state, batch, *data)`, whose outputs lie whole on each device.

        A call consumes its state. The batch is split along `axis`; `data` stays where it lies.
        """
        if self.mode == "pmap":
            return jax.pmap(
                step,
                AXIS,
                in_axes=(None, 0, *(None for _ in data)),
                out_axes=None,
                donate_argnums=0,
                devices=list(self.mesh.devices),
            )
        return jax.jit(
            step,
            in_shardings=(self.replicated, self.split_along(axis), *(x.sharding for x in data)),
            out_shardings=self.replicated,
            donate_argnums=0,
            compiler_options=compiler_options(self.platform),
        )


def take_local_copies(tree: Any) -> Any:
    """Returns this process's own copies of arrays that lie whole on each device."""
    return jax.tree.map(lambda x: x.addressable_data(0), tree)


def prefetch(batches: Iterator[Any], put: Callable[[Any], Any], size: int = 2) -> Iterator[Any]:
    """Yields `put(batch)` for each batch, and starts it `size - 1` batches ahead."""
    queue: collections.deque[Any] = collections.deque()
    for batch in batches:
        queue.append(put(batch))
        if len(queue) == size:
            yield queue.popleft()
    yield from queue
