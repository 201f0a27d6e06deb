"""Everything that can be configured: each setting with its default, its meaning and its range.

A file in `configs/` returns a `Config` that states only what differs; the command line overrides
single settings: `--config.data.batch_size=256`. What `setting(...)` says of a setting is the one
place for it: validation, `--help`, `gan.workdir.folder.check_same_run` and the tests read it there.
(Annotations are read as types, so no `from __future__ import annotations` here and no `Literal`.)
"""

import dataclasses
import functools
import importlib
import json
import math
import re
import typing
from collections.abc import Callable, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, NamedTuple

from gan.errors import ConfigError, nearest

LABELS = ("auto", "folders", "none")  # What `data.labels` may be, besides a file.
Value = int | float | str | bool | None
WORDS = ("greater than ", "at least ", "less than ", "at most ")
SIGNS = (">", ">=", "<", "<=")
NETWORKS = Path(__file__).parent / "model" / "networks"


class Setting(NamedTuple):
    """What is known of a setting. Limits that are None do not exist."""

    type: Any  # int, float, bool, str, or one of them | None.
    default: Value
    meaning: str
    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None
    choices: tuple[str, ...] | None = None
    choices_in: str | None = None  # Dotted name of the dict, tuple or function that has them.
    may_change: bool = False  # Between two starts of one run.
    dial: bool = False  # A field of `gan.model.schedules.Dials`, which losses are given.


def setting(
    default: Value,
    meaning: str,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
    choices: tuple[str, ...] | None = None,
    choices_in: str | None = None,
    may_change: bool = False,
    dial: bool = False,
) -> Any:
    """A field of a configuration's dataclass, with all that is known of it: see `Setting`.

    `choices_in` names a registry in a room above this one, such as "gan.model.losses.LOSSES". It is
    imported only when somebody asks for the choices.
    """
    known = dict(locals())
    return field(default=known.pop("default"), metadata=known)


def network_names() -> tuple[str, ...]:
    """Names of the architectures: the modules in `gan/model/networks/` with a class `Settings`."""
    modules = sorted(NETWORKS.glob("*.py"))
    return tuple(m.stem for m in modules if re.search(r"^class Settings\b", m.read_text(), re.M))


def network_settings(name: str) -> type:
    """The class of the settings of an architecture. Raises ConfigError if there is none."""
    known = network_names()
    if name not in known:
        hint = nearest(str(name), known)
        raise ConfigError(f"config.network.name={name!r} is not one of {[*known]}.{hint}")
    return importlib.import_module(f"gan.model.networks.{name}").Settings


@dataclasses.dataclass(kw_only=True)
class Data:
    """The pictures, and the form in which they reach the step."""

    source: str = setting(
        "faces",
        'data set; "auto": what lies at the path; "celeba": in any layout',
        choices_in="gan.data.registry.source_names",
    )
    path: str | None = setting(
        None, "folder or zip of the data set; none for those that are drawn", may_change=True
    )
    name: str | None = setting(None, 'which data set, where source "tfds" finds several')
    labels: str = setting(
        "auto",
        'file of labels of source "folder"; "auto": those there, or sub-folders; "folders"; "none"',
        may_change=True,
    )
    attributes: str | None = setting(None, "names to learn, with commas between them; none: all")
    on_bad: str = setting(
        "error", "bad pictures: stop, or skip, count and list them", choices=("error", "skip")
    )
    on_doubt: str = setting(
        "ask",
        "layouts that may be meant in another way: ask in a terminal and stop elsewhere, or go on",
        choices=("ask", "go"),
        may_change=True,
    )
    cache_dir: str = setting(
        "~/.cache/gan/data", "folder of prepared data sets, shared by all runs", may_change=True
    )
    local_dir: str | None = setting(
        None,
        "folder on each host's disk for copies of prepared data; none: copies only of buckets'",
        may_change=True,
    )
    image_size: int = setting(64, "pixels of the square image's side", above=0)
    crop: str = setting(
        "center178",
        'part of a picture to take; "square" or "squash" if it is not CelebA\'s aligned frame',
        choices_in="gan.data.decode.CROP_NAMES",
    )
    resize: str = setting(
        "bicubic", "filter of resizing, antialiased", choices_in="gan.data.decode.RESIZES"
    )
    feed: str = setting(
        "auto",
        "resident in the device's memory, streamed from disk, or whichever fits",
        choices=("auto", "resident", "stream"),
        may_change=True,
    )
    batch_size: int = setting(128, "images per discriminator update, over all devices", above=0)
    num_faces: int = setting(
        32_768, 'training images of source "faces"; others have their own number', above=0
    )


