"""Augmentations: exact where the grid allows it, within their range, as often as asked."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan.model import augment
from gan.model.augment import WARPS, compose, flip, warp

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


def test_flip_gives_the_image_or_its_exact_mirror():
    same = (flipped() == np.asarray(IMAGE)).all(axis=(1, 2, 3))
    mirrored = (flipped() == np.asarray(IMAGE)[:, ::-1]).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all()


def test_flip_mirrors_half_of_the_images():
    mirrored = (flipped() != np.asarray(IMAGE)).any(axis=(1, 2, 3))
    assert 0.44 < mirrored.mean() < 0.56  # Four standard deviations of 1000 coins.


def test_flip_twice_with_one_key_is_the_image():
    for key in keys(4):
        np.testing.assert_array_equal(mirror(key, mirror(key, IMAGE)), IMAGE)


@pytest.mark.parametrize("shape", [(9, 9, 3), (8, 8, 3), (6, 11, 3)])
def test_identity_leaves_every_bit(shape):
    image = picture(*shape)
    np.testing.assert_array_equal(see(image, jnp.eye(3)), image)


@pytest.mark.parametrize("side", [8, 9])
def test_a_quarter_turn_is_exact(side):
    image = picture(side, side, 3)
    turned = see(image, affine(((0.0, -1.0), (1.0, 0.0))))
    np.testing.assert_array_equal(turned, np.rot90(image, -1))


@pytest.mark.parametrize("shift", [(2, 0), (0, -1), (-3, 2)])
def test_whole_pixels_shift_exactly_with_a_mirror_at_the_border(shift):
    moved = see(IMAGE, affine(shift=[float(x) for x in shift]))
    around = np.pad(IMAGE, ((3, 3), (3, 3), (0, 0)), mode="reflect")
    row, column = 3 + shift[0], 3 + shift[1]
    np.testing.assert_array_equal(moved, around[row : row + SIDE, column : column + SIDE])


def test_half_a_pixel_is_the_mean_of_two_neighbours():
    moved = see(IMAGE, affine(shift=(0.0, 0.5)))
    np.testing.assert_allclose(moved[:, :-1], (IMAGE[:, :-1] + IMAGE[:, 1:]) / 2, atol=1e-6)


def test_magnifying_twice_doubles_the_distance_from_the_centre():
    larger = see(IMAGE, affine(((0.5, 0.0), (0.0, 0.5))))
    np.testing.assert_allclose(larger[::2, ::2], IMAGE[2:7, 2:7], atol=1e-6)


@pytest.mark.parametrize("name", ["rotate", "scale"])
def test_rotation_and_scale_keep_the_centre(name):
    centre = SIDE // 2
    for matrix in matrices(name, AMOUNTS[name], SIDE)[:5]:
        seen = see(IMAGE, jnp.asarray(matrix))
        np.testing.assert_allclose(seen[centre, centre], IMAGE[centre, centre], atol=1e-5)
        assert np.abs(seen - IMAGE).max() > 1e-2


def test_a_ramp_stays_a_ramp_under_any_affine_map():
    # Bilinear sampling is exact where the picture is linear, so positions can be read off.
    rows, columns = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    ramps = jnp.asarray(np.stack([rows, columns, 0 * rows], -1), jnp.float32)
    matrix = affine(((0.9, 0.2), (-0.3, 0.8)), (0.4, -0.3))
    inside = slice(2, -2)
    positions = np.stack([rows, columns, np.ones_like(rows)], -1)
    expected = (positions @ np.asarray(matrix).T)[inside, inside, :2]
    actual = see(ramps, matrix)[inside, inside, :2]
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_gradient_in_the_image_spreads_each_pixel_once():
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
def test_rotations_turn_by_up_to_the_largest_angle_either_way(largest):
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
def test_scales_are_even_in_the_logarithm(largest):
    drawn = matrices("scale", largest, 16)
    factor = np.log2(drawn[:, 0, 0])
    assert covers(factor, largest)
    assert abs(factor.mean()) < 4 * largest / 3**0.5 / 500**0.5
    diagonal = np.stack([drawn[:, 0, 0], drawn[:, 0, 0], np.ones(500)], -1)
    np.testing.assert_array_equal(drawn, diagonal[:, None] * np.eye(3))


@pytest.mark.parametrize(("largest", "side"), [(0.125, 16), (0.5, 64)])
def test_translations_are_a_share_of_the_side_along_each_axis_by_itself(largest, side):
    drawn = matrices("translate", largest, side)
    assert covers(drawn[:, 0, 2], largest * side)
    assert covers(drawn[:, 1, 2], largest * side)
    assert abs(np.corrcoef(drawn[:, 0, 2], drawn[:, 1, 2])[0, 1]) < 0.2
    np.testing.assert_array_equal(drawn[:, :2, :2], np.eye(2)[None].repeat(500, 0))
    np.testing.assert_array_equal(drawn[:, 2], np.array([[0, 0, 1]]).repeat(500, 0))


def test_nothing_to_do_is_none():
    assert compose({}, 0.5) is None
    assert compose(dict.fromkeys(AMOUNTS, 0.0), 0.5) is None
    assert compose(AMOUNTS, 0.0) is None
    assert compose({"rotate": 0.0, "scale": 0.1}, 0.5) is not None


def seen_through(augmentation, chosen: jax.Array) -> np.ndarray:
    """The matrices that a composed augmentation would warp by, one for each key."""
    canvas = jnp.zeros((3, 3, 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(augment, "warp", lambda image, matrix: matrix[:, :, None])
        return np.asarray(compiled(jax.vmap(augmentation, (0, None)))(chosen, canvas))[..., 0]


@functools.cache
def composed(probability: float) -> np.ndarray:
    return seen_through(compose(AMOUNTS, probability), keys(2_000))


def amounts_of(composition: np.ndarray) -> np.ndarray:
    """Angle, magnification and the two shifts [4 n]; rotation, scale, then translation."""
    linear = composition[:, :2, :2]
    shift = np.linalg.solve(linear, composition[:, :2, 2:])[..., 0]
    return np.stack([np.arctan2(linear[:, 1, 0], linear[:, 0, 0]), np.linalg.det(linear), *shift.T])


@pytest.mark.parametrize("probability", [0.3, 1.0])
def test_an_image_is_untouched_if_all_three_coins_fail(probability):
    expected, drawn = (1 - probability) ** 3, composed(probability)
    untouched = (drawn == np.eye(3)).all(axis=(1, 2)).mean()
    assert abs(untouched - expected) <= 4 * (expected * (1 - expected) / len(drawn)) ** 0.5


def test_each_transformation_has_a_coin_of_its_own():
    angle, magnification, shift, _ = amounts_of(composed(0.3))
    coins = np.abs([angle, magnification - 1, shift]) > 1e-5
    tolerance = 4 / coins.shape[1] ** 0.5
    np.testing.assert_allclose(coins.mean(axis=1), 0.3, atol=tolerance / 2)
    np.testing.assert_allclose(np.corrcoef(coins), np.eye(3), atol=tolerance)


def test_each_transformation_draws_an_amount_of_its_own():
    amounts = amounts_of(composed(1.0))
    np.testing.assert_allclose(np.corrcoef(amounts), np.eye(4), atol=4 / amounts.shape[1] ** 0.5)


def test_what_is_turned_off_does_not_move_what_is_on():
    off, on = (compose(x, 1.0) for x in ({"rotate": 0.0, "scale": 0.3}, {"scale": 0.3}))
    np.testing.assert_array_equal(seen_through(off, keys(9)), seen_through(on, keys(9)))
    assert (seen_through(on, keys(9))[:, 0, 0] != 1).all()


def test_an_example_does_not_depend_on_its_batch():
    draw, chosen = compose(AMOUNTS, 0.7), keys(6)
    images = np.stack([IMAGE * np.float32(i) for i in range(1, 7)])
    together, alone = compiled(jax.vmap(draw))(chosen, images), compiled(draw)
    for i in (0, 2, 5):
        np.testing.assert_allclose(together[i], alone(chosen[i], jnp.asarray(images[i])), atol=1e-4)
    assert np.abs(together - images).max() > 0.1
