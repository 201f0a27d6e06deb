"""Dials: the numbers of the configuration that a step may use, as functions of images seen.

A setting declared with `dial=True` in `gan/config.py` is a dial. Where a setting of the same name
with `_end` is given too, the dial goes from the one to the other by half a cosine, over the first
`burn_in` images, and stays there (as in Huang et al. 2025, arXiv 2501.05441, table 6). Schedules
count images, never steps, and not their total: a run that is prolonged stays the same run.
"""

import collections
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from gan.config import Config

Dial = float | Float[Array, ""]  # A plain number where it is constant: it costs nothing.
ImagesSeen = Float[Array, ""]


def dial_settings(kind: type = Config, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of the settings that are dials, as ("g_optimizer", "learning_rate")."""
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(field.type):
            yield from dial_settings(field.type, (*path, field.name))
        elif field.metadata.get("dial"):
            yield (*path, field.name)


# `r1`, `g_optimizer_learning_rate`, ...: a field for each dial, by its path.
Dials = collections.namedtuple("Dials", ["_".join(path) for path in dial_settings()])


def half_cosine(start: float, end: float, length: float, images_seen: ImagesSeen) -> ImagesSeen:
    """Goes from `start` at 0 images to `end` at `length` (arXiv 2501.05441, table 6)."""
    angle = 0.5 * jnp.pi * jnp.minimum(images_seen / length, 1.0)
    return start * jnp.cos(angle) ** 2 + end * jnp.sin(angle) ** 2


def at(config: Config) -> Callable[[ImagesSeen], Dials]:
    """Returns a function that maps images seen to dials."""
    pairs = [_start_and_end(config, path) for path in dial_settings()]

    def dials(images_seen: ImagesSeen) -> Dials:
        return Dials(
            *(
                start if start == end else half_cosine(start, end, config.burn_in, images_seen)
                for start, end in pairs
            )
        )

    return dials


def is_used(config: Config, name: str) -> bool:
    """Whether the dial of a path joined by "_" is ever anything but 0."""
    pairs = dict(
        zip(Dials._fields, (_start_and_end(config, p) for p in dial_settings()), strict=True)
    )
    return any(pairs[name])


def _start_and_end(config: Config, path: tuple[str, ...]) -> tuple[float, float]:
    *groups, name = path
    where: Any = config
    for group in groups:
        where = getattr(where, group)
    start, end = getattr(where, name), getattr(where, f"{name}_end", None)
    return start, start if end is None or not config.burn_in else end
