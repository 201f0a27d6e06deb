"""The attribute classifier's network, a small residual one, and its training.

Its convolutions run at half the side of the pictures or less, so it can be trained without a GPU.
"""

import collections
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key, UInt8
from tqdm import tqdm

from gan.data.batch import Batch
from gan.data.feed import example_indices
from gan.errors import Diverged
from gan.runtime.parallel import compile_for_one_call, compiler_options

RECIPE = 1  # Raised whenever the same pictures would give another network.
SEED = 0
WIDTHS = (32, 64, 128, 256)  # Channels of the stages; each halves the side down to `SMALLEST`.
LARGEST = 32  # Side of the first stage: a larger one costs most and tells little.
SMALLEST = 4  # Side of the last stage: convolutions of 2 x 2 pixels are ten times slower on CPU.

BATCH = 32
EPOCHS = 8
LEAST = 2048  # Pictures that training sees at least, with repeats.
MOST = 2048  # Times the side (at most 64): pictures that training sees at most, 131,072 at 64 px.
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.05
SHIFT = 2  # Pixels that a picture is moved by at most, in each direction.
MAX_WEIGHT = 10.0  # Largest weight of an example in the loss, reached by very rare attributes.
CALIBRATION = 4096  # Pictures at most that the final statistics are taken from.
AHEAD = 8  # Steps that are queued at most, so that the progress bar shows what is done.

Variables = dict[str, Any]  # Flax's "params" and "batch_stats", float32.


class Norm(nn.Module):
    """Batch normalisation: by the statistics of the batch in training, by fixed ones afterwards."""

    train: bool
    scale: nn.initializers.Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x: Float[Array, "n *d c"]) -> Float[Array, "n *d c"]:
        """Normalises each channel."""
        return nn.BatchNorm(
            use_running_average=not self.train,
            momentum=0.0,  # Keeps those of the last batch, for `average_statistics`.
            scale_init=self.scale,
            name="batch",
        )(x)


class Residual(nn.Module):
    """Two convolutions with a skip connection (He et al. 2016, arXiv 1512.03385)."""

    train: bool

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """Returns as many channels as it is given."""
        conv = functools.partial(nn.Conv, x.shape[-1], (3, 3), use_bias=False, precision="highest")
        y = nn.relu(Norm(self.train)(conv()(x)))
        # With a scale of 0 a block begins as the identity (Goyal et al. 2017, arXiv 1706.02677).
        y = Norm(self.train, nn.initializers.zeros)(conv()(y))
        return nn.relu(x + y)


