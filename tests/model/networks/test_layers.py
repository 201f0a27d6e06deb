"""Layers: sizes and types, the first weights, normalisation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan.model.networks.layers import NORMS, Down, Norm, Up

# Compiling is what takes the time here.
compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_down_and_up__halve_and_double_the_side_in_their_dtype_with_float32_weights(dtype):
    x = jax.ShapeDtypeStruct((2, 8, 6, 3), jnp.float32)
    for module, side, filter_shape in (
        (Down(5, dtype), (4, 3), (4, 4, 3, 5)),
        (Up(5, dtype), (16, 12), (4, 4, 5, 3)),
    ):
        y, variables = jax.eval_shape(module.init_with_output, jax.random.key(0), x)
        kernel = variables["params"]["kernel"]
        assert (y.shape, y.dtype) == ((2, *side, 5), dtype)
        assert (kernel.shape, kernel.dtype) == (filter_shape, jnp.float32)


def test_init_weights__start_with_a_deviation_of_two_hundredths():
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
def test_norm__gives_mean_0_and_deviation_1(kind, axes):
    y = normalised(kind, X)
    np.testing.assert_allclose(y.mean(axes), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(axes), 1, rtol=1e-2)
    assert set(NORMS) == {"batch", "layer", "none"}


@pytest.mark.parametrize("kind", ["batch", "layer"])
def test_norm__a_learned_scale_and_bias_follow(kind):
    scale, bias = np.array([2.0, 1.0, 0.5], np.float32), np.array([0.0, 1.0, -3.0], np.float32)
    y = normalised(kind, X, scale=scale, bias=bias)
    np.testing.assert_allclose(y, np.asarray(normalised(kind, X)) * scale + bias, atol=1e-5)


def test_norm__none_adds_a_bias_only():
    bias = np.array([0.0, 1.0, -3.0], np.float32)
    np.testing.assert_array_equal(normalised("none", X), X.astype(np.float32))
    np.testing.assert_array_equal(normalised("none", X, bias=bias), X.astype(np.float32) + bias)


@pytest.mark.parametrize("kind", ["batch", "layer"])
def test_norm__a_large_mean_does_not_hide_the_deviation(kind):
    x = np.random.default_rng(0).normal(3e4, 1.0, (6, 4, 4, 3))
    axes = (0, 1, 2) if kind == "batch" else (1, 2, 3)
    np.testing.assert_allclose(normalised(kind, x).std(axes), 1, rtol=0.02)


def test_norm__batch_statistics_in_use_are_the_running_ones():
    norm, x = Norm("batch", jnp.float32, momentum=0.75), jnp.asarray(X, jnp.float32)
    variables = norm.init(jax.random.key(0), x, train=False)
    _, updated = norm.apply(variables, x, train=True, mutable=["batch_stats"])
    mean = updated["batch_stats"]["batch"]["mean"]
    np.testing.assert_allclose(mean, 0.25 * X.mean((0, 1, 2)), atol=1e-5)
    stats = {"mean": jnp.full(3, 2.0), "var": jnp.full(3, 4.0)}
    in_use = norm.apply(variables | {"batch_stats": {"batch": stats}}, x, train=False)
    np.testing.assert_allclose(in_use, (x - 2) / 2, atol=1e-4)
