"""Trains a GAN that draws faces with chosen attributes, scores it, and draws with it.

    python -m gan.main --config=configs/celeba64.py --workdir=runs/faces
    python -m gan.main --workdir=runs/faces --mode=sample --attributes="Smiling=1,Eyeglasses=1"

The same command again goes on where it stopped. Exit codes: 0 done, 64 configuration or usage,
65 bad data, 70 diverged or internal, 73 workdir in use, 74 checkpoint not saved (disk full), 75
preempted and saved (run again).
"""

import errno
import re
import sys
import traceback
from pathlib import Path

from absl import flags

from gan import config as settings
from gan.command_line import MODES_OF, config_file, parse, usage
from gan.config import Config, to_json
from gan.errors import INTERNAL, OURS, ConfigError, NotSaved
from gan.runtime import cluster, jax_setup, storage


def run(argv: list[str]) -> None:
    """Does what the command line asks for."""
    values = parse(argv)
    if values.help:
        print(usage(__doc__))
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
    folder = storage.parse_workdir(values.workdir) if values.workdir else None
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
    from gan.workdir.folder import read_config

    _quiet()
    config = values.config
    if values.mode == "sample" and config is not None:
        raise ConfigError("--mode=sample takes the workdir's configuration: no --config.")
    if folder:
        storage.check_reachable(folder, "--workdir")
    if config is None:
        config = read_config(folder)
    settings.validate(config)
    if values.dry_run:
        print(plan(values, config, folder))
        return
    jax_setup.set_up_jax(config.deterministic)
    if values.mode == "prepare":
        from gan.data.prepare import prepare
        from gan.data.source import SPLITS

        prepare(config.data, SPLITS if values.verify else (), tell=True)
        return
    if values.mode == "export":
        from gan.data.export_tfds import export_tfds
        from gan.data.registry import find_source

        out = storage.parse_disk_path(values.out, "--out")
        file_format = values.file_format or "tfrecord"
        export_tfds(find_source(config.data), out, file_format, config.data.on_bad)
        return
    if values.mode == "train":
        place = cluster.find_place(values.coordinator, values.num_processes, values.process_id)
        cluster.join_cluster(place, config.limits.join, config.limits.heartbeat)
        _quiet()  # Once more: only the first tells what all know.
        from gan.training.job import train

        train(config, folder, verify=values.verify)
    else:
        from gan.sampling.job import sample
        from gan.sampling.requests import parse_seeds

        default = folder / ("faces" if values.individual else "faces.png")
        sample(
            folder,
            attributes=values.attributes or "",
            seeds=parse_seeds(values.seeds or "0-63"),
            out=storage.parse_path(values.out, "--out") if values.out else default,
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
    jax_setup.prepare_to_compile_only()
    _quiet()
    config, name = values.config, Path(config_file(sys.argv)).name.replace(".py", "")
    if config is not None:
        settings.validate(config)
    if values.dry_run:
        print(f"Would compile {name or 'all of configs/'} for {values.topology}.")
        return
    if config is not None and config.deterministic:
        jax_setup.use_deterministic_operations()
    from gan.preflight.job import preflight

    preflight(config, name, values.topology, values.price)


def score(values: flags.FlagValues) -> None:
    """Evaluates or compares one or more runs."""
    _quiet()
    folders = expand(values.workdir, values.mode)
    if values.mode == "compare":
        if values.config is not None:
            raise ConfigError("--mode=compare reads the scores of the runs: no --config.")
        from gan.evaluation.compare import compare_runs

        print(compare_runs(folders, values.best))
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
    inception = values.inception and storage.parse_disk_path(values.inception, "--inception")
    if inception and not inception.is_file():
        raise ConfigError(f"--inception={values.inception}: no such file.")
    if values["resize"].present and not inception:
        raise ConfigError("--resize is of pictures for Inception: it needs --inception=FILE.")
    from gan.evaluation.job import Options, evaluate, evaluate_pictures
    from gan.sampling.requests import parse_seeds
    from gan.workdir.folder import read_config

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
                read_config(folder)
        what = f"the pictures in {values.images} into " if values.images else ""
        beside = f"beside real pictures of the {values.split} split"
        print(f"Would evaluate {what}{', '.join(map(str, folders))} {beside}.")
        return
    jax_setup.set_up_jax(deterministic=False)
    if values.images:
        pictures = storage.parse_disk_path(values.images, "--images")
        evaluate_pictures(pictures, values.config, folders[0], options)
    else:
        evaluate(folders, options)


def expand(pattern: str, mode: str) -> list[storage.Path]:
    """The folders that --workdir names: one, or all runs that match a pattern."""
    path = storage.parse_workdir(pattern)
    storage.check_reachable(path, "--workdir")
    if path.exists() or not re.search(r"[*?\[]", pattern):
        return [path]
    found = storage.find_matches(path)
    # Scores alone are those of somebody's pictures: they compare, and have no checkpoints.
    signs = ("config.json", "scores.jsonl") if mode == "compare" else ("config.json",)
    runs = [folder for folder in found if any((folder / sign).exists() for sign in signs)]
    if not runs:
        raise ConfigError(f"--workdir={pattern}: no run matches ({len(found)} folders do).")
    return runs


def _quiet() -> None:
    from gan.runtime import logs

    jax_setup.silence_libraries()
    logs.log_to_terminal()


def plan(values: flags.FlagValues, config: Config, folder: storage.Path | None) -> str:
    """What --dry_run prints."""
    from gan.data.registry import check_choices
    from gan.model.step import build
    from gan.workdir.folder import check_same_run

    build(config, ())
    check_choices(config.data)
    lines = [to_json(config).rstrip()]
    data = config.data
    where = f" at {data.path}" if data.path else ""
    lines.append(f"Would {values.mode}" + (f" in {folder}." if folder else "."))
    lines.append(
        f"Data: {data.source}{where}, {data.image_size} px, crop {data.crop}, prepared in "
        f"{data.cache_dir} (once)."
    )
    if values.mode == "train":
        from gan.workdir.checkpoints import Checkpoints

        check_same_run(config, folder)
        start = max(Checkpoints(folder, read_only=True).steps(), default=0)
        images = (config.steps - start) * data.batch_size * config.d_steps
        lines.append(f"Steps {start} to {config.steps}: {max(images, 0):,} images.")
    return "\n".join(lines)


def main() -> None:
    """The command: turns errors into a line and an exit code."""
    try:
        run(sys.argv)
    except OURS as error:
        who = f" ({cluster.process_name()})" if cluster.process_name() else ""
        print(f"{type(error).__name__}{who}: {error}", file=sys.stderr)
        code = error.exit_code
        cluster.tell_others(error)
    except KeyboardInterrupt:
        code = 130
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        if not full:
            traceback.print_exc()
        print(f"{error.filename or 'A file'}: {error.strerror or error}.", file=sys.stderr)
        code = NotSaved.exit_code if full else INTERNAL
    except Exception:
        traceback.print_exc()
        if who := cluster.process_name():
            print(f"Internal error in {who}, unless another ended first.", file=sys.stderr)
        code = INTERNAL
    else:
        return
    cluster.end_process(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
