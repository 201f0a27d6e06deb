"""The command line: its options and settings, and what is wrong with what was typed."""

import inspect
import re
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from gan.config import Config, flatten, resolve
from gan.errors import ConfigError, nearest
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
    config_flags.DEFINE_config_file(
        "config", None, "File in configs/; what follows a colon is its variant.", flag_values=values
    )
    text = {
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
    """The command line's values. Raises ConfigError naming what is wrong with it."""
    values = define_flags()
    known = [f"config.{name}" for name in flatten(Config())]
    for option in (argument.split("=")[0] for argument in argv[1:]):
        name = re.sub("^--?(no)?", "", option)
        if name.startswith("config.") and name not in known:
            raise ConfigError(f"{option}: no such setting.{nearest(name, known)} See --help.")
    if not any(re.match("--?config(=|$)", argument) for argument in argv):
        overridden = [argument for argument in argv if re.match("--?(no)?config[.]", argument)]
        if overridden:
            raise ConfigError(f"{overridden[0]} changes a setting of --config, which is not given.")
    try:
        rest = values(argv)[1:]
    except flags.UnrecognizedFlagError as error:
        hint = nearest(error.flagname, [*values, *known])
        raise ConfigError(f"--{error.flagname}: no such option.{hint} See --help.") from None
    except flags.IllegalFlagValueError as error:
        first, *rest = [line for line in str(error).splitlines() if line.strip(" .")]
        if rest:  # A traceback out of the configuration: its last line says it.
            reason = rest[-1].removeprefix("gan.errors.ConfigError: ")
            raise ConfigError(f"--config={config_file(argv)}: {reason}") from None
        raise ConfigError(f"{first}.{_nearest_value(argv)}") from None
    except flags.Error as error:
        raise ConfigError(f"{error}. See --help.") from None
    except Exception as error:  # A configuration is code, and may fail in any way.
        reason = f"{type(error).__name__}: {error}"
        raise ConfigError(f"--config={config_file(argv)}: {reason}") from error
    if rest:
        raise ConfigError(f"{rest[0]!r} is no option: options start with --. See --help.")
    if values.config is not None:
        _check_exists(values["config"].config_filename)
        try:
            values.config = resolve(values.config)
        except ConfigError as error:
            raise ConfigError(f"--config={config_file(argv)}: {error}") from None
        data = values.config.data
        # Absolute, so that the other modes find them from any folder.
        data.cache_dir = str(storage.path(data.cache_dir, "--config.data.cache_dir"))
        for name in ("path", "local_dir"):
            if text := getattr(data, name):
                setattr(data, name, str(storage.on_disk(text, f"--config.data.{name}")))
        if data.labels and Path(data.labels).expanduser().exists():  # Or it lies in the data.
            data.labels = str(Path(data.labels).expanduser().absolute())
    return values


def _nearest_value(argv: list[str]) -> str:
    values = define_flags()
    for name, _, value in (argument.removeprefix("--").partition("=") for argument in argv[1:]):
        known = getattr(values[name].parser, "enum_values", ()) if name in values else ()
        if known and value not in known:
            return nearest(value, known)
    return ""


def config_file(argv: list[str]) -> str:
    """What --config names, "" if nothing."""
    given = re.findall(r"(?:^|\n)--?config[=\n]([^\n]*)", "\n".join(argv))
    return given[-1] if given else ""


def _check_exists(name: str) -> None:
    path = Path(name.split(":")[0])
    if not path.is_file():
        there = [str(file) for file in path.parent.glob("*.py") if file.stem != "__init__"]
        known = f" {path.parent} has: {', '.join(sorted(there))}." if there else ""
        raise ConfigError(f"--config={name}: no such file.{nearest(str(path), there)}{known}")


def usage(about: str) -> str:
    """What --help prints: options, then every setting with its default and meaning."""
    lines = [about, "Options:"]
    values = define_flags()
    for name in ("config", "workdir", "mode", "dry_run", *MODES_OF, "help"):
        lines.append(f"  --{name:<12} {values[name].help}")
    lines.append("\nSettings, as --config.NAME=VALUE after --config=FILE, with their defaults:")
    defaults = flatten(Config())
    for name, meaning in _meanings().items():
        lines.append(f"  {name:<28} {defaults[name]!s:<18} {meaning}".rstrip())
    return "\n".join(lines)


def _meanings() -> dict[str, str]:
    """The comment beside each setting in `gan/config.py`, by its dotted name."""
    comments = {}
    for name in flatten(Config()):
        *group, field = name.split(".")
        kind = type(getattr(Config(), group[0])) if group else Config
        found = re.search(rf"^    {field}: [^#\n]*(?:# (.*))?$", inspect.getsource(kind), re.M)
        comments[name] = found.group(1) or ""
    return comments
