"""How JAX and the libraries around it are set up, before the first of them is asked to compute."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from gan.errors import ConfigError

DETERMINISTIC = "--xla_gpu_deterministic_ops=true"


def silence_libraries() -> None:
    """Keeps the libraries' own lines off the terminal. Has to be called before JAX is imported."""
    from absl import logging

    # Orbax logs fifty lines a checkpoint, and its errors twice: we print them once.
    logging.set_verbosity(logging.FATAL)
    # XLA's and TensorFlow's C++ then print errors only. JAX's own default is 1, with warnings.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@contextlib.contextmanager
def hide_stdout() -> Iterator[None]:
    """Drops what a library's C++ prints to standard output within this block."""
    sys.stdout.flush()
    before = os.dup(1)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        yield
    finally:
        os.dup2(before, 1)
        os.close(before)


def set_up_jax(deterministic: bool) -> None:
    """Sets JAX up for this process, before it starts any device.

    Raises ConfigError where `deterministic` cannot be added to the environment's XLA_FLAGS.
    """
    if deterministic:
        use_deterministic_operations()
    keep_compiled_programs()


def share_gpu() -> None:
    """Takes memory of a GPU as it is needed, not 75 % of it at once: others work there too.

    Has to be called before any device is started; the environment's own choice comes first.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def use_deterministic_operations() -> None:
    """Tells XLA to use only those operations of a GPU that repeat bit for bit.

    XLA reads its flags when the first device starts. On CPU and TPU the flag changes nothing.
    Raises ConfigError where XLA_FLAGS names a file of flags.
    """
    given = os.environ.get("XLA_FLAGS", "")
    if given and not given.strip().startswith("-"):
        raise ConfigError(
            f"XLA_FLAGS={given} names a file: config.deterministic cannot add its flag. Write "
            f"{DETERMINISTIC} into that file and leave the setting out."
        )
    os.environ["XLA_FLAGS"] = f"{given} {DETERMINISTIC}".strip()


def keep_compiled_programs() -> None:
    """Keeps compiled programs in ~/.cache/gan/xla, so that a second start takes seconds.

    A folder that the user gave JAX (JAX_COMPILATION_CACHE_DIR) stays as it is.
    """
    import jax

    if jax.config.jax_compilation_cache_dir:
        return
    folder = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "gan" / "xla"
    with contextlib.suppress(OSError):
        # The programs are code that we run: nobody else may write them.
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
        jax.config.update("jax_compilation_cache_dir", str(folder))
        # Small ones too: a start has dozens, and compiling them takes a third of a second.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def prepare_to_compile_only() -> None:
    """Sets the environment for compiling for other hardware than this machine's.

    Has to be called before JAX is imported. Leaves this machine's accelerators alone.
    """
    os.environ |= {
        "JAX_PLATFORMS": "cpu",
        # Else libtpu asks the network what it runs on, and complains that nobody answers.
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_ACCELERATOR_TYPE": "v5litepod-8",
        # It only compiles, so there is no device that several processes would have to share.
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    }
