"""Loads the configuration that --config names: a file, or one that comes with the package."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from gan.config import Config, resolve
from gan.errors import ConfigError, nearest

PACKAGE = Path(__file__).parent
# An installed package has them inside of it, a checkout beside it.
OURS = next(path for path in (PACKAGE / "configs", PACKAGE.parent / "configs") if path.is_dir())


def load_config(given: str) -> Config:
    """The configuration of FILE or FILE:VARIANT, with its types checked.

    A file is a path or, where there is none, `configs/NAME.py` of this package. Raises ConfigError.
    """
    name, colon, variant = given.partition(":")
    path = _find(name, given)
    try:
        module = _run(path)
        config = module.get_config(variant) if colon else module.get_config()
        if not isinstance(config, Config):
            raise ConfigError(f"get_config() returned {config!r}, not a Config.")
        return resolve(config)
    except ConfigError as error:
        raise ConfigError(f"--config={given}: {error}") from None
    except Exception as error:  # A configuration is code, and may fail in any way.
        raise ConfigError(f"--config={given}: {type(error).__name__}: {error}") from error


def our_configs() -> Iterator[tuple[str, Config]]:
    """Each configuration that comes with the package, with each of its variants.

    Their names are FILE or FILE:VARIANT without the folder and ".py".
    """
    for path in sorted(OURS.glob("[!_]*.py")):
        for variant in getattr(_run(path), "VARIANTS", [""]):
            colon = ":" if variant else ""
            yield f"{path.stem}{colon}{variant}", load_config(f"{path}{colon}{variant}")


def _find(name: str, given: str) -> Path:
    path = Path(name)
    if path.is_file():
        return path
    ours = {f"configs/{file.name}": file for file in sorted(OURS.glob("[!_]*.py"))}
    if name in ours:
        return ours[name]
    there = [str(file) for file in path.parent.glob("*.py") if file.stem != "__init__"]
    there = sorted(there or ours)
    folder = path.parent if path.parent.is_dir() else "The package"
    known = f" {folder} has: {', '.join(there)}." if there else ""
    raise ConfigError(f"--config={given}: no such file.{nearest(name, there)}{known}")


def _run(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
