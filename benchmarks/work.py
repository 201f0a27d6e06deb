"""Counts the work of a step, which has to be the same for all contestants.

The networks are those of DCGAN at 64 pixels: five convolutions each, without biases.
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

# Number of places where each layer's kernel is applied, from 1x1 to the smaller side of the last.
PLACES = (1, 4**2, 8**2, 16**2, 32**2)
# Passes in a step that differ: forward ones of G, and those for the gradients of D's weights.
PASSES = {"ours": (1, 2), "eager": (1, 3), "tuned": (1, 2), "naive_flax": (2, 2)}


class NetworkSize(NamedTuple):
    """The size of a network."""

    parameters: int
    kernels: tuple[int, ...]  # How many numbers the kernel of each convolution has, by depth.


class Work(NamedTuple):
    """What has to be equal before times are compared."""

    generator: NetworkSize
    discriminator: NetworkSize
    device: str  # "cpu" | "gpu" | "tpu"


def measure_network(arrays: Iterable[Any]) -> NetworkSize:
    """Returns the size of a network, given its learned arrays in order of depth."""
    shapes = [tuple(array.shape) for array in arrays]
    kernels = tuple(math.prod(shape) for shape in shapes if len(shape) > 1)
    return NetworkSize(sum(map(math.prod, shapes)), kernels)


def count_layer_flops(kernel: int, places: int) -> int:
    """Counts the FLOPs of one pass of a convolution over one image.

    Each number of the kernel costs a multiplication and an addition at each place, also where it
    reaches beyond the image. The pass is forward, or gives the gradient of the input, or that of
    the weights: all three cost the same. Normalisation, activations and Adam do not count.
    """
    return 2 * kernel * places


def count_step_flops(generator: NetworkSize, discriminator: NetworkSize, name: str) -> int:
    """Counts the FLOPs of contestant `name` for one image of a batch, in both players' updates.

    In passes of one network (0.21 GFLOP at width 64), ours and tuned have 11: G forward, for the
    gradients of its inputs and of its weights; D three times forward, three times for its inputs
    and twice for its weights. Eager has one more for D's weights, naive Flax one more forward of G.
    Nobody needs gradients of the latents, nor of the images in D's update: these do not count.
    """
    g = list(map(count_layer_flops, generator.kernels, PLACES))
    d = list(map(count_layer_flops, discriminator.kernels, reversed(PLACES)))
    forwards, weights = PASSES[name]
    return (forwards + 2) * sum(g) - g[0] + (3 + 3 + weights) * sum(d) - 2 * d[0]
