"""What the numbers of a picture mean: colour profiles, ranges, transparency."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from gan.data.colours import find_depth, highest_level
from gan.data.decode import ANY_FORMAT, SQUARE, Recipe, decode_picture
from gan.errors import DataError

CONVERTED, UNFIT = "colour profile to sRGB", "colour profile that does not fit left aside"
# Primaries of Display P3 and its white, in XYZ by D50: what telephones write.
P3 = [(0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407)]
D50 = (0.9642, 1.0, 0.8249)


def fixed(value):
    return struct.pack(">i", round(value * 65536))


def make_profile(colours, gamma, space=b"RGB "):
    """A colour profile: its primaries in XYZ and their gamma; of grey, no primaries."""
    xyz = lambda values: b"XYZ \0\0\0\0" + b"".join(map(fixed, values))  # noqa: E731
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    names = (b"rXYZ", b"gXYZ", b"bXYZ")
    tags = {b"wtpt": xyz(D50)} | {name: xyz(c) for name, c in zip(names, colours, strict=False)}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC") if colours else (b"kTRC",), curve)
    tags |= {b"desc": b"desc\0\0\0\0" + struct.pack(">I", 2) + b"x\0" + bytes(78)}
    at, table, body = 132 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        table += name + struct.pack(">II", at + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = bytes(4) + b"lcms" + b"\2\x40\0\0" + b"mntr" + space + b"XYZ " + bytes(12) + b"acsp"
    head += bytes(28) + b"".join(map(fixed, D50)) + bytes(48)
    whole = head + struct.pack(">I", len(tags)) + table + body
    return struct.pack(">I", len(whole)) + whole[4:]


def encode(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def decode(data, bits=16):
    image, changes = decode_picture(Recipe(16, SQUARE, "area", ANY_FORMAT, None, bits), data, "x")
    return image[8, 8].astype(int), changes


def plain(mode, colour):
    return Image.new(mode, (16, 16), colour)


def srgb_of(colours, levels, gamma):
    """Computes by hand what a profile means by these levels, without a colour library."""
    to_srgb = np.array(
        [[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.033454]]
        + [[0.0719453, -0.2289914, 1.4052427]]
    )  # From XYZ by D50.
    linear = np.clip(to_srgb @ np.array(colours).T @ (np.array(levels) / 255) ** gamma, 0, 1)
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * curved)


@pytest.mark.parametrize("levels", [(200, 100, 50), (60, 120, 90), (128, 128, 128)])
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
@pytest.mark.parametrize("gamma", [1.8, 2.2])
def test_to_rgb__colours_are_what_their_profile_says(levels, kind, gamma):
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    data = encode(plain("RGB", levels), kind, icc_profile=make_profile(P3, gamma), **options)
    colour, changes = decode(data)
    np.testing.assert_allclose(colour, srgb_of(P3, levels, gamma), atol=2)
    assert changes == (CONVERTED,)


def test_to_rgb__a_profile_holds_under_transparency_and_in_a_palette():
    profile, levels = make_profile(P3, 2.2), (60, 120, 90)
    expected = srgb_of(P3, levels, 2.2)
    colour, changes = decode(encode(plain("RGBA", (*levels, 255)), icc_profile=profile))
    np.testing.assert_allclose(colour, expected, atol=2)
    assert changes == (CONVERTED,)
    palette = plain("P", 1)
    palette.putpalette([0, 0, 0, *levels])
    colour, changes = decode(encode(palette, icc_profile=profile))
    np.testing.assert_allclose(colour, expected, atol=2)
    assert changes == (CONVERTED, "P to RGB")


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_to_rgb__grey_is_what_its_profile_says(mode):
    data = encode(
        plain(mode, (100, 255)[: len(mode)]) if mode == "LA" else plain(mode, 100),
        icc_profile=make_profile([], 1.0, b"GRAY"),
    )
    colour, changes = decode(data)
    expected = 255 * (1.055 * (100 / 255) ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(colour, expected, atol=2)
    assert CONVERTED in changes


def test_to_rgb__sRGB_itself_is_no_change_and_grey_may_carry_it():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    colour, changes = decode(encode(plain("RGB", (1, 200, 30)), icc_profile=profile))
    assert (colour.tolist(), changes) == ([1, 200, 30], ())
    colour, changes = decode(encode(plain("L", 77), icc_profile=profile))
    assert (colour.tolist(), changes) == ([77] * 3, ("grey to RGB",))


LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


@pytest.mark.parametrize("profile", [LAB, b"no profile", make_profile([], 2.2, b"GRAY")])
def test_to_rgb__a_profile_that_does_not_fit_is_told(profile):
    colour, changes = decode(encode(plain("RGB", (1, 200, 30)), icc_profile=profile))
    assert (colour.tolist(), changes) == ([1, 200, 30], (UNFIT,))


def test_to_rgb__print_colours_need_a_profile():
    data = encode(plain("CMYK", (0, 0, 0, 0)), "JPEG", icc_profile=LAB)
    with pytest.raises(DataError, match=r"^x has 4 colour channels.*Save it as RGB"):
        decode(data)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def wide_png(levels, kind):
    """A PNG of 16 bits: kind 0 is grey, 2 RGB, 4 grey and alpha, 6 RGB and alpha."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[kind]
    rows = b"".join(b"\0" + np.full(16 * channels, levels, ">u2").tobytes() for _ in range(16))
    header = struct.pack(">IIBBBBB", 16, 16, 16, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(name, data)
        for name, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    )


