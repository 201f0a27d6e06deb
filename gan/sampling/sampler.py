"""From seeds and attributes to pictures, with the moving average of a generator."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Int, UInt8

from gan.data.attributes import AttributeTable
from gan.model.state import Params, Variables
from gan.model.step import Gan, calibrate, generate, latents
from gan.runtime.parallel import compiler_options
from gan.runtime.pictures import make_grid, to_uint8

CHUNK = 64  # Images a device, always: so a picture does not depend on what else is asked for.
CALIBRATION = 512  # Images whose statistics stand for all.
COLUMNS = 8


class Sampler:
    """Draws with one set of generator parameters."""

    def __init__(self, gan: Gan, table: AttributeTable):
        """Prepares for the generator of `gan`, trained on images with the attributes of `table`."""
        self.conditional = gan.conditional
        self._rows = table.draw({}, range(CALIBRATION))
        options = compiler_options()
        self._calibrate = jax.jit(partial(calibrate, gan), compiler_options=options)
        self._generate = jax.jit(partial(generate, gan), compiler_options=options)
        self._latents = jax.jit(partial(latents, gan))
        self._params: Params = None  # Given last, with
        self._variables: Variables = {}  # the batch statistics that belong to them.

    def __call__(
        self,
        params: Params,
        seeds: Sequence[int] | Int[np.ndarray, " s"],
        attributes: UInt8[np.ndarray, "s a"],
    ) -> UInt8[np.ndarray, "s h w 3"]:
        """One picture for each seed and row of attributes, drawn by all local devices."""
        if params is not self._params:
            here = jax.device_put(params, jax.local_devices()[0])
            self._params, self._variables = params, self._calibrate(here, self._rows)
        # A few pictures are not worth a program for several devices.
        devices = jax.local_devices()[: -(-len(seeds) // CHUNK)]
        mesh = Mesh(np.array(devices), ("data",))
        everywhere, by_rows = NamedSharding(mesh, P()), NamedSharding(mesh, P("data"))
        networks = jax.device_put((params, self._variables), everywhere)
        num = CHUNK * len(devices)
        z = np.asarray(self._latents(jnp.asarray(np.asarray(seeds, np.uint32))))
        chunks = []
        for start in range(0, len(seeds), num):
            part = slice(start, start + num)
            pad = ((0, num - len(seeds[part])), (0, 0))
            inputs = jax.device_put((np.pad(z[part], pad), np.pad(attributes[part], pad)), by_rows)
            images = self._generate(*networks, *inputs)
            chunks.append(to_uint8(images)[: len(seeds[part])])
        return np.concatenate(chunks)


class AttributeGrid:
    """Fixed latents, a row as they come, then a row for each attribute that all of it has.

    For an attribute, each face gets the training row most like its own that has it, so that what
    goes with it (no hair colour where there is no hair) comes along.
    """

    def __init__(
        self, sampler: Sampler, table: AttributeTable, wishes: Sequence[tuple[str, int]] = ()
    ):
        """Rows for `wishes`, attribute names and 0 | 1; by default all attributes that vary."""
        self._sampler = sampler
        if not sampler.conditional:
            self._seeds = list(range(COLUMNS**2))
            self._attributes, self._labels = table.draw({}, self._seeds), []
            return
        wishes = wishes or [(table.names[i], 1) for i in table.varying]
        base = table.draw({}, range(COLUMNS))
        rows = [base, *(table.nearest_with(base, *wish) for wish in wishes)]
        self._seeds = list(range(COLUMNS)) * len(rows)
        self._attributes = np.concatenate(rows)
        names = [name if value else f"not {name}" for name, value in wishes]
        self._labels = ["(as they come)", *names]

    def __call__(self, params: Params) -> UInt8[np.ndarray, "h w 3"]:
        """The sheet that these generator parameters draw."""
        images = self._sampler(params, self._seeds, self._attributes)
        return make_grid(images, COLUMNS, self._labels)
