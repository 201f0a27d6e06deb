"""The network of FID: TensorFlow's InceptionV3 of 2015-12-05.

(Szegedy et al. 2016, arXiv 1512.00567.) It is not torchvision's: it has 1008 classes and other
weights, its average pooling does not count the padding, and its last block pools the maximum.
Modules are named as in the checkpoints of pytorch-fid and torch-fidelity, which `inception_weights`
reads.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

SIDE = 299  # Pixels that it takes pictures of.
CLASSES = 1008

Kernel = tuple[int, int]
ACROSS, DOWN = (1, 7), (7, 1)  # A kernel of 7 x 7 in two steps.


class ConvBN(nn.Module):
    """A convolution, a normalisation by fixed statistics, and a ReLU."""

    features: int
    kernel: Kernel = (1, 1)
    stride: int = 1
    padding: str = "SAME"

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n _ _ {self.features}"]:
        """Returns `features` channels.

        `precision` is "highest": TF32 moves the features by 5e-4, bfloat16 by 5e-3.
        """
        x = nn.Conv(
            self.features,
            self.kernel,
            strides=self.stride,
            padding=self.padding,
            use_bias=False,
            precision="highest",
            name="conv",
        )(x)
        return nn.relu(nn.BatchNorm(use_running_average=True, epsilon=1e-3, name="bn")(x))


class InceptionA(nn.Module):
    """A block at 35 x 35 pixels with kernels up to 5 x 5."""

    pool_features: int

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w d"]:
        """Returns d = 224 + pool_features channels."""
        return _join(
            ConvBN(64, name="branch1x1")(x),
            _chain(x, "branch5x5", (48,), (64, (5, 5))),
            _chain(x, "branch3x3dbl", (64,), (96, (3, 3)), (96, (3, 3))),
            ConvBN(self.pool_features, name="branch_pool")(_mean_pool(x)),
        )


class InceptionB(nn.Module):
    """The block from 35 x 35 to 17 x 17 pixels."""

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h//2 w//2 d"]:
        """Returns d = 480 + c channels."""
        return _join(
            ConvBN(384, (3, 3), 2, "VALID", name="branch3x3")(x),
            _chain(x, "branch3x3dbl", (64,), (96, (3, 3)), (96, (3, 3), 2, "VALID")),
            _max_pool(x),
        )


class InceptionC(nn.Module):
    """A block at 17 x 17 pixels with kernels of 7 x 7 in two steps."""

    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w 768"]:
        """Returns 768 channels."""
        across, down = (self.width, ACROSS), (self.width, DOWN)
        return _join(
            ConvBN(192, name="branch1x1")(x),
            _chain(x, "branch7x7", (self.width,), across, (192, DOWN)),
            _chain(x, "branch7x7dbl", (self.width,), down, across, down, (192, ACROSS)),
            ConvBN(192, name="branch_pool")(_mean_pool(x)),
        )


class InceptionD(nn.Module):
    """The block from 17 x 17 to 8 x 8 pixels."""

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h//2 w//2 d"]:
        """Returns d = 512 + c channels."""
        last = ((3, 3), 2, "VALID")
        return _join(
            _chain(x, "branch3x3", (192,), (320, *last)),
            _chain(x, "branch7x7x3", (192,), (192, ACROSS), (192, DOWN), (192, *last)),
            _max_pool(x),
        )


class InceptionE(nn.Module):
    """A block at 8 x 8 pixels with kernels of 3 x 3 that fork."""

    pool: str  # "mean", or "max": an error in TensorFlow's graph that FID keeps.

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w 2048"]:
        """Returns 2048 channels."""
        single = _chain(x, "branch3x3", (384,))
        double = _chain(x, "branch3x3dbl", (448,), (384, (3, 3)))
        pooled = _mean_pool(x) if self.pool == "mean" else nn.max_pool(x, (3, 3), padding="SAME")
        return _join(
            ConvBN(320, name="branch1x1")(x),
            ConvBN(384, (1, 3), name="branch3x3_2a")(single),
            ConvBN(384, (3, 1), name="branch3x3_2b")(single),
            ConvBN(384, (1, 3), name="branch3x3dbl_3a")(double),
            ConvBN(384, (3, 1), name="branch3x3dbl_3b")(double),
            ConvBN(192, name="branch_pool")(pooled),
        )


class Inception(nn.Module):
    """The network: images in [0, 255] of 299 pixels to features and logits."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "n 299 299 3"]
    ) -> tuple[Float[Array, "n 2048"], Float[Array, "n 1008"]]:
        """Returns features and logits, float32; the logits have no bias, as in the IS."""
        x = (x - 128) / 128  # 255 becomes 127/128, not 1.
        x = ConvBN(32, (3, 3), 2, "VALID", name="Conv2d_1a_3x3")(x)
        x = ConvBN(32, (3, 3), 1, "VALID", name="Conv2d_2a_3x3")(x)
        x = ConvBN(64, (3, 3), name="Conv2d_2b_3x3")(x)
        x = _max_pool(x)
        x = ConvBN(80, name="Conv2d_3b_1x1")(x)
        x = ConvBN(192, (3, 3), 1, "VALID", name="Conv2d_4a_3x3")(x)
        x = _max_pool(x)
        x = InceptionA(32, name="Mixed_5b")(x)
        x = InceptionA(64, name="Mixed_5c")(x)
        x = InceptionA(64, name="Mixed_5d")(x)
        x = InceptionB(name="Mixed_6a")(x)
        x = InceptionC(128, name="Mixed_6b")(x)
        x = InceptionC(160, name="Mixed_6c")(x)
        x = InceptionC(160, name="Mixed_6d")(x)
        x = InceptionC(192, name="Mixed_6e")(x)
        x = InceptionD(name="Mixed_7a")(x)
        x = InceptionE("mean", name="Mixed_7b")(x)
        x = InceptionE("max", name="Mixed_7c")(x)
        features = x.mean(axis=(1, 2))
        classify = nn.Dense(CLASSES, use_bias=False, precision="highest", name="fc")
        return features, classify(features)


def _chain(x: Array, name: str, *steps: tuple) -> Array:
    """Applies a ConvBN with the arguments of each step, named `name`_1, `name`_2, ..."""
    for number, step in enumerate(steps, 1):
        x = ConvBN(*step, name=f"{name}_{number}")(x)
    return x


def _join(*branches: Array) -> Array:
    return jnp.concatenate(branches, axis=-1)


def _max_pool(x: Array) -> Array:
    return nn.max_pool(x, (3, 3), strides=(2, 2))


def _mean_pool(x: Array) -> Array:
    return nn.avg_pool(x, (3, 3), padding="SAME", count_include_pad=False)