@dataclasses.dataclass(kw_only=True)
class Augment:
    """What is done to images inside the step; 0 turns a transformation off."""

    flip: bool = setting(True, "mirror real images with probability 1/2")
    rotate: float = setting(0.0, "largest angle in degrees; 0: off", at_least=0)
    scale: float = setting(
        0.0, "largest |log2 factor|: 0.2 is 0.87 to 1.15 times the size; 0: off", at_least=0
    )
    translate: float = setting(
        0.0, "largest shift, as a share of the image's side; 0: off", at_least=0, below=1
    )
    brightness: float = setting(
        0.0, "largest change of all pixels, of a range from -1 to 1; 0: off", at_least=0
    )
    contrast: float = setting(
        0.0, "largest |log2 factor| of all pixels, of a range from -1 to 1; 0: off", at_least=0
    )
    probability: float = setting(
        0.5,
        "probability of each of these, drawn for each image",
        at_least=0,
        at_most=1,
        dial=True,
    )
    probability_end: float | None = setting(
        None, "probability after the burn-in; none: as before", at_least=0, at_most=1
    )
    real_only: bool = setting(
        False, "leave generated images as they are, so that they learn the transformations"
    )


@dataclasses.dataclass(kw_only=True)
class Optimizer:
    """Adam (Kingma & Ba 2015)."""

    learning_rate: float = setting(2e-4, "step size", above=0, dial=True)
    learning_rate_end: float | None = setting(
        None, "step size after the burn-in; none: as before", at_least=0
    )
    b1: float = setting(0.5, "decay of the mean of the gradient", at_least=0, below=1)
    b2: float = setting(0.999, "decay of the mean of its square", at_least=0, below=1, dial=True)
    b2_end: float | None = setting(
        None, "this decay after the burn-in; none: as before", at_least=0, below=1
    )


@dataclasses.dataclass(kw_only=True)
class Average:
    """The moving average of the generator's weights, which is what is drawn with."""

    half_life: float = setting(
        88_000.0, "images after which a weight counts half; 0: no average", at_least=0, dial=True
    )
    half_life_end: float | None = setting(
        None, "half-life after the burn-in; none: as before", at_least=0
    )
    second_half_life: float = setting(
        0.0,
        "half-life of a second average, kept beside the first; 0: none",
        at_least=0,
        dial=True,
    )


_limit = functools.partial(setting, above=0, may_change=True)


@dataclasses.dataclass(kw_only=True)
class Limits:
    """Seconds after which what hangs is ended, with all processes of the run."""

    join: float = _limit(300.0, "seconds to wait until all processes are there")
    heartbeat: float = _limit(
        30.0, "seconds without a sign of life from a process: it was killed, stopped or cut off"
    )
    prepare: float = _limit(14_400.0, "seconds to prepare the data")
    compile: float = _limit(3_600.0, "seconds to restore or to compile")
    save: float = _limit(1_800.0, "seconds to write a checkpoint or a sheet of samples")
    step: float = _limit(
        300.0, "seconds for a batch or one call of steps, or 20 times its mean if that is more"
    )


