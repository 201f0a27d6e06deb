"""A trained run, opened to draw with it.

from gan.sampling.open_run import open_run

run = open_run("runs/quickstart")
images = run.draw(seeds=range(16), attributes="Smiling=1,Eyeglasses=1")  # uint8 [16 h w 3]
"""

import contextlib
import dataclasses
import functools
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import UInt8

from gan.config import Config
from gan.data.attributes import AttributeTable
from gan.errors import ConfigError, DataError
from gan.model import averages
from gan.model.generate import Model, build_model
from gan.model.state import Params
from gan.runtime import storage
from gan.runtime.storage import Path
from gan.sampling.requests import choose_step
from gan.sampling.sampler import Sampler
from gan.workdir.checkpoints import Checkpoints
from gan.workdir.folder import read_config


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A trained run, as far as drawing needs it: no data set, no discriminator, no optimizer."""

    folder: Path
    config: Config
    table: AttributeTable  # Attributes of the training set.
    model: Model

    def draw(
        self,
        seeds: Sequence[int],
        attributes: str = "",
        step: str | None = None,
        average: str = averages.EMA,
    ) -> UInt8[np.ndarray, "b h w 3"]:
        """Draws a picture for each seed; the same seed gives the same picture.

        `attributes` asks by name, as "Smiling=1,Male=0"; the rest of each face is that of training
        images which agree. `step` is a checkpoint, a number or "best"; the newest by default.
        Raises ConfigError for what cannot be, DataError where a checkpoint is damaged.
        """
        requests = self.table.draw(self.parse(attributes), seeds)
        number = self.choose_step(step)
        try:
            params = self.restore(number, average)
        except DataError as error:
            raise DataError(f"{error} {self._name_whole_step(number, average)}") from error
        return self._sampler(params, seeds, requests)

    def _name_whole_step(self, damaged: int, average: str) -> str:
        """Names the newest other checkpoint that is whole, as the end of a message."""
        with Checkpoints(self.folder, read_only=True) as checkpoints:
            others = [step for step in reversed(checkpoints.steps()) if step != damaged]
        for step in others:
            with contextlib.suppress(DataError):
                self.restore(step, average)
                return f"Step {step} is whole: draw with it by --step={step}."
        return "No other checkpoint is whole."

    def parse(self, attributes: str) -> dict[int, int]:
        """What is asked for: columns of `table` and 0 | 1. Raises ConfigError."""
        named = self.table.parse(attributes)
        if named and not self.model.conditional:
            raise ConfigError(
                f"--attributes={attributes}: this run has config.conditional=False and knows no "
                "attributes. Leave --attributes out, or train a conditional one."
            )
        return named

    def choose_step(self, wish: str | None = None) -> int:
        """The newest checkpoint, or the one asked for: a number or "best". Raises ConfigError."""
        with Checkpoints(self.folder, read_only=True) as checkpoints:
            return choose_step(checkpoints.steps(), wish, self.folder)

    def restore(self, step: int, average: str = averages.EMA) -> Params:
        """The generator's parameters at a step, read once if asked for again in turn.

        Raises DataError where the checkpoint is damaged, ConfigError where it holds another model
        or no such average.
        """
        kept = averages.names(second=self.config.average.second_half_life > 0)
        if average not in kept:
            raise ConfigError(
                f"--average={average}: this run keeps {', '.join(kept)}. A second one is kept "
                "where config.average.second_half_life is set."
            )
        return self._restore(step, average)

    @functools.lru_cache(maxsize=1)  # noqa: B019, a run is small and lives as long as its process
    def _restore(self, step: int, average: str) -> Params:
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        like = averages.abstract(self.model, (average,), device)
        with Checkpoints(self.folder, read_only=True) as checkpoints:
            return checkpoints.restore_averages(like, step)[average]

    @functools.cached_property
    def _sampler(self) -> Sampler:
        return Sampler(self.model, self.table)


def open_run(folder: str | Path) -> Run:
    """Opens the run in a workdir. Raises ConfigError if there is none, DataError if damaged."""
    folder = storage.parse_workdir(str(folder))
    config = read_config(folder)
    table = AttributeTable.load(folder / "attributes.npz")
    return Run(folder, config, table, build_model(config, table.marginals))
