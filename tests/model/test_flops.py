"""FLOPs are counted as by hand, whatever the program is wrapped in."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan.config import Augment, Config, Data
from gan.data.batch import Batch
from gan.model import flops
from gan.model.networks import dcgan
from gan.model.networks.convolution import down, up
from gan.model.step import abstract_state, build, train_step
from gan.runtime.parallel import Parallel

A, B = jnp.zeros((3, 4)), jnp.zeros((4, 5))
PRODUCT = 2 * 3 * 4 * 5


def test_count__a_product_costs_a_multiplication_and_an_addition_for_each_number():
    assert flops.count(jnp.matmul, A, B) == PRODUCT
    assert flops.count(jax.jit(jnp.matmul), A, B) == PRODUCT
    assert flops.count(lambda a, b: (a + 1).sum() + (b * 2).sum(), A, B) == 0


def test_count__a_scan_costs_as_often_as_it_runs_and_a_choice_what_is_dearest():
    def scan(a, b):
        return jax.lax.scan(lambda carry, _: (carry + (a @ b).sum(), None), 0.0, length=7)[0]

    def choose(a, b):
        return jax.lax.cond(a[0, 0] > 0, lambda: a @ b @ b.T @ b, lambda: a @ b)

    assert flops.count(scan, A, B) == 7 * PRODUCT
    assert flops.count(choose, A, B) == 3 * PRODUCT


def test_count__what_nobody_needs_is_free():
    def wasteful(a, b):
        product, _ = jax.jit(lambda a, b: (a @ b, (a + 1) @ b))(a, b)
        _ = a @ b
        return product

    assert flops.count(wasteful, A, B) == PRODUCT


@pytest.mark.parametrize("channels", [3, 64])  # Winograd's way counts as the plain one.
def test_count__convolutions_count_alike_in_each_formulation_and_direction(channels):
    x, w = jnp.zeros((2, 8, 8, channels)), jnp.zeros((4, 4, channels, 5))
    g = jnp.zeros((2, 4, 4, 5))
    once = 2 * w.size * 2 * 4 * 4
    assert flops.count(down, x, w) == once
    backwards = flops.count(jax.grad(lambda *args: (down(*args) ** 2).sum(), (0, 1)), x, w)
    assert backwards == 3 * once  # Forward, in x and in w.
    assert flops.count(up, g, w) == once


def kernel_flops(params, places):
    """FLOPs of one pass over one image, in each convolution and dense layer, in order of depth."""
    kernels = [math.prod(x.shape) for x in jax.tree.leaves(params) if len(x.shape) > 1]
    return [2 * size * num for size, num in zip(kernels, places, strict=True)]


@pytest.mark.parametrize("loss", ["non_saturating", "relativistic"])
@pytest.mark.parametrize("width", [8, 24, 64])
def test_count__step_is_what_the_formula_of_dcgan_says(width, loss):
    """The generator passes forward, and backward in its inputs and weights.

    The discriminator passes three times forward and in its inputs, twice in its weights; once more
    forward where the generator's loss looks at real images too. Nobody needs gradients in the
    latent, nor in the images in the discriminator's update.
    """
    batch, z_dim = 4, 100
    config = Config(
        data=Data(image_size=64, batch_size=batch),
        augment=Augment(flip=False),
        loss=loss,
        z_dim=z_dim,
        conditional=False,
        network=dcgan.Settings(g_width=width, d_width=width),
    )
    built = build(config, (0.5,))
    state = abstract_state(*built, Parallel.create("jit").replicated)
    image = jax.ShapeDtypeStruct((batch, 64, 64, 3), np.uint8)
    real = Batch(image, jax.ShapeDtypeStruct((batch, 1), np.uint8))
    counted = flops.count(functools.partial(train_step, *built), state, real)
    places = (1, 4**2, 8**2, 16**2, 32**2)  # Where in space each kernel is applied.
    g = kernel_flops(state.generator.params, places)
    d = kernel_flops(state.discriminator.params, reversed(places))
    forwards = 4 if loss == "relativistic" else 3
    assert counted == batch * (3 * sum(g) - g[0] + (forwards + 3 + 2) * sum(d) - 2 * d[0])


def test_count__a_layer_is_what_xla_counts():
    w = jnp.zeros((4, 4, 8, 16))
    dimensions = ("NHWC", "HWIO", "NHWC")
    convolve = lambda x: jax.lax.conv_general_dilated(  # noqa: E731
        x, w, (2, 2), ((1, 1), (1, 1)), dimension_numbers=dimensions
    )
    layers = {
        convolve: (jnp.zeros((1, 256, 256, 8)),),
        jnp.matmul: (jnp.zeros((1, 64)), jnp.zeros((64, 32))),
    }
    for layer, arguments in layers.items():
        xla = jax.jit(layer).lower(*arguments).compile().cost_analysis()["flops"]
        # XLA leaves out the kernel's parts beyond the image, here 1 in 64.
        assert flops.count(layer, *arguments) == pytest.approx(xla, rel=0.03)


def test_peak__is_that_of_the_longest_name_that_fits():
    assert flops.peak("NVIDIA H100 80GB HBM3") == 989e12
    assert flops.peak("NVIDIA H100 PCIe") == 756e12
    assert flops.peak("TPU v5 lite") < flops.peak("TPU v5p")
    assert flops.peak("NVIDIA L40S") != flops.peak("NVIDIA L4")
    assert flops.peak("NVIDIA A100-SXM4-80GB") == flops.peak("NVIDIA A100") > 0
    assert flops.peak("NVIDIA H200 NVL") < flops.peak("NVIDIA H200")
    unknown = ("cpu", "NVIDIA L40", "NVIDIA A1000", "NVIDIA A100 MIG 1g.5gb", "TPU v4 lite")
    assert not any(map(flops.peak, unknown))
    assert all(math.log10(peak) > 13 for peak in flops.PEAKS.values())
