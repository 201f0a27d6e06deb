"""Paints the bare head of a rendered face: shape, shading, eyes, nose and mouth.

Coordinates are the head's: x to the right, y down; on an average face, half the picture's width is
1. The eyes lie at y = 0, the mouth near 0.4, the chin near 0.7.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gan.data.faces.canvas import (
    BLACK,
    WHITE,
    Canvas,
    Colour,
    Number,
    Plane,
    Point,
    band,
    blend,
    colour,
    coverage,
    disc,
    ellipse,
    fill,
    glow,
    limit_to_rows,
    mix,
    paint,
    ramp,
    stroke,
    wave,
)
from gan.data.faces.traits import ATTRIBUTES, YOUNG_BELOW, Traits


class FaceModel(NamedTuple):
    """The traits of a face, and the measures that several features derive from them."""

    t: Traits
    has: dict[str, Float[Array, ""]]  # 0 or 1 for each attribute.
    skin: Colour
    hair: Colour
    width: Number  # Half the width of the head.
    chin: Number  # The y of the chin.
    squeeze: Number  # Horizontal scale of everything on the turned face.
    turn: Number  # Sine of the yaw.
    nod: Number  # Sine of the pitch.


def measure_face(t: Traits) -> FaceModel:
    """Returns the colours and measures of a face."""
    has = dict(zip(ATTRIBUTES, t.attributes.astype(jnp.float32), strict=True))
    old = 1.0 - has["Young"]
    light, medium, deep = (
        colour(0.99, 0.82, 0.72),
        colour(0.86, 0.60, 0.43),
        colour(0.34, 0.21, 0.15),
    )
    skin = mix(mix(light, medium, t.tone), mix(medium, deep, t.tone), t.tone)
    skin = mix(skin, colour(1.0, 0.91, 0.88), 0.95 * has["Pale_Skin"])
    skin = mix(skin, 0.92 * jnp.mean(skin), 0.16 * old)
    hue = t.hair_tint[1]
    red = mix(colour(0.80, 0.36, 0.12), colour(0.45, 0.10, 0.09), hue / 0.9)
    dyed = mix(colour(0.85, 0.35, 0.60), colour(0.25, 0.50, 0.80), (hue - 0.9) / 0.1)
    hair = jnp.where(hue < 0.9, red, dyed)
    for name, natural in (
        ("Black_Hair", colour(0.08, 0.07, 0.08)),
        ("Blond_Hair", colour(0.90, 0.72, 0.38)),
        ("Brown_Hair", colour(0.36, 0.21, 0.12)),
        ("Gray_Hair", colour(0.70, 0.70, 0.72)),
    ):
        hair = mix(hair, natural, has[name])
    width = 0.445 + 0.02 * t.shape[0] + 0.05 * has["Chubby"] + 0.015 * has["Male"]
    chin = 0.66 + 0.02 * t.shape[1] + 0.015 * has["Male"]
    return FaceModel(
        t=t,
        has=has,
        skin=skin,
        hair=mix(hair * (0.85 + 0.3 * t.hair_tint[0]), colour(0.62, 0.62, 0.63), 0.17 * old),
        width=width - 0.03 * has["Oval_Face"],
        chin=chin + 0.05 * has["Oval_Face"],
        squeeze=jnp.cos(t.yaw),
        turn=jnp.sin(t.yaw),
        nod=jnp.sin(t.pitch),
    )


def project(m: FaceModel, u: Number, v: Number, depth: float) -> Point:
    """Returns where a point of the turned face appears.

    `u` and `v` are its x and y on a face seen from the front, `depth` is its distance before the
    axis of the head.
    """
    return u * m.squeeze + depth * m.turn, v + depth * m.nod


def eye_scale(m: FaceModel, side: float) -> Number:
    """Horizontal scale of the eye at `side` (-1 or 1): the one that turns away is narrower."""
    return m.squeeze - 0.33 * side * m.turn


# The head.


def head_outline(c: Canvas, m: FaceModel) -> Plane:
    """Distance to the head: skull and jaw, smoothly joined."""
    has = m.has
    jaw = 0.315 + 0.02 * m.t.shape[2] + 0.045 * has["Male"] + 0.07 * has["Chubby"]
    skull = ellipse(c, (0.0, -0.10), m.width, 0.60)
    jaw = ellipse(c, (0.10 * m.turn, m.chin - 0.36), jaw - 0.035 * has["Oval_Face"], 0.36)
    seam = jnp.maximum(0.16 - jnp.abs(skull - jaw), 0.0)
    return jnp.minimum(skull, jaw) - seam * seam / 0.64


def skin_normal(c: Canvas, m: FaceModel) -> tuple[Plane, Plane, Plane]:
    """Unit normal (right, down, to the camera) of the skin: an ellipsoid with bumps and hollows."""
    has = m.has
    u, v = c.x / (1.08 * m.width), (c.y + 0.02) / 0.78
    depth = jnp.sqrt(jnp.maximum(1.0 - u * u - v * v, 0.06))
    across, down = u / depth, v / depth
    tip = 0.21 + 0.02 * m.t.features[0] + 0.05 * has["Pointy_Nose"]
    wing = 0.075 + 0.04 * has["Big_Nose"] - 0.02 * has["Pointy_Nose"]
    cheek = 0.04 + 0.10 * has["High_Cheekbones"] + 0.03 * has["Smiling"]
    lift = 0.04 * has["High_Cheekbones"] + 0.03 * has["Smiling"]
    bumps = [  # (centre, half axis, half axis, height)
        (project(m, 0.0, 0.05, 0.36), 0.095, 0.28, 0.075),  # Bridge of the nose.
        (project(m, 0.0, tip - 0.01, 0.42), 1.35 * wing, 0.11, 0.09),  # Its tip.
        (project(m, 0.0, m.chin - 0.09, 0.32), 0.17, 0.13, 0.05),  # Chin.
        (project(m, 0.0, 0.42, 0.38), 0.28, 0.18, 0.04),  # Mouth.
    ]
    for side in (-1.0, 1.0):
        bumps += [
            (project(m, side * 0.19, -0.01, 0.34), 0.19, 0.13, -0.05),  # Socket of the eye.
            (project(m, side * 0.20, -0.15, 0.36), 0.22, 0.09, 0.025),  # Brow.
            (project(m, side * 0.25, 0.21 - lift, 0.26), 0.21, 0.18, cheek),
            (project(m, side * 0.26, 0.42, 0.22), 0.21, 0.24, 0.10 * has["Chubby"]),
            (project(m, side * (wing + 0.005), tip + 0.02, 0.38), 0.055, 0.06, 0.035),  # Nostril.
        ]
    for centre, rx, ry, height in bumps:  # Each is height * (1 - q)^3 where q < 1.
        u, v = (c.x - centre[0]) / rx, (c.y - centre[1]) / ry
        slope = 6.0 * height * jnp.maximum(1.0 - u * u - v * v, 0.0) ** 2
        across, down = across + slope * u / rx, down + slope * v / ry
    length = jax.lax.rsqrt(across * across + down * down + 1.0)
    return across * length, down * length, length


def paint_head(c: Canvas, m: FaceModel) -> Canvas:
    """Paints the bare head: shaded skin, cheeks and, with age, wrinkles."""
    right, above = m.t.light
    across, down, front = skin_normal(c, m)
    diffuse = (across * right - down * above + front) * jax.lax.rsqrt(right**2 + above**2 + 1.0)
    diffuse = jnp.clip(diffuse, 0.0, 1.0)
    gloss = (0.05 + 0.14 * m.has["Bald"] * ramp(c.y, -0.25, -0.5)) * diffuse**16
    shadow = m.skin * colour(0.66, 0.52, 0.48)
    face = c._replace(rgb=blend(shadow, 1.06 * m.skin, diffuse) + gloss[None])
    for side in (-1.0, 1.0):
        cheek = glow(c, project(m, side * 0.25, 0.22, 0.27), 0.17, 0.14)
        face = paint(face, cheek * (0.10 + 0.60 * m.has["Rosy_Cheeks"]), colour(0.90, 0.32, 0.33))
    return paint(c, coverage(c, head_outline(c, m)), paint_wrinkles(face, m).rgb)


def paint_wrinkles(c: Canvas, m: FaceModel) -> Canvas:
    """Paints lines from the nose to the mouth, beside the eyes and on the forehead."""
    decades = jnp.clip((m.t.age - YOUNG_BELOW) / 35.0, 0.0, 1.0)
    old = (1.0 - m.has["Young"]) * mix(0.62, 1.0, decades)
    x0, y0 = project(m, 0.0, -0.30, 0.36)
    u, v = (c.x - x0) / 0.24, (c.y - y0) / 0.12
    forehead = jnp.maximum(wave((c.y - y0 - 0.02 * u * u) / 0.085), 0.0)
    lines = 0.5 * forehead * jnp.maximum(1.0 - u * u, 0.0) * jnp.maximum(1.0 - v * v, 0.0)
    for side in (-1.0, 1.0):
        start, stop = project(m, side * 0.12, 0.22, 0.36), project(m, side * 0.22, 0.40, 0.32)
        fold = stroke(c, start, stop, 0.004)
        lines = jnp.maximum(lines, coverage(c, fold, 0.05))
        for slope in (-0.035, 0.035):
            start = project(m, side * 0.325, 0.01 + 0.6 * slope, 0.26)
            stop = project(m, side * 0.395, 0.01 + 1.8 * slope, 0.22)
            lines = jnp.maximum(lines, 0.8 * coverage(c, stroke(c, start, stop, 0.003), 0.02))
    return paint(c, 0.65 * old * lines, m.skin * colour(0.45, 0.34, 0.32))


@limit_to_rows(0.3, 0.8)
def paint_ears(c: Canvas, m: FaceModel) -> Canvas:
    """Paints the ears; the far one hides behind a turned head."""
    for side in (-1.0, 1.0):
        x = side * (m.width - 0.005 - 0.18 * jnp.maximum(side * m.t.yaw, 0.0))
        ear = ellipse(c, (x, 0.07), 0.07, 0.13)
        c = fill(c, ear, m.skin * colour(0.88, 0.77, 0.74))
        c = fill(c, ear + 0.028, m.skin * colour(0.62, 0.47, 0.45), 0.6, soft=0.02)
    return c


# Eyes.


@limit_to_rows(0.22, 0.65)
def paint_eyes(c: Canvas, m: FaceModel) -> Canvas:
    """Paints both eyes and eyebrows."""
    for side in (-1.0, 1.0):
        c = paint_eyebrow(paint_eye(c, m, side), m, side)
    return c


def paint_eye(c: Canvas, m: FaceModel, side: float) -> Canvas:
    """Paints an eye between two parabolas, with its lid, lashes and bag."""
    t, has = m.t, m.has
    x0, y0 = project(m, side * (0.19 + 0.012 * t.eyes[0]), 0.0, 0.34)
    half = (0.105 + 0.006 * t.eyes[1]) * eye_scale(m, side)
    x = (c.x - x0) / half
    y = c.y - y0 + (0.012 + 0.01 * t.eyes[2]) * side * x
    height = 0.057 + 0.006 * t.eyes[1]
    height = height * (1.0 - 0.52 * has["Narrow_Eyes"] - 0.10 * has["Smiling"])
    top, bottom = -height * (1.0 - x * x), 0.62 * height * (1.0 - x * x)
    wide, ends = jnp.maximum(1.0 - x * x, 0.0), (jnp.abs(x) - 1.0) * half

    bag = jnp.maximum(band(y, bottom + 0.018, bottom + 0.018 + 0.055 * wide), ends)
    c = fill(c, bag, m.skin * colour(0.50, 0.34, 0.40), 0.62 * has["Bags_Under_Eyes"], soft=0.02)
    shadow = mix(colour(0.42, 0.16, 0.42), colour(0.16, 0.25, 0.45), t.makeup[0])
    shadow = mix(shadow, colour(0.30, 0.16, 0.14), t.makeup[1]) * mix(0.4, 1.0, m.skin)
    lid = band(y, top - 0.075 * wide - 0.006, bottom)
    c = fill(c, lid, shadow, 0.10 + 0.70 * has["Heavy_Makeup"], soft=0.03)
    crease = jnp.maximum(jnp.abs(y - top + 0.030) - 0.004, ends)
    c = fill(c, crease, m.skin * 0.35, 0.35, soft=0.012)

    ball = coverage(c, band(y, top, bottom))
    c = paint(c, ball, WHITE, 0.97 - 0.25 * jnp.clip((top + 0.03 - y) * 20.0, 0.0, 1.0))
    x1, y1 = x0 + 0.022 * t.gaze, y0 - 0.004
    c = fill(c, disc(c, (x1, y1), 0.051), t.iris * 0.45, ball)
    depth = 1.1 + 6.0 * jnp.maximum(c.y - y1, 0.0)
    c = fill(c, disc(c, (x1, y1), 0.042), t.iris, ball, light=depth)
    c = fill(c, disc(c, (x1, y1), 0.022), BLACK * 0.3, ball)

    lash = 0.012 + 0.010 * (1.0 - has["Male"]) + 0.010 * has["Heavy_Makeup"]
    lashes = jnp.maximum(band(y, top - lash * wide - 0.004, top + 0.004), ends - 0.012)
    c = fill(c, lashes, BLACK, 0.92)
    liner = jnp.maximum(jnp.abs(y - bottom) - 0.004, ends)
    c = fill(c, liner, m.skin * 0.3, 0.35 + 0.5 * has["Heavy_Makeup"])
    return fill(c, disc(c, (x1 - 0.016 + 0.004 * side, y1 - 0.018), 0.011), WHITE)


def paint_eyebrow(c: Canvas, m: FaceModel, side: float) -> Canvas:
    """Paints an eyebrow along a parabola."""
    has = m.has
    arched, bushy = has["Arched_Eyebrows"], has["Bushy_Eyebrows"]
    x0, y0 = project(m, side * 0.20, -0.145 - 0.012 * arched, 0.34)
    half = 0.135 * eye_scale(m, side)
    x = side * (c.x - x0) / half  # -1 at the nose, 1 at the temple.
    middle = y0 - (0.012 + 0.055 * arched) * (1.0 - 0.6 * (x - 0.3) ** 2)
    thick = (0.011 + 0.006 * has["Male"] + 0.022 * bushy) * (1.0 - 0.25 * x * x - 0.25 * x)
    brow = jnp.maximum(jnp.abs(c.y - middle) - thick, (jnp.abs(x) - 1.0) * half)
    hair = mix(m.hair, BLACK, 0.45 + 0.4 * has["Bald"])
    return fill(c, brow, hair, 0.85 + 0.1 * bushy, soft=0.012)


# Nose and mouth.


@limit_to_rows(0.46, 0.85)
def paint_nose(c: Canvas, m: FaceModel) -> Canvas:
    """Paints nostrils, wings and the shadow below; `skin_normal` shades the rest of the nose."""
    big, pointy = m.has["Big_Nose"], m.has["Pointy_Nose"]
    x0, y0 = project(m, 0.0, 0.225 + 0.02 * m.t.features[0] + 0.05 * pointy, 0.42)
    half = 0.062 + 0.038 * big - 0.022 * pointy
    dark = m.skin * colour(0.45, 0.30, 0.28)
    u = (c.x - x0) / (1.5 * half)
    rim = y0 + 0.055 + 0.03 * big - (0.05 + 0.02 * big - 0.03 * pointy) * u * u
    below = jnp.maximum(band(c.y, rim - 0.006, rim + 0.012), (jnp.abs(u) - 1.0) * half)
    c = fill(c, below, dark, 0.55, soft=0.025)
    for side in (-1.0, 1.0):
        hole = (x0 + 0.62 * side * half, y0 + 0.038 + 0.015 * big)
        hole = ellipse(c, hole, 0.022 + 0.012 * big, 0.015)
        c = fill(c, hole, dark * 0.5, 0.85, soft=0.01)
        x = x0 + side * (half + 0.017)
        c = fill(c, stroke(c, (x, y0 - 0.015), (x, y0 + 0.03), 0.006), dark, 0.45, soft=0.018)
    return paint(c, 0.35 * glow(c, (x0, y0 - 0.015), 0.035, 0.045), WHITE)


def mouth_centre(m: FaceModel) -> Point:
    """Returns the point where the lips meet."""
    return project(m, 0.0, 0.405 + 0.012 * m.t.features[2], 0.38)


@limit_to_rows(0.52, 0.97)
def paint_mouth(c: Canvas, m: FaceModel) -> Canvas:
    """Paints lips between two parabolas that a smile bends, and teeth between open lips."""
    t, has = m.t, m.has
    smile, gap = has["Smiling"], has["Mouth_Slightly_Open"]
    x0, y0 = mouth_centre(m)
    half = (0.150 + 0.012 * t.features[1] + 0.065 * smile) * m.squeeze
    rouge = mix(colour(0.80, 0.06, 0.14), colour(0.78, 0.10, 0.38), t.makeup[2])
    lip = mix(m.skin * colour(0.86, 0.58, 0.56), rouge, 0.9 * has["Wearing_Lipstick"])
    x = (c.x - x0) / half
    y = c.y - y0 + (0.085 * smile + 0.020) * x * x - 0.03 * smile
    wide, ends = jnp.maximum(1.0 - x * x, 0.0), (jnp.abs(x) - 1.0) * half
    parted = gap * (0.022 + 0.016 * smile)
    upper, lower = -parted * wide, 1.6 * parted * wide
    full = 1.0 + has["Big_Lips"]
    bow = 0.016 * jnp.maximum(1.0 - jnp.abs(x) * 4.0, 0.0)
    lips = band(y, upper - 0.036 * full * wide + bow, lower + 0.044 * full * wide)

    c = paint(c, 0.35 * glow(c, (x0, y0 + 0.115 + 0.03 * smile), 0.12, 0.045), m.skin * 0.5)
    c = fill(c, jnp.maximum(lips, ends), lip, light=0.92 + 2.2 * jnp.maximum(y, -0.05))
    shine = glow(c, (x0 - 0.02, y0 + 0.05 + 0.03 * smile + 1.6 * parted), 0.07, 0.02)
    c = paint(c, 0.30 * shine, WHITE)
    inner = jnp.maximum(band(y, upper, lower), ends + 0.02)
    c = fill(c, inner, colour(0.22, 0.04, 0.06), gap)
    teeth = band(y, upper, mix(upper + 0.022, lower - 0.008, smile))
    c = fill(c, jnp.maximum(teeth, ends + 0.035), WHITE, gap, light=1.0 - 0.18 * x * x)
    line = jnp.maximum(jnp.abs(y) - 0.007, ends)
    c = fill(c, line, lip * 0.32, 0.85 * (1.0 - gap))
    for side in (-1.0, 1.0):
        corner = (x0 + side * half, y0 - 0.073 * smile - 0.014)
        c = paint(c, 0.6 * glow(c, corner, 0.035, 0.035), m.skin * 0.35)
    return c