class AttributeCNN(nn.Module):
    """The network: pictures in 0..255 to features [n 256] and a logit for each attribute [n a]."""

    num_attributes: int
    train: bool = False

    @nn.compact
    def __call__(
        self, images: Float[Array, "n h w 3"]
    ) -> tuple[Float[Array, "n d"], Float[Array, "n {self.num_attributes}"]]:
        """Returns features and logits; the side of the images is a multiple of 16.

        `precision` is "highest" because metrics must not depend on the hardware.
        """
        x = space_to_depth((images - 127.5) / 64, max(2, images.shape[1] // LARGEST))
        x = nn.Conv(WIDTHS[0], (3, 3), use_bias=False, precision="highest", name="stem")(x)
        x = nn.relu(Norm(self.train)(x))
        x = Residual(self.train)(x)
        for width in WIDTHS[1:]:
            if x.shape[1] > SMALLEST:
                x = space_to_depth(x, 2)
            x = nn.Dense(width, use_bias=False, precision="highest")(x)
            x = Residual(self.train)(nn.relu(Norm(self.train)(x)))
        features = x.mean(axis=(1, 2))
        return features, nn.Dense(self.num_attributes, precision="highest", name="head")(features)


def space_to_depth(x: Float[Array, "n h w c"], side: int) -> Float[Array, "n _ _ _"]:
    """Moves each square of `side` x `side` pixels into the channels of one pixel."""
    n, h, w, c = x.shape
    x = x.reshape(n, h // side, side, w // side, side, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, h // side, w // side, side * side * c)


def train_classifier(
    images: UInt8[np.ndarray, "n h w 3"], attributes: UInt8[np.ndarray, "n a"]
) -> Variables:
    """Trains the network on one device, and returns its variables.

    They depend on the pictures and attributes alone, on one kind of device. The number of steps
    grows with n up to a limit. Raises Diverged if the loss is not finite at the end.
    """
    n, side = images.shape[:2]
    network = AttributeCNN(attributes.shape[1], train=True)
    steps = max(LEAST, min(EPOCHS * n, MOST * min(side, 64))) // BATCH
    optimizer = _make_optimizer(steps)
    device = jax.local_devices()[0]
    with jax.default_device(device):
        key = jax.random.key(SEED, impl="rbg")  # Draws of "rbg" compile fast.
        state = jax.device_put(_init_state(network, optimizer, side, key), device)
        step = _compile_step(network, optimizer, key)
        balance = jax.device_put(Balance.of(attributes), device)
        ahead: collections.deque[Array] = collections.deque()
        bar = tqdm(total=steps * BATCH, desc="attributes", unit="img", leave=False, disable=None)
        with bar:
            for number in range(steps):
                rows = example_indices(SEED, number, BATCH, n)
                batch = jax.device_put(Batch(images[rows], attributes[rows]), device)
                state, value = step(state, balance, batch, np.int32(number))
                ahead.append(value)
                if len(ahead) > AHEAD:
                    ahead.popleft().block_until_ready()
                bar.update(BATCH)
        if not np.isfinite(value):
            raise Diverged(
                f"The attribute classifier's loss is {float(value)} after {steps} steps."
            )
        return average_statistics(network, state[0], images)


def _make_optimizer(steps: int) -> optax.GradientTransformation:
    """AdamW with a warm-up and a cosine; biases and scales have no weight decay."""
    rate = optax.warmup_cosine_decay_schedule(0.0, LEARNING_RATE, steps // 10, steps)
    return optax.adamw(
        rate,
        b2=0.99,
        weight_decay=WEIGHT_DECAY,
        mask=lambda params: jax.tree.map(lambda x: x.ndim > 1, params),
    )


def _init_state(
    network: AttributeCNN, optimizer: optax.GradientTransformation, side: int, key: Key[Array, ""]
) -> Any:
    def init(key: Key[Array, ""]) -> Any:
        params = network.init(key, jnp.zeros((1, side, side, 3)))["params"]
        return params, optimizer.init(params)

    return compile_for_one_call(init)(key)


def _compile_step(
    network: AttributeCNN, optimizer: optax.GradientTransformation, key: Key[Array, ""]
) -> Callable:
    def step(state: Any, balance: Balance, batch: Batch, number: Array) -> tuple[Any, Array]:
        params, moments = state
        pictures = mirror_and_shift(jax.random.fold_in(key, number), batch.image)

        def objective(params: Any) -> Array:
            (_, logits), _ = network.apply({"params": params}, pictures, mutable=["batch_stats"])
            return balanced_loss(logits, batch.attributes, balance)

        value, gradient = jax.value_and_grad(objective)(params)
        updates, moments = optimizer.update(gradient, moments, params)
        return (optax.apply_updates(params, updates), moments), value

    return jax.jit(step, donate_argnums=0, compiler_options=compiler_options())


class Balance(NamedTuple):
    """Weights and offsets that make rare attributes count as much as others.

    Half of the correction is a weight in the loss, so that a rare attribute is learnt early; the
    other half is an offset of the logit, because weights alone would follow few examples. An
    attribute that does not vary weighs nothing.
    """

    positive: Float[Array | np.ndarray, "1 a"]  # Weight of an example that has the attribute.
    negative: Float[Array | np.ndarray, "1 a"]  # Weight of an example that lacks it.
    offset: Float[Array | np.ndarray, "1 a"]  # Added to the logit in training.

    @classmethod
    def of(cls, attributes: UInt8[np.ndarray, "n a"]) -> "Balance":
        """Computes them from the share of examples that have each attribute."""
        n, share = len(attributes), attributes.mean(axis=0, dtype=np.float64)[None]
        varies = (share > 0) & (share < 1)
        share = share.clip(0.5 / n, 1 - 0.5 / n)
        positive, negative = (np.minimum(np.sqrt(0.5 / p), MAX_WEIGHT) for p in (share, 1 - share))
        offset = np.log(share / (1 - share) * positive / negative)
        return cls(*map(np.float32, (positive * varies, negative * varies, offset)))


def balanced_loss(
    logits: Float[Array, "b a"], labels: UInt8[Array, "b a"], balance: Balance
) -> Float[Array, ""]:
    """Cross-entropy, balanced so that a logit above 0 means "likelier than on average".

    That threshold gives the best balanced accuracy (Menon et al. 2020, arXiv 2007.07314).
    """
    logits += balance.offset
    has = balance.positive * nn.softplus(-logits)
    return jnp.where(labels > 0, has, balance.negative * nn.softplus(logits)).mean()


def mirror_and_shift(
    key: Key[Array, ""], images: UInt8[Array, "b h w 3"]
) -> Float[Array, "b h w 3"]:
    """Mirrors half of the images and moves each by up to `SHIFT` pixels, repeating its border."""
    flip, move = jax.random.split(key)
    num, *size, _ = images.shape
    mirrored = jax.random.bernoulli(flip, shape=(num, 1, 1, 1))
    images = jnp.where(mirrored, images[:, :, ::-1], images)
    border = ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0))
    images = jnp.pad(images, border, mode="edge")
    corner = jax.random.randint(move, (num, 2), 0, 2 * SHIFT + 1)
    crop = lambda x, at: jax.lax.dynamic_slice(x, (*at, 0), (*size, 3))  # noqa: E731
    return jax.vmap(crop)(images, corner).astype(jnp.float32)


def average_statistics(
    network: AttributeCNN, params: Any, images: UInt8[np.ndarray, "n h w 3"]
) -> Variables:
    """Returns the variables with the mean batch statistics of the final weights.

    They are averaged over training pictures without augmentation (Wu & Johnson 2021, arXiv
    2105.07576, section 3). A running average of training would be of earlier weights, too.
    """

    @functools.partial(jax.jit, compiler_options=compiler_options())
    def statistics(params: Any, batch: Array) -> Any:
        pictures = batch.astype(jnp.float32)
        return network.apply({"params": params}, pictures, mutable=["batch_stats"])[1]

    n = len(images)
    batches = range(-(-min(n, CALIBRATION) // BATCH))
    parts = [statistics(params, images[example_indices(SEED, i, BATCH, n)]) for i in batches]
    mean = jax.tree.map(lambda *x: np.mean(np.stack(x), axis=0, dtype=np.float64), *parts)
    return jax.tree.map(np.float32, jax.device_get({"params": params, **mean}))
