"""Decoding pictures: crops, resizing, colour modes, and bad files that are refused."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from gan.data.decode import (
    ANY_FORMAT,
    CROPS,
    RESIZES,
    SQUARE,
    Recipe,
    decode_picture,
    decode_pictures,
    decoded_bytes,
)
from gan.errors import DataError

BOXES = {  # top, left, bottom, right on frames of 218 x 178 and 109 x 89.
    "center178": [(20, 0, 198, 178), (10, 0, 99, 89)],
    "center160": [(29, 9, 189, 169), (14, 4, 94, 84)],
    "center140": [(39, 19, 179, 159), (19, 9, 89, 79)],
    "center108": [(55, 35, 163, 143), (27, 17, 81, 71)],
    "ddim128": [(57, 25, 185, 153), (28, 12, 92, 76)],
    "squash": [(0, 0, 218, 178), (0, 0, 109, 89)],
}
FRAMES = [(218, 178), (109, 89)]


def recipe(size=16, crop=SQUARE, resize="bicubic", formats=ANY_FORMAT, frame=None):
    return Recipe(size, crop, resize, formats, frame)


def encode(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def gradient(height, width):
    """Red is the column, green the row."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = np.arange(width)
    pixels[..., 1] = np.arange(height)[:, None]
    return pixels


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))


def done(data, **options):
    """Its colour in the middle, and the changes."""
    image, changes = decode_picture(recipe(**options), data, "x")
    assert image.shape == (16, 16, 3)
    assert image.dtype == np.uint8
    return image[8, 8].tolist(), changes


def refused(data, name="dir/x.png", **options):
    with pytest.raises(DataError) as caught:
        decode_picture(recipe(**options), data, name)
    assert name in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("crop", BOXES)
def test_crops__are_the_published_boxes(crop, which):
    assert set(BOXES) == set(CROPS)
    assert tuple(CROPS[crop].on(*FRAMES[which])) == BOXES[crop][which]


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("crop", [name for name in BOXES if name != "squash"])
def test_decode_picture__takes_the_pixels_of_the_box(crop, frame):
    top, left, bottom, right = BOXES[crop][FRAMES.index(frame)]
    pixels = gradient(*frame)
    side = bottom - top
    image, changes = decode_picture(
        recipe(side, crop, frame=frame, formats=("PNG",)), encode(Image.fromarray(pixels)), "x"
    )
    assert right - left == side
    np.testing.assert_array_equal(image, pixels[top:bottom, left:right])
    assert changes == ()


@pytest.mark.parametrize(("shape", "top", "left"), [((9, 4), 2, 0), ((4, 9), 0, 2), ((7, 7), 0, 0)])
def test_decode_picture__square_is_the_largest_in_the_middle(shape, top, left):
    side = min(shape)
    image, changes = decode_picture(recipe(side), gradient(*shape), "x")
    np.testing.assert_array_equal(image, gradient(*shape)[top : top + side, left : left + side])
    assert changes == (("cut to a square",) if shape[0] != shape[1] else ())


def test_decode_picture__squash_takes_all_of_the_picture():
    image, _ = decode_picture(recipe(16, "squash", "area"), gradient(64, 160), "x")
    np.testing.assert_allclose(image[0, :, 0], np.arange(16) * 10 + 4.5, atol=0.5)
    np.testing.assert_allclose(image[:, 0, 1], np.arange(16) * 4 + 1.5, atol=0.5)


@pytest.mark.parametrize("resize", RESIZES)
def test_decode_picture__resizing_is_antialiased(resize):
    board = np.zeros((128, 128, 3), np.uint8)
    board[::2, ::2] = board[1::2, 1::2] = 255
    image, _ = decode_picture(recipe(resize=resize), board, "x")
    inside = image[2:-2, 2:-2]
    assert inside.min() >= 126
    assert inside.max() <= 129


