"""Paints shapes by signed distances: anti-aliased at any size, without bitmaps or random numbers.

A shape is the distance of every pixel to its edge, negative inside. `jnp.maximum` of two shapes is
their intersection, `jnp.minimum` their union.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Number = Float[Array, ""] | float
Plane = Float[Array, "h w"]
Colour = Float[Array | np.ndarray, "3"]
Point = tuple[Number, Number]
Feature = Callable[..., "Canvas"]  # (canvas, model of the face) -> painted canvas


class Canvas(NamedTuple):
    """A picture, or some rows of it, and the coordinates of its pixels."""

    rgb: Float[Array, "3 h w"]  # 0..1.
    x: Plane  # To the right.
    y: Plane  # Down.
    pixel: Number  # Side of a pixel, in the same units.


def colour(red: float, green: float, blue: float) -> Colour:
    """Returns the colour of these shares, each in 0..1."""
    return np.array([red, green, blue], np.float32)


BLACK = colour(0.09, 0.05, 0.05)
WHITE = colour(0.97, 0.96, 0.95)


def limit_to_rows(top: float, bottom: float) -> Callable[[Feature], Feature]:
    """Limits a feature to the rows between two shares of the picture's height, which saves time."""

    def decorator(feature: Feature) -> Feature:
        @wraps(feature)
        def drawn(canvas: Canvas, model: Any) -> Canvas:
            size = canvas.x.shape[0]
            part = slice(round(top * size), round(bottom * size))
            strip = Canvas(canvas.rgb[:, part], canvas.x[part], canvas.y[part], canvas.pixel)
            strip = feature(strip, model)
            rgb = jax.lax.dynamic_update_slice(canvas.rgb, strip.rgb, (0, part.start, 0))
            return canvas._replace(rgb=rgb)

        return drawn

    return decorator


# Laying colour.


def paint(
    c: Canvas, cover: Plane, tint: Float[Array | np.ndarray, "3 *hw"], light: Plane | Number = 1.0
) -> Canvas:
    """Paints a colour [3] or [3 h w], times `light`, over the share `cover` of each pixel."""
    tint = tint.reshape(3, *(tint.shape[1:] or (1, 1))) * jnp.atleast_2d(light)[None]
    return c._replace(rgb=c.rgb + cover[None] * (tint - c.rgb))


def coverage(c: Canvas, distance: Plane, soft: float = 0.0) -> Plane:
    """Share of each pixel that lies within a shape; `soft` widens its edge."""
    return jnp.clip(0.5 - distance / (c.pixel + soft), 0.0, 1.0)


def fill(
    c: Canvas,
    distance: Plane,
    tint: Colour,
    strength: Plane | Number = 1.0,
    soft: float = 0.0,
    light: Plane | Number = 1.0,
) -> Canvas:
    """Paints a shape in one colour; a strength of 0 is transparent, 1 opaque."""
    return paint(c, strength * coverage(c, distance, soft), tint, light)


def mix(a: Array | np.ndarray | float, b: Array | np.ndarray | float, share: Any) -> Array:
    """Mixes two values: `a` at share 0, `b` at share 1."""
    return a + (b - a) * share


def blend(a: Colour, b: Colour, share: Plane) -> Float[Array, "3 h w"]:
    """Mixes two colours for each pixel: `a` where the share is 0, `b` where it is 1."""
    return mix(a[:, None, None], b[:, None, None], share[None])


# Shapes.


def ellipse(c: Canvas, centre: Point, rx: Number, ry: Number) -> Plane:
    """Distance to an ellipse with these half axes; good near its edge only."""
    u, v = (c.x - centre[0]) / rx, (c.y - centre[1]) / ry
    slope = (u / rx) ** 2 + (v / ry) ** 2
    return 0.5 * (u * u + v * v - 1.0) * jax.lax.rsqrt(slope + 1e-3)


def disc(c: Canvas, centre: Point, radius: float) -> Plane:
    """Distance to a disc."""
    u, v = c.x - centre[0], c.y - centre[1]
    return jnp.sqrt(u * u + v * v + 1e-8) - radius


def rectangle(c: Canvas, centre: Point, rx: Number, ry: Number, corner: Number) -> Plane:
    """Distance to a rectangle with these half sides and round corners."""
    u, v = jnp.abs(c.x - centre[0]) - rx + corner, jnp.abs(c.y - centre[1]) - ry + corner
    outside = jnp.sqrt(jnp.maximum(u, 0.0) ** 2 + jnp.maximum(v, 0.0) ** 2 + 1e-8)
    return outside + jnp.minimum(jnp.maximum(u, v), 0.0) - corner


def stroke(c: Canvas, a: Point, b: Point, radius: float) -> Plane:
    """Distance to a straight line from `a` to `b` with round ends."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    along = (c.x - a[0]) * dx + (c.y - a[1]) * dy
    along = jnp.clip(along / (dx * dx + dy * dy), 0.0, 1.0)
    u, v = c.x - a[0] - along * dx, c.y - a[1] - along * dy
    return jnp.sqrt(u * u + v * v + 1e-8) - radius


def band(s: Plane, low: Plane | Number, high: Plane | Number) -> Plane:
    """Distance to the band between two values of a coordinate, which may be curves."""
    return jnp.maximum(low - s, s - high)


# Soft values.


def glow(c: Canvas, centre: Point, rx: Number, ry: Number) -> Plane:
    """Brightness of a soft spot: 1 in its centre, 0 outside its rim."""
    u, v = (c.x - centre[0]) / rx, (c.y - centre[1]) / ry
    return jnp.maximum(1.0 - u * u - v * v, 0.0) ** 2


def ramp(s: Plane | Number, start: Plane | Number, stop: Plane | Number) -> Plane | Number:
    """Smooth rise from 0 at `start` to 1 at `stop`."""
    share = jnp.clip((s - start) / (stop - start), 0.0, 1.0)
    return share * share * (3.0 - 2.0 * share)


def wave(s: Plane) -> Plane:
    """Smooth wave in -1..1 of period 1; cheaper than a sine."""
    rise = 2.0 * jnp.abs(s - jnp.floor(s) - 0.5)
    return 2.0 * rise * rise * (3.0 - 2.0 * rise) - 1.0


def detail(c: Canvas, frequency: float) -> float:
    """Strength at which to draw a wave: 1 where a period has 3 pixels or more, 0 below 2 pixels."""
    return min(max(c.x.shape[1] / (2.0 * frequency) - 2.0, 0.0), 1.0)


def blur(rgb: Float[Array, "3 h w"], radius: int) -> Float[Array, "3 h w"]:
    """Blurs a picture by triangular weights over 2 radius + 1 pixels; edges are repeated."""
    weights = [1.0 - abs(k) / (radius + 1) for k in range(-radius, radius + 1)]
    for axis in (1, 2):
        size = rgb.shape[axis]
        pad = [(radius, radius) if a == axis else (0, 0) for a in range(3)]
        wide = jnp.pad(rgb, pad, mode="edge")
        rgb = sum(
            weight / sum(weights) * jax.lax.slice_in_dim(wide, k, k + size, axis=axis)
            for k, weight in enumerate(weights)
        )
    return rgb
