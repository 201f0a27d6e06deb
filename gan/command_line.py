"""The command line: its options, what --help says, and what is wrong with what was typed."""

import dataclasses
import functools
import re
import textwrap
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from absl import flags

from gan.config import (
    LABELS,
    Config,
    Setting,
    Value,
    allowed,
    check,
    network_names,
    network_settings,
    settings,
)
from gan.errors import ConfigError, nearest
from gan.experiments import load_config
from gan.runtime import storage

MODES = ("train", "prepare", "export", "evaluate", "compare", "sample", "preflight")


class Option(NamedTuple):
    """An option: its heading in --help, the modes that it goes with, and what it may be."""

    heading: str
    modes: tuple[str, ...]
    known: Setting


def option(
    kind: type,
    heading: str,
    modes: tuple[str, ...],
    meaning: str,
    default: Any = None,
    **limits: Any,
) -> Option:
    """An option; `limits` are those of `gan.config.setting`."""
    return Option(heading, modes, Setting(kind, default, meaning, **limits))


text, number = functools.partial(option, str), functools.partial(option, int)
switch = functools.partial(option, bool, default=False)
START, DATA, DEVICES, DRAWING = "What to do", "Data", "Many devices", "Drawing"
SCORING, PREFLIGHT = "Scoring", "Preflight"
OPTIONS = {
    "mode": text(START, MODES, "what to do", "train", choices=MODES),
    "config": text(START, MODES, "FILE in configs/ or a file of yours, or FILE:VARIANT"),
    "workdir": text(
        START,
        MODES,
        "folder of the run, or gs://BUCKET/RUN; evaluate and compare take several, as 'runs/*'",
    ),
    "dry_run": switch(START, MODES, "say what would be done, and stop"),
    "help": switch(START, MODES, "show this, and stop"),
    "verify": switch(
        DATA,
        ("train", "prepare"),
        "compare the checksums of all prepared data; a new run compares those of its training set",
    ),
    "file_format": text(
        DATA,
        ("export",),
        "format of the TFDS data set",
        "tfrecord",
        choices_in="gan.data.readers.tfds_files.FORMATS",
    ),
    "coordinator": text(
        DEVICES,
        ("train",),
        "HOST:PORT where process 0 of several listens; without it, as the environment, Slurm or a "
        "TPU pod say (launch/README.md)",
    ),
    "num_processes": number(
        DEVICES, ("train",), "processes that work on this run, on one host or many", at_least=1
    ),
    "process_id": number(DEVICES, ("train",), "which of them this is, from 0", at_least=0),
    "attributes": text(DRAWING, ("sample",), 'request by name, as "Smiling=1,Male=0"'),
    "seeds": text(
        DRAWING,
        ("sample", "evaluate"),
        "numbers and ranges, as 0-63,100; sample draws a picture for each (0-63), evaluate a set "
        "of pictures (0-2)",
    ),
    "step": text(
        DRAWING,
        ("sample", "evaluate"),
        "checkpoint, a number or best; without it, sample takes the newest, evaluate all",
    ),
    "average": text(
        DRAWING,
        ("sample",),
        "moving average to draw with; ema2 where average.second_half_life is set",
        "ema",
        choices_in="gan.model.averages.DIALS",
    ),
    "out": text(
        DRAWING,
        ("sample", "export"),
        "PNG to write, or folder with --individual; without it, in the workdir; export: folder of "
        "TFDS data sets",
    ),
    "individual": switch(DRAWING, ("sample",), "write one PNG for each seed"),
    "size": number(DRAWING, ("sample",), "pixels to resize to; without it, as trained", at_least=1),
    "split": text(
        SCORING,
        ("evaluate",),
        "real pictures to compare with, whose attributes are requested",
        "validation",
        choices_in="gan.data.source.SPLITS",
    ),
    "num_images": number(
        SCORING,
        ("evaluate",),
        "real and generated pictures, so many of each; without it, eval_images",
        at_least=1,
    ),
    "best": text(
        SCORING,
        ("evaluate", "compare"),
        "score that chooses the best checkpoint, as FD, FID, swd, control; without it, FD",
    ),
    "inception": text(
        SCORING,
        ("evaluate",),
        "file of FID's weights, .pth or .npz; without it nothing is an FID",
    ),
    "resize": text(
        SCORING,
        ("evaluate",),
        "how pictures get Inception's size, by which FID",
        "legacy",
        choices_in="gan.metrics.extractors.inception.RESIZES",
    ),
    "images": text(
        SCORING,
        ("evaluate",),
        "folder or zip of anybody's pictures, to score beside the data of --config",
    ),
    "watch": switch(SCORING, ("evaluate",), "score beside a training, until it has ended"),
    "topology": text(
        PREFLIGHT,
        ("preflight",),
        "hardware to compile for, which need not be here, as v5e:4x4 or h200:8; several with "
        "commas",
    ),
    "price": option(float, PREFLIGHT, ("preflight",), "USD for a device and hour", at_least=0),
}
A_RUN = {"workdir": "--workdir=FOLDER, the folder of the run"}
NEEDED = {  # What a mode cannot do without.
    **dict.fromkeys(("train", "sample", "evaluate", "compare"), A_RUN),
    "export": {"out": "--out=FOLDER, where TFDS data sets lie"},
    "preflight": {"topology": "--topology=NAME, such as v5e:4x4 or h200:8"},
}
REFUSED = {  # What makes no sense with a mode.
    "sample": {"config": "takes the workdir's configuration"},
    "compare": {"config": "reads the scores of the runs"},
    "preflight": {"workdir": "leaves nothing behind"},
}
# Where --help shows settings: by the beginning of their names. The others are of the training.
HEADINGS = {
    START: (),
    DATA: ("data.", "augment."),
    "Networks": ("network.", "z_dim", "conditional", "dtype", "average."),
    "Training": (),
    DEVICES: ("parallel", "deterministic", "limits."),
    DRAWING: (),
    SCORING: ("eval_images",),
    PREFLIGHT: (),
}
# What may be typed without --config in these modes: the places of a run's data, which may move.
PLACES = ("data.path", "data.labels", "data.cache_dir", "data.local_dir")
OF_DATA = ("train", "prepare", "export", "evaluate")
OF_CONFIG = r"--?(?:no)?config\."
WIDTH, COLUMN = 100, 37  # Columns of --help, and those of a name with its default.


