"""What a command would do, for --dry_run."""

from gan.config import Config, to_json
from gan.model.step import build
from gan.runtime.storage import Path
from gan.workdir.checkpoints import Checkpoints
from gan.workdir.folder import check_same_run


def describe_plan(mode: str, config: Config, folder: Path | None) -> str:
    """The configuration and what `mode` would do with it in `folder`; nothing is written.

    Raises ConfigError for what cannot be built, or where `folder` holds another run.
    """
    build(config, ())
    data = config.data
    where = f" at {data.path}" if data.path else ""
    lines = [
        to_json(config).rstrip(),
        f"Would {mode}" + (f" in {folder}." if folder else "."),
        f"Data: {data.source}{where}, {data.image_size} px, crop {data.crop}, prepared in "
        f"{data.cache_dir} (once).",
    ]
    if mode == "train":
        check_same_run(config, folder)
        start = max(Checkpoints(folder, read_only=True).steps(), default=0)
        images = (config.steps - start) * data.batch_size * config.d_steps
        lines.append(f"Steps {start} to {config.steps}: {max(images, 0):,} images.")
    return "\n".join(lines)
