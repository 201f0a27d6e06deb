"""Everything that can be configured, with its default.

A file in `configs/` returns a `Config` that states only what differs; the command line overrides
single fields: `--config.data.batch_size=256`. (Plain types only: the flag parser reads the
annotations, so no `from __future__ import annotations` here and no `Literal`.)
"""

import dataclasses
import json
import math
from dataclasses import field
from typing import Any

from gan.errors import ConfigError, nearest


@dataclasses.dataclass(kw_only=True)
class Data:
    """Which pictures, and in which form they reach the step."""

    source: str = "faces"  # Key of `gan.data.registry.SOURCES`, or "auto": what lies at the path.
    path: str | None = None  # Folder or zip of the source; None for sources that are drawn.
    name: str | None = None  # Of the data set, where source "tfds" has several at its path.
    labels: str | None = None  # CSV of source "folder"; None: the one in it, or its sub-folders.
    attributes: str | None = None  # Names to learn, with commas between them; None: all.
    on_bad: str = "error"  # "error" | "skip" bad pictures: they are counted and listed.
    cache_dir: str = "~/.cache/gan/data"  # Prepared data sets, shared by all runs.
    local_dir: str | None = None  # Copies of them on each host's disk; None: only of buckets'.
    image_size: int = 64  # Pixels, square.
    crop: str = "center178"  # Key of `CROPS` in `gan.data.decode`; "square" unless CelebA's frame.
    resize: str = "bicubic"  # Key of `RESIZES` in `gan.data.decode`.
    feed: str = "auto"  # "resident" in the device's memory | "stream" from disk | "auto".
    batch_size: int = 128  # Images per discriminator update, over all devices.
    num_faces: int = 32_768  # Training images of source "faces"; others have their own number.


@dataclasses.dataclass(kw_only=True)
class Augment:
    """What is done to images inside the step; 0 turns a transformation off."""

    flip: bool = True  # Mirrors real images with probability 1/2.
    rotate: float = 0.0  # Largest angle in degrees.
    scale: float = 0.0  # Largest |log2 factor|: 0.2 is 0.87 to 1.15 times the size.
    translate: float = 0.0  # Largest shift as a share of the image's side.
    probability: float = 0.5  # Of each of these three, drawn for each image (p of ADA).
    real_only: bool = False  # True: fakes stay as they are, so the warp leaks into them.


@dataclasses.dataclass(kw_only=True)
class Network:
    """The two players."""

    name: str = "dcgan"  # Module `gan/networks/<name>.py`.
    z_dim: int = 100  # Numbers in a latent.
    g_width: int = 64  # Channels of the generator's last hidden layer ("ngf").
    d_width: int = 64  # Channels of the discriminator's first layer ("ndf").
    d_norm: str = "batch"  # "batch" | "layer" | "none", of the discriminator.
    conditional: bool = True  # False ignores the attributes.
    film: bool = False  # Condition also scales and shifts every generator layer (FiLM).
    dtype: str = "float32"  # "float32" | "bfloat16", of the computation; parameters are float32.


@dataclasses.dataclass(kw_only=True)
class Optimizer:
    """Adam."""

    learning_rate: float = 2e-4  # Step size.
    b1: float = 0.5  # Decay of the mean of the gradient,
    b2: float = 0.999  # and of its square.


@dataclasses.dataclass(kw_only=True)
class Limits:
    """Seconds after which what hangs is ended, with all processes of the run."""

    join: float = 300.0  # Of waiting until all processes are there.
    heartbeat: float = 30.0  # Without a sign of life from a process: killed, stopped, cut off.
    prepare: float = 14_400.0  # Of preparing the data,
    compile: float = 3_600.0  # of restoring or compiling,
    save: float = 1_800.0  # of a checkpoint or a sheet of samples,
    step: float = 300.0  # of a batch, or of a step's call (or 20 times its mean if that is more).


@dataclasses.dataclass(kw_only=True)
class Config:
    """One experiment."""

    seed: int = 0  # Of the initial weights, the order of the images and all that is drawn.
    steps: int = 100_000  # Generator updates.
    steps_per_call: int = 0  # Run by one call of a resident feed; 0: 25, or 1 on CPU.
    d_steps: int = 1  # Discriminator updates per generator update, each on images of its own.
    loss: str = "non_saturating"  # Key of `gan.model.losses.LOSSES`.
    r1: float = 0.0  # Weight gamma of gamma/2 * |grad D(real)|^2; 0 turns it off.
    gradient_penalty: float = 10.0  # Weight of the penalty of "wasserstein_gp".
    ema_decay: float = 0.999  # Of the moving average of the generator, which is what is drawn with.
    parallel: str = "jit"  # "jit" | "pmap", the way to several devices; same numbers.
    deterministic: bool = False  # On GPU, only operations that repeat bit for bit; they are slower.
    data: Data = field(default_factory=Data)
    augment: Augment = field(default_factory=Augment)
    network: Network = field(default_factory=Network)
    g_optimizer: Optimizer = field(default_factory=Optimizer)
    d_optimizer: Optimizer = field(default_factory=Optimizer)
    limits: Limits = field(default_factory=Limits)
    log_every: int = 100  # Steps from status line to status line,
    sample_every: int = 1_000  # from picture to picture,
    checkpoint_every: int = 1_000  # from checkpoint to checkpoint.
    profile: int = 0  # Steps to trace for TensorBoard's profiler, soon after the start; 0: none.
    keep_checkpoints: int = 3  # The newest so many stay, never fewer than two,
    keep_every: int = 10_000  # and each whose step is a multiple of this.
    eval_images: int = 2_048  # Compared by `--mode=evaluate`, or all of the held-out split.


