"""The job that draws faces with chosen attributes."""

import dataclasses
import math
from collections.abc import Sequence

import jax
import numpy as np

from gan.config import Config
from gan.data.attributes import AttributeTable
from gan.errors import ConfigError
from gan.model.state import TrainState
from gan.model.step import Gan, abstract_state, build
from gan.runtime.logs import log
from gan.runtime.pictures import make_grid, resize_picture, write_png
from gan.runtime.storage import Path
from gan.sampling.sampler import Sampler
from gan.workdir.checkpoints import Checkpoints, read_best
from gan.workdir.folder import read_config

MAX_SEED = 2**32 - 1
MAX_PICTURES = 100_000


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained run, as far as drawing needs it: no data set."""

    config: Config
    table: AttributeTable
    gan: Gan
    like: TrainState

    @classmethod
    def open(cls, folder: Path) -> "Run":
        """Raises ConfigError where there is no run, DataError where it is damaged."""
        config = read_config(folder)
        table = AttributeTable.load(folder / "attributes.npz")
        gan = build(config, table.marginals)
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        like = abstract_state(gan, here)
        return cls(config, table, gan, like)


def sample(
    folder: Path,
    *,
    attributes: str,
    seeds: Sequence[int],
    out: Path,
    step: str | None = None,
    size: int | None = None,
    individual: bool = False,
) -> None:
    """Draws a picture a seed from the newest checkpoint (or `step`, a number or "best") as PNG.

    Same seed, same picture, whatever else is asked for. Attributes that are not named come from
    training images that agree with those that are. `out` is a grid, or with `individual` a folder.
    """
    run = Run.open(folder)
    named = run.table.parse(attributes)
    if named and not run.gan.conditional:
        raise ConfigError(
            f"--attributes={attributes}: this run has config.conditional=False "
            "and knows no attributes. Leave --attributes out, or train a conditional one."
        )
    with Checkpoints(folder, read_only=True) as checkpoints:
        state = checkpoints.restore(run.like, choose_step(checkpoints.steps(), step, folder))
    if named:
        log.info("%s", company(run.table, named, attributes))
    rows = run.table.draw(named, seeds)
    images = Sampler(run.gan, run.table)(state.ema, seeds, rows)
    if size:
        images = np.stack([resize_picture(image, size) for image in images])
    try:
        if individual:
            for seed, image in zip(seeds, images, strict=True):
                write_png(out / f"seed_{seed:04d}.png", image)
        else:
            write_png(out, make_grid(images, math.ceil(math.sqrt(len(seeds)))))
    except OSError as error:
        raise ConfigError(f"--out={out} cannot be written: {error.strerror or error}.") from None
    log.info("%d faces of step %d: %s", len(seeds), int(state.step), out)


def company(table: AttributeTable, named: dict[int, int], text: str) -> str:
    """What the training set has to say of a wish."""
    num, total = table.support(named), len(table.rows)
    if num:
        return f"{text}: {num:,} of {total:,} training images; the rest is drawn from those."
    return f"{text}: none of {total:,} training images has this together: an extrapolation."


def choose_step(steps: Sequence[int], wish: str | None, folder: Path) -> int:
    """The newest step, or the one asked for. Raises ConfigError where it is not there."""
    if not steps:
        raise ConfigError(
            f"--workdir={folder} has no checkpoint yet; wait for the first or train on."
        )
    if wish is None:
        return steps[-1]
    step = read_best(folder).step if wish == "best" else int(wish) if wish.isdecimal() else None
    if wish == "best" and step is None:
        raise ConfigError(
            f"--step=best: no checkpoint is scored yet. First run python -m gan.main "
            f"--mode=evaluate --workdir={folder}"
        )
    if step not in steps:
        found = f" (step {step})" if wish == "best" else ""
        raise ConfigError(
            f"--step={wish}{found} is not there; --workdir={folder} has steps {list(steps)}."
        )
    return step


def parse_seeds(text: str) -> list[int]:
    """From "0-3,8" to [0, 1, 2, 3, 8]. Raises ConfigError for anything else."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ConfigError(
                f"--seeds={text}: {part!r} is neither a number nor a range like 0-63."
            )
        low, high = int(first), int(last or first)
        if low > high or high > MAX_SEED:
            raise ConfigError(f"--seeds={text}: {part!r} must rise and stay below {MAX_SEED + 1}.")
        if high - low >= MAX_PICTURES:
            raise ConfigError(f"--seeds={text}: at most {MAX_PICTURES:,} pictures at a time.")
        seeds += range(low, high + 1)
    return seeds
