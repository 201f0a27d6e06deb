"""Commands that prepare or train on data of a test, and pictures for it."""

import struct
import zlib
from pathlib import Path

from helpers import tiny
from PIL import Image


def command_on(root: Path, *more: str, source: str = "celeba") -> list[str]:
    """The command that trains on what lies at `root`."""
    return [
        f"--config={tiny.__file__}",
        f"--workdir={root.parent / 'run'}",
        f"--config.data.source={source}",
        f"--config.data.path={root}",
        f"--config.data.cache_dir={root.parent / 'cache'}",
        "--config.data.batch_size=4",
        *more,
    ]


def write_pictures(root: Path, num: int = 9) -> Path:
    """Writes `num` pictures of two classes, and returns their folder."""
    for number in range(num):
        target = root / ("a" if number % 2 else "b") / f"{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (25 * number, 0, 0)).save(target)
    return root


def encode_huge_png(width: int, height: int) -> bytes:
    """The beginning of a PNG of this size, which would fill the memory."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(10_000)))