def test_decode_picture__area_is_the_mean_of_the_pixels():
    pixels = np.asarray(NOISE)
    image, _ = decode_picture(recipe(resize="area"), pixels, "x")
    mean = pixels.reshape(16, 2, 16, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(image, mean, atol=1)


def test_decode_picture__enlarges_small_pictures_and_says_so():
    assert done(np.full((3, 3, 3), 9, np.uint8)) == ([9, 9, 9], ("enlarged to 16 px",))


def plain(mode, colour, size=16):
    return Image.new(mode, (size, size), colour)


def palette(**options):
    image = plain("P", 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    return encode(image, **options)


WHITE, GREY = "transparency made white", "grey to RGB"
MODES = {
    "RGB": (encode(plain("RGB", (1, 2, 3))), [1, 2, 3], ()),
    "BMP": (encode(plain("RGB", (1, 2, 3)), "BMP"), [1, 2, 3], ()),
    "WebP": (encode(plain("RGB", (1, 2, 3)), "WEBP", lossless=True), [1, 2, 3], ()),
    "JPEG": (encode(plain("RGB", (7, 7, 7)), "JPEG"), [7, 7, 7], ()),
    "MPO": (
        encode(plain("RGB", (7,) * 3), "MPO", save_all=True, append_images=[plain("RGB", 0)]),
        [7, 7, 7],
        (),
    ),
    "grey": (encode(plain("L", 100)), [100, 100, 100], (GREY,)),
    "grey JPEG": (encode(plain("L", 100), "JPEG"), [100, 100, 100], (GREY,)),
    "1 bit": (encode(plain("1", 1)), [255, 255, 255], (GREY,)),
    "16 bits": (
        encode(Image.fromarray(np.full((16, 16), 0x12FF, np.uint16))),
        [0x12, 0x12, 0x12],
        ("16 bits to 8", GREY),
    ),
    "palette": (palette(), [10, 20, 30], ("P to RGB",)),
    "palette, transparent": (palette(transparency=1), [255, 255, 255], (WHITE,)),
    "RGBA": (encode(plain("RGBA", (9, 8, 7, 255))), [9, 8, 7], ()),
    "RGBA, transparent": (encode(plain("RGBA", (9, 8, 7, 0))), [255, 255, 255], (WHITE,)),
    "RGBA, half": (encode(plain("RGBA", (0, 0, 0, 127))), [128, 128, 128], (WHITE,)),
    "WebP, transparent": (
        encode(plain("RGBA", (9, 8, 7, 0)), "WEBP", lossless=True),
        [255, 255, 255],
        (WHITE,),
    ),
    "LA, transparent": (encode(plain("LA", (9, 0))), [255, 255, 255], (WHITE,)),
    "RGB, one colour transparent": (
        encode(plain("RGB", (1, 2, 3)), transparency=(1, 2, 3)),
        [255, 255, 255],
        (WHITE,),
    ),
    "grey, one level transparent": (
        encode(plain("L", 100), transparency=100),
        [255, 255, 255],
        (WHITE,),
    ),
    "array": (np.full((16, 16, 3), (1, 2, 3), np.uint8), [1, 2, 3], ()),
    "grey array": (np.full((16, 16, 1), 9, np.uint8), [9, 9, 9], (GREY,)),
    "RGBA array": (np.full((16, 16, 4), (1, 2, 3, 0), np.uint8), [255, 255, 255], (WHITE,)),
}


@pytest.mark.parametrize("name", MODES)
def test_decode_picture__turns_every_mode_into_rgb_and_says_what_was_changed(name):
    data, colour, changes = MODES[name]
    assert done(data) == (colour, changes)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_decode_picture__turns_pictures_upright(orientation, kind):
    stored = Image.fromarray(gradient(32, 32)[:, ::-1] * np.array([5, 1, 0], np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    exact = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    image, changes = decode_picture(recipe(), encode(stored, kind, exif=exif, **exact), "x")
    pixels = np.asarray(Image.open(io.BytesIO(encode(stored, kind, **exact))).convert("RGB"))
    upright = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.swapaxes(0, 1),
        6: pixels[::-1].swapaxes(0, 1),
        7: pixels[::-1, ::-1].swapaxes(0, 1),
        8: pixels[:, ::-1].swapaxes(0, 1),
    }[orientation]
    expected, _ = decode_picture(recipe(), np.ascontiguousarray(upright), "x")
    np.testing.assert_allclose(image.astype(int), expected.astype(int), atol=1)
    assert changes == (("turned upright (EXIF)",) if orientation > 1 else ())


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width, height):
    """A PNG that says that it is so large, and has one row."""
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )


def jpeg_header(width, height):
    """A JPEG that says that it is so large."""
    data = encode(NOISE, "JPEG")
    start = data.index(b"\xff\xc0") + 5
    return data[:start] + struct.pack(">HH", height, width) + data[start + 4 :]


def flipped(data, position):
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


PNG, JPEG = encode(NOISE), encode(NOISE, "JPEG")
WEBP, BMP = encode(NOISE, "WEBP", lossless=True), encode(NOISE, "BMP")
BAD = {
    "CMYK": (encode(plain("CMYK", 0), "JPEG"), "CMYK"),
    "JPEG cut": (JPEG[:-300], "truncated"),
    "JPEG's last bytes cut": (JPEG[:-2], "truncated"),
    "PNG cut": (PNG[: len(PNG) // 2], "truncated"),
    "WebP cut": (WEBP[: len(WEBP) // 2], "decode"),
    "BMP cut": (BMP[:-1], "truncated"),
    "PNG chunk damaged": (flipped(PNG, PNG.index(b"IDAT") + 20), "broken"),
    "PNG header damaged": (flipped(PNG, PNG.index(b"IHDR") + 6), "unknown format"),
    "HTML": (b"<!DOCTYPE html><html>", "unknown format; it begins with b'<!DOCTYP'"),
    "empty": (b"", "unknown format"),
    "GIF": (encode(NOISE, "GIF"), "JPEG, PNG, WEBP, BMP"),
    "TIFF": (encode(NOISE, "TIFF"), "JPEG, PNG, WEBP, BMP"),
    "PNG without pixels": (png_header(0, 8), "unknown format"),
    "PNG with too few rows": (png_header(16, 16), "truncated"),
    "two channels": (np.zeros((8, 8, 2), np.uint8), "uint8 [8, 8, 2]"),
    "floats": (np.zeros((8, 8, 3), np.float32), "float32 [8, 8, 3]"),
    "no channels": (np.zeros((8, 8), np.uint8), "uint8 [8, 8]"),
    "no pixels": (np.zeros((0, 8, 3), np.uint8), "[0, 8, 3]"),
}


@pytest.mark.parametrize("name", BAD)
def test_decode_picture__refuses_bad_pictures_with_name_and_reason(name):
    data, reason = BAD[name]
    assert reason in refused(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (PNG, "not a JPEG file: it begins with b'\\x89PNG"),
        (b"<!DOCTYPE html>", "not a JPEG"),
        (b"", "not a JPEG"),
        (JPEG[:-2], f"breaks off after {len(JPEG) - 2:,} bytes"),
        (JPEG[: len(JPEG) // 2], "breaks off"),
        (JPEG[:2] + JPEG[-2:], "dir/x.jpg"),
    ],
)
def test_decode_picture__where_only_jpeg_is_allowed_it_has_to_be_a_whole_one(data, reason):
    assert reason in refused(data, "dir/x.jpg", formats=("JPEG",))


@pytest.mark.parametrize("header", [png_header, jpeg_header])
@pytest.mark.parametrize(("width", "height"), [(20_000, 20_000), (65_000, 1_100)])
def test_decode_picture__refuses_huge_pictures_before_they_are_decoded(header, width, height):
    data = header(width, height)
    tracemalloc.start()
    assert "pixels" in refused(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


def test_decode_picture__refuses_other_frames_than_that_of_the_set():
    data = encode(Image.fromarray(gradient(109, 89)))
    done(data, frame=(109, 89), crop="center178")
    assert "x.png is 89 x 109, but the set's first picture is 178 x 218" in refused(
        data, frame=(218, 178), crop="center178"
    )


def test_decode_pictures__leaves_errors_in_their_place():
    known = DataError("known before")
    pictures = [PNG, known, b"", np.zeros((4, 4, 3), np.uint8)]
    results = decode_pictures(recipe(), pictures, ["a", "b", "c", "d"])
    assert [isinstance(result, DataError) for result in results] == [False, True, True, False]
    assert results[1] is known
    assert str(results[2]).startswith("c ")
    np.testing.assert_array_equal(results[0].image, decode_picture(recipe(), PNG, "a").image)


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(
    data=st.sampled_from([PNG, JPEG, WEBP, BMP, palette(transparency=0)]),
    edits=st.lists(st.tuples(st.integers(0, 2**12), st.binary(max_size=4)), max_size=6),
    end=st.none() | st.integers(0, 2**12),
    strict=st.booleans(),
)
def test_decode_picture__any_bytes_are_a_picture_or_refused(data, edits, end, strict):
    data = bytearray(data)
    for position, new in edits:
        position %= len(data)
        data[position : position + len(new)] = new
    try:
        options = {"formats": ("JPEG",)} if strict else {}
        image, _ = decode_picture(recipe(**options), bytes(data[:end]), "x")
    except DataError as error:
        assert str(error).startswith("x")  # noqa: PT017
    else:
        assert image.shape == (16, 16, 3)


def ramp(kind="RGB", **options):
    """A JPEG without a grey corner."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(64) * 3, np.arange(64)[:, None] * 3
    return encode(Image.fromarray(pixels).convert(kind), "JPEG", quality=95, **options)


def cut_jpeg(data, share):
    """The JPEG without the last part of what follows its head, but with an end marker."""
    start = data.index(b"\xff\xda") + 14
    return data[: start + int(share * (len(data) - start))] + b"\xff\xd9"


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("kind", ["RGB", "L"])
@pytest.mark.parametrize("options", [{}, {"restart_marker_rows": 1}])
def test_check_not_cut__an_end_marker_does_not_make_a_cut_jpeg_whole(share, kind, options):
    data = ramp(kind, **options)
    cut = cut_jpeg(data, share)
    assert "breaks off, although it has an end marker" in refused(cut)
    assert "breaks off" in refused(cut, formats=("JPEG",))


@pytest.mark.parametrize("kind", ["RGB", "L"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("size", [(40, 40), (41, 33)])
def test_check_not_cut__a_whole_jpeg_may_end_in_grey(kind, progressive, size):
    data = encode(Image.new(kind, size, (128,) * len(kind) if kind == "RGB" else 128), "JPEG")
    assert decode_picture(recipe(), data, "x").changes in (
        *((), ("grey to RGB",), ("cut to a square",), ("grey to RGB", "cut to a square")),
    )
    assert done(ramp(kind, progressive=progressive))[1] in ((), ("grey to RGB",))


@pytest.mark.parametrize("share", [0.5, 0.6, 0.7])
def test_check_not_cut__a_progressive_jpeg_without_its_last_scans_is_told(share):
    data = ramp(progressive=True)
    assert done(cut_jpeg(data, share))[1] == ("JPEG without its last scans, so perhaps cut",)
    assert done(data)[1] == ()


def test_decode_picture__reads_a_png_with_much_text():
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "x" * 2_000_000, zip=True)
    assert done(encode(plain("RGB", (1, 2, 3)), pnginfo=text)) == ([1, 2, 3], ())


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_decoded_bytes__of_large_pictures_is_known_from_the_header(kind):
    noise = np.random.default_rng(0).integers(0, 256, (400, 500, 3), dtype=np.uint8)
    assert decoded_bytes(encode(Image.fromarray(noise), kind, quality=100)) == 400 * 500 * 8
    assert decoded_bytes(encode(plain("RGB", 0), kind)) == 0
    assert decoded_bytes(noise) == 2 * noise.nbytes
    assert decoded_bytes(b"x" * 10**6) == decoded_bytes(DataError("bad")) == 0
