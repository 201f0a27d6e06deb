"""Trains a GAN that draws faces with chosen attributes, scores it, and draws with it.

    python -m gan.main --config=configs/celeba64.py --workdir=runs/faces
    python -m gan.main --workdir=runs/faces --mode=sample --attributes="Smiling=1,Eyeglasses=1"

The same command again goes on where it stopped. Exit codes: 0 done, 64 configuration or usage,
65 bad data, 70 diverged or internal, 73 workdir in use, 74 checkpoint not saved (disk full), 75
preempted and saved (run again).
"""

import contextlib
import inspect
import os
import re
import sys
import traceback
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from gan import cluster, storage
from gan import config as settings
from gan.config import Config, flatten, resolve, to_json
from gan.errors import INTERNAL, OURS, ConfigError, nearest

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
            raise ConfigError(f"--config={_config_file(argv)}: {reason}") from None
        raise ConfigError(f"{first}.{_nearest_value(argv)}") from None
    except flags.Error as error:
        raise ConfigError(f"{error}. See --help.") from None
    except Exception as error:  # A configuration is code, and may fail in any way.
        reason = f"{type(error).__name__}: {error}"
        raise ConfigError(f"--config={_config_file(argv)}: {reason}") from error
    if rest:
        raise ConfigError(f"{rest[0]!r} is no option: options start with --. See --help.")
    if values.config is not None:
        _check_exists(values["config"].config_filename)
        try:
            values.config = resolve(values.config)
        except ConfigError as error:
            raise ConfigError(f"--config={_config_file(argv)}: {error}") from None
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


def _config_file(argv: list[str]) -> str:
    given = re.findall(r"(?:^|\n)--?config[=\n]([^\n]*)", "\n".join(argv))
    return given[-1] if given else ""


def _check_exists(name: str) -> None:
    path = Path(name.split(":")[0])
    if not path.is_file():
        there = [str(file) for file in path.parent.glob("*.py") if file.stem != "__init__"]
        known = f" {path.parent} has: {', '.join(sorted(there))}." if there else ""
        raise ConfigError(f"--config={name}: no such file.{nearest(str(path), there)}{known}")


def usage() -> str:
    """What --help prints: options, then every setting with its default and meaning."""
    lines = [__doc__, "Options:"]
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


def run(argv: list[str]) -> None:
    """Does what the command line asks for."""
    values = parse(argv)
    if values.help:
        print(usage())
        return
    for name, modes in MODES_OF.items():
        if values[name].present and values.mode not in modes:
            raise ConfigError(
                f"--{name} goes with --mode={' or '.join(modes)}, not --mode={values.mode}."
            )
    if values.mode in ("evaluate", "compare") and values.workdir:
        score(values)
        return
    if values.mode == "preflight":
        check_hardware(values)
        return
    folder = storage.workdir(values.workdir) if values.workdir else None
    if folder is None and values.mode not in ("prepare", "export"):
        raise ConfigError(f"--mode={values.mode} needs --workdir=FOLDER, the folder of the run.")
    if folder is None and values.config is None:
        raise ConfigError(
            f"--mode={values.mode} needs --config=FILE, or --workdir=FOLDER of a run."
        )
    if values.mode == "export" and not values.out:
        raise ConfigError("--mode=export needs --out=FOLDER, where TFDS data sets lie.")
    job(values, folder)