@dataclasses.dataclass(frozen=True)
class Command:
    """What was typed."""

    options: SimpleNamespace  # Every option by its name, with its default if it was not typed.
    overrides: dict[str, Value]  # Settings that were typed, by their dotted names.
    network: tuple[str, ...]  # Arguments about the architecture, which has settings of its own.

    def read_config(self) -> Config | None:
        """The configuration of --config, with what was typed in it; None without --config.

        Imports JAX. Raises ConfigError.
        """
        if self.options.config is None:
            return None
        config = load_config(self.options.config)
        return self._override(config, self.overrides | read_network(config, self.network))

    def move_data(self, config: Config) -> Config:
        """The configuration of a run, with the typed places where its data are now."""
        return self._override(config, self.overrides)

    def _override(self, config: Config, values: Mapping[str, Value]) -> Config:
        from ml_collections.config_flags import config_path  # Late: --help answers at once.

        for name, value in values.items():
            config_path.set_value(name, config, value)
        make_paths_absolute(config)
        return config


def parse(argv: list[str]) -> Command:
    """What the command line `argv` says. Raises ConfigError naming what is wrong with it.

    The configuration is not read yet, since that imports JAX.
    """
    known = {name: option.known for name, option in OPTIONS.items()}
    typed, rest = read_flags(argv[1:], known | name_settings(Config))
    overrides = {x.removeprefix("config."): typed.pop(x) for x in [*typed] if "." in x}
    defaults = {name: option.default for name, option in known.items()}
    command = Command(SimpleNamespace(**defaults | typed), overrides, tuple(rest))
    if not command.options.help:
        check_rest(rest)
        may = PLACES if command.options.mode in OF_DATA else ()
        if command.options.config is None and (overrides.keys() - {*may} or rest):
            first = next(x for x in argv if re.match(OF_CONFIG, x))
            raise ConfigError(f"{first} changes a setting of --config, which is not given.")
        check_mode(command.options, typed)
    return command


