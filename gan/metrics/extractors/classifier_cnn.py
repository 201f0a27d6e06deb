"""A small residual network that tells attributes from pictures, and how it learns to.

Convolutions run at half the side or less, which is what makes it trainable without a GPU.
"""

import collections
import functools
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
WIDTHS = (32, 64, 128, 256)  # Channels of the stages, each of half the side if it can.
LARGEST = 32  # Side of the first stage: higher ones cost most and tell little.
SMALLEST = 4  # And of the last: convolutions of 2 x 2 pixels are ten times slower on CPU.

BATCH = 32
EPOCHS = 8
LEAST = 2048  # Images with repeats, however few there are,
MOST = 2048  # And, a pixel of the side up to 64, however many: 131,072 at 64 pixels.
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.05
SHIFT = 2  # Pixels that a picture moves by at most, each way.
MAX_WEIGHT = 10.0  # Of an example, whose attribute is very rare.
CALIBRATION = 4096  # Images whose statistics stand for all.

Variables = dict[str, Any]  # Flax's "params" and "batch_stats", float32.


class Norm(nn.Module):
    """Batch normalisation: by the batch's own statistics in training, by fixed ones after."""

    train: bool
    scale: nn.initializers.Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x: Float[Array, "n *d c"]) -> Float[Array, "n *d c"]:
        """Each channel by itself."""
        return nn.BatchNorm(
            use_running_average=not self.train,
            momentum=0.0,  # The last batch's: `calibrate` averages them.
            scale_init=self.scale,
            name="batch",
        )(x)


class Residual(nn.Module):
    """Two convolutions and a way round them (He et al. 2016, arXiv 1512.03385)."""

    train: bool

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """As many channels as come."""
        conv = functools.partial(nn.Conv, x.shape[-1], (3, 3), use_bias=False, precision="highest")
        y = nn.relu(Norm(self.train)(conv()(x)))
        # From 0, a block begins as the identity (Goyal et al. 2017, arXiv 1706.02677).
        y = Norm(self.train, nn.initializers.zeros)(conv()(y))
        return nn.relu(x + y)


