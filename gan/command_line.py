"""The command line: its options and settings, and what is wrong with what was typed."""

import functools
import re
import typing
from pathlib import Path
from typing import Any

from absl import flags

from gan.config import Config, Setting, network_settings, settings
from gan.errors import ConfigError, nearest
from gan.experiments import load_config
from gan.runtime import storage

MODES = ("train", "prepare", "export", "evaluate", "compare", "sample", "preflight")
MODES_OF = {  # Of options that do not go with every mode.
    **dict.fromkeys(("coordinator", "num_processes", "process_id"), ("train",)),
    "verify": ("train", "prepare"),
    "file_format": ("export",),
    "out": ("sample", "export"),
    "seeds": ("sample", "evaluate"),
    "step": ("sample", "evaluate"),
    **dict.fromkeys(("attributes", "individual", "size"), ("sample",)),
    "best": ("evaluate", "compare"),
    **dict.fromkeys(("split", "num_images", "inception", "resize"), ("evaluate",)),
    **dict.fromkeys(("images", "watch"), ("evaluate",)),
    **dict.fromkeys(("topology", "price"), ("preflight",)),
}


def define_flags() -> flags.FlagValues:
    """The command line."""
    values = flags.FlagValues()
    text = {
        "config": "File in configs/; what follows a colon is its variant.",
        "workdir": "Folder of the run, or gs://BUCKET/RUN. evaluate, compare: or several, as "
        "'runs/*'.",
        "coordinator": "train: HOST:PORT where process 0 of several listens. Without it, as the "
        "environment, Slurm or a TPU pod say (launch/README.md).",
        "attributes": 'sample: by name, as "Smiling=1,Male=0".',
        "seeds": "sample: numbers and ranges, as 0-63,100; one picture each. Default: 0-63. "
        "evaluate: one set of pictures each. Default: 0-2.",
        "step": "sample, evaluate: which checkpoint, a number or best. Default: the newest; all.",
        "inception": "evaluate: file of FID's weights, .pth or .npz. Without it nothing is an FID.",
        "images": "evaluate: folder or zip of anybody's pictures, to score beside --config's data.",
        "best": "evaluate, compare: the score to choose by, as FD, FID, swd, control. Default: FD.",
        "out": "sample: the PNG to write, or folder with --individual. Default: in the workdir. "
        "export: the folder of TFDS data sets.",
        "file_format": "export: tfrecord or array_record. Default: tfrecord.",
        "topology": "preflight: hardware to compile for, which need not be here, as v5e:4x4 or "
        "h200:8; several with commas.",
    }
    for name, meaning in text.items():
        flags.DEFINE_string(name, None, meaning, flag_values=values)
    numbers = {
        "num_processes": "train: how many work on this run, on one host or many.",
        "size": "sample: pixels to resize to. Default: as trained.",
        "num_images": "evaluate: of real and of generated pictures. Default: config.eval_images.",
    }
    for name, meaning in numbers.items():
        flags.DEFINE_integer(name, None, meaning, lower_bound=1, flag_values=values)
    flags.DEFINE_integer(
        "process_id", None, "train: which one this is, from 0.", lower_bound=0, flag_values=values
    )
    flags.DEFINE_float(
        "price", None, "preflight: USD a device and hour.", lower_bound=0.0, flag_values=values
    )
    flags.DEFINE_enum("mode", "train", MODES, "What to do.", flag_values=values)
    for name, default, values_, meaning in (
        ("split", "validation", ("train", "validation", "test"), "evaluate: the reals."),
        ("resize", "legacy", ("legacy", "clean"), "evaluate: to Inception's size, as which FID."),
    ):
        flags.DEFINE_enum(name, default, values_, meaning, flag_values=values)
    flags.DEFINE_bool(
        "watch", False, "evaluate: beside a training, until it has ended.", flag_values=values
    )
    flags.DEFINE_bool("individual", False, "sample: one PNG a seed.", flag_values=values)
    flags.DEFINE_bool(
        "verify",
        False,
        "train, prepare: compare the checksums of all prepared data. A new run compares those of "
        "its training split.",
        flag_values=values,
    )
    flags.DEFINE_bool("dry_run", False, "Say what would be done, and stop.", flag_values=values)
    flags.DEFINE_bool("help", False, "Show this, and stop.", flag_values=values)
    return values


def parse(argv: list[str]) -> flags.FlagValues:
    """The command line's values; `config` is the configuration, with what was typed in it.

    Raises ConfigError naming what is wrong.
    """
    values = define_flags()
    values.set_gnu_getopt()  # Settings are left over: --config has to be known first.
    rest = _read(values, argv, known_only=True)
    _check_names(rest, values)
    given = values.config
    if given is not None:
        values.config = load_config(given)
        _override(values.config, rest)
        _make_absolute(values.config)
    elif len(rest) > 1:
        what = rest[1].split("=")[0]
        if what.startswith("-"):
            raise ConfigError(f"{what}: no such option. See --help.")
        raise ConfigError(f"{rest[1]!r} is no option: options start with --. See --help.")
    return values


