"""The field's usual mistakes, each made on purpose: we refuse it, or a number that is tested moves.

Where a fault changes the features, it is measured by what `test_inception` asks of them: 1e-5 of
the largest, from torch-fidelity's.
"""

import functools
import importlib.util
import io

import flax.linen as nn
import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from flax.traverse_util import flatten_dict, unflatten_dict
from helpers.inception_golden import DATA, IMAGES, random_images, random_state
from PIL import Image

from gan.errors import DataError
from gan.metrics.distances import Gaussian, fit_gaussian, frechet_distance, gaussian_distance
from gan.metrics.extractors import extractor, inception_network
from gan.metrics.extractors.inception import RESIZES, extract_features
from gan.metrics.extractors.inception_network import SIDE, ConvBN, Inception, InceptionE
from gan.metrics.extractors.inception_weights import read_weights, to_variables, torch_shapes
from gan.metrics.pixels import sliced_wasserstein_levels
from gan.model.step import to_float
from gan.runtime.pictures import to_uint8

PICTURES = random_images("images", IMAGES)
GOLDEN = 1e-5  # What `test_inception` allows; each fault has to be far above.


@pytest.fixture(scope="module")
def variables():
    return jax.device_put(to_variables(random_state(torch_shapes())))


@pytest.fixture(scope="module")
def off():
    """How far features lie from the golden ones, over the largest."""
    with np.load(DATA / "inception.npz") as file:
        golden = file["pool"]
    return lambda pool: float(np.abs(np.asarray(pool) - golden).max() / np.abs(golden).max())


@pytest.fixture(scope="module")
def resized():
    return RESIZES["legacy"](PICTURES)


@pytest.fixture(scope="module")
def traced(variables, resized):
    """Traces features, and what Mixed_7b is given, where JAX is told to use TF32."""

    def keep(module, _):
        return module.name == "Mixed_7a"

    def apply(variables, x):
        features, captured = Inception().apply(variables, x, capture_intermediates=keep)
        return features, captured["intermediates"]["Mixed_7a"]["__call__"][0]

    with jax.default_matmul_precision("tensorfloat32"):
        return jax.jit(apply).trace(variables, resized)


@pytest.fixture(scope="module")
def see(traced):
    """Compiled once for all."""
    return traced.lower().compile()


@pytest.fixture(scope="module")
def half_way(see, variables, resized):
    return see(variables, resized)[1]


def last_blocks(variables, x, pool: str = "max") -> jax.Array:
    """Features from what `half_way` returns."""

    @functools.partial(jax.jit, static_argnums=0)  # A new function, to be traced with the fault.
    def apply(block, variables, x):
        return block.apply(variables, x)

    for name, kind in (("Mixed_7b", "mean"), ("Mixed_7c", pool)):
        part = {collection: values[name] for collection, values in variables.items()}
        x = apply(InceptionE(kind), part, x)
    return x.mean(axis=(1, 2))


def altered(variables, leaf: str, change):
    """Returns the variables with `change` made to all of this name."""
    flat = flatten_dict(variables)
    return unflatten_dict({k: change(v) if k[-1] == leaf else v for k, v in flat.items()})


# Pictures.


@pytest.mark.parametrize("scale", [lambda x: x / 255, lambda x: x / 127.5 - 1, lambda x: x * 1.0])
def test_extract_in_batches__refuses_float_images(scale):
    # As users run it: the shapes in the signature are checked in tests alone.
    spec = importlib.util.spec_from_file_location("unchecked", extractor.__file__)
    unchecked = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(unchecked)
    with pytest.raises(ValueError, match=r"images as uint8 \[n h w 3\]: got float32"):
        unchecked.extract_in_batches(None, scale(PICTURES.astype(np.float32)), 2)


def test_to_uint8__rounds_instead_of_truncating():
    def truncated(images):
        return np.clip((np.asarray(images) + 1) * 127.5, 0, 255).astype(np.uint8)

    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    exact = np.random.default_rng(0).uniform(0, 255, (4, 64, 64, 3)).astype(np.float32)
    errors = {}
    for convert in (to_uint8, truncated):
        lost = (convert(to_float(jnp.asarray(levels))) != levels).mean()
        errors[convert] = lost, float((convert(exact / 127.5 - 1) - exact).mean())
    assert errors[to_uint8] == (0, pytest.approx(0, abs=0.01))
    assert errors[truncated][0] > 0.02
    assert errors[truncated][1] == pytest.approx(-0.5, abs=0.01)  # All pictures half a level dark.


