import io
from functools import partial

import pytest
from helpers.small_celeba import picture
from PIL import Image

from gan.data.readers.celeba_files import (
    is_aligned,
    measure_aligned,
    measure_jpeg,
    open_header,
    take_first_good,
)
from gan.errors import DataError


def png():
    file = io.BytesIO()
    Image.new("RGB", (4, 3)).save(file, "PNG")
    return file.getvalue()


def test_measure_jpeg__sizes_come_from_the_header():
    assert measure_jpeg(picture(0, 109, 89)[:700], "a.jpg") == (109, 89)


def test_measure_aligned__names_a_picture_of_another_frame():
    assert measure_aligned(picture(0, 109, 89), "a.jpg") == (109, 89)
    with pytest.raises(DataError, match=r"^a\.jpg is 80 x 109; aligned pictures are 178 x 218"):
        measure_aligned(picture(0, 109, 80), "a.jpg")


@pytest.mark.parametrize(
    ("height", "width", "fits"),
    [(218, 178, True), (109, 89, True), (872, 712, True), (178, 218, False), (1090, 890, False)],
)
def test_is_aligned__the_frame_and_others_in_proportion(height, width, fits):
    assert is_aligned(height, width) == fits


def test_open_header__knows_format_and_size_or_names_the_picture():
    assert open_header(png(), "a", ("JPEG", "PNG")).format == "PNG"
    assert open_header(png(), "a", ("JPEG", "PNG")).size == (4, 3)
    with pytest.raises(DataError, match=r"^a is not a JPEG file .*beginning with b'\\x89PNG"):
        open_header(png(), "a", ("JPEG",))
    with pytest.raises(
        DataError, match="^a is not a JPEG or PNG file with a whole header: 0 bytes"
    ):
        open_header(b"", "a", ("JPEG", "PNG"))
    with pytest.raises(DataError, match="^lost$"):
        open_header(DataError("lost"), "a", ("JPEG",))


def look(result):
    if isinstance(result, str):
        raise DataError(result)
    return result


@pytest.mark.parametrize(
    ("results", "on_bad", "expected"),
    [
        ([1, 2], "error", 1),
        (["bad", 2], "error", "bad"),
        (["bad", "worse", 3, 4], "skip", 3),
        (["bad", "worse"], "skip", "bad"),
        ([], "skip", "nothing there"),
        ([], "error", "nothing there"),
    ],
)
def test_take_first_good__skips_only_if_it_may(results, on_bad, expected):
    looks = (partial(look, result) for result in results)
    if isinstance(expected, int):
        assert take_first_good(looks, on_bad, "nothing there") == expected
        return
    with pytest.raises(DataError, match=f"^{expected}$"):
        take_first_good(looks, on_bad, "nothing there")
