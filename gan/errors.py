"""What can go wrong in a way that a person or a launch script has to act on."""

import difflib
from collections.abc import Iterable

INTERNAL = 70  # The exit code of what nobody foresaw.


class ConfigError(ValueError):
    """A setting that cannot work: trying again with the same command cannot help."""

    exit_code = 64


class DataError(ValueError):
    """Data that is missing, damaged or not what it says it is."""

    exit_code = 65


class Diverged(FloatingPointError):
    """Training left the finite numbers."""

    exit_code = 70


class WorkdirInUse(RuntimeError):
    """Another process writes to the same workdir."""

    exit_code = 73


class NotSaved(OSError):
    """The state of the training could not be written: the disk is full, or not to be written."""

    exit_code = 74


class Unreachable(ConnectionError):
    """The processes of a run do not find each other; perhaps the next time."""

    exit_code = 70


class Preempted(BaseException):
    """The machine is taken away; all is saved, and the same command goes on from there.

    No Exception: a signal may come while a file is read, and must not pass for its damage.
    """

    exit_code = 75


# What a person is told in a line, without a traceback.
OURS = (ConfigError, DataError, Diverged, NotSaved, Preempted, Unreachable, WorkdirInUse)


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error message: " Did you mean 'x'?", or "" if none resembles `name`."""
    matches = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {matches[0]!r}?" if matches else ""


def first_few(names: list[str]) -> str:
    """Lists at most five names, and says how many there are besides."""
    more = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
    return (", ".join(names[:5]) or "nothing") + more
