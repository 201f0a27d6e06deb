"""A sheet that shows what each attribute does to the same faces."""

import logging
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from gan.data.attributes import AttributeTable
from gan.model.state import Params
from gan.runtime.pictures import enlarge_pictures, make_grid
from gan.sampling.sampler import Sampler

log = logging.getLogger("gan")

COLUMNS = 8
MOST_ROWS = 64  # Attributes that a sheet shows: some data sets have a thousand classes.


class AttributeSheet:
    """Draws the same latents in each row: first as they come, then each row with one attribute.

    For an attribute, each face gets the training row most like its own that has it, so that what
    goes with it (no hair colour where there is no hair) comes along.
    """

    def __init__(
        self, sampler: Sampler, table: AttributeTable, wishes: Sequence[tuple[str, int]] = ()
    ):
        """Has a row for each of `wishes` (name, 0 or 1), by default for all attributes that vary.

        Of more than MOST_ROWS of them the first are shown: the log and the sheet say so.
        """
        self._sampler = sampler
        if not sampler.conditional:
            self._seeds = list(range(COLUMNS**2))
            self._attributes, self._labels = table.draw({}, self._seeds), []
            return
        left_out = 0 if wishes else max(0, len(table.varying) - MOST_ROWS)
        wishes = wishes or [(table.names[i], 1) for i in table.varying[:MOST_ROWS]]
        base = table.draw({}, range(COLUMNS))
        rows = [base, *(table.nearest_with(base, *wish) for wish in wishes)]
        self._seeds = list(range(COLUMNS)) * len(rows)
        self._attributes = np.concatenate(rows)
        names = [name if value else f"not {name}" for name, value in wishes]
        more = f"; {left_out:,} more attributes have no row" if left_out else ""
        self._labels = [f"(as they come{more})", *names]
        if left_out:
            shown = f"{MOST_ROWS} of {MOST_ROWS + left_out:,}"
            log.info("Sheets of samples have rows for the first %s attributes.", shown)

    def __call__(self, params: Params) -> UInt8[np.ndarray, "h w 3"]:
        """Draws the sheet with these parameters of the generator."""
        images = self._sampler(params, self._seeds, self._attributes)
        return make_grid(enlarge_pictures(images), COLUMNS, self._labels)
