"""What a user asks for, in words: which checkpoint, which seeds."""

from collections.abc import Sequence

from gan.data.attributes import AttributeTable
from gan.errors import ConfigError
from gan.runtime.storage import Path
from gan.workdir.best import read_best

MAX_SEED = 2**32 - 1
MAX_PICTURES = 100_000


def describe_support(table: AttributeTable, named: dict[int, int], text: str) -> str:
    """Says how many training images agree with a request; `text` is the request."""
    num, total = table.support(named), len(table.rows)
    if num:
        return f"{text}: {num:,} of {total:,} training images; the rest is drawn from those."
    return f"{text}: none of {total:,} training images has this together: an extrapolation."


def choose_step(steps: Sequence[int], wish: str | None, folder: Path) -> int:
    """The newest step, or the one asked for. Raises ConfigError if it is not there."""
    if not steps:
        raise ConfigError(
            f"--workdir={folder} has no checkpoint yet; wait for the first or train on."
        )
    if wish is None:
        return steps[-1]
    step = read_best(folder).step if wish == "best" else int(wish) if _is_number(wish) else None
    if wish == "best" and step is None:
        raise ConfigError(
            f"--step=best: no checkpoint is scored yet. First run python -m gan.main "
            f"--mode=evaluate --workdir={folder}"
        )
    if step not in steps:
        found = f" (step {step})" if wish == "best" else ""
        raise ConfigError(
            f"--step={wish}{found} is not there; --workdir={folder} has steps {list(steps)}."
        )
    return step


def parse_seeds(text: str) -> list[int]:
    """Reads seeds: "0-3,8" is [0, 1, 2, 3, 8]. Raises ConfigError for anything else."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not _is_number(first) or (dash and not _is_number(last)):
            raise ConfigError(
                f"--seeds={text}: {part!r} is neither a number nor a range like 0-63."
            )
        low, high = int(first), int(last or first)
        if low > high or high > MAX_SEED:
            raise ConfigError(f"--seeds={text}: {part!r} must rise and stay below {MAX_SEED + 1}.")
        if len(seeds) + high + 1 - low > MAX_PICTURES:
            raise ConfigError(f"--seeds={text}: at most {MAX_PICTURES:,} pictures at a time.")
        seeds += range(low, high + 1)
    return seeds


def _is_number(text: str) -> bool:
    # Python reads no number of thousands of digits.
    return text.isdecimal() and len(text) < 100
