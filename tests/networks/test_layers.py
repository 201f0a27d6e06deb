"""Convolutions: equal to plain ones and to their derivatives, to second order; normalisation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from gan.networks.layers import LAYOUT, NORMS, Down, Norm, Up, down, filter_gradient, up


def plain_down(x, w):
    return lax.conv_general_dilated(x, w, (2, 2), ((1, 1), (1, 1)), dimension_numbers=LAYOUT)


def plain_up(g, w):
    flipped = jnp.flip(w, (0, 1)).swapaxes(2, 3)
    return lax.conv_general_dilated(
        g, flipped, (1, 1), ((2, 2), (2, 2)), lhs_dilation=(2, 2), dimension_numbers=LAYOUT
    )


def plain_filter_gradient(x, g):
    """Correlates x with g, whose pixels are two apart in x; the batch is what is summed over."""
    layout = ("CHWN", "IHWO", "HWNC")
    return lax.conv_general_dilated(
        x, g, (1, 1), ((1, 1), (1, 1)), rhs_dilation=(2, 2), dimension_numbers=layout
    )


# Compiling is what takes the time here.
compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
CASES = {
    "down": (down, plain_down, ("large", "filter")),
    "up": (up, plain_up, ("small", "filter")),
    "filter_gradient": (filter_gradient, plain_filter_gradient, ("large", "small")),
}


def arrays(shape: tuple[int, int, int, int]) -> dict[str, jax.Array]:
    """For height and width of the large image, channels of the large and of the small one."""
    h, v, c, o = shape
    rng = np.random.default_rng(0)
    sizes = {"large": (2, h, v, c), "small": (2, h // 2, v // 2, o), "filter": (4, 4, c, o)}
    return {name: jnp.asarray(rng.standard_normal(size)) for name, size in sizes.items()}


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
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


# `up` is written in one way for CPUs and in another for the rest; both run here.
@pytest.mark.parametrize("backend", ["cpu", "gpu"])
@pytest.mark.parametrize("shape", [(4, 4, 3, 5), (8, 6, 1, 3), (6, 8, 5, 2)])
@pytest.mark.parametrize("name", CASES)
def test_convolutions_are_the_plain_ones(name, shape, backend, monkeypatch):
    function, plain, inputs = CASES[name]
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    with jax.enable_x64(True):
        arguments = [arrays(shape)[key] for key in inputs]
        assert_same(function(*arguments), plain(*arguments))


@pytest.mark.parametrize("name", CASES)
def test_two_orders_of_derivatives_are_those_of_the_plain_ones(name):
    function, plain, inputs = CASES[name]
    with jax.enable_x64(True):
        arguments = [arrays((8, 6, 3, 5))[key] for key in inputs]
        assert_same(derivatives(function)(*arguments), derivatives(plain)(*arguments))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_modules_halve_and_double_the_side_in_their_dtype_with_float32_weights(dtype):
    x = jax.ShapeDtypeStruct((2, 8, 6, 3), jnp.float32)
    for module, side, filter_shape in (
        (Down(5, dtype), (4, 3), (4, 4, 3, 5)),
        (Up(5, dtype), (16, 12), (4, 4, 5, 3)),
    ):
        y, variables = jax.eval_shape(module.init_with_output, jax.random.key(0), x)
        kernel = variables["params"]["kernel"]
        assert (y.shape, y.dtype) == ((2, *side, 5), dtype)
        assert (kernel.shape, kernel.dtype) == (filter_shape, jnp.float32)


def test_weights_start_with_a_deviation_of_two_hundredths():
    modules, x = (Down(8, jnp.float32), Up(8, jnp.float32)), jnp.ones((1, 4, 4, 8))
    start = compiled(lambda key: [module.init(key, x)["params"]["kernel"] for module in modules])
    for kernel in start(jax.random.key(0)):
        np.testing.assert_allclose(kernel.std(), 0.02, rtol=0.1)
        assert abs(kernel.mean()) < 3e-3


def normalised(kind: str, x: np.ndarray, **changes: np.ndarray) -> jax.Array:
    """What `Norm` makes of x in training, with learned parameters as given."""
    norm, x = Norm(kind, jnp.float32), jnp.asarray(x, jnp.float32)
    variables = norm.init(jax.random.key(0), x, train=False)
    replace = lambda path, leaf: changes.get(path[-1].key, leaf)  # noqa: E731
    params = jax.tree_util.tree_map_with_path(replace, variables["params"])
    return norm.apply(variables | {"params": params}, x, train=True, mutable=True)[0]


X = np.random.default_rng(0).normal((5.0, -2.0, 0.0), (3.0, 0.1, 1.0), (6, 4, 4, 3))


@pytest.mark.parametrize(("kind", "axes"), [("batch", (0, 1, 2)), ("layer", (1, 2, 3))])
def test_normalised_is_of_mean_0_and_deviation_1(kind, axes):
    y = normalised(kind, X)
    np.testing.assert_allclose(y.mean(axes), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(axes), 1, rtol=1e-2)
    assert set(NORMS) == {"batch", "layer", "none"}


@pytest.mark.parametrize("kind", ["batch", "layer"])
def test_a_learned_scale_and_bias_follow(kind):
    scale, bias = np.array([2.0, 1.0, 0.5], np.float32), np.array([0.0, 1.0, -3.0], np.float32)
    y = normalised(kind, X, scale=scale, bias=bias)
    np.testing.assert_allclose(y, np.asarray(normalised(kind, X)) * scale + bias, atol=1e-5)


def test_no_norm_adds_a_bias_only():
    bias = np.array([0.0, 1.0, -3.0], np.float32)
    np.testing.assert_array_equal(normalised("none", X), X.astype(np.float32))
    np.testing.assert_array_equal(normalised("none", X, bias=bias), X.astype(np.float32) + bias)


@pytest.mark.parametrize("kind", ["batch", "layer"])
def test_a_large_mean_does_not_hide_the_deviation(kind):
    x = np.random.default_rng(0).normal(3e4, 1.0, (6, 4, 4, 3))
    axes = (0, 1, 2) if kind == "batch" else (1, 2, 3)
    np.testing.assert_allclose(normalised(kind, x).std(axes), 1, rtol=0.02)


def test_batch_statistics_in_use_are_the_running_ones():
    norm, x = Norm("batch", jnp.float32, momentum=0.75), jnp.asarray(X, jnp.float32)
    variables = norm.init(jax.random.key(0), x, train=False)
    _, updated = norm.apply(variables, x, train=True, mutable=["batch_stats"])
    mean = updated["batch_stats"]["batch"]["mean"]
    np.testing.assert_allclose(mean, 0.25 * X.mean((0, 1, 2)), atol=1e-5)
    stats = {"mean": jnp.full(3, 2.0), "var": jnp.full(3, 4.0)}
    in_use = norm.apply(variables | {"batch_stats": {"batch": stats}}, x, train=False)
    np.testing.assert_allclose(in_use, (x - 2) / 2, atol=1e-4)
