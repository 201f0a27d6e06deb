"""DCGAN's convolutions with 9/16 of the multiplications (Winograd 1980; Lavin & Gray 2016).

A 4x4 convolution of stride 2 is a 2x2 one of stride 1 on blocks of 2x2 pixels, taken as channels.
In one dimension two neighbours of its output y, from three of its input d, need three products in
the place of four:

    y0 = d0 w0 + d1 w1 = (d0 - d1) w0 + d1 (w0 + w1)
    y1 = d1 w0 + d2 w1 = d1 (w0 + w1) - (d1 - d2) w1

and in two dimensions nine in the place of sixteen, each a product of matrices over all tiles of
all images. As a formula, y = A (G w * B d), which is bilinear. So the gradients are made of the
same parts, d = B^T (G w * A^T y) and w = G^T (B d * A^T y), and XLA computes a part that two of
them need once. It is exact but for rounding: A, B and G only add and subtract.
"""

import functools
from collections.abc import Callable, Sequence

import numpy as np
from jax import lax
from jaxtyping import Array, Float

A = np.array([[1, 1, 0], [0, 1, -1]])
B = np.array([[1, -1, 0], [0, 1, 0], [0, 1, -1]])
G = np.array([[1, 0], [1, 1], [0, 1]])
Grid = list[list[Array]]  # Arrays of one shape, by row and column.
# Lists of arrays, not one array with more axes: XLA would fill that several times more slowly.
# And `lax`, not `jnp` or operators, for their sums: thousands in a step, and slow to trace.


def down(x: Float[Array, "b 4*h 4*w c"], w: Float[Array, "4 4 c o"]) -> Float[Array, "b 2*h 2*w o"]:
    """Convolves 4x4 with stride 2 and padding 1; sides are multiples of 4."""
    height, width = x.shape[1] // 4, x.shape[2] // 4
    products = _zip(_contract(1, 0), _inputs(x), _filters(w))
    tiles = _map(lambda y: y.reshape(-1, height, width, w.shape[3]), products)
    return _interleave(_both_ways(A, tiles))


def up(g: Float[Array, "b 2*h 2*w o"], w: Float[Array, "4 4 c o"]) -> Float[Array, "b 4*h 4*w c"]:
    """Applies the adjoint of `down` in x."""
    height, width, c = g.shape[1] // 2, g.shape[2] // 2, w.shape[2]
    products = _zip(_contract(1, 1), _outputs(g), _filters(w))
    tiles = _map(lambda d: d.reshape(-1, height, width, 2, 2 * c), products)
    lines = [_overlap(_combine(B.T, row), axis=2) for row in tiles]
    blocks = _overlap(_combine(B.T, lines), axis=1)
    return _to_pixels(blocks)


def filter_gradient(
    x: Float[Array, "b 4*h 4*w c"], g: Float[Array, "b 2*h 2*w o"]
) -> Float[Array, "4 4 c o"]:
    """Applies the adjoint of `down` in w."""
    c, o = x.shape[3], g.shape[3]
    products = _zip(_contract(0, 0), _inputs(x), _outputs(g))
    w = _both_ways(G.T, _map(lambda u: u.reshape(2, 2, c, o), products))
    return lax.reshape(_stack([_stack(row, 1) for row in w], 0), (4, 4, c, o))


def _inputs(x: Array) -> Grid:
    """Computes B d for each tile of 3x3 blocks; neighbouring tiles share a block."""
    blocks = _to_blocks(x)
    height, width, channels = blocks.shape[1:]

    def block(i: int, j: int) -> Array:
        start, stop = (0, i, j, 0), (len(x), height - 2 + i, width - 2 + j, channels)
        return lax.slice(blocks, start, stop, (1, 2, 2, 1))

    tiles = [[block(i, j) for j in range(3)] for i in range(3)]
    return _map(lambda d: d.reshape(-1, channels), _both_ways(B, tiles))


def _filters(w: Array) -> Grid:
    """Computes G w, with a row for each channel of a block."""
    c, o = w.shape[2:]
    taps = lax.reshape(
        w, (2, 2, 2, 2, c, o)
    )  # Axes: row of blocks, row in a block, column of blocks, ...
    tiles = [[_take(taps, {0: i, 2: j}) for j in range(2)] for i in range(2)]
    return _map(lambda u: u.reshape(4 * c, o), _both_ways(G, tiles))