def test_sliced_wasserstein__sees_jpeg_on_one_side_only():
    def drawn(rng):
        picture = rng.normal(128, 12, (32, 32, 3))
        for left, top in rng.integers(0, 24, (6, 2)):
            picture[top : top + 8, left : left + 8] += rng.normal(0, 40, 3)
        return np.clip(picture, 0, 255).astype(np.uint8)

    def as_jpeg(picture):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=75)
        return np.asarray(Image.open(file))

    def finest(*sets):
        return sliced_wasserstein_levels(*(np.stack(x) for x in sets))[32]

    rng = np.random.default_rng(0)
    reference, other = ([drawn(rng) for _ in range(64)] for _ in range(2))
    baseline = finest(reference, other)
    compressed = [[as_jpeg(x) for x in part] for part in (reference, other)]
    assert finest(reference, compressed[1]) > 2 * baseline
    assert finest(*compressed) < 1.3 * baseline  # On both sides it is hardly seen.


# The network.


def zeros(**shapes) -> dict[str, np.ndarray]:
    """Returns zeros with the names and shapes of FID's checkpoint, or others."""
    return {k: np.zeros(shape, np.float32) for k, shape in (torch_shapes() | shapes).items()}


def test_to_variables__refuses_the_network_of_torchvision():
    # It has the same names, and an auxiliary classifier, which FID's checkpoint may have too.
    other = {"AuxLogits.fc.bias": (1000,), "fc.bias": (1000,), "fc.weight": (1000, 2048)}
    with pytest.raises(DataError, match=r"fc\.weight is float32 \[1000, 2048\], where FID's"):
        to_variables(zeros(**other))


def test_read_weights__does_not_know_weights_that_nobody_published(tmp_path):
    np.savez(tmp_path / "weights.npz", **zeros())
    assert not read_weights(tmp_path / "weights.npz").known  # So no number is called an FID.


def test_inception__sees_an_average_pool_that_counts_the_padding(
    variables, half_way, off, monkeypatch
):
    assert off(last_blocks(variables, half_way)) < GOLDEN
    monkeypatch.setattr(
        inception_network, "_mean_pool", lambda x: nn.avg_pool(x, (3, 3), padding="SAME")
    )
    # In one block of the eight that have such a pool.
    assert off(last_blocks(variables, half_way)) > 100 * GOLDEN


def test_inception__sees_an_average_instead_of_a_maximum_in_the_last_block(
    variables, half_way, off
):
    assert off(last_blocks(variables, half_way, "mean")) > 100 * GOLDEN


def test_inception__sees_an_epsilon_of_1e_5_in_the_normalisation(see, variables, resized, off):
    # The variance plus 1e-5, told as one to which 1e-3 is added.
    changed = altered(variables, "var", lambda var: var + 1e-5 - 1e-3)
    assert off(see(changed, resized)[0][0]) > 100 * GOLDEN


def test_inception__without_faults_is_golden(see, variables, resized, off):
    assert off(see(variables, resized)[0][0]) < GOLDEN


def test_inception__sees_half_pixel_centres_in_the_resizing(see, variables, off):
    shape = (len(PICTURES), SIDE, SIDE, 3)
    x = jax.image.resize(PICTURES.astype(np.float32), shape, "linear")
    assert off(see(variables, x)[0][0]) > 100 * GOLDEN


def test_inception__sees_2x_over_255_minus_1_as_normalisation(see, variables, resized, off):
    x = 128 + 128 * (2 * resized / 255 - 1)  # The network takes 128 off, and divides by it.
    assert off(see(variables, x)[0][0]) > 100 * GOLDEN


def test_inception__does_not_normalise_by_the_batch(monkeypatch):
    def moved():
        """How much a picture's output moves with the picture beside it."""
        apply = jax.jit(lambda x: layer.apply(stored, x, mutable=["batch_stats"])[0][0])
        return np.abs(apply(pair) - apply(other)).max()

    layer, pair = ConvBN(8, (3, 3)), jnp.float32(PICTURES[:, :8, :8]) / 128
    other = pair * jnp.array([1.0, 3.0])[:, None, None, None]
    stored = jax.jit(layer.init)(jax.random.key(0), pair)
    assert moved() == 0  # As `test_inception` asks of the whole network.
    norm = nn.BatchNorm
    training = lambda **options: norm(**options | {"use_running_average": False})  # noqa: E731
    monkeypatch.setattr(nn, "BatchNorm", training)
    assert moved() > 0.1


