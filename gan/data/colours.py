"""Turns what the numbers of a decoded picture mean into sRGB.

They may be colours by a profile or a gamma, levels of 8 to 16 bits, or colours under transparency.
"""

import functools
import io
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms

from gan.data.source import Picture
from gan.errors import DataError

DEPTHS = (8, 10, 12, 14, 16)  # Bits that cameras and scanners store in the 16 of a file.
GAMMA = 1 / 2.2  # What a PNG without a profile has, as far as sRGB is a power at all.
SAME = 2  # Levels: a profile that changes no colour by more is sRGB by another name.
WITH_ALPHA = ("RGBA", "LA", "PA", "La", "RGBa")
GREY = ("L", "1", "LA", "La")


class Transform(NamedTuple):
    """What a colour profile asks for."""

    fits: bool  # Whether it is a profile for such pictures at all.
    apply: ImageCms.ImageCmsTransform | None  # None where nothing has to be done.


def to_rgb(image: Image.Image, name: str, bits: int, changes: list[str]) -> Image.Image:
    """Converts to sRGB, on white where transparent, and appends what that took to `changes`.

    `bits` is the depth of the 16-bit pictures of the set. Raises DataError, with the `name`, for
    CMYK without a profile.
    """
    mode, info, kind = image.mode, image.info, image.format
    transparent = "transparency" in info or mode in WITH_ALPHA
    known = {"icc_profile", "gamma"} & info.keys()
    if mode == "RGB" and not transparent and not known:
        return image
    if mode.startswith("I"):
        image = reduce_range(image, bits, changes)
    grey = image.mode in GREY
    alpha = image.convert("RGBA").getchannel("A") if transparent else None
    if mode != "CMYK":
        image = image.convert("L" if grey else "RGB")
    image = apply_profile(image, info, name, changes)
    if alpha is None:
        if mode not in ("RGB", "CMYK"):
            changes.append("grey to RGB" if grey else f"{mode} to RGB")
        return image
    lowest, highest = alpha.getextrema()
    if kind == "BMP" and highest == 0:  # Programs leave these bytes empty.
        changes.append("alpha of 0 throughout taken for none")
        return image
    if lowest < 255:
        changes.append("transparency made white")
    image.putalpha(alpha)
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def find_depth(level: int) -> int:
    """Bits of a set of pictures whose highest level is `level`: the least of DEPTHS that holds."""
    return next((bits for bits in DEPTHS if level < 2**bits), DEPTHS[-1])


def highest_level(picture: Picture, formats: tuple[str, ...]) -> int:
    """Highest level of a picture in grey with 16 bits; 0 for all others, and for bad ones."""
    try:
        image = Image.open(io.BytesIO(picture), formats=formats)
        return int(np.asarray(image).max()) if image.mode.startswith("I") else 0
    except Exception:  # Decoders raise anything; decoding says what.
        return 0


def reduce_range(image: Image.Image, bits: int, changes: list[str]) -> Image.Image:
    """Maps levels of `bits` bits to 8; higher ones become white, which is told."""
    levels = np.asarray(image).astype(np.uint32)
    changes.append(f"{bits} bits to 8")
    if levels.max() >= 2**bits:
        changes.append(f"brighter than the {bits} bits of the others: cut off at white")
        levels = np.minimum(levels, 2**bits - 1)
    return Image.fromarray((levels >> (bits - 8)).astype(np.uint8))


def apply_profile(image: Image.Image, info: dict, name: str, changes: list[str]) -> Image.Image:
    """Converts a picture in grey, RGB or CMYK from its profile, or its gamma, to sRGB."""
    profile = info.get("icc_profile")
    if profile:
        fits, transform = find_transform(profile, image.mode)
        if transform is not None:
            changes.append("colour profile to sRGB")
            wanted = transform.input_mode
            image = image if image.mode == wanted else image.convert(wanted)
            return ImageCms.applyTransform(image, transform)
        if not fits:
            changes.append("colour profile that does not fit left aside")
    if image.mode == "CMYK":
        raise DataError(
            f"{name} has 4 colour channels (CMYK, for print) and no profile that says what colours "
            "they have on a screen. Save it as RGB."
        )
    gamma = info.get("gamma", GAMMA)
    if not profile and "srgb" not in info and gamma > 0 and abs(gamma / GAMMA - 1) > 0.1:
        changes.append("gamma to sRGB")
        table = np.rint(255 * (np.arange(256) / 255) ** (GAMMA / gamma)).astype(int).tolist()
        image = image.point(table * len(image.getbands()))
    return image.convert("RGB")


@functools.lru_cache(maxsize=32)  # Pictures of one camera have one profile.
def find_transform(profile: bytes, mode: str) -> Transform:
    """Returns the transform from a profile to sRGB for pictures of a mode: L, RGB or CMYK."""
    try:
        known = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if mode == "L" and known.profile.xcolor_space.strip() == "RGB":
            mode = "RGB"  # Grey pictures often carry the profile of colour ones.
        transform = ImageCms.buildTransform(
            known,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.NOCACHE,  # For many threads.
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return Transform(False, None)
    if mode == "CMYK":
        return Transform(True, transform)
    samples = sample_colours().convert(mode)
    changed = np.asarray(ImageCms.applyTransform(samples, transform)).astype(int)
    differs = np.abs(changed - np.asarray(samples.convert("RGB"))).max() > SAME
    return Transform(True, transform if differs else None)


@functools.cache
def sample_colours() -> Image.Image:
    """Colours from all over sRGB, and all greys."""
    steps = np.linspace(0, 255, 9).astype(np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)
    greys = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    return Image.fromarray(np.concatenate([cube, greys])[None])
