"""How much work a step is, the same for all contestants: parameters and FLOPs, by count."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

# Where in space each layer's kernel is applied: from 1x1 to 4x4, then at the smaller of both sides.
PLACES = (1, 4**2, 8**2, 16**2, 32**2)
# Of a step: G's forward passes, and passes for gradients of D's weights (eager wastes one).
PASSES = {"ours": (1, 2), "eager": (1, 3), "tuned": (1, 2), "naive_flax": (2, 2)}


class Player(NamedTuple):
    """The size of a network."""

    parameters: int
    kernels: tuple[int, ...]  # Numbers in the kernel of each convolution, in order of depth.


class Work(NamedTuple):
    """What has to be the same on both sides."""

    generator: Player
    discriminator: Player
    device: str  # "cpu" | "gpu" | "tpu"


def player(arrays: Iterable[Any]) -> Player:
    """The size of a network, from its learned arrays in order of depth."""
    shapes = [tuple(array.shape) for array in arrays]
    kernels = tuple(math.prod(shape) for shape in shapes if len(shape) > 1)
    return Player(sum(map(math.prod, shapes)), kernels)


def layer_flops(kernel: int, places: int) -> int:
    """Of one pass over one image: a multiplication and an addition for each number and place.

    So many has a convolution forward, its gradient in its input and that in its weights; one whose
    kernel reaches beyond the image counts in full. Normalisation, activations and Adam do not.
    """
    return 2 * kernel * places


def step_flops(generator: Player, discriminator: Player, name: str) -> int:
    """Of one image's share of a step of contestant `name`, in convolutions and dense layers.

    With a pass of either network as the unit (0.21 GFLOP at width 64), ours and tuned have 11: G
    forward, in its inputs and weights; D three times forward, three times in its inputs and twice
    in its weights. Eager has one more in D's weights, naive Flax one more forward of G. Gradients
    in the latent and, in D's update, in the images are needed by nobody.
    """
    g = list(map(layer_flops, generator.kernels, PLACES))
    d = list(map(layer_flops, discriminator.kernels, reversed(PLACES)))
    forwards, weights = PASSES[name]
    return (forwards + 2) * sum(g) - g[0] + (3 + 3 + weights) * sum(d) - 2 * d[0]