LIMITS = tuple(f"limits.{limit.name}" for limit in dataclasses.fields(Limits))
CHOICES = {
    "parallel": ("jit", "pmap"),
    "data.on_bad": ("error", "skip"),
    "data.feed": ("auto", "resident", "stream"),
    "network.dtype": ("float32", "bfloat16"),
    "network.d_norm": ("batch", "layer", "none"),
}
POSITIVE = (
    *("steps", "d_steps", "log_every", "sample_every", "checkpoint_every", "keep_checkpoints"),
    *("keep_every", "eval_images", "data.image_size", "data.batch_size", "data.num_faces"),
    *("network.z_dim", "network.g_width", "network.d_width"),
    *("g_optimizer.learning_rate", "d_optimizer.learning_rate"),
    *LIMITS,
)
NOT_NEGATIVE = (
    "profile",
    "seed",
    "steps_per_call",
    "r1",
    "gradient_penalty",
    "augment.rotate",
    "augment.scale",
)
BELOW_ONE = (
    *("ema_decay", "augment.translate"),
    *("g_optimizer.b1", "g_optimizer.b2", "d_optimizer.b1", "d_optimizer.b2"),
)


def flatten(config: Config) -> dict[str, int | float | str | bool | None]:
    """Every setting under its dotted name, as on the command line."""
    flat = {}
    for name, value in dataclasses.asdict(config).items():
        nested = value if isinstance(value, dict) else {}
        flat |= {f"{name}.{key}": x for key, x in nested.items()} or {name: value}
    return flat


def validate(config: Config, num_devices: int = 1) -> None:
    """Raises ConfigError for the first setting that is out of its range."""
    flat = flatten(config)

    def require(ok: bool, name: str, rule: str) -> None:
        if not ok:
            raise ConfigError(f"config.{name}={flat[name]!r}: {rule}.")

    for name, choices in CHOICES.items():
        require(flat[name] in choices, name, f"must be one of {', '.join(choices)}")
    for name, value in flat.items():
        require(not isinstance(value, float) or math.isfinite(value), name, "must be finite")
    for name in POSITIVE:
        require(flat[name] > 0, name, "must be greater than 0")
    for name in NOT_NEGATIVE:
        require(flat[name] >= 0, name, "must not be negative")
    for name in BELOW_ONE:
        require(0 <= flat[name] < 1, name, "must be at least 0 and less than 1")
    require(config.seed < 2**32, "seed", "must be below 2^32")
    require(0 <= config.augment.probability <= 1, "augment.probability", "must be within [0, 1]")
    require(
        config.data.batch_size % num_devices == 0,
        "data.batch_size",
        f"must be a multiple of the {num_devices} devices",
    )
    require(
        not (config.loss == "wasserstein_gp" and config.network.d_norm == "batch"),
        "network.d_norm",
        "does not go with config.loss=wasserstein_gp, whose penalty is one for each image while "
        "batch norm mixes them; set it to layer or none",
    )


def to_json(config: Config) -> str:
    """As it is written to the workdir."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def resolve(config: Config) -> Config:
    """The same with types checked, and whole numbers where a float belongs made floats."""
    return from_json(to_json(config))


def from_json(text: str) -> Config:
    """Back from `to_json`. Raises ConfigError for unknown names or wrong types."""
    try:
        return _build(Config, json.loads(text), "config")
    except json.JSONDecodeError as error:
        raise ConfigError(f"not JSON: {error}") from None


def _build(kind: type, values: object, path: str) -> Any:
    if not isinstance(values, dict):
        raise ConfigError(
            f"{path}={values!r}: must be an object with the fields of {kind.__name__}."
        )
    fields = {f.name: f.type for f in dataclasses.fields(kind)}
    built = {}
    for name, value in values.items():
        if name not in fields:
            raise ConfigError(f"{path}.{name}: no such setting.{nearest(name, fields)}")
        expected = fields[name]
        if dataclasses.is_dataclass(expected):
            built[name] = _build(expected, value, f"{path}.{name}")
            continue
        value = float(value) if expected is float and type(value) is int else value
        if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
            raise ConfigError(f"{path}.{name}={value!r}: must be of type {_name(expected)}.")
        built[name] = value
    return kind(**built)


def _name(kind: Any) -> str:
    return getattr(kind, "__name__", str(kind))
