"""Draws pictures for seeds and requests, with the moving average of a generator."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Int, UInt8

from gan.data.attributes import AttributeTable
from gan.model.generate import Model, batch_statistics, generate, latents
from gan.model.state import Params, Variables
from gan.runtime.parallel import compiler_options
from gan.runtime.pictures import to_uint8

CHUNK = 64  # Images a device, always: so a picture does not depend on what else is asked for.
MEASURED = 512  # Images on which batch statistics are measured.


class Sampler:
    """Draws with one set of generator parameters."""

    def __init__(self, model: Model, table: AttributeTable):
        """`table` has the attributes of the images that `model` was trained on."""
        self.conditional = model.conditional
        self._rows = table.draw({}, range(MEASURED))
        options = compiler_options()
        self._measure = jax.jit(partial(batch_statistics, model), compiler_options=options)
        self._generate = jax.jit(partial(generate, model), compiler_options=options)
        self._latents = jax.jit(partial(latents, model))
        self._params: Params = None  # Given last, with
        self._variables: Variables = {}  # the batch statistics that belong to them.

    def __call__(
        self,
        params: Params,
        seeds: Sequence[int] | Int[np.ndarray, " s"],
        attributes: UInt8[np.ndarray, "s a"],
    ) -> UInt8[np.ndarray, "s h w 3"]:
        """Draws a picture for each seed and row of attributes, on all local devices."""
        if params is not self._params:
            here = jax.device_put(params, jax.local_devices()[0])
            self._params, self._variables = params, self._measure(here, self._rows)
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