def name_settings(config: Any, path: str = "config") -> dict[str, Setting]:
    """The settings of a dataclass by their names on the command line."""
    return {f"{path}.{name}": known for name, known in settings(config).items()}


def read_network(config: Config, arguments: Sequence[str]) -> dict[str, Value]:
    """Settings of the architecture that `arguments` name; another one comes with its defaults."""
    lines = "\n".join(arguments)
    architecture = re.findall(r"^--?config\.network\.name[=\n](.*)$", lines, re.M)
    if architecture and architecture[-1] != config.network.name:
        config.network = network_settings(architecture[-1])()
    known = name_settings(config.network, "config.network")
    typed, rest = read_flags(arguments, known)
    for argument in rest:
        refuse(argument, known)
    return {name.removeprefix("config."): value for name, value in typed.items()}


def read_flags(
    arguments: Sequence[str], known: Mapping[str, Setting]
) -> tuple[dict[str, Value], list[str]]:
    """Values of the `known` names that are among `arguments`, and all that is left over."""
    values = flags.FlagValues()
    for name, setting in known.items():
        define_flag(values, name, setting)
    values.set_gnu_getopt()  # What is left over may stand in between.
    try:
        rest = values(["", *arguments], known_only=True)[1:]
    except flags.IllegalFlagValueError as error:
        raise ConfigError(f"{error}.") from None
    except (flags.Error, ValueError) as error:
        raise ConfigError(f"{error}. See --help.") from None
    return {name: values[name].value for name in known if values[name].present}, rest


def check_rest(rest: Sequence[str]) -> None:
    """Raises ConfigError unless what is left over is about the architecture."""
    about_network = [re.match(rf"{OF_CONFIG}network\.", argument) for argument in rest]
    for argument, fits in zip(rest, about_network, strict=True):
        is_value = any(about_network) and not re.match("--", argument)
        if not (fits or is_value):
            refuse(argument, [*OPTIONS, *name_settings(Config)])


def refuse(argument: str, known: Iterable[str]) -> None:
    """Raises ConfigError for an argument that is none of the names `known`."""
    typed = argument.split("=")[0]
    if re.match(OF_CONFIG, typed):
        hint = nearest(re.sub(OF_CONFIG, "config.", typed), known)
        raise ConfigError(f"{typed}: no such setting.{hint} See --help.")
    if typed.startswith("-"):
        hint = nearest(typed.lstrip("-"), known)
        raise ConfigError(f"{typed}: no such option.{hint} See --help.")
    raise ConfigError(f"{argument!r} is no option: options start with --. See --help.")


def check_mode(options: SimpleNamespace, typed: dict[str, Any]) -> None:
    """Raises ConfigError for options that do not go with the mode, or lack another."""
    check(f"--mode={options.mode}", options.mode, OPTIONS["mode"].known)
    mode = options.mode
    for name in typed:
        modes = OPTIONS[name].modes
        if mode not in modes:
            raise ConfigError(f"--{name} goes with --mode={' or '.join(modes)}, not --mode={mode}.")
    for name, value in typed.items():
        check(f"--{name}={value}", value, OPTIONS[name].known)
    for name, reason in REFUSED.get(mode, {}).items():
        if name in typed:
            raise ConfigError(f"--mode={mode} {reason}: no --{name}.")
    for name, example in NEEDED.get(mode, {}).items():
        if not getattr(options, name):
            raise ConfigError(f"--mode={mode} needs {example}.")
    if mode in ("prepare", "export") and not (options.config or options.workdir):
        raise ConfigError(f"--mode={mode} needs --config=FILE, or --workdir=FOLDER of a run.")
    if mode == "evaluate":
        check_scoring(options, typed)


def check_scoring(options: SimpleNamespace, typed: dict[str, Any]) -> None:
    """Raises ConfigError for options of --mode=evaluate that do not go together."""
    if (options.config is None) != (options.images is None):
        raise ConfigError(
            "--images=FOLDER needs --config=FILE, which says what data to score it beside."
            if options.images
            else "--mode=evaluate takes the workdir's configuration: --config goes with --images."
        )
    for name in ("watch", "step", "seeds", "best"):
        if options.images and name in typed:
            raise ConfigError(f"--{name} is of a run: it does not go with --images.")
    if "resize" in typed and not options.inception:
        raise ConfigError("--resize is of pictures for Inception: it needs --inception=FILE.")


