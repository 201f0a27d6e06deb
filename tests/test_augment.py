"""Augmentations: exact where the grid allows it, within their range, as often as asked."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan.augment import WARPS, compose, flip, rotate, scale, translate, warp

SIDE = 9


def picture(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape), jnp.float32)


IMAGE = picture(SIDE, SIDE, 3)
AMOUNTS = {"rotate": 20.0, "scale": 0.3, "translate": 0.2}
see = jax.jit(warp)


def keys(num: int) -> jax.Array:
    return jax.random.split(jax.random.key(1), num)


def affine(linear=((1.0, 0.0), (0.0, 1.0)), shift=(0.0, 0.0)) -> jax.Array:
    return jnp.eye(3).at[:2, :2].set(jnp.array(linear)).at[:2, 2].set(jnp.array(shift))


@functools.cache
def matrices(name: str, largest: float, side: int) -> np.ndarray:
    draw = jax.jit(jax.vmap(lambda key: WARPS[name](key, largest, side)))
    return np.asarray(draw(keys(500)))


@functools.cache
def flipped() -> np.ndarray:
    return np.asarray(jax.vmap(flip, (0, None))(keys(1_000), IMAGE))


def test_flip_gives_the_image_or_its_exact_mirror():
    same = (flipped() == np.asarray(IMAGE)).all(axis=(1, 2, 3))
    mirrored = (flipped() == np.asarray(IMAGE)[:, ::-1]).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all()


def test_flip_mirrors_half_of_the_images():
    mirrored = (flipped() != np.asarray(IMAGE)).any(axis=(1, 2, 3))
    assert 0.44 < mirrored.mean() < 0.56  # Four standard deviations of 1000 coins.


def test_flip_twice_with_one_key_is_the_image():
    for key in keys(4):
        np.testing.assert_array_equal(flip(key, flip(key, IMAGE)), IMAGE)


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
    total = lambda image: see(image, affine(shift=(0.3, -0.6))).sum()  # noqa: E731
    inside = slice(2, -2)
    gradient = jax.grad(total)(IMAGE)
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


@pytest.mark.parametrize("largest", [0.2, 1.0])
def test_scales_are_even_in_the_logarithm(largest):
    drawn = matrices("scale", largest, 16)
    factor = np.log2(drawn[:, 0, 0])
    assert covers(factor, largest)
    assert abs(factor.mean()) < 4 * largest / 3**0.5 / 500**0.5
    diagonal = np.stack([drawn[:, 0, 0], drawn[:, 0, 0], np.ones(500)], -1)
    np.testing.assert_array_equal(drawn, diagonal[:, None] * np.eye(3))


@pytest.mark.parametrize(("largest", "side"), [(0.125, 16), (0.125, 64), (0.5, 16)])
def test_translations_are_a_share_of_the_side_along_each_axis_by_itself(largest, side):
    drawn = matrices("translate", largest, side)
    assert covers(drawn[:, 0, 2], largest * side)
    assert covers(drawn[:, 1, 2], largest * side)
    assert abs(np.corrcoef(drawn[:, 0, 2], drawn[:, 1, 2])[0, 1]) < 0.2
    np.testing.assert_array_equal(drawn[:, :2, :2], np.eye(2)[None].repeat(500, 0))


@pytest.mark.parametrize("draw", [rotate, scale, translate])
def test_transformations_are_maps_of_positions(draw):
    np.testing.assert_array_equal(draw(jax.random.key(0), 0.5, 16)[2], [0, 0, 1])


def test_nothing_to_do_is_none():
    assert compose({}, 0.5) is None
    assert compose(dict.fromkeys(AMOUNTS, 0.0), 0.5) is None
    assert compose(AMOUNTS, 0.0) is None
    assert compose({"rotate": 0.0, "scale": 0.1}, 0.5) is not None


@functools.cache
def augmented(probability: float) -> np.ndarray:
    """The picture under 2000 keys, all three transformations on."""
    augment = compose(AMOUNTS, probability)
    return np.asarray(jax.jit(jax.vmap(augment, (0, None)))(keys(2_000), IMAGE))


@pytest.mark.parametrize("probability", [0.3, 1.0])
def test_an_image_is_untouched_if_all_three_coins_fail(probability):
    seen, expected = augmented(probability), (1 - probability) ** 3
    untouched = (seen == np.asarray(IMAGE)).all(axis=(1, 2, 3)).mean()
    assert abs(untouched - expected) <= 4 * (expected * (1 - expected) / len(seen)) ** 0.5


def test_an_example_does_not_depend_on_its_batch():
    alone = jax.jit(compose(AMOUNTS, 1.0))
    for i in (0, 3, 1_999):
        np.testing.assert_allclose(alone(keys(2_000)[i], IMAGE), augmented(1.0)[i], atol=1e-5)


def test_what_is_turned_off_does_not_move_what_is_on():
    off, on = compose({"rotate": 0.0, "scale": 0.3}, 1.0), compose({"scale": 0.3}, 1.0)
    np.testing.assert_array_equal(off(jax.random.key(0), IMAGE), on(jax.random.key(0), IMAGE))


def test_each_transformation_draws_an_amount_of_its_own(monkeypatch):
    drawn = {}

    def record(name):
        def step(key, amount, side):
            drawn[name] = float(jax.random.uniform(key))
            return jnp.eye(3)

        return step

    for name in AMOUNTS:
        monkeypatch.setitem(WARPS, name, record(name))
    compose(AMOUNTS, 1.0)(jax.random.key(0), IMAGE)
    assert len(set(drawn.values())) == 3
