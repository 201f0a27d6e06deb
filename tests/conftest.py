"""Tests run on four CPU devices, with shapes checked, and JAX strict."""

import jax
from jaxtyping import install_import_hook

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")

# `gan.state` is left out: JAX rebuilds its pytrees with leaves that are no arrays.
CHECKED = [
    *("augment", "checkpoint", "data", "evaluate", "losses", "metrics", "networks", "parallel"),
    *("pictures", "sample", "sampler", "step", "train", "workdir"),
]
install_import_hook([f"gan.{name}" for name in CHECKED], "beartype.beartype")
