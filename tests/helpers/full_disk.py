"""A disk that is full, for the files that this process writes."""

import contextlib
import resource


@contextlib.contextmanager
def full_disk(size: int = 100):
    """Lets no file grow beyond `size` bytes: not even pytest's own, so it is for a short block."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