@pytest.mark.parametrize("kind", [2, 4, 6])
def test_to_rgb__colours_of_16_bits_are_told(kind):
    assert "16 bits to 8" in decode(wide_png(0x80FF, kind))[1]


def test_to_rgb__a_gamma_without_a_profile_is_heeded():
    linear = encode(plain("RGB", (55, 55, 55)))
    at = linear.index(b"IDAT") - 4
    for gamma, level, changes in ((1.0, 127, ("gamma to sRGB",)), (0.45455, 55, ())):
        data = linear[:at] + chunk(b"gAMA", struct.pack(">I", round(gamma * 1e5))) + linear[at:]
        colour, told = decode(data)
        np.testing.assert_allclose(colour, level, atol=1)
        assert told == changes


@pytest.mark.parametrize(("bits", "level"), [(8, 200), (10, 800), (12, 3200), (14, 12800)])
def test_reduce_range__levels_fill_the_range_that_the_set_uses(bits, level):
    assert find_depth(level) == bits
    assert highest_level(wide_png(level, 0), ANY_FORMAT) == level
    colour, changes = decode(wide_png(level, 0), bits)
    assert (colour.tolist(), changes) == ([200] * 3, (f"{bits} bits to 8", "grey to RGB"))


def test_reduce_range__what_is_brighter_than_the_set_is_white_and_told():
    colour, changes = decode(wide_png(5000, 0), 12)
    assert colour.tolist() == [255] * 3
    assert "brighter than the 12 bits of the others: cut off at white" in changes


@pytest.mark.parametrize("data", [b"", b"\x89PNG", encode(plain("L", 3)), LAB])
def test_highest_level__is_0_for_all_but_grey_of_16_bits(data):
    assert highest_level(data, ANY_FORMAT) == 0


def bmp_with_masks(alpha):
    """A BMP of 32 bits that says where red, green, blue and alpha lie."""
    pixels = np.full((16, 16, 4), (30, 20, 10, alpha), np.uint8).tobytes()
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    size = 14 + 108
    head = struct.pack("<2sIHHI", b"BM", size + len(pixels), 0, 0, size)
    info = struct.pack("<IiiHHIIiiII", 108, 16, 16, 1, 32, 3, len(pixels), 0, 0, 0, 0)
    return head + info + masks + bytes(108 - len(info) - len(masks)) + pixels


@pytest.mark.parametrize(
    ("alpha", "changes"),
    [(0, ("alpha of 0 throughout taken for none",)), (255, ())],
)
def test_to_rgb__empty_alpha_of_a_bmp_is_no_transparency(alpha, changes):
    colour, told = decode(bmp_with_masks(alpha))
    assert (colour.tolist(), told) == ([10, 20, 30], changes)
