"""The options of an evaluation."""

import dataclasses
from collections.abc import Callable, Sequence

from gan.config import Config
from gan.errors import ConfigError
from gan.metrics.scores import better_direction
from gan.runtime.storage import Path


@dataclasses.dataclass(frozen=True)
class EvaluationOptions:
    """What the command line chooses. Raises ConfigError for what cannot be."""

    # The split whose pictures are compared with, and whose attributes are requested.
    split: str = "validation"
    # Pictures of the reference set and of each generated set; None: as the run's configuration has.
    num_images: int | None = None
    # Evaluation seeds; each gives another set of generated pictures.
    seeds: Sequence[int] = (0, 1, 2)
    # File with the weights of FID's Inception; without it no score is called FID.
    inception: Path | None = None
    # How pictures are resized for Inception: "legacy" or "clean".
    resize: str = "legacy"
    # The only checkpoint to score, a number or "best"; None: all that have no score yet.
    step: str | None = None
    # The score that chooses the best checkpoint; None: the one that chose it before, else FD-attr.
    best: str | None = None
    # Whether to wait for further checkpoints until the training has ended.
    watch: bool = False
    # Returns a run's configuration with the places where its data are now.
    move_data: Callable[[Config], Config] = lambda config: config

    def __post_init__(self) -> None:
        if self.best:
            better_direction(self.best)
        if len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(f"--seeds={[*self.seeds]}: one is there twice, which is no evidence.")
        object.__setattr__(self, "seeds", tuple(sorted(self.seeds)))
        if self.watch and self.step:
            raise ConfigError(
                f"--watch scores every checkpoint that comes, --step={self.step} a single one: "
                "leave one of them out."
            )
        if self.best and (self.step or self.split == "test"):
            why = f"a single one (--step={self.step})" if self.step else "the test split"
            raise ConfigError(
                f"--best={self.best} chooses among checkpoints, but {why} chooses nothing: leave "
                "one of them out."
            )
        if self.inception and not self.inception.is_file():
            raise ConfigError(f"--inception={self.inception}: no such file.")