@dataclasses.dataclass(kw_only=True)
class Config:
    """One experiment."""

    seed: int = setting(
        0,
        "seed of the initial weights, the order of the images and all that is drawn",
        at_least=0,
        below=2**32,
    )
    steps: int = setting(100_000, "generator updates", above=0, may_change=True)
    steps_per_call: int = setting(
        0,
        "steps that one call of a resident feed runs; 0: 25, or 1 on CPU",
        at_least=0,
        may_change=True,
    )
    d_steps: int = setting(
        1, "discriminator updates per generator update, each on images of its own", above=0
    )
    loss: str = setting(
        "non_saturating", "what both players minimise", choices_in="gan.model.losses.LOSSES"
    )
    r1: float = setting(
        0.0, "weight gamma of gamma/2 * |grad D|^2 on real images; 0: off", at_least=0, dial=True
    )
    r1_end: float | None = setting(None, "r1 after the burn-in; none: as before", at_least=0)
    r2: float = setting(0.0, "the same on generated images; 0: off", at_least=0, dial=True)
    r2_end: float | None = setting(None, "r2 after the burn-in; none: as before", at_least=0)
    gradient_penalty: float = setting(
        0.0,
        "weight of (|grad D| - 1)^2 on mixtures of real and generated images; 0: off; 10 is usual "
        "with wasserstein",
        at_least=0,
        dial=True,
    )
    gradient_penalty_end: float | None = setting(
        None, "gradient_penalty after the burn-in; none: as before", at_least=0
    )
    penalty: str = setting(
        "exact",
        "r1 and r2 by automatic differentiation, or by a finite difference along one random "
        "direction",
        choices=("exact", "finite"),
    )
    penalty_every: int = setting(
        1,
        "compute penalties at every so many discriminator updates, with weights times that",
        above=0,
    )
    burn_in: float = setting(
        0.0,
        "images over which each setting moves to its ..._end, along half a cosine",
        at_least=0,
    )
    z_dim: int = setting(100, "numbers in a latent", above=0)
    conditional: bool = setting(True, "learn the attributes; off: ignore them")
    dtype: str = setting(
        "float32", "computation; parameters are float32", choices=("float32", "bfloat16")
    )
    parallel: str = setting(
        "jit", "way to several devices; same numbers", choices=("jit", "pmap"), may_change=True
    )
    deterministic: bool = setting(
        False,
        "on GPU, only operations that repeat bit for bit; they are slower",
        may_change=True,
    )
    data: Data = field(default_factory=Data)
    augment: Augment = field(default_factory=Augment)
    network: Any = field(default_factory=lambda: network_settings("dcgan")())
    g_optimizer: Optimizer = field(default_factory=Optimizer)
    d_optimizer: Optimizer = field(default_factory=Optimizer)
    average: Average = field(default_factory=Average)
    limits: Limits = field(default_factory=Limits)
    log_every: int = setting(100, "steps between status lines", above=0, may_change=True)
    sample_every: int = setting(1_000, "steps between sheets of samples", above=0, may_change=True)
    checkpoint_every: int = setting(1_000, "steps between checkpoints", above=0, may_change=True)
    profile: int = setting(
        0,
        "steps to trace for TensorBoard's profiler, soon after the start; 0: none",
        at_least=0,
        may_change=True,
    )
    keep_checkpoints: int = setting(
        3, "newest checkpoints to keep; never fewer than two are", above=0, may_change=True
    )
    keep_every: int = setting(
        10_000, "keep each checkpoint whose step is a multiple of this", above=0, may_change=True
    )
    eval_images: int = setting(
        2_048,
        "images that --mode=evaluate compares, or all of the held-out split",
        above=0,
        may_change=True,
    )


def settings(config: Any) -> dict[str, Setting]:
    """Every setting of a configuration under its dotted name, as on the command line.

    `config` is a dataclass or an instance of one. A class has no architecture yet: the settings of
    `network` are in those of an instance only.
    """
    found = {}
    for item in dataclasses.fields(config):
        inner = getattr(config, item.name, item.type)
        if dataclasses.is_dataclass(inner):
            found |= {f"{item.name}.{name}": known for name, known in settings(inner).items()}
        elif item.metadata:
            found[item.name] = Setting(item.type, item.default, **item.metadata)
    return found


def flatten(config: Any) -> dict[str, Value]:
    """Every setting's value under its dotted name."""
    return {name: functools.reduce(getattr, name.split("."), config) for name in settings(config)}


