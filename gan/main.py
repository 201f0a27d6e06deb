"""Trains a GAN that draws faces with chosen attributes, scores it, and draws with it.

    python -m gan.main --config=configs/celeba64.py --workdir=runs/faces
    python -m gan.main --workdir=runs/faces --mode=sample --attributes="Smiling=1,Eyeglasses=1"

The same command again goes on where it stopped. Exit codes: 0 done, 64 configuration or usage,
65 bad data, 70 diverged or internal, 73 workdir in use, 74 checkpoint not saved (disk full), 75
preempted and saved (run again).
"""

import errno
import functools
import io
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

from gan.command_line import Command, parse, usage
from gan.config import Config, validate
from gan.errors import INTERNAL, OURS, ConfigError, NotSaved
from gan.runtime import cluster, jax_setup, storage

# The jobs are imported late, so that --help and wrong options answer at once.


def run(argv: list[str]) -> None:
    """Does what the command line asks for."""
    command = parse(argv)
    if command.options.help:
        print(usage(__doc__))
        return
    show_our_lines()
    JOBS[command.options.mode](command)


def show_our_lines() -> None:
    """Shows our log on the terminal, and no lines of the libraries."""
    from gan.runtime import logs

    jax_setup.silence_libraries()
    logs.log_to_terminal()


def run_configured(job: Callable[..., None], command: Command) -> None:
    """Runs a job with the configuration of --config, or else of the run in the workdir."""
    options = command.options
    folder = storage.parse_workdir(options.workdir) if options.workdir else None
    if folder:
        storage.check_reachable(folder, "--workdir")
    config = command.read_config() or command.move_data(read_config_of_run(folder))
    validate(config)
    if options.dry_run:
        from gan.workdir.plan import describe_plan

        print(describe_plan(options.mode, config, folder))
        return
    jax_setup.set_up_jax(config.deterministic)
    job(options, config, folder)


def read_config_of_run(folder: storage.Path) -> Config:
    """The configuration in a workdir. Raises ConfigError where there is no run."""
    from gan.workdir.folder import read_config

    return read_config(folder)


def train(options: SimpleNamespace, config: Config, folder: storage.Path) -> None:
    """Trains, or goes on with a run."""
    place = cluster.find_place(options.coordinator, options.num_processes, options.process_id)
    cluster.join_cluster(place, config.limits.join, config.limits.heartbeat)
    show_our_lines()  # Once more: only the first process tells what all know.
    from gan.training.job import train

    train(config, folder, verify=options.verify)


def prepare(options: SimpleNamespace, config: Config, _: storage.Path | None) -> None:
    """Prepares a data set."""
    from gan.data.prepare import prepare
    from gan.data.source import SPLITS

    prepare(config.data, SPLITS if options.verify else (), tell=True)


def export(options: SimpleNamespace, config: Config, _: storage.Path | None) -> None:
    """Writes a data set in the format of TensorFlow Datasets."""
    from gan.data.export_tfds import export_tfds
    from gan.data.prepare import settle_doubts
    from gan.data.registry import find_source

    out = storage.parse_disk_path(options.out, "--out")
    source = find_source(config.data)
    settle_doubts(source, config.data)
    export_tfds(source, out, options.file_format, config.data.on_bad)


def sample(options: SimpleNamespace, config: Config, folder: storage.Path) -> None:
    """Draws faces with the requested attributes."""
    from gan.sampling.job import sample
    from gan.sampling.requests import parse_seeds

    default = folder / ("faces" if options.individual else "faces.png")
    sample(
        folder,
        attributes=options.attributes or "",
        seeds=parse_seeds(options.seeds or "0-63"),
        out=storage.parse_path(options.out, "--out") if options.out else default,
        step=options.step,
        size=options.size,
        individual=options.individual,
        average=options.average,
    )


def evaluate(command: Command) -> None:
    """Scores the checkpoints of runs, or a folder of pictures."""
    from gan.evaluation import job, pictures_job
    from gan.evaluation.options import EvaluationOptions
    from gan.sampling.requests import parse_seeds
    from gan.workdir.folder import find_runs

    options = command.options
    folders = find_runs(options.workdir)
    if options.images and len(folders) > 1:
        raise ConfigError(f"--workdir={options.workdir}: --images needs a single folder.")
    weights = options.inception and storage.parse_disk_path(options.inception, "--inception")
    chosen = EvaluationOptions(
        split=options.split,
        num_images=options.num_images,
        seeds=parse_seeds(options.seeds or "0-2"),
        inception=weights or None,
        resize=options.resize,
        step=options.step,
        best=options.best,
        watch=options.watch,
        move_data=command.move_data,
    )
    config = command.read_config()
    if config:
        validate(config)
    if options.dry_run:
        print(job.describe_plan(folders, options.images, chosen))
        return
    jax_setup.set_up_jax(deterministic=False)
    if options.watch:
        jax_setup.share_gpu()
    if config:
        pictures = storage.parse_disk_path(options.images, "--images")
        pictures_job.evaluate_pictures(pictures, config, folders[0], chosen)
    else:
        job.evaluate(folders, chosen)


def compare(command: Command) -> None:
    """Prints the scores of several runs beside each other."""
    from gan.evaluation.compare import compare_runs
    from gan.workdir.folder import find_runs

    # Scores alone are those of somebody's pictures: they compare, and have no checkpoints.
    folders = find_runs(command.options.workdir, ("config.json", "scores.jsonl"))
    print(compare_runs(folders, command.options.best))


def preflight(command: Command) -> None:
    """Compiles for hardware that is not here, and says how it would do."""
    jax_setup.prepare_to_compile_only()  # The configuration imports JAX.
    options, config = command.options, command.read_config()
    name = Path(options.config or "").name.replace(".py", "")
    if config:
        validate(config)
    if options.dry_run:
        print(f"Would compile {name or 'all of configs/'} for {options.topology}.")
        return
    if config and config.deterministic:
        jax_setup.use_deterministic_operations()
    from gan.preflight.job import preflight

    preflight(config, name, options.topology, options.price)


JOBS = {
    "train": functools.partial(run_configured, train),
    "prepare": functools.partial(run_configured, prepare),
    "export": functools.partial(run_configured, export),
    "sample": functools.partial(run_configured, sample),
    "evaluate": evaluate,
    "compare": compare,
    "preflight": preflight,
}


def open_streams() -> None:
    """Makes standard output and error streams that take any text: no line ends a run.

    Those that whoever started us has closed (`>&-`) lead nowhere.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, it stays open
        elif isinstance(stream, io.TextIOWrapper):  # Names of files may be no text here.
            stream.reconfigure(errors="backslashreplace")


def main() -> None:
    """The command: turns errors into a line and an exit code."""
    open_streams()
    try:
        run(sys.argv)
        sys.stdout.flush()
    except OURS as error:
        who = f" ({cluster.process_name()})" if cluster.process_name() else ""
        print(f"{type(error).__name__}{who}: {error}", file=sys.stderr)
        code = error.exit_code
        cluster.tell_others(error)
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:  # Whoever reads our output, such as `head`, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        if not full:
            traceback.print_exc()
        print(f"{error.filename or 'A file'}: {error.strerror or error}.", end="", file=sys.stderr)
        print(" Make room there, and run the same command again." * full, file=sys.stderr)
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