def job(values: flags.FlagValues, folder: storage.Path | None) -> None:
    """Does the mode's job. Imports come late, so `--help` and wrong options answer at once."""
    from gan import workdir

    _quiet()
    config = values.config
    if values.mode == "sample" and config is not None:
        raise ConfigError("--mode=sample takes the workdir's configuration: no --config.")
    if folder:
        storage.reach(folder, "--workdir")
    if config is None:
        config = workdir.read_config(folder)
    settings.validate(config)
    if values.dry_run:
        print(plan(values, config, folder))
        return
    _start_jax(config.deterministic)
    if values.mode == "prepare":
        from gan.data.prepare import prepare
        from gan.data.source import SPLITS

        prepare(config.data, SPLITS if values.verify else (), tell=True)
        return
    if values.mode == "export":
        from gan.data.export import export
        from gan.data.prepare import find_source

        out = storage.on_disk(values.out, "--out")
        file_format = values.file_format or "tfrecord"
        export(find_source(config.data), out, file_format, config.data.on_bad)
        return
    if values.mode == "train":
        place = cluster.find(values.coordinator, values.num_processes, values.process_id)
        cluster.join(place, config.limits.join, config.limits.heartbeat)
        _quiet()  # Once more: only the first tells what all know.
        from gan.train import train

        train(config, folder, verify=values.verify)
    else:
        from gan.sample import parse_seeds, sample

        default = folder / ("faces" if values.individual else "faces.png")
        sample(
            folder,
            attributes=values.attributes or "",
            seeds=parse_seeds(values.seeds or "0-63"),
            out=storage.path(values.out, "--out") if values.out else default,
            step=values.step,
            size=values.size,
            individual=values.individual,
        )


