"""Convolutions: each formulation is the plain one, and so are its derivatives, to second order."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from gan.model.networks import convolution, winograd
from gan.model.networks.convolution import down, filter_gradient, up
from gan.runtime.parallel import AXIS, Parallel

LAYOUT = ("NHWC", "HWIO", "NHWC")


def plain_down(x, w):
    return lax.conv_general_dilated(x, w, (2, 2), ((1, 1), (1, 1)), dimension_numbers=LAYOUT)


def plain_up(g, w):
    flipped = jnp.flip(w, (0, 1)).swapaxes(2, 3)
    return lax.conv_general_dilated(
        g, flipped, (1, 1), ((2, 2), (2, 2)), lhs_dilation=(2, 2), dimension_numbers=LAYOUT
    )


def correlation(x, g):
    """Correlates x with g, whose pixels are two apart in x, and sums over the batch."""
    layout = ("CHWN", "IHWO", "HWNC")
    return lax.conv_general_dilated(
        x, g, (1, 1), ((1, 1), (1, 1)), rhs_dilation=(2, 2), dimension_numbers=layout
    )


# Compiling is what takes the time here.
compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
CASES = {
    "down": (down, plain_down, ("large", "filter")),
    "up": (up, plain_up, ("small", "filter")),
    "filter_gradient": (filter_gradient, correlation, ("large", "small")),
}
FORMULATIONS = [
    (convolution.subpixel_up, "up"),
    *((getattr(winograd, name), name) for name in CASES),
    *((getattr(convolution, f"plain_{name}"), name) for name in CASES),
]
MANY = convolution.MIN_CHANNELS


def arrays(shape: tuple[int, int, int, int], dtype: type = np.float64) -> dict[str, jax.Array]:
    """Draws images and a filter: `shape` is height and width of the large one, both channels."""
    h, v, c, o = shape
    rng = np.random.default_rng(0)
    sizes = {"large": (2, h, v, c), "small": (2, h // 2, v // 2, o), "filter": (4, 4, c, o)}
    return {name: jnp.asarray(rng.standard_normal(size), dtype) for name, size in sizes.items()}


def derivatives(function):
    """The first ones in both arguments, and those of their squared norm (as in R1)."""

    def energy(a, b):  # Not linear in the output, or its gradient would be a constant.
        return jnp.sum(jnp.sin(function(a, b)))

    def squared_norm(a, b):
        first = jax.grad(energy, (0, 1))(a, b)
        return sum(jnp.sum(gradient**2) for gradient in first), first

    return compiled(jax.grad(squared_norm, (0, 1), has_aux=True))


def assert_same(actual, expected):
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.dtype == jnp.float64
        assert np.abs(b).max() > 0.1
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10 * np.abs(b).max())


@pytest.mark.parametrize("shape", [(4, 4, 3, 5), (8, 4, 1, 3), (4, 12, 5, 2), (16, 8, 3, 4)])
@pytest.mark.parametrize(("function", "name"), FORMULATIONS)
def test_convolution__each_formulation_is_the_plain_one(function, name, shape):
    _, plain, inputs = CASES[name]
    with jax.enable_x64(True):
        arguments = [arrays(shape)[key] for key in inputs]
        assert_same(function(*arguments), plain(*arguments))


@pytest.mark.parametrize("shape", [(8, 6, 1, 3), (4, 8, MANY, 2), (6, 4, MANY, 2)])
@pytest.mark.parametrize("name", CASES)
def test_convolution__what_is_chosen_is_the_plain_one(name, shape):
    function, plain, inputs = CASES[name]
    with jax.enable_x64(True):
        arguments = [arrays(shape)[key] for key in inputs]
        assert_same(function(*arguments), plain(*arguments))


@pytest.mark.parametrize("shape", [(8, 6, 3, 5), (4, 8, MANY, 2)])
@pytest.mark.parametrize("name", CASES)
def test_convolution__two_orders_of_derivatives_are_those_of_the_plain_ones(name, shape):
    function, plain, inputs = CASES[name]
    with jax.enable_x64(True):
        arguments = [arrays(shape)[key] for key in inputs]
        assert_same(derivatives(function)(*arguments), derivatives(plain)(*arguments))


@pytest.mark.parametrize("name", CASES)
def test_convolution__bfloat16_stays_bfloat16_and_is_right_to_its_digits(name):
    function, plain, inputs = CASES[name]
    arguments = [arrays((8, 8, MANY, 4), jnp.bfloat16)[key] for key in inputs]
    actual, expected = function(*arguments), plain(*arguments)
    assert actual.dtype == jnp.bfloat16
    tolerance = 0.02 * float(jnp.abs(expected).max())
    np.testing.assert_allclose(*(x.astype(np.float32) for x in (actual, expected)), atol=tolerance)


@pytest.mark.parametrize("mode", ["jit", "pmap"])
@pytest.mark.parametrize("channels", [3, MANY])
def test_convolution__several_devices_give_the_numbers_of_one(channels, mode):
    """Tests a gradient too, in which both images are split over the devices, the filter is not."""
    parallel = Parallel.create(mode)
    num = jax.device_count()
    assert num > 1
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2 * num, 8, 8, channels), np.float32)
    w = rng.standard_normal((4, 4, channels, 4), np.float32)

    def gradient(w, x):
        return jax.grad(lambda w: jnp.sum(jnp.sin(up(down(x, w), w))))(w)

    expected = jax.jit(gradient)(w, x)
    if mode == "jit":
        batch, whole = parallel.by_rows, parallel.replicated
        actual = jax.jit(gradient, in_shardings=(whole, batch), out_shardings=whole)(w, x)
    else:
        step = jax.pmap(lambda w, x: lax.psum(gradient(w, x), AXIS), AXIS, in_axes=(None, 0))
        actual = step(w, x.reshape(num, 2, *x.shape[1:]))[0]
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", CASES)
def test_convolution__rounding_is_that_of_a_convolution(name):
    """Allows in float32 a few times the error of XLA's own."""
    function, plain, inputs = CASES[name]
    arguments = [arrays((16, 16, MANY, 128), np.float32)[key] for key in inputs]
    with jax.enable_x64(True):
        exact = plain(*(a.astype(np.float64) for a in arguments))
        error, usual = (np.abs(f(*arguments) - exact).max() for f in (function, plain))
    assert 0 < error < 4 * usual


