"""From seeds and attributes to pictures, with the moving average of a generator."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from gan.data.attributes import AttributeTable
from gan.parallel import compiler_options
from gan.pictures import grid, to_uint8
from gan.state import Params
from gan.step import Gan, calibrate, generate, latents

CHUNK = 64  # Images a call, always: so a picture does not depend on what else is asked for.
CALIBRATION = 512  # Images whose statistics stand for all.
COLUMNS = 8


class Sampler:
    """Draws with one set of generator parameters."""

    def __init__(self, gan: Gan, table: AttributeTable):
        """Prepares for the generator of `gan`, trained on images with the attributes of `table`."""
        self._gan = gan
        self._rows = table.draw({}, range(CALIBRATION))
        options = compiler_options()
        self._calibrate = jax.jit(partial(calibrate, gan), compiler_options=options)
        self._generate = jax.jit(partial(generate, gan), compiler_options=options)
        self._latents = jax.jit(partial(latents, gan))

    def __call__(
        self, params: Params, seeds: Sequence[int], attributes: UInt8[np.ndarray, "s a"]
    ) -> UInt8[np.ndarray, "s h w 3"]:
        """One picture for each seed and row of attributes."""
        params = jax.device_put(params, jax.local_devices()[0])
        variables = self._calibrate(params, self._rows)
        z = self._latents(jnp.asarray(np.asarray(seeds, np.uint32)))
        chunks = []
        for start in range(0, len(seeds), CHUNK):
            part = slice(start, start + CHUNK)
            pad = ((0, CHUNK - len(seeds[part])), (0, 0))
            images = self._generate(
                params, variables, jnp.pad(z[part], pad), np.pad(attributes[part], pad)
            )
            chunks.append(to_uint8(images)[: len(seeds[part])])
        return np.concatenate(chunks)


def attribute_grid(
    sampler: Sampler, params: Params, table: AttributeTable, conditional: bool
) -> UInt8[np.ndarray, "h w 3"]:
    """A row of fixed latents as they come, then a row for each attribute that all of it has.

    For an attribute, each face gets the training row most like its own that has it, so that what
    goes with it (no hair colour where there is no hair) comes along.
    """
    seeds = list(range(COLUMNS))
    base = table.draw({}, seeds)
    if not conditional:
        seeds = list(range(COLUMNS**2))
        return grid(sampler(params, seeds, table.draw({}, seeds)), COLUMNS)
    columns = table.varying
    rows = [base] + [np.stack([table.nearest_with(row, i) for row in base]) for i in columns]
    images = sampler(params, seeds * len(rows), np.concatenate(rows))
    return grid(images, COLUMNS, ["(as they come)", *(table.names[i] for i in columns)])
