"""Configurations of runs that were written before settings had their present names."""

import copy
import math
from typing import Any


def upgrade_config(values: dict[str, Any]) -> dict[str, Any]:
    """The nested values of a `config.json` by today's names; those of today are left as they are.

    The moving average had a decay at each generator update. It becomes a half-life in images, to
    five digits: half_life = images * log(1/2) / log(decay), with the images of one update. A decay
    of 0 (no average) becomes a half-life of 0. The gradient penalty belonged to the loss
    "wasserstein_gp"; with any other its weight was not used, so it becomes 0.
    """
    if "ema_decay" not in values:
        return values
    values = copy.deepcopy(values)
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