def make_paths_absolute(config: Config) -> None:
    """Makes paths of the data absolute, so that the other modes find them from any folder."""
    data = config.data
    data.cache_dir = str(storage.parse_path(data.cache_dir, "--config.data.cache_dir"))
    for name in ("path", "local_dir"):
        if text := getattr(data, name):
            setattr(data, name, str(storage.parse_disk_path(text, f"--config.data.{name}")))
    # Other files of labels lie in the data.
    if data.labels not in LABELS and Path(data.labels).expanduser().is_file():
        data.labels = str(Path(data.labels).expanduser().absolute())


class OrNone(flags.ArgumentParser):
    """Reads "none" as None, and all else as another parser does."""

    def __init__(self, parser: flags.ArgumentParser):
        self._parser = parser

    def parse(self, argument: str) -> Any:
        """The value that was typed."""
        return None if argument.lower() == "none" else self._parser.parse(argument)


class TrueOrFalse(flags.BooleanParser):
    """Reads true, t, 1, false, f and 0."""

    def parse(self, argument: str) -> bool:
        """The value that was typed."""
        try:
            return super().parse(argument)
        except ValueError:
            raise ValueError("must be true or false") from None


PARSERS = {
    bool: TrueOrFalse(),
    int: flags.IntegerParser(),
    float: flags.FloatParser(),
    str: flags.ArgumentParser(),
}


def define_flag(values: flags.FlagValues, name: str, known: Setting) -> None:
    """Adds an option or a setting to those that `values` reads. Its range is checked later."""
    kind, *none = typing.get_args(known.type) or (known.type,)
    parser = OrNone(PARSERS[kind]) if none else PARSERS[kind]
    flags.DEFINE(parser, name, None, known.meaning, values, boolean=kind is bool)


def usage(about: str) -> str:
    """The text of --help: options and settings in groups, with default, meaning and range."""
    parts = [
        about.strip() + "\n\nBelow, --NAME is an option, and NAME a setting: --config.NAME=VALUE "
        "after --config=FILE.\nBehind = is the default, in brackets what is allowed."
    ]
    config = Config()
    for heading in HEADINGS:
        lines = [
            describe(f"--{name}", known, "" if modes == MODES else f"{', '.join(modes)}: ")
            for name, (where, modes, known) in OPTIONS.items()
            if where == heading
        ]
        lines += [
            describe(name, known)
            for name, known in settings(config).items()
            if heading_of(name) == heading
        ]
        if heading == "Networks":
            lines += describe_other_networks(config)
        parts.append("\n".join([heading, *lines]))
    return "\n\n".join(parts)


def heading_of(name: str) -> str:
    """The heading of a setting in --help."""
    return next((h for h, names in HEADINGS.items() if name.startswith(names)), "Training")


def describe_other_networks(config: Config) -> Iterable[str]:
    """Lines of --help for the settings of the architectures that are not the default."""
    for name in network_names():
        if name != config.network.name:
            yield f"  network.name={name} has, beside its name:"
            for key, known in settings(network_settings(name)).items():
                if key != "name":
                    yield describe(f"network.{key}", known)


def describe(name: str, known: Setting, modes: str = "") -> str:
    """The line of --help for an option or a setting, or several if it is long."""
    shown = "" if known.default in (None, "", False) and name[0] == "-" else f"={known.default}"
    left = f"  {name}{shown}".replace("=None", "=none")
    limits = f" ({text})" if (text := allowed(known)) else ""
    text = f"{modes}{known.meaning}{limits}"
    first, *more = textwrap.wrap(text, WIDTH - COLUMN, break_on_hyphens=False)
    start = f"{left:<{COLUMN}}" if len(left) < COLUMN else f"{left}\n{'':{COLUMN}}"
    return "\n".join([start + first, *(f"{'':{COLUMN}}{line}" for line in more)])