def _outputs(y: Array) -> Grid:
    """Computes A^T y for each tile of 2x2 pixels."""
    b, height, width, o = y.shape
    pixels = lax.reshape(y, (b, height // 2, 2, width // 2, 2, o))
    tiles = [[_take(pixels, {2: i, 4: j}) for j in range(2)] for i in range(2)]
    return _map(lambda t: t.reshape(-1, o), _both_ways(A.T, tiles))


def _to_blocks(x: Array) -> Array:
    """Folds 2x2 pixels into channels: [b 2h 2w c] with a frame of zeros to [b h+1 w+1 4c].

    Written piece by piece, since XLA would compute a padded and transposed copy anew for each of
    its nine readers.
    """
    b, h, w, c = x.shape[0], x.shape[1] // 2, x.shape[2] // 2, x.shape[3]
    pixels = lax.reshape(x, (b, h, 2, w, 2, c))
    blocks = lax.full((b, h + 1, w + 1, 4 * c), 0, x.dtype)
    for p in range(2):
        for q in range(2):
            corner = (0, 1 - p, 1 - q, (2 * p + q) * c)
            pixel = _take(pixels, {2: 1 - p, 4: 1 - q})
            blocks = lax.dynamic_update_slice(blocks, pixel, corner)
    return blocks


def _to_pixels(blocks: Array) -> Array:
    """Unfolds [b h+1 w+1 2 2c] to pixels, and cuts the frame off."""
    b, h, w, _, c = blocks.shape
    pixels = blocks.transpose(0, 1, 3, 2, 4).reshape(b, 2 * h, 2 * w, c // 2)
    return pixels[:, 1:-1, 1:-1]


def _overlap(parts: Sequence[Array], axis: int) -> Array:
    """Adds up blocks along `axis`: each tile's third block and the next tile's first are one."""

    def shift(x: Array, before: int) -> Array:
        widths = [(0, 0, 0)] * x.ndim
        widths[axis] = (before, 1 - before, 0)
        return lax.pad(x, np.zeros((), x.dtype), widths)

    first, second, third = parts
    y = _stack([lax.add(shift(first, 0), shift(third, 1)), shift(second, 0)], axis + 1)
    y = y.reshape(*y.shape[:axis], -1, *y.shape[axis + 2 :])
    return lax.slice_in_dim(y, 0, y.shape[axis] - 1, axis=axis)


def _interleave(tiles: Grid) -> Array:
    """Interleaves four images, each with every second pixel of every second row."""
    (b, height, width, channels), n = tiles[0][0].shape, len(tiles)
    y = _stack([_stack(row, 3) for row in tiles], 2)
    return y.reshape(b, n * height, n * width, channels)


def _both_ways(matrix: np.ndarray, grid: Grid) -> Grid:
    """Applies `matrix` to the columns and to the rows of a grid."""
    rows = [_combine(matrix, row) for row in grid]
    columns = [_combine(matrix, column) for column in zip(*rows, strict=True)]
    return [list(row) for row in zip(*columns, strict=True)]


def _combine(matrix: np.ndarray, parts: Sequence[Array]) -> list[Array]:
    """Adds up `parts` with the signs in each row of a matrix of 0, 1 and -1."""
    return [
        functools.reduce(lax.add, (x if sign > 0 else lax.neg(x) for sign, x in terms))
        for terms in ([(s, x) for s, x in zip(row, parts, strict=True) if s] for row in matrix)
    ]


def _contract(a: int, b: int) -> Callable[[Array, Array], Array]:
    """Multiplies two matrices over these axes."""
    return lambda x, y: lax.dot_general(x, y, (((a,), (b,)), ((), ())))


def _take(x: Array, at: dict[int, int]) -> Array:
    """Slices `x` at these indices, by axis."""
    start = [at.get(axis, 0) for axis in range(x.ndim)]
    stop = [at[axis] + 1 if axis in at else size for axis, size in enumerate(x.shape)]
    return lax.squeeze(lax.slice(x, start, stop), [*at])


def _stack(parts: Sequence[Array], axis: int) -> Array:
    return lax.concatenate([lax.expand_dims(part, [axis]) for part in parts], axis)


def _map(function: Callable[[Array], Array], grid: Grid) -> Grid:
    return [[function(x) for x in row] for row in grid]


def _zip(function: Callable[[Array, Array], Array], a: Grid, b: Grid) -> Grid:
    return [[function(x, y) for x, y in zip(*rows, strict=True)] for rows in zip(a, b, strict=True)]
