"""Pictures: colours come back, images lie where they should, files are whole."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.full_disk import full_disk
from PIL import Image

from gan.model.step import to_float
from gan.runtime.pictures import enlarge_pictures, make_grid, resize_picture, to_uint8, write_png

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 255, (5, 12, 10, 3), dtype=np.uint8)  # No pure white: that is padding.


def test_to_uint8__all_256_values_come_back():
    images = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    np.testing.assert_array_equal(to_uint8(to_float(jnp.asarray(images))), images)


def test_to_uint8__what_is_no_colour_becomes_the_nearest_one():
    values = np.array([-7.0, -1.0, -0.999, 0.0, 0.999, 1.0, 7.0], np.float32)
    images = values.repeat(3).reshape(7, 1, 1, 3)
    assert to_uint8(images)[:, 0, 0, 0].tolist() == [0, 0, 0, 128, 255, 255, 255]


@pytest.mark.parametrize("columns", [1, 2, 3, 5, 7])
def test_make_grid__images_lie_row_by_row_and_the_rest_is_white(columns):
    sheet = make_grid(IMAGES, columns)
    rows = -(-5 // columns)
    assert sheet.shape == (12 * rows, 10 * columns, 3)
    for place in range(rows * columns):
        row, column = divmod(place, columns)
        cell = sheet[12 * row : 12 * (row + 1), 10 * column : 10 * (column + 1)]
        expected = IMAGES[place] if place < 5 else np.full_like(IMAGES[0], 255)
        np.testing.assert_array_equal(cell, expected)


def test_make_grid__labels_widen_it_on_its_left_only():
    plain = make_grid(IMAGES, 2)
    for labels in (["a", "b", "c"], ["Smiling", "Wearing_Necklace", "Male"]):
        labelled = make_grid(IMAGES, 2, labels)
        assert labelled.shape[0] == plain.shape[0]
        assert labelled.shape[1] > plain.shape[1]
        np.testing.assert_array_equal(labelled[:, -plain.shape[1] :], plain)


def test_make_grid__a_label_stands_beside_its_row_and_whole():
    def ink(labels):
        return make_grid(IMAGES, 2, labels)[:, : -2 * IMAGES.shape[2]].min(axis=-1) < 255

    for row in range(3):
        dark = ink(["Wearing_Necklace" if i == row else "" for i in range(3)])
        assert set(np.flatnonzero(dark.any(axis=1)) // 12) == {row}
        assert not dark[:, [0, -1]].any()  # Not cut off.
    assert not ink(["", "", ""]).any()


def test_resize_picture__keeps_flat_colours_and_what_already_fits():
    flat = np.full((20, 20, 3), (10, 120, 250), np.uint8)
    for size in (7, 20, 33):
        np.testing.assert_array_equal(
            resize_picture(flat, size), np.full((size, size, 3), flat[0, 0])
        )
    np.testing.assert_array_equal(resize_picture(IMAGES[0, :10], 10), IMAGES[0, :10])


def test_write_png__comes_back_and_nothing_else_stays(tmp_path):
    path = tmp_path / "new" / "folder" / "faces.png"
    for image in IMAGES[:2]:  # The second over the first.
        write_png(path, image)
        with Image.open(path) as file:
            assert file.format == "PNG"
            np.testing.assert_array_equal(np.asarray(file), image)
        assert [*path.parent.iterdir()] == [path]


def test_write_png__leaves_the_old_picture_where_the_disk_is_full(tmp_path):
    path = tmp_path / "faces.png"
    write_png(path, IMAGES[0])
    before = path.read_bytes()
    with pytest.raises(OSError, match="too large"), full_disk():
        write_png(path, IMAGES[1])
    assert path.read_bytes() == before
    assert [*tmp_path.glob("*.png")] == [path]


@pytest.mark.parametrize(
    ("shape", "times"), [((8, 8), 8), ((32, 32), 2), ((33, 40), 2), ((64, 64), 1), ((100, 70), 1)]
)
def test_enlarge_pictures__repeats_pixels_until_both_sides_have_64(shape, times):
    images = RNG.integers(0, 256, (2, *shape, 3), dtype=np.uint8)
    enlarged = enlarge_pictures(images)
    assert min(enlarged.shape[1:3]) >= 64
    for i in range(times):
        for j in range(times):
            np.testing.assert_array_equal(enlarged[:, i::times, j::times], images)
    np.testing.assert_array_equal(enlarge_pictures(images[0]), enlarged[0])
