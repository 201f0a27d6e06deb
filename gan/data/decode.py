"""Decodes, crops and resizes pictures of any size to squares of the size that is trained at.

Nothing here imports JAX or TensorFlow: this runs in the worker processes that prepare a data set.
"""

import dataclasses
import io
import re
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, PngImagePlugin

from gan.data.colours import to_rgb
from gan.data.source import Picture
from gan.errors import DataError

# To be raised when a reader, a crop or this file makes other pictures, labels or splits.
VERSION = 2
JPEG_VERSION = 1  # The same for data sets of JPEG alone, and for drawn ones.
OLDER = {  # What was made otherwise by versions whose stores are still used.
    1: "left colour profiles aside, took all grey of 16 bits for 16, and chose the splits of "
    "pictures of one's own by their folders too"
}
MAX_PIXELS = 2**26  # 8,192 x 8,192. Larger pictures are refused before they are decoded.
RESIZES = {  # All of them antialias.
    "bicubic": Image.Resampling.BICUBIC,
    "area": Image.Resampling.BOX,
    "lanczos": Image.Resampling.LANCZOS,
}
# A short list, because each decoder can have bugs.
ANY_FORMAT = ("JPEG", "PNG", "WEBP", "BMP")
SQUARE, SQUASH = "square", "squash"
MAX_BYTES = 64 * 2**20  # Largest file of a picture that is read. Stops zip bombs.
# Programs that draw write into a PNG how they did, which may be more text than Pillow expects.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = MAX_BYTES
SMALL = 2**17  # Bytes of a file below which a picture takes little memory as well.
MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # Of a JPEG, apart from data and restarts.
END = b"\xff\xd9"  # Last marker of a JPEG.


class Crop(NamedTuple):
    """A box on CelebA's frame of 218 rows and 178 columns.

    Row `bottom` and column `right` are the first ones outside.
    """

    top: int
    left: int
    bottom: int
    right: int

    def on(self, height: int, width: int) -> "Crop":
        """Scales the box to a frame of another height and width, its edges rounded down."""
        return Crop(
            self.top * height // 218,
            self.left * width // 178,
            self.bottom * height // 218,
            self.right * width // 178,
        )


def center_box(side: int) -> Crop:
    """Square of `side` pixels in the middle of the frame."""
    top, left = (218 - side) // 2, (178 - side) // 2
    return Crop(top, left, top + side, left + side)


