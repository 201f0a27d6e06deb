"""A bucket that is kept in memory and fails on demand."""

import contextlib
import importlib.machinery
import sys
import types
from collections.abc import Iterator
from typing import Any, ClassVar

from etils import epath
from etils.epath import backend
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry, register_implementation

CLIENT = "gcsfs"  # The package of which `gan.runtime.storage` asks whether it is there.


@contextlib.contextmanager
def memory_bucket() -> Iterator[tuple[type[MemoryFileSystem], epath.Path]]:
    """Makes all buckets of gs:// one in memory; yields it, and a folder in it.

    All that reads or writes raises the bucket's `error`, if it has one.
    """

    class Bucket(MemoryFileSystem):
        cachable = False
        store: ClassVar[dict] = {}
        pseudo_dirs: ClassVar[list] = [""]
        error: Exception | None = None

        def info(self, *arguments: Any, **options: Any) -> dict:
            self.fail()
            return super().info(*arguments, **options)

        def exists(self, *arguments: Any, **options: Any) -> bool:
            self.fail()
            return super().exists(*arguments, **options)

        def pipe_file(self, *arguments: Any, **options: Any) -> None:
            self.fail()
            super().pipe_file(*arguments, **options)

        def _open(self, *arguments: Any, **options: Any) -> Any:
            self.fail()
            return super()._open(*arguments, **options)

        def fail(self) -> None:
            if self.error:
                raise self.error

    client = sys.modules.get(CLIENT)
    sys.modules[CLIENT] = types.ModuleType(CLIENT)
    sys.modules[CLIENT].__spec__ = importlib.machinery.ModuleSpec(CLIENT, None)
    backend.fsspec_backend._get_filesystem.cache_clear()
    register_implementation("gcs", Bucket, clobber=True)
    try:
        yield Bucket, epath.Path("gs://b/run")
    finally:
        _registry.pop("gcs")
        backend.fsspec_backend._get_filesystem.cache_clear()
        del sys.modules[CLIENT]
        if client:
            sys.modules[CLIENT] = client
