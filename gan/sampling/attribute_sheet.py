"""A sheet that shows what each attribute does to the same faces."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from gan.data.attributes import AttributeTable
from gan.model.state import Params
from gan.runtime.pictures import enlarge_pictures, make_grid
from gan.sampling.sampler import Sampler

COLUMNS = 8


class AttributeSheet:
    """Draws the same latents in each row: first as they come, then each row with one attribute.

    For an attribute, each face gets the training row most like its own that has it, so that what
    goes with it (no hair colour where there is no hair) comes along.
    """

    def __init__(
        self, sampler: Sampler, table: AttributeTable, wishes: Sequence[tuple[str, int]] = ()
    ):
        """Has a row for each of `wishes` (name, 0 or 1); by default for all that vary."""
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
        """Draws the sheet with these parameters of the generator."""
        images = self._sampler(params, self._seeds, self._attributes)
        return make_grid(enlarge_pictures(images), COLUMNS, self._labels)