class AttributeCNN(nn.Module):
    """From pictures in 0..255 to features [n 256], and a logit for each attribute [n a]."""

    num_attributes: int
    train: bool = False

    @nn.compact
    def __call__(
        self, images: Float[Array, "n h w 3"]
    ) -> tuple[Float[Array, "n d"], Float[Array, "n {self.num_attributes}"]]:
        """The side is a multiple of 16. `precision` is "highest": metrics are exact."""
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
    """Each square of `side` x `side` pixels as channels of one."""
    n, h, w, c = x.shape
    x = x.reshape(n, h // side, side, w // side, side, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, h // side, w // side, side * side * c)


def fit(images: UInt8[np.ndarray, "n h w 3"], attributes: UInt8[np.ndarray, "n a"]) -> Variables:
    """A network of these pictures: a function of them alone, on the same kind of device.

    Runs on one device, and for a number of steps that grows with n up to a limit. Raises Diverged.
    """
    n, side = images.shape[:2]
    network = AttributeCNN(attributes.shape[1], train=True)
    steps = max(LEAST, min(EPOCHS * n, MOST * min(side, 64))) // BATCH
    rate = optax.warmup_cosine_decay_schedule(0.0, LEARNING_RATE, steps // 10, steps)
    optimizer = optax.adamw(
        rate,
        b2=0.99,
        weight_decay=WEIGHT_DECAY,
        mask=lambda p: jax.tree.map(lambda x: x.ndim > 1, p),
    )
    device = jax.local_devices()[0]
    key = jax.random.key(SEED, impl="rbg")  # Whose draws compile fast.

    def step(state: Any, balance: Balance, batch: Batch, number: Array) -> tuple[Any, Array]:
        params, moments = state
        pictures = augment(jax.random.fold_in(key, number), batch.image)

        def objective(params: Any) -> Array:
            (_, logits), _ = network.apply({"params": params}, pictures, mutable=["batch_stats"])
            return balanced_loss(logits, batch.attributes, balance)

        value, gradient = jax.value_and_grad(objective)(params)
        updates, moments = optimizer.update(gradient, moments, params)
        return (optax.apply_updates(params, updates), moments), value

    def start(key: Key[Array, ""]) -> Any:
        params = network.init(key, jnp.zeros((1, side, side, 3)))["params"]
        return params, optimizer.init(params)

    with jax.default_device(device):
        balance = jax.device_put(Balance.of(attributes), device)
        state = jax.device_put(compile_for_one_call(start)(key), device)
        step = jax.jit(step, donate_argnums=0, compiler_options=compiler_options())
        ahead: collections.deque[Array] = collections.deque()
        bar = tqdm(total=steps * BATCH, desc="attributes", unit="img", leave=False, disable=None)
        with bar:
            for number in range(steps):
                rows = example_indices(SEED, number, BATCH, n)
                batch = jax.device_put(Batch(images[rows], attributes[rows]), device)
                state, value = step(state, balance, batch, np.int32(number))
                ahead.append(value)
                if len(ahead) > 8:  # So that the bar tells what is done, and no queue grows.
                    ahead.popleft().block_until_ready()
                bar.update(BATCH)
        if not np.isfinite(value):
            raise Diverged(f"The attribute network's loss is {float(value)} after {steps} steps.")
        return calibrate(network, state[0], images)


class Balance(NamedTuple):
    """How an attribute that few or most have counts as much as any other."""

    positive: Float[Array | np.ndarray, "1 a"]  # Weight of an example that has it,
    negative: Float[Array | np.ndarray, "1 a"]  # and of one that has not.
    offset: Float[Array | np.ndarray, "1 a"]  # Of the logit, in training.

    @classmethod
    def of(cls, attributes: UInt8[np.ndarray, "n a"]) -> "Balance":
        """One half of the way by weights, so that a rare attribute is learnt early, and the other
        by the offset: weights alone would follow few examples. What does not vary weighs nothing.
        """
        n, share = len(attributes), attributes.mean(axis=0, dtype=np.float64)[None]
        varies = (share > 0) & (share < 1)
        share = share.clip(0.5 / n, 1 - 0.5 / n)
        positive, negative = (np.minimum(np.sqrt(0.5 / p), MAX_WEIGHT) for p in (share, 1 - share))
        offset = np.log(share / (1 - share) * positive / negative)
        return cls(*map(np.float32, (positive * varies, negative * varies, offset)))


def balanced_loss(
    logits: Float[Array, "b a"], labels: UInt8[Array, "b a"], balance: Balance
) -> Float[Array, ""]:
    """Cross-entropy whose minimum has logit > 0 where an attribute is likelier than on average.

    That is the threshold of the best balanced accuracy (Menon et al. 2020, arXiv 2007.07314).
    """
    logits += balance.offset
    has = balance.positive * nn.softplus(-logits)
    return jnp.where(labels > 0, has, balance.negative * nn.softplus(logits)).mean()


def augment(key: Key[Array, ""], images: UInt8[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
    """Mirrors half of the pictures and moves each by a few pixels, with the border repeated."""
    flip, move = jax.random.split(key)
    num, *size, _ = images.shape
    mirrored = jax.random.bernoulli(flip, shape=(num, 1, 1, 1))
    images = jnp.where(mirrored, images[:, :, ::-1], images)
    border = ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0))
    images = jnp.pad(images, border, mode="edge")
    corner = jax.random.randint(move, (num, 2), 0, 2 * SHIFT + 1)
    crop = lambda x, at: jax.lax.dynamic_slice(x, (*at, 0), (*size, 3))  # noqa: E731
    return jax.vmap(crop)(images, corner).astype(jnp.float32)


def calibrate(
    network: AttributeCNN, params: Any, images: UInt8[np.ndarray, "n h w 3"]
) -> Variables:
    """The variables with the statistics of the training pictures as they are, for the last weights.

    Averages over batches (Wu & Johnson 2021, arXiv 2105.07576, section 3): the running ones of
    training are of weights that are gone.
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
