"""Reads workdirs of the first edition: settings of other names, states with one average.

There the moving average was `ema`, nothing was adaptive, and some settings had other names.
"""

import copy
import math
from collections.abc import Collection
from typing import Any

import numpy as np
from flax import struct

from gan.errors import ConfigError
from gan.model.averages import EMA
from gan.model.state import Params, TrainState


def upgrade_config(values: dict[str, Any]) -> dict[str, Any]:
    """Renames the nested values of a `config.json` to today's names; today's stay as they are.

    The moving average had a decay at each generator update. It becomes a half-life in images, to
    five digits: half_life = images * log(1/2) / log(decay), with the images of one update. A decay
    of 0 (no average) becomes a half-life of 0. The gradient penalty belonged to the loss
    "wasserstein_gp"; with any other its weight was not used, so it becomes 0. Labels of null were
    those that lie there, which is "auto" now.
    """
    values = copy.deepcopy(values)
    data = values.get("data") if isinstance(values, dict) else None
    if isinstance(data, dict) and data.get("labels", "") is None:
        data["labels"] = "auto"
    if "ema_decay" not in values:
        return values
    decay, network = values.pop("ema_decay"), values.get("network", {})
    images = values.get("d_steps", 1) * values.get("data", {}).get("batch_size", 128)
    half_life = images * math.log(0.5) / math.log(decay) if decay > 0 else 0.0
    values["average"] = {"half_life": float(f"{half_life:.5g}")}
    moved = {"z_dim", "conditional", "dtype"} & network.keys()
    values |= {name: network.pop(name) for name in moved}
    if values.get("loss") == "wasserstein_gp":
        values["loss"] = "wasserstein"
    else:
        values["gradient_penalty"] = 0.0
    return values


class FirstState(struct.PyTreeNode):
    """A `TrainState` of the first edition."""

    step: Any
    key: Any
    generator: Any
    discriminator: Any
    ema: Params


class FirstAverages(struct.PyTreeNode):
    """The part of it that drawing needs."""

    ema: Params


def is_layout(names: Collection[str]) -> bool:
    """Whether these names of arrays are those of the first edition."""
    return any(name.startswith(".ema") for name in names)


def layout(like: Any) -> FirstState | FirstAverages:
    """The tree of the first edition in place of a `TrainState`, or of its averages alone.

    Raises ConfigError where more than the one average is asked for.
    """
    if {*like.averages} != {EMA}:
        raise ConfigError(
            "The checkpoint is of the first edition, which kept no second average: set "
            "config.average.second_half_life=0."
        )
    ema = like.averages[EMA]
    if not isinstance(like, TrainState):
        return FirstAverages(ema)
    return FirstState(like.step, like.key, like.generator, like.discriminator, ema)


def convert(first: FirstState | FirstAverages, like: Any) -> Any:
    """Brings what was read in `layout(like)` into the tree of `like`. What is new starts at 0."""
    averages = {EMA: first.ema}
    if isinstance(first, FirstAverages):
        return like.replace(averages=averages)
    zeros = type(like.adaptive)(*(np.zeros(x.shape, x.dtype) for x in like.adaptive))
    return TrainState(
        step=first.step,
        key=first.key,
        generator=first.generator,
        discriminator=first.discriminator,
        averages=averages,
        adaptive=zeros,
    )


def upgrade_metrics(metrics: dict[str, Any]) -> dict[str, list]:
    """Renames the metrics of a log interval: ".g_loss.total" and ".count" become "g_loss"."""
    names = {name.split(".")[1] for name in metrics if name.startswith(".")}
    if not names:
        return metrics
    return {n: [metrics[f".{n}.total"][1], metrics[f".{n}.count"][1]] for n in sorted(names)}
