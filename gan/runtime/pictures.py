"""Turns generated images into pictures, arranges them in a grid and writes PNG files."""

import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Array, Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from gan.runtime import storage
from gan.runtime.storage import Path

LEGIBLE = 64  # Smallest side of a picture that a sheet shows, in pixels.
LABEL_SIZE = 11  # Height of the labels beside the rows of a grid, in pixels.


def to_uint8(images: Float[Array | np.ndarray, "*b h w 3"]) -> UInt8[np.ndarray, "*b h w 3"]:
    """Maps colours from [-1, 1] to 0..255, rounded and clipped; `generate.to_float` undoes it."""
    return np.clip(np.rint((np.asarray(images) + 1) * 127.5), 0, 255).astype(np.uint8)


def make_grid(
    images: UInt8[np.ndarray, "n h w 3"], columns: int, labels: Sequence[str] = ()
) -> UInt8[np.ndarray, "height width 3"]:
    """Arranges images row by row, each row with its label on the left; empty places are white."""
    num, height, width, _ = images.shape
    rows = -(-num // columns)
    filled = np.full((rows * columns, height, width, 3), 255, np.uint8)
    filled[:num] = images
    sheet = filled.reshape(rows, columns, height, width, 3).swapaxes(1, 2)
    sheet = sheet.reshape(rows * height, columns * width, 3)
    if not labels:
        return sheet
    font = ImageFont.load_default(LABEL_SIZE)
    margin = 8 + max(int(font.getlength(label)) for label in labels)
    canvas = Image.new("RGB", (margin + sheet.shape[1], sheet.shape[0]), "white")
    canvas.paste(Image.fromarray(sheet), (margin, 0))
    draw = ImageDraw.Draw(canvas)
    for i, label in enumerate(labels):
        draw.text((4, (i + 0.5) * height), label, "black", font, anchor="lm")
    return np.asarray(canvas)


def enlarge_pictures(
    images: UInt8[np.ndarray, "*n h w 3"], at_least: int = LEGIBLE
) -> UInt8[np.ndarray, "*n H W 3"]:
    """Repeats each pixel a whole number of times, so that both sides have `at_least` pixels.

    Nothing is interpolated: the sheet shows the pixels as they are. Larger pictures stay the same.
    """
    times = -(-at_least // min(images.shape[-3:-1]))
    return images.repeat(times, axis=-3).repeat(times, axis=-2)


def resize_picture(
    image: UInt8[np.ndarray, "h w 3"], size: int
) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """Resizes a picture to `size` x `size` pixels (Lanczos)."""
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS))


def write_png(path: Path, image: UInt8[np.ndarray, "h w 3"]) -> None:
    """Writes a picture as PNG. A write that fails leaves the file that was there before."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    storage.write_file(path, buffer.getvalue())