def choices_of(known: Setting) -> tuple[str, ...]:
    """What a setting may be; empty if anything of its type. Imports where `choices_in` points."""
    if known.choices_in is None:
        return known.choices or ()
    module, _, name = known.choices_in.rpartition(".")
    registry = getattr(importlib.import_module(module), name)
    return tuple(registry() if callable(registry) else registry)


def range_of(known: Setting, signs: Sequence[str] = WORDS) -> str:
    """The range of a number, as "at least 0 and less than 1"; empty if there is none."""
    limits = zip(signs, (known.above, known.at_least, known.below, known.at_most), strict=True)
    return " and ".join(f"{sign}{limit:,}" for sign, limit in limits if limit is not None)


def allowed(known: Setting) -> str:
    """The values of a setting, as "batch, layer, none" or ">0"; empty if all of its type.

    Imports where `choices_in` points.
    """
    return ", ".join(choices_of(known)) or range_of(known, SIGNS)


def check(shown: str, value: Value, known: Setting) -> None:
    """Raises ConfigError where a value of the right type is out of its range or no choice.

    `shown` begins the message: the setting and its value, as the user knows them.
    """
    if value is None:
        return
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{shown}: must be finite.")
    if not _within(value, known):
        text = range_of(known)
        rule = {"at least 0": "not be negative", "at least 0 and at most 1": "be within [0, 1]"}
        raise ConfigError(f"{shown}: must {rule.get(text, f'be {text}')}.")
    choices = choices_of(known)
    if choices and value not in choices:
        hint = nearest(str(value), choices)
        raise ConfigError(f"{shown}: must be one of {', '.join(choices)}.{hint}")


def check_settings(config: Any, path: str = "config") -> None:
    """Raises ConfigError for the first setting of a dataclass that `check` refuses."""
    flat = flatten(config)
    for name, known in settings(config).items():
        check(f"{path}.{name}={flat[name]!r}", flat[name], known)


def validate(config: Config, num_devices: int = 1) -> None:
    """Raises ConfigError for a setting out of its range, or that does not go with the others."""
    check_settings(config)
    flat = flatten(config)

    def require(ok: bool, name: str, rule: str) -> None:
        if not ok:
            raise ConfigError(f"config.{name}={flat[name]!r}: {rule}.")

    for name in flat:
        if name.endswith("_end"):
            reached = flat[name] is None or config.burn_in > 0
            require(reached, name, "needs config.burn_in, the images until it is reached")
    require(
        config.data.batch_size % num_devices == 0,
        "data.batch_size",
        f"must be a multiple of the {num_devices} devices",
    )


def _within(value: Any, known: Setting) -> bool:
    return (
        (known.above is None or value > known.above)
        and (known.at_least is None or value >= known.at_least)
        and (known.below is None or value < known.below)
        and (known.at_most is None or value <= known.at_most)
    )


def to_json(config: Config) -> str:
    """The text of a workdir's `config.json`: every setting."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def resolve(config: Config) -> Config:
    """A copy with types checked, and whole numbers where a float belongs made floats."""
    return from_json(to_json(config))


def from_json(text: str, upgrade: Callable[[Any], Any] = lambda values: values) -> Config:
    """The configuration that `to_json` wrote; what the text leaves out is the default.

    `upgrade` may rename the nested values first. Raises ConfigError for unknown names, wrong types.
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"not JSON: {error}") from None
    return _build(Config, upgrade(values), "config")


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
        if kind is Config and name == "network":
            chosen = value.get("name", "dcgan") if isinstance(value, dict) else "dcgan"
            expected = network_settings(chosen)
        if dataclasses.is_dataclass(expected):
            built[name] = _build(expected, value, f"{path}.{name}")
            continue
        types = typing.get_args(expected) or (expected,)
        value = float(value) if float in types and type(value) is int else value
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise ConfigError(f"{path}.{name}={value!r}: must be of type {_name(expected)}.")
        built[name] = value
    return kind(**built)


def _name(kind: Any) -> str:
    return getattr(kind, "__name__", str(kind))