CROPS = {
    "center178": center_box(178),
    "center160": center_box(160),
    "center140": center_box(140),
    "center108": center_box(108),
    "ddim128": Crop(57, 25, 185, 153),
    SQUASH: Crop(0, 0, 218, 178),  # The whole picture, out of proportion.
}
CROP_NAMES = (*CROPS, SQUARE)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How every picture of a data set becomes a square."""

    size: int  # Side of the result, in pixels.
    crop: str  # Key of CROPS, or SQUARE: the largest square in the middle.
    resize: str  # Key of RESIZES.
    formats: tuple[str, ...] = ()  # Formats of files that are decoded, by Pillow's names.
    frame: tuple[int, int] | None = None  # (height, width) that every picture must have.
    bits: int = 16  # That are used by the set's pictures with 16 bits a pixel.


class Decoded(NamedTuple):
    """A decoded picture."""

    image: UInt8[np.ndarray, "s s 3"]
    changes: tuple[str, ...]  # Whatever was done to it besides cropping and resizing, in words.


def decode_pictures(
    recipe: Recipe, pictures: Sequence[Picture | DataError], names: Sequence[str]
) -> list[Decoded | DataError]:
    """Applies the recipe to each picture, with its name; returns the DataError of a bad one."""
    results: list[Decoded | DataError] = []
    for picture, name in zip(pictures, names, strict=True):
        try:
            results.append(
                picture if isinstance(picture, DataError) else decode_picture(recipe, picture, name)
            )
        except DataError as error:
            results.append(error)
    return results


def decoded_bytes(picture: Picture | DataError) -> int:
    """Estimates the memory that decoding a picture takes, from its header; 0 for small files."""
    if isinstance(picture, np.ndarray):
        return 2 * picture.nbytes
    if isinstance(picture, DataError) or len(picture) < SMALL:
        return 0
    try:
        with warnings.catch_warnings(action="ignore"):
            width, height = Image.open(io.BytesIO(picture), formats=ANY_FORMAT).size
        return 2 * 4 * min(width * height, MAX_PIXELS)  # Larger ones are refused.
    except Exception:  # Decoders raise anything; decoding says what.
        return 0


def decode_picture(recipe: Recipe, picture: Picture, name: str) -> Decoded:
    """Applies the recipe to one picture. Raises DataError, which says its `name`, if it is bad."""
    changes: list[str] = []
    image = _open(recipe, picture, name, changes)
    width, height = image.size
    if recipe.crop == SQUARE:
        side = min(width, height)
        top, left = (height - side) // 2, (width - side) // 2
        box = Crop(top, left, top + side, left + side)
    else:
        box = CROPS[recipe.crop].on(height, width)
    if recipe.frame is None:
        if recipe.crop == SQUARE and width != height:
            changes.append("cut to a square")
        if min(width, height) < recipe.size:
            changes.append(f"enlarged to {recipe.size} px")
    image = image.crop((box.left, box.top, box.right, box.bottom))
    image = image.resize((recipe.size, recipe.size), RESIZES[recipe.resize])
    return Decoded(np.asarray(image), tuple(changes))


def _open(recipe: Recipe, picture: Picture, name: str, changes: list[str]) -> Image.Image:
    """Decodes a picture to RGB, upright, and appends what that took to `changes`."""
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] not in (1, 3, 4):
            raise DataError(
                f"{name} is {picture.dtype} {[*picture.shape]}, not uint8 [h, w, 1, 3 or 4]."
            )
        if not picture.size:
            raise DataError(f"{name} has no pixels: {[*picture.shape]}.")
        image = Image.fromarray(picture.squeeze(2) if picture.shape[2] == 1 else picture)
        return to_rgb(image, name, recipe.bits, changes)
    if recipe.formats == ("JPEG",):
        check_whole_jpeg(picture, name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # Large sizes are refused below, damaged EXIF is ignored.
            image = Image.open(io.BytesIO(picture), formats=recipe.formats)
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise DataError(
                    f"{name} is {width} x {height}; at most {MAX_PIXELS:,} pixels are decoded. "
                    "Make it smaller, or take it out."
                )
            if recipe.frame and (height, width) != recipe.frame:
                raise DataError(
                    f"{name} is {width} x {height}, but the set's first picture is "
                    f"{recipe.frame[1]} x {recipe.frame[0]}."
                )
            if image.mode != "I;16" and any(";16" in str(tile[3]) for tile in image.tile):
                changes.append("16 bits to 8")  # Pillow has no colours of 16 bits.
            image.load()
            if image.format in ("JPEG", "MPO"):
                check_not_cut(image, picture, name, changes)
            if not recipe.frame and image.getexif().get(0x0112, 1) != 1:
                image = ImageOps.exif_transpose(image)
                changes.append("turned upright (EXIF)")
    except DataError:
        raise
    except Image.DecompressionBombError as error:  # Pillow stops before it says the size.
        raise DataError(
            f"{name}: {error} At most {MAX_PIXELS:,} pixels are decoded. Make it smaller, or take "
            "it out."
        ) from None
    except Exception as error:  # Decoders raise anything.
        allowed = ", ".join(recipe.formats)
        raise DataError(
            f"{name} is no picture that can be decoded ({allowed}): {_reason(error)}; it begins "
            f"with {picture[:8]!r}."
        ) from None
    return to_rgb(image, name, recipe.bits, changes)


def check_whole_jpeg(data: bytes, name: str) -> None:
    """Raises DataError if this is no JPEG, or its end is missing: decoders invent the rest."""
    if data[:2] != b"\xff\xd8":
        raise DataError(f"{name} is not a JPEG file: it begins with {data[:8]!r}.")
    if data[-2:] != b"\xff\xd9":
        raise DataError(f"{name}: the JPEG breaks off after {len(data):,} bytes.")


def check_not_cut(image: Image.Image, data: bytes, name: str, changes: list[str]) -> None:
    """Raises DataError for a JPEG that was cut and has an end marker all the same.

    Decoders make grey of what is missing, without a word. Where a progressive one lacks whole
    scans, it is only coarser than it was: that is appended to `changes`.
    """
    width, height = image.size
    corner = image.crop(((width - 1) // 8 * 8, (height - 1) // 8 * 8, width, height))
    lowest, highest = corner.convert("L").getextrema()
    grey = lowest >= 127 and highest <= 129 and image.mode != "CMYK"
    if grey and ends_too_early(image, data):
        raise DataError(
            f"{name}: the JPEG breaks off, although it has an end marker: its last part is "
            "missing. Fetch it again, or take it out."
        )
    if image.info.get("progressive") and lacks_scans(data):
        changes.append("JPEG without its last scans, so perhaps cut")


def ends_too_early(image: Image.Image, data: bytes) -> bool:
    """Tells whether a decoder still wants data at the end: then data put there change the picture.

    `image` is what it made of `data`.
    """
    end = data.rfind(END)
    longer = data[:end].rstrip(b"\xff") + bytes(range(1, 255)) + data[end:]
    with Image.open(io.BytesIO(longer), formats=("JPEG",)) as other:
        return not np.array_equal(np.asarray(other), np.asarray(image))


def lacks_scans(data: bytes) -> bool:
    """Tells whether some coefficient of a progressive JPEG was not sent to its last bit."""
    missing: dict[int, np.ndarray] = {}  # For each component: bits to come, by coefficient.
    position = 2
    while (marker := MARKER.search(data, position)) and marker[0] != END:
        start = marker.end()
        position = start + int.from_bytes(data[start : start + 2])
        if marker[0] == b"\xff\xda":  # A scan: components, first and last coefficient, bits.
            num = data[start + 2]
            first, last, bits = data[start + 3 + 2 * num : start + 6 + 2 * num]
            for component in data[start + 3 : start + 3 + 2 * num : 2]:
                missing.setdefault(component, np.full(64, 16))[first : last + 1] = bits & 15
    return any(bits.any() for bits in missing.values())


def _reason(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return "unknown format" if "cannot identify" in text else text