def test_inception__has_no_convolutions_in_tf32(traced):
    def precise(jaxpr):
        """Says of each product and convolution whether it keeps float32 whole."""
        names = ("conv_general_dilated", "dot_general")
        found = [x.params["precision"] for x in equations(jaxpr) if x.primitive.name in names]
        return [precision == (jax.lax.Precision.HIGHEST,) * 2 for precision in found]

    x, layer = jnp.ones((1, 4)), nn.Dense(1)
    with jax.default_matmul_precision("tensorfloat32"):
        unsaid = jax.make_jaxpr(layer.apply)(layer.init(jax.random.key(0), x), x)
    assert precise(unsaid.jaxpr) == [False]
    assert precise(traced.jaxpr.jaxpr) == [True] * (94 + 1)  # And the classifier.


def equations(jaxpr):
    """All, those of inner functions too."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            yield from equations(inner)


def test_extract_features__does_not_drop_the_last_batch():
    def mean(_, x):
        return x.mean((1, 2)), np.zeros((len(x), 1008), "f")

    levels = np.arange(1, 6, dtype=np.uint8) * 50
    pictures = np.tile(levels[:, None, None, None], (1, 8, 8, 3))
    for batch_size in (1, 2, 3, 4, 5, 6):
        found = extract_features({}, pictures, batch_size=batch_size, apply=mean).features[:, 0]
        np.testing.assert_allclose(found, levels, rtol=1e-5)
    # A score alone would not say so: it is a number all the same, and another one.
    features = np.random.default_rng(0).standard_normal((2, 95, 8))
    dropped = [x[: 95 // 32 * 32] for x in features]
    assert frechet_distance(*dropped) != pytest.approx(frechet_distance(*features), rel=0.01)


# The distance.


def test_frechet_distance__sees_a_covariance_summed_in_float32():
    def uncentred(features):
        n = len(features)
        mean = features.mean(axis=0)
        covariance = (features.T @ features - n * np.outer(mean, mean)) / (n - 1)
        return Gaussian(mean.astype(np.float64), covariance.astype(np.float64))

    rng = np.random.default_rng(0)
    reference, generated = (
        np.abs(rng.standard_normal((600, 64))).astype(np.float32) for _ in range(2)
    )
    reference, generated = reference + 10, generated + 10
    exact = [x.astype(np.float64) for x in (reference, generated)]
    expected = gaussian_distance(
        *(Gaussian(x.mean(axis=0), np.cov(x, rowvar=False)) for x in exact)
    )
    assert frechet_distance(reference, generated) == pytest.approx(expected, rel=1e-9)
    faulty = gaussian_distance(uncentred(reference), uncentred(generated))
    assert faulty != pytest.approx(expected, rel=1e-5)


def exact(a: np.ndarray, b: np.ndarray) -> float:
    """Without any covariance: Tr (C1 C2)^(1/2) is the sum of the singular values of X1 X2^T."""
    shift = np.square(a.mean(axis=0) - b.mean(axis=0)).sum()
    a, b = ((x - x.mean(axis=0)) / np.sqrt(len(x) - 1) for x in (a, b))
    return float(shift + (a**2).sum() + (b**2).sum() - 2 * scipy.linalg.svdvals(a @ b.T).sum())


def test_frechet_distance__has_no_roots_of_negative_eigenvalues():
    def faulty(reference, generated):
        product = np.cov(reference, rowvar=False) @ np.cov(generated, rowvar=False)
        return np.sqrt(np.linalg.eigvals(product)).sum().real

    values = []
    for seed in range(1, 21):  # With seed 1 torch-fidelity once returned NaN.
        rng = np.random.RandomState(seed)  # noqa: NPY002
        reference, generated = rng.randn(4, 4), rng.randn(4, 4)  # Four rows have a rank of three.
        with np.errstate(invalid="ignore"):
            values.append(faulty(reference, generated))
        assert frechet_distance(reference, generated) == pytest.approx(
            exact(reference, generated), rel=1e-12
        )
    assert np.isnan(values).any()


def test_frechet_distance__has_no_imaginary_part():
    reference, generated = np.random.default_rng(0).standard_normal((2, 10, 16))
    product = fit_gaussian(reference).covariance @ fit_gaussian(generated).covariance
    roots = np.sqrt(np.linalg.eigvals(product).astype(complex))
    assert np.abs(roots.imag).max() > 0  # Rounding has made an eigenvalue of 0 negative.
    distance = frechet_distance(reference, generated)
    assert isinstance(distance, float)
    assert distance == pytest.approx(exact(reference, generated), rel=1e-12)