def convolutions(function, arguments, platform: str) -> int:
    """How many there are in what `function` is lowered to."""
    text = jax.jit(function).trace(*arguments).lower(lowering_platforms=(platform,)).as_text()
    return text.count("stablehlo.convolution")


@pytest.mark.parametrize("name", CASES)
def test_convolution__the_platform_that_a_program_is_for_chooses(name):
    function, _, inputs = CASES[name]
    numbers = [arrays((8, 8, MANY, 8), np.float32)[key] for key in inputs]
    assert convolutions(function, numbers, "cpu") == 0
    assert convolutions(function, numbers, "cuda") == convolutions(function, numbers, "tpu") == 1
    half = [number.astype(jnp.bfloat16) for number in numbers]  # Sums would lose half its digits.
    few = [arrays((8, 8, 3, 8), np.float32)[key] for key in inputs]
    assert convolutions(function, half, "cpu") == convolutions(function, few, "cpu") == 1


def test_convolution__a_transposed_convolution_multiplies_by_no_zeros_on_a_cpu():
    arguments = [arrays((8, 8, 3, 8), np.float32)[key] for key in ("small", "filter")]
    for platform, dilated in {"cpu": False, "cuda": True}.items():
        lowered = jax.jit(up).trace(*arguments).lower(lowering_platforms=(platform,))
        assert ("lhs_dilate = [2, 2]" in lowered.as_text()) == dilated
