"""The job that draws faces with chosen attributes."""

import math
from collections.abc import Sequence

import numpy as np

from gan.errors import ConfigError, NotSaved, first_few
from gan.model import averages
from gan.runtime.logs import log
from gan.runtime.pictures import (
    enlarge_pictures,
    make_grid,
    resize_picture,
    write_png,
)
from gan.runtime.storage import Path
from gan.sampling.open_run import open_run
from gan.sampling.requests import describe_support


def sample(
    folder: Path,
    *,
    attributes: str,
    seeds: Sequence[int],
    out: Path,
    step: str | None = None,
    size: int | None = None,
    individual: bool = False,
    average: str = averages.EMA,
) -> None:
    """Draws a picture for each seed from the newest checkpoint (or `step`), as PNG.

    `out` is one picture with all of them in a grid, small ones enlarged, or with `individual` a
    folder of pictures as they are; `size` in pixels resizes either. Raises ConfigError and
    DataError as `Run.draw` does, NotSaved where the disk is full.
    """
    run = open_run(folder)
    if named := run.parse(attributes):
        log.info("%s", describe_support(run.table, named, attributes))
    number = run.choose_step(step)
    images = run.draw(seeds, attributes, str(number), average)
    if size:
        images = np.stack([resize_picture(image, size) for image in images])
    try:
        if individual:
            there = {path.name for path in out.glob("*.png")}
            for seed, image in zip(seeds, images, strict=True):
                write_png(out / f"seed_{seed:04d}.png", image)
            if older := there - {f"seed_{seed:04d}.png" for seed in seeds}:
                log.warning(
                    "%s: %d pictures were there before and are not of these: %s",
                    *(out, len(older), first_few(sorted(older))),
                )
        else:
            images = images if size else enlarge_pictures(images)
            write_png(out, make_grid(images, math.ceil(math.sqrt(len(seeds)))))
    except NotSaved:
        raise
    except OSError as error:
        raise ConfigError(f"--out={out} cannot be written: {error.strerror or error}.") from None
    log.info("%d faces of step %d: %s", len(seeds), number, out)
