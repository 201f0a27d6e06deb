"""Augmentations: exact where the grid allows it, within their range, as often as asked."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan.config import Augment
from gan.model.augment import WARPS, compose, draw_matrix, flip, warp

SIDE = 9


def picture(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape), jnp.float32)


IMAGE = picture(SIDE, SIDE, 3)
AMOUNTS = {"rotate": 20.0, "scale": 0.3, "translate": 0.2}
# Compiling is what takes the time here: the random bits alone are seconds when optimised.
compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
see, mirror = compiled(warp), compiled(flip)


def keys(num: int) -> jax.Array:
    return jax.random.split(jax.random.key(1), num)


def affine(linear=((1.0, 0.0), (0.0, 1.0)), shift=(0.0, 0.0)) -> jax.Array:
    return jnp.eye(3).at[:2, :2].set(jnp.array(linear)).at[:2, 2].set(jnp.array(shift))


@functools.cache
def matrices(name: str, largest: float, side: int) -> np.ndarray:
    draw = compiled(jax.vmap(lambda key: WARPS[name](key, largest, side)))
    return np.asarray(draw(keys(500)))


@functools.cache
def flipped() -> np.ndarray:
    return np.asarray(compiled(jax.vmap(flip, (0, None)))(keys(1_000), IMAGE))


def test_flip__gives_the_image_or_its_exact_mirror():
    same = (flipped() == np.asarray(IMAGE)).all(axis=(1, 2, 3))
    mirrored = (flipped() == np.asarray(IMAGE)[:, ::-1]).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all()


def test_flip__mirrors_half_of_the_images():
    mirrored = (flipped() != np.asarray(IMAGE)).any(axis=(1, 2, 3))
    assert 0.44 < mirrored.mean() < 0.56  # Four standard deviations of 1000 coins.


def test_flip__twice_with_one_key_is_the_image():
    for key in keys(4):
        np.testing.assert_array_equal(mirror(key, mirror(key, IMAGE)), IMAGE)


@pytest.mark.parametrize("shape", [(9, 9, 3), (8, 8, 3), (6, 11, 3)])
def test_warp__identity_leaves_every_bit(shape):
    image = picture(*shape)
    np.testing.assert_array_equal(see(image, jnp.eye(3)), image)


@pytest.mark.parametrize("side", [8, 9])
def test_warp__quarter_turn_is_exact(side):
    image = picture(side, side, 3)
    turned = see(image, affine(((0.0, -1.0), (1.0, 0.0))))
    np.testing.assert_array_equal(turned, np.rot90(image, -1))


@pytest.mark.parametrize("shift", [(2, 0), (0, -1), (-3, 2)])
def test_warp__shifts_whole_pixels_exactly_with_a_mirror_at_the_border(shift):
    moved = see(IMAGE, affine(shift=[float(x) for x in shift]))
    around = np.pad(IMAGE, ((3, 3), (3, 3), (0, 0)), mode="reflect")
    row, column = 3 + shift[0], 3 + shift[1]
    np.testing.assert_array_equal(moved, around[row : row + SIDE, column : column + SIDE])


def test_warp__half_a_pixel_is_the_mean_of_two_neighbours():
    moved = see(IMAGE, affine(shift=(0.0, 0.5)))
    np.testing.assert_allclose(moved[:, :-1], (IMAGE[:, :-1] + IMAGE[:, 1:]) / 2, atol=1e-6)


def test_warp__magnifying_twice_doubles_the_distance_from_the_centre():
    larger = see(IMAGE, affine(((0.5, 0.0), (0.0, 0.5))))
    np.testing.assert_allclose(larger[::2, ::2], IMAGE[2:7, 2:7], atol=1e-6)


@pytest.mark.parametrize("name", ["rotate", "scale"])
def test_warp__rotation_and_scale_keep_the_centre(name):
    centre = SIDE // 2
    for matrix in matrices(name, AMOUNTS[name], SIDE)[:5]:
        seen = see(IMAGE, jnp.asarray(matrix))
        np.testing.assert_allclose(seen[centre, centre], IMAGE[centre, centre], atol=1e-5)
        assert np.abs(seen - IMAGE).max() > 1e-2


def test_warp__ramp_stays_a_ramp_under_any_affine_map():
    # Bilinear sampling is exact where the picture is linear, so positions can be read off.
    rows, columns = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    ramps = jnp.asarray(np.stack([rows, columns, 0 * rows], -1), jnp.float32)
    matrix = affine(((0.9, 0.2), (-0.3, 0.8)), (0.4, -0.3))
    inside = slice(2, -2)
    positions = np.stack([rows, columns, np.ones_like(rows)], -1)
    expected = (positions @ np.asarray(matrix).T)[inside, inside, :2]
    actual = see(ramps, matrix)[inside, inside, :2]
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_warp__gradient_in_the_image_spreads_each_pixel_once():
    total = lambda image: warp(image, affine(shift=(0.3, -0.6))).sum()  # noqa: E731
    inside = slice(2, -2)
    gradient = compiled(jax.grad(total))(IMAGE)
    np.testing.assert_allclose(gradient[inside, inside], 1, atol=1e-6)
    np.testing.assert_allclose(gradient.sum(), IMAGE.size, rtol=1e-5)


def covers(values: np.ndarray, largest: float) -> bool:
    """Whether these lie within +-largest and reach close to both ends."""
    return (
        np.abs(values).max() <= largest * (1 + 1e-5)
        and values.max() > 0.95 * largest
        and values.min() < -0.95 * largest
    )


@pytest.mark.parametrize("largest", [5.0, 90.0])
def test_rotate__turns_by_up_to_the_largest_angle_either_way(largest):
    drawn = matrices("rotate", largest, 16)
    turn = drawn[:, :2, :2]
    np.testing.assert_allclose(
        turn @ turn.swapaxes(1, 2), np.eye(2)[None].repeat(500, 0), atol=1e-5
    )
    np.testing.assert_allclose(np.linalg.det(turn), 1, atol=1e-5)
    assert covers(np.rad2deg(np.arctan2(turn[:, 1, 0], turn[:, 0, 0])), largest)
    np.testing.assert_array_equal(drawn[:, :2, 2], 0)
    np.testing.assert_array_equal(drawn[:, 2], np.array([[0, 0, 1]]).repeat(500, 0))


@pytest.mark.parametrize("largest", [0.2, 1.0])
def test_scale__is_even_in_the_logarithm(largest):
    drawn = matrices("scale", largest, 16)
    factor = np.log2(drawn[:, 0, 0])
    assert covers(factor, largest)
    assert abs(factor.mean()) < 4 * largest / 3**0.5 / 500**0.5
    diagonal = np.stack([drawn[:, 0, 0], drawn[:, 0, 0], np.ones(500)], -1)
    np.testing.assert_array_equal(drawn, diagonal[:, None] * np.eye(3))


@pytest.mark.parametrize(("largest", "side"), [(0.125, 16), (0.5, 64)])
def test_translate__is_a_share_of_the_side_along_each_axis_by_itself(largest, side):
    drawn = matrices("translate", largest, side)
    assert covers(drawn[:, 0, 2], largest * side)
    assert covers(drawn[:, 1, 2], largest * side)
    assert abs(np.corrcoef(drawn[:, 0, 2], drawn[:, 1, 2])[0, 1]) < 0.2
    np.testing.assert_array_equal(drawn[:, :2, :2], np.eye(2)[None].repeat(500, 0))
    np.testing.assert_array_equal(drawn[:, 2], np.array([[0, 0, 1]]).repeat(500, 0))


def test_compose__nothing_to_do_is_none():
    assert compose(Augment()) is None
    assert compose(Augment(**AMOUNTS, probability=0.0)) is None
    assert compose(Augment(scale=0.1)) is not None
    assert compose(Augment(contrast=0.1)) is not None
    assert compose(Augment(**AMOUNTS, probability=0.0, probability_end=0.1)) is not None


def draw(amounts: dict[str, float], probability: float, chosen: jax.Array) -> np.ndarray:
    """The matrices that an image would be warped by, one for each key."""
    matrix = lambda key: draw_matrix(amounts, key, 3, probability)  # noqa: E731
    return np.asarray(compiled(jax.vmap(matrix))(chosen))


@functools.cache
def composed(probability: float) -> np.ndarray:
    return draw(AMOUNTS, probability, keys(2_000))


def amounts_of(composition: np.ndarray) -> np.ndarray:
    """Angle, magnification and the two shifts [4 n]; rotation, scale, then translation."""
    linear = composition[:, :2, :2]
    shift = np.linalg.solve(linear, composition[:, :2, 2:])[..., 0]
    return np.stack([np.arctan2(linear[:, 1, 0], linear[:, 0, 0]), np.linalg.det(linear), *shift.T])


@pytest.mark.parametrize("probability", [0.3, 1.0])
def test_compose__leaves_an_image_untouched_if_all_coins_fail(probability):
    expected, drawn = (1 - probability) ** 3, composed(probability)
    untouched = (drawn == np.eye(3)).all(axis=(1, 2)).mean()
    assert abs(untouched - expected) <= 4 * (expected * (1 - expected) / len(drawn)) ** 0.5


def test_compose__each_transformation_has_a_coin_of_its_own():
    angle, magnification, shift, _ = amounts_of(composed(0.3))
    coins = np.abs([angle, magnification - 1, shift]) > 1e-5
    tolerance = 4 / coins.shape[1] ** 0.5
    np.testing.assert_allclose(coins.mean(axis=1), 0.3, atol=tolerance / 2)
    np.testing.assert_allclose(np.corrcoef(coins), np.eye(3), atol=tolerance)


def test_compose__each_transformation_draws_an_amount_of_its_own():
    amounts = amounts_of(composed(1.0))
    np.testing.assert_allclose(np.corrcoef(amounts), np.eye(4), atol=4 / amounts.shape[1] ** 0.5)


def test_compose__what_is_turned_off_does_not_move_what_is_on():
    drawn = draw({"scale": 0.3}, 1.0, keys(9))
    augment = compose(Augment(scale=0.3, contrast=0.2))
    only = compose(Augment(rotate=0.0, scale=0.3))
    both = compiled(jax.vmap(lambda key: (augment(key, IMAGE, 0.0), only(key, IMAGE, 1.0))))
    untouched, scaled = both(keys(9))
    np.testing.assert_allclose(untouched, np.broadcast_to(IMAGE, untouched.shape), atol=1e-6)
    expected = compiled(jax.vmap(warp, (None, 0)))(IMAGE, drawn)
    np.testing.assert_allclose(scaled, expected, atol=1e-5)
    assert (drawn[:, 0, 0] != 1).all()


def test_compose__example_does_not_depend_on_its_batch():
    augment, chosen = compose(Augment(**AMOUNTS, brightness=0.3)), keys(6)
    draw = lambda key, image: augment(key, image, 0.7)  # noqa: E731
    images = np.stack([IMAGE * np.float32(i) for i in range(1, 7)])
    together, alone = compiled(jax.vmap(draw))(chosen, images), compiled(draw)
    for i in (0, 2, 5):
        np.testing.assert_allclose(together[i], alone(chosen[i], jnp.asarray(images[i])), atol=1e-4)
    assert np.abs(together - images).max() > 0.1


@functools.cache
def coloured(name: str) -> np.ndarray:
    augment = compose(Augment(**{name: 0.5}))
    return np.asarray(compiled(jax.vmap(lambda key: augment(key, IMAGE, 0.5)))(keys(1_000)))


def test_brightness__adds_one_number_within_its_range_to_half_of_the_images():
    change = coloured("brightness") - np.asarray(IMAGE)
    np.testing.assert_allclose(change.std(axis=(1, 2, 3)), 0, atol=1e-6)
    shifts = change.mean(axis=(1, 2, 3))
    assert -0.5 <= shifts.min() < -0.45
    assert 0.45 < shifts.max() <= 0.5
    assert 0.44 < (np.abs(shifts) > 1e-5).mean() < 0.56


def test_contrast__multiplies_all_by_one_factor_within_its_range():
    image = np.asarray(IMAGE)
    factors = (coloured("contrast") * image).sum((1, 2, 3)) / (image**2).sum()
    expected = factors[:, None, None, None] * image
    np.testing.assert_allclose(coloured("contrast"), expected, atol=1e-5)
    logarithms = np.log2(factors)
    assert -0.5 <= logarithms.min() < -0.45
    assert 0.45 < logarithms.max() <= 0.5
