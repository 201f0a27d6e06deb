"""How a pure step meets many devices: `jit` over a mesh, or `pmap`.

A step is written once, for the batch it is given. Under `jit` that is the global batch and XLA
inserts the communication; under `pmap` it is one device's slice, and the step's `axis_name` names
the axis to average over. `pmean` and `example_keys` hide the difference, so a run gives the same
numbers either way, on any number of devices.
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

AXIS = "data"
MODES = ("jit", "pmap")


def pmean(tree: Any, axis_name: str | None) -> Any:
    """The mean over devices, where the step sees only its own slice."""
    return tree if axis_name is None else jax.lax.pmean(tree, axis_name)


def example_keys(key: Key[Array, ""], num: int, axis_name: str | None) -> Key[Array, "{num}"]:
    """One key for each example, from its index in the global batch: the same on any devices."""
    first = 0 if axis_name is None else num * jax.lax.axis_index(axis_name)
    return jax.vmap(functools.partial(jax.random.fold_in, key))(first + jnp.arange(num))


def compiler_options(platform: str | None = None) -> dict[str, str]:
    """What XLA needs to be told on this platform, else the default one, to be fast."""
    if (platform or jax.default_backend()) == "cpu" and jax.__version_info__[:2] == (0, 10):
        # Convolutions are 1.2 to 7 times faster in XLA's own kernels than in YNNPACK's.
        return {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE"}
    return {}


def compile_once(function: Callable, **options: Any) -> Callable:
    """`jax.jit` of what runs a single time, where compiling costs more than running."""
    cpu = jax.default_backend() == "cpu"
    level = {"xla_backend_optimization_level": 0} if cpu else {}
    return jax.jit(function, compiler_options=level, **options)


@dataclasses.dataclass(frozen=True)
class Parallel:
    """Data parallelism: the state on each device, the batch split over them."""

    mode: str  # "jit" | "pmap"
    mesh: Mesh

    @classmethod
    def create(cls, mode: str) -> "Parallel":
        """Over all devices. Raises ConfigError for a mode that does not exist or not fit."""
        if mode not in MODES:
            raise ConfigError(
                f"config.parallel={mode!r} is not one of {MODES}.{nearest(mode, MODES)}"
            )
        if mode == "pmap" and jax.process_count() > 1:
            raise ConfigError(
                f"config.parallel='pmap' with {jax.process_count()} processes: its arrays belong "
                "to one process and cannot be saved together. Use config.parallel='jit'."
            )
        # By process, so that each feeds rows that follow one another.
        devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
        return cls(mode, Mesh(np.array(devices), (AXIS,)))

    def connect(self) -> None:
        """Lets all devices meet once: gloo waits for half a minute, and compiling may take more."""
        ones = jax.make_array_from_callback((self.mesh.size,), self.by_rows, lambda _: np.ones(1))
        jax.jit(jnp.sum, out_shardings=self.replicated)(ones).block_until_ready()

    @property
    def axis_name(self) -> str | None:
        """What the step averages over, None where XLA does it."""
        return AXIS if self.mode == "pmap" else None

    @property
    def platform(self) -> str:
        """Of its devices, which need not be there: "cpu", "gpu", "tpu"."""
        return self.mesh.devices.flat[0].platform

    @property
    def replicated(self) -> NamedSharding:
        """The whole array on each device."""
        return NamedSharding(self.mesh, P())

    @property
    def by_rows(self) -> NamedSharding:
        """A slice of the rows on each device."""
        return self.split()

    def split(self, axis: int = 0) -> NamedSharding:
        """A slice along `axis` on each device."""
        return NamedSharding(self.mesh, P(*(None,) * axis, AXIS))

    def rows(self, batch_size: int) -> slice:
        """The rows of a global batch that this process feeds."""
        num = batch_size // jax.process_count()
        return slice(num * jax.process_index(), num * (jax.process_index() + 1))

    def put(self, batch: Any, axis: int = 0) -> Any:
        """Moves this process's part of a batch (along `axis`) to its devices, without waiting."""

        def put_one(x: np.ndarray) -> jax.Array:
            if self.mode == "pmap":
                x = x.reshape(*x.shape[:axis], self.mesh.size, -1, *x.shape[axis + 1 :])
                return jax.make_array_from_process_local_data(self.split(), np.moveaxis(x, axis, 0))
            return jax.make_array_from_process_local_data(self.split(axis), x)

        return jax.tree.map(put_one, batch)

    def placed(
        self, shape: tuple[int, ...], dtype: Any, sharding: NamedSharding
    ) -> jax.ShapeDtypeStruct:
        """What `place` makes of rows like these: padded, so that each device has equally many."""
        num, *rest = shape
        padded = num if sharding.is_fully_replicated else -(-num // self.mesh.size) * self.mesh.size
        return jax.ShapeDtypeStruct((padded, *rest), dtype, sharding=sharding)

    def place(self, rows: np.ndarray, sharding: NamedSharding) -> jax.Array:
        """Brings an array that every process can read to where it belongs, padded to fit there.

        On CPU nothing is copied where memory is aligned: a memory map stays one.
        """
        shape = self.placed(rows.shape, rows.dtype, sharding).shape

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
        """Compiles `step(state, batch, *data) -> replicated outputs`, which consumes its state.

        The batch is split along `axis`; `data` stays where it lies.
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
            in_shardings=(self.replicated, self.split(axis), *(x.sharding for x in data)),
            out_shardings=self.replicated,
            donate_argnums=0,
            compiler_options=compiler_options(self.platform),
        )


def here(tree: Any) -> Any:
    """The copies of replicated arrays on a device of this process."""
    return jax.tree.map(lambda x: x.addressable_data(0), tree)


def prefetch(batches: Iterator[Any], put: Callable[[Any], Any], size: int = 2) -> Iterator[Any]:
    """Keeps `size` batches on their way to the devices."""
    queue: collections.deque[Any] = collections.deque()
    for batch in batches:
        queue.append(put(batch))
        if len(queue) == size:
            yield queue.popleft()
    yield from queue