def check_hardware(values: flags.FlagValues) -> None:
    """Compiles for hardware that is not here, and says how it would do."""
    if not values.topology:
        raise ConfigError("--mode=preflight needs --topology=NAME, such as v5e:4x4 or h200:8.")
    if values.workdir:
        raise ConfigError("--mode=preflight leaves nothing behind: no --workdir.")
    # Before JAX is imported: this machine's devices are left alone, and libtpu asks no network
    # what it runs on, nor complains that it cannot know.
    os.environ |= {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1"}
    os.environ |= {"ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}  # It only compiles: no device to share.
    os.environ |= {"TPU_WORKER_HOSTNAMES": "localhost", "TPU_ACCELERATOR_TYPE": "v5litepod-8"}
    _quiet()
    config, name = values.config, Path(_config_file(sys.argv)).name.replace(".py", "")
    if config is not None:
        settings.validate(config)
    if values.dry_run:
        print(f"Would compile {name or 'all of configs/'} for {values.topology}.")
        return
    if config is not None and config.deterministic:
        _repeat_bit_for_bit()
    from gan.preflight import preflight

    preflight(config, name, values.topology, values.price)


def score(values: flags.FlagValues) -> None:
    """Evaluates or compares one or more runs."""
    _quiet()
    folders = expand(values.workdir, values.mode)
    if values.mode == "compare":
        if values.config is not None:
            raise ConfigError("--mode=compare reads the scores of the runs: no --config.")
        from gan.compare import compare

        print(compare(folders, values.best))
        return
    if (values.config is None) != (values.images is None):
        raise ConfigError(
            "--images=FOLDER needs --config=FILE, which says what data to score it beside."
            if values.images
            else "--mode=evaluate takes the workdir's configuration: --config goes with --images."
        )
    if values.images:
        for name in ("watch", "step", "seeds"):
            if values[name].present:
                raise ConfigError(f"--{name} is of a run: it does not go with --images.")
        if len(folders) > 1:
            raise ConfigError(f"--workdir={values.workdir}: --images needs a single folder.")
        settings.validate(values.config)
    inception = values.inception and storage.on_disk(values.inception, "--inception")
    if inception and not inception.is_file():
        raise ConfigError(f"--inception={values.inception}: no such file.")
    if values["resize"].present and not inception:
        raise ConfigError("--resize is of pictures for Inception: it needs --inception=FILE.")
    from gan import workdir
    from gan.evaluate import Options, evaluate, evaluate_pictures
    from gan.sample import parse_seeds

    options = Options(
        split=values.split,
        num_images=values.num_images,
        seeds=parse_seeds(values.seeds or "0-2"),
        inception=inception or None,
        resize=values.resize,
        step=values.step,
        best=values.best,
        watch=values.watch,
    )
    if values.dry_run:
        if not values.images and not values.watch:
            for folder in folders:
                workdir.read_config(folder)
        what = f"the pictures in {values.images} into " if values.images else ""
        beside = f"beside real pictures of the {values.split} split"
        print(f"Would evaluate {what}{', '.join(map(str, folders))} {beside}.")
        return
    _start_jax(deterministic=False)
    if values.images:
        pictures = storage.on_disk(values.images, "--images")
        evaluate_pictures(pictures, values.config, folders[0], options)
    else:
        evaluate(folders, options)


def expand(pattern: str, mode: str) -> list[storage.Path]:
    """The folders that --workdir names: one, or all runs that match a pattern."""
    path = storage.workdir(pattern)
    storage.reach(path, "--workdir")
    if path.exists() or not re.search(r"[*?\[]", pattern):
        return [path]
    found = storage.matches(path)
    # Scores alone are those of somebody's pictures: they compare, and have no checkpoints.
    signs = ("config.json", "scores.jsonl") if mode == "compare" else ("config.json",)
    runs = [folder for folder in found if any((folder / sign).exists() for sign in signs)]
    if not runs:
        raise ConfigError(f"--workdir={pattern}: no run matches ({len(found)} folders do).")
    return runs


def _quiet() -> None:
    from absl import logging

    # Orbax tells fifty lines a checkpoint, and its errors twice: we tell them once.
    logging.set_verbosity(logging.FATAL)
    from gan import logs

    logs.to_terminal()


def _repeat_bit_for_bit() -> None:
    """Read when the first device is asked for. It changes nothing but GPUs."""
    given = os.environ.get("XLA_FLAGS", "")
    if given and not given.strip().startswith("-"):
        raise ConfigError(
            f"XLA_FLAGS={given} names a file: config.deterministic cannot add its flag. Write "
            "--xla_gpu_deterministic_ops=true into that file and leave the setting out."
        )
    os.environ["XLA_FLAGS"] = f"{given} --xla_gpu_deterministic_ops=true".strip()


def _start_jax(deterministic: bool) -> None:
    import jax

    if deterministic:
        _repeat_bit_for_bit()
    # Compiled programs are kept, so a second start takes no minute. They are code: nobody else's.
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "gan" / "xla"
    with contextlib.suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        cache.chmod(0o700)
        jax.config.update("jax_compilation_cache_dir", str(cache))
        # Small ones too: a start has dozens, and compiling them takes a third of a second.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def plan(values: flags.FlagValues, config: Config, folder: storage.Path | None) -> str:
    """What --dry_run prints."""
    from gan import workdir
    from gan.data.prepare import check_names
    from gan.step import build

    build(config, ())
    check_names(config.data)
    lines = [to_json(config).rstrip()]
    data = config.data
    where = f" at {data.path}" if data.path else ""
    lines.append(f"Would {values.mode}" + (f" in {folder}." if folder else "."))
    lines.append(
        f"Data: {data.source}{where}, {data.image_size} px, crop {data.crop}, prepared in "
        f"{data.cache_dir} (once)."
    )
    if values.mode == "train":
        workdir.check_same_run(config, folder)
        saved = folder / "checkpoints"
        steps = [int(path.name) for path in saved.glob("*") if path.name.isdecimal()]
        start = max(steps, default=0)
        images = (config.steps - start) * data.batch_size * config.d_steps
        lines.append(f"Steps {start} to {config.steps}: {max(images, 0):,} images.")
    return "\n".join(lines)


def main() -> None:
    """The command: turns errors into a line and an exit code."""
    try:
        run(sys.argv)
    except OURS as error:
        who = f" ({cluster.name()})" if cluster.name() else ""
        print(f"{type(error).__name__}{who}: {error}", file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        code = 130
    except Exception:
        traceback.print_exc()
        if who := cluster.name():
            print(f"Internal error in {who}, unless another ended first.", file=sys.stderr)
        code = INTERNAL
    else:
        return
    cluster.leave(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