def _read(values: flags.FlagValues, argv: list[str], known_only: bool = False) -> list[str]:
    try:
        return values(argv, known_only)
    except flags.UnrecognizedFlagError as error:
        hint = nearest(error.flagname, values)
        raise ConfigError(f"--{error.flagname}: no such option.{hint} See --help.") from None
    except flags.IllegalFlagValueError as error:
        raise ConfigError(f"{error}.{_nearest_value(values, argv)}") from None
    except (flags.Error, ValueError) as error:
        raise ConfigError(f"{error}. See --help.") from None


def _check_names(rest: list[str], values: flags.FlagValues) -> None:
    """Raises ConfigError for names that need no configuration to be known as wrong."""
    known = [f"config.{name}" for name in settings(Config)]
    for option in (argument.split("=")[0] for argument in rest[1:]):
        name = re.sub("^--?(no)?", "", option)
        if name.startswith("config.network."):
            continue
        if name.startswith("config.") and name not in known:
            raise ConfigError(f"{option}: no such setting.{nearest(name, known)} See --help.")
        if option.startswith("--") and name not in known:
            hint = nearest(option[2:], [*values, *known])
            raise ConfigError(f"{option}: no such option.{hint} See --help.")
    if values.config is None:
        overridden = [argument for argument in rest if re.match("--?(no)?config[.]", argument)]
        if overridden:
            raise ConfigError(f"{overridden[0]} changes a setting of --config, which is not given.")


def _override(config: Config, rest: list[str]) -> None:
    """Changes the settings that the arguments `rest` name."""
    named = re.findall(r"(?:^|\n)--?config\.network\.name[=\n]([^\n]*)", "\n".join(rest))
    if named and named[-1] != config.network.name:
        config.network = network_settings(named[-1])()
    known = settings(config)
    for option in (argument.split("=")[0] for argument in rest[1:]):
        name = re.sub(r"^--?(no)?config\.", "", option)
        if name.startswith("network.") and name not in known:
            hint = nearest(f"config.{name}", [f"config.{other}" for other in known])
            raise ConfigError(f"{option}: no such setting.{hint} See --help.")
    values = flags.FlagValues()
    for name, setting in known.items():
        _define(values, f"config.{name}", setting)
    extra = _read(values, rest)[1:]
    if extra:
        raise ConfigError(f"{extra[0]!r} is no option: options start with --. See --help.")
    for name in known:
        if values[f"config.{name}"].present:
            *groups, last = name.split(".")
            group = functools.reduce(getattr, groups, config)
            setattr(group, last, values[f"config.{name}"].value)


PARSERS = {int: flags.IntegerParser(), float: flags.FloatParser(), str: flags.ArgumentParser()}


class OrNone(flags.ArgumentParser):
    """Reads "none" as None, and all else as another parser does."""

    def __init__(self, parser: flags.ArgumentParser):
        self._parser = parser

    def parse(self, argument: str) -> Any:
        """The value that was typed."""
        return None if argument.lower() == "none" else self._parser.parse(argument)


def _define(values: flags.FlagValues, name: str, setting: Setting) -> None:
    kinds = typing.get_args(setting.type) or (setting.type,)
    if bool in kinds:
        flags.DEFINE_boolean(name, None, setting.meaning, flag_values=values)
        return
    parser = PARSERS[kinds[0]]
    if len(kinds) > 1:
        parser = OrNone(parser)
    flags.DEFINE(parser, name, None, setting.meaning, flag_values=values)


def _make_absolute(config: Config) -> None:
    """Makes paths of the data absolute, so that the other modes find them from any folder."""
    data = config.data
    data.cache_dir = str(storage.parse_path(data.cache_dir, "--config.data.cache_dir"))
    for name in ("path", "local_dir"):
        if text := getattr(data, name):
            setattr(data, name, str(storage.parse_disk_path(text, f"--config.data.{name}")))
    if data.labels and Path(data.labels).expanduser().exists():  # Or it lies in the data.
        data.labels = str(Path(data.labels).expanduser().absolute())


def _nearest_value(values: flags.FlagValues, argv: list[str]) -> str:
    for name, _, value in (argument.removeprefix("--").partition("=") for argument in argv[1:]):
        known = getattr(values[name].parser, "enum_values", ()) if name in values else ()
        if known and value not in known:
            return nearest(value, known)
    return ""


def config_file(argv: list[str]) -> str:
    """What --config names, "" if nothing."""
    given = re.findall(r"(?:^|\n)--?config[=\n]([^\n]*)", "\n".join(argv))
    return given[-1] if given else ""


def usage(about: str) -> str:
    """What --help prints: options, then every setting with its default and meaning."""
    lines = [about, "Options:"]
    values = define_flags()
    for name in ("config", "workdir", "mode", "dry_run", *MODES_OF, "help"):
        lines.append(f"  --{name:<12} {values[name].help}")
    lines.append("\nSettings, as --config.NAME=VALUE after --config=FILE, with their defaults:")
    config = Config()
    for name, setting in settings(config).items():
        lines.append(f"  {name:<28} {setting.default!s:<18} {setting.meaning}".rstrip())
    return "\n".join(lines)
