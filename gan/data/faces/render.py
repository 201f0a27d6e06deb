"""Renders a face: paints everything around the bare head, in layers, and sets the camera.

Each feature takes a canvas and the model of the face, and returns the painted canvas. Coordinates
are those of `head`.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from gan.data.faces.canvas import (
    BLACK,
    WHITE,
    Canvas,
    Number,
    Plane,
    band,
    blend,
    blur,
    colour,
    coverage,
    detail,
    ellipse,
    fill,
    glow,
    limit_to_rows,
    mix,
    paint,
    ramp,
    rectangle,
    stroke,
    wave,
)
from gan.data.faces.head import (
    FaceModel,
    eye_scale,
    head_outline,
    measure_face,
    mouth_centre,
    paint_ears,
    paint_eyes,
    paint_head,
    paint_mouth,
    paint_nose,
    project,
)
from gan.data.faces.traits import Traits

# Background and body.


def paint_backdrop(c: Canvas, m: FaceModel) -> Canvas:
    """Paints a soft gradient with two lights out of focus."""
    muted = mix(m.t.backdrop, jnp.mean(m.t.backdrop, axis=1, keepdims=True), 0.45)
    above, below = 0.22 + 0.58 * muted
    share = jnp.clip(0.5 + 0.5 * c.y, 0.0, 1.0)
    c = c._replace(rgb=blend(above, below, share))
    for (x, y), strength in zip(m.t.blobs, (0.35, 0.25), strict=True):
        c = paint(c, strength * glow(c, (x, y), 0.8, 0.8), colour(1.0, 0.97, 0.90))
    return c


@limit_to_rows(0.62, 1.0)
def paint_body(c: Canvas, m: FaceModel) -> Canvas:
    """Paints neck, shoulders and clothes; a suit if there is a necktie."""
    t, male, suit = m.t, m.has["Male"], m.has["Wearing_Necktie"]
    side = jnp.abs(c.x)
    bright, dark = m.skin * colour(0.90, 0.82, 0.80), m.skin * colour(0.52, 0.40, 0.38)
    shadow = ramp(c.y, m.chin + 0.22, m.chin - 0.02)
    skin = blend(bright, dark, shadow)
    neck = 0.215 + 0.05 * male + 0.05 * m.has["Chubby"] + 0.25 * jnp.maximum(c.y - 0.78, 0.0)
    shoulders = ellipse(c, (0.0, 1.42), 0.98, 0.56 + 0.03 * male)
    c = paint(c, coverage(c, jnp.minimum(side - neck, shoulders)), skin)

    opening = ellipse(c, (0.0, 0.80), 0.33 - 0.06 * male, 0.15 + 0.12 * t.cloth[0])
    dress = jnp.maximum(shoulders, -opening * (1.0 - suit) - suit)
    cloth = mix(0.12 + 0.75 * t.cloth, 0.08 + 0.14 * t.cloth, suit)
    light = 0.95 + 0.25 * t.light[0] * c.x - 0.30 * c.x * c.x + 0.06 * wave(c.x * 2.3 + c.y)
    c = fill(c, dress, cloth, light=light)
    hem = jnp.maximum(dress, opening - 0.03)
    c = fill(c, hem, BLACK, 0.3 * (1.0 - suit), soft=0.01)

    shirt = side - 0.30 + 0.75 * jnp.maximum(c.y - 0.80, 0.0)
    c = fill(c, jnp.maximum(shirt, 0.77 - 0.05 * side - c.y), WHITE, suit, light=0.95)
    collar = jnp.abs(c.y - 0.86 + 0.55 * (side - 0.05)) - 0.008
    c = fill(c, jnp.maximum(collar, side - 0.26), BLACK, 0.45 * suit)
    silk = 0.15 + 0.75 * t.accent
    blade = jnp.maximum(side - 0.035 - 0.25 * (c.y - 0.88), 0.88 - c.y)
    c = fill(c, blade, silk, suit, light=0.9 + 0.2 * wave((c.x + c.y) * 8.0))
    knot = jnp.maximum(side - 0.075 + 0.25 * (c.y - 0.82), band(c.y, 0.82, 0.91))
    return fill(c, knot, silk * 0.85, suit)


@limit_to_rows(0.62, 1.0)
def paint_double_chin(c: Canvas, m: FaceModel) -> Canvas:
    """Paints a fold of the neck below the jaw; the head is painted over it."""
    fold = ellipse(c, (0.08 * m.turn, m.chin - 0.12), 0.34, 0.225)
    light = 0.62 + 0.30 * ramp(c.y, m.chin, m.chin + 0.08) - 0.45 * ramp(fold, -0.035, 0.0)
    return fill(c, fold, m.skin * colour(1.0, 0.86, 0.82), m.has["Double_Chin"], light=light)


# Hair and beard.


def hair_sway(c: Canvas, m: FaceModel) -> Plane:
    """Wave in -1..1 that runs down the hair."""
    return wave(2.9 * c.y + 0.35 * c.x + m.t.hair_style[2])


def hair_colour(c: Canvas, m: FaceModel, shadow: Plane | Number) -> Float[Array, "3 h w"]:
    """Colours of the strands: they arch over the head, fall straight below, and shine if bright."""
    has = m.has
    part = 0.16 * (m.t.hair_style[1] - 0.5)
    rise = 0.7 * jnp.minimum(c.y + 0.12, 0.0)
    across = jnp.sqrt((c.x - part) ** 2 + rise * rise + 1e-6)
    bend = hair_sway(c, m) + 0.5 * wave(1.7 * c.y + 2.0 * across)
    across = across + (0.008 + 0.020 * has["Wavy_Hair"]) * (1.0 - 0.8 * has["Straight_Hair"]) * bend
    light = 0.95 - shadow - 0.35 * (c.x / (1.3 * m.width)) ** 2
    for frequency, weight in ((4.7, 0.09), (9.4, 0.08), (19.0, 0.09), (37.0, 0.07)):
        if seen := detail(c, frequency):
            light += seen * weight * wave(frequency * (across + m.t.hair_style[3]))
    ring = jnp.maximum(1.0 - ((c.y + 0.56 - 0.55 * c.x * c.x) / 0.14) ** 2, 0.0)
    light += (0.20 + 0.45 * has["Straight_Hair"]) * ring * ring
    shine = 0.42 * jnp.maximum(light - 1.05, 0.0)
    return jnp.clip(m.hair[:, None, None] * light[None] + shine[None], 0.0, 1.0)


def hair_edge(c: Canvas, m: FaceModel) -> Plane:
    """Distance by which the edge of the hair stands out."""
    wavy = m.has["Wavy_Hair"]
    depth = 0.008 + 0.03 * wavy - 0.006 * m.has["Straight_Hair"]
    return depth * hair_sway(c, m) * ramp(c.y, -0.75, -0.35) + 0.035 * wavy


def hair_end(m: FaceModel) -> Number:
    """The y, 0.48..1.23, at which long hair ends; that of men is short."""
    return 0.48 + 0.75 * m.t.hair_style[0]


def paint_hair_behind(c: Canvas, m: FaceModel) -> Canvas:
    """Paints the hair behind neck and shoulders."""
    side, out = jnp.abs(c.x), hair_edge(c, m)
    cap = ellipse(c, (0.0, -0.12), m.width * 1.13, 0.66) - out
    fall = side - m.width * (1.10 + 0.06 * ramp(c.y, 0.0, 0.7)) - out
    end = hair_end(m) - 1.2 * jnp.maximum(side - 0.3, 0.0) ** 2
    curtain = jnp.maximum(fall, band(c.y, -0.12, end))
    shape = jnp.minimum(cap, mix(curtain, 1.0, m.has["Male"]))
    return paint(
        c, coverage(c, shape, 0.012) * (1.0 - m.has["Bald"]), 0.62 * hair_colour(c, m, 0.0)
    )


def paint_hair_front(c: Canvas, m: FaceModel) -> Canvas:
    """Paints the hair on the head and beside the face; the hairline leaves the face open."""
    t, male, bangs, receding = m.t, m.has["Male"], m.has["Bangs"], m.has["Receding_Hairline"]
    haired = 1.0 - m.has["Bald"]
    out = hair_edge(c, m)
    cap = ellipse(c, (0.0, -0.12), m.width * 1.10, 0.655) - out
    cap = jnp.maximum(cap, c.y - mix(0.25, -0.02, male))
    lock = band(jnp.abs(c.x), 0.90 * m.width, 1.12 * m.width + out)
    lock = jnp.maximum(lock, band(c.y, -0.2, hair_end(m) - 0.05))
    shape = jnp.minimum(cap, mix(lock, 1.0, male))

    turn = 0.22 * m.turn
    u, rx = c.x - turn, m.width * mix(0.90, 0.985, male)
    face = ellipse(c, (0.8 * turn, 0.16), rx, 0.62 + 0.08 * receding)
    face = jnp.minimum(face, jnp.maximum(jnp.abs(u) - rx, 0.16 - c.y))
    edge = 0.02 * wave(4.3 * c.x + t.hair_style[3]) + 0.012 * wave(9.7 * c.x + t.hair_style[2])
    line = -0.45 + 0.55 * (u - 0.25 * (t.hair_style[1] - 0.5)) ** 2 + 0.6 * edge
    line = mix(line, -0.235 + edge, bangs)
    line = mix(line, -0.60 + 0.09 * jnp.maximum(1.0 - (u / 0.2) ** 2, -0.6), receding)
    face = jnp.maximum(face, line - c.y)

    cast = coverage(c, jnp.maximum(shape, -face - 0.035), 0.05) * coverage(c, head_outline(c, m))
    c = paint(c, 0.30 * haired * cast, m.skin * colour(0.35, 0.24, 0.22))
    strands = hair_colour(c, m, 0.25 * jnp.clip(1.0 + face / 0.10, 0.0, 1.0))
    return paint(c, haired * coverage(c, jnp.maximum(shape, -face), 0.012), strands)


@limit_to_rows(0.36, 0.97)
def paint_beard(c: Canvas, m: FaceModel) -> Canvas:
    """Paints stubble, sideburns, goatee and moustache."""
    has, smile, gap = m.has, m.has["Smiling"], m.has["Mouth_Slightly_Open"]
    x0, y0 = mouth_centre(m)
    tint = mix(m.hair * 0.62, BLACK, 0.25 + 0.35 * has["Bald"])
    side, u = jnp.abs(c.x - x0), (c.x - x0) / 0.20
    jaw = coverage(c, head_outline(c, m))

    lips = ellipse(c, (x0, y0 + 0.02), 0.15 + 0.06 * smile, 0.065 + 0.03 * gap)
    area = ramp(c.y, 0.33 - 0.35 * side, 0.45 - 0.35 * side)
    area = jnp.maximum(area, coverage(c, ellipse(c, (x0, y0 - 0.085), 0.17, 0.05), 0.04))
    area = area * jaw * (1.0 - coverage(c, lips, 0.02))
    c = paint(c, 0.55 * has["5_o_Clock_Shadow"] * area, mix(tint, m.skin * 0.4, 0.35))

    edge = 0.80 * m.width - 0.30 * jnp.maximum(c.y - 0.2, 0.0) - jnp.abs(c.x)
    burns = jnp.maximum(edge, band(c.y, -0.12, 0.36))
    c = fill(c, burns, tint, 0.94 * has["Sideburns"] * jaw, soft=0.02)

    light = 1.0 + 0.25 * detail(c, 11.0) * wave((c.x - x0) * (11.0 + 5.0 * c.y))
    low = y0 + 0.075 + 0.036 * gap + 0.03 * smile
    tuft = ellipse(c, (0.85 * x0, low + 0.09), 0.155, 0.135)
    tuft = jnp.maximum(tuft, low + 0.02 * (1.0 - u * u) - c.y)
    c = fill(c, tuft, tint, 0.96 * has["Goatee"], soft=0.015, light=light)

    arch = y0 - 0.055 - 0.03 * gap + 0.03 * smile + (0.075 - 0.06 * smile) * u * u
    hairs = band(c.y, arch - 0.040 * (1.1 - u * u), arch + 0.014 * (1.2 - u * u))
    hairs = jnp.maximum(hairs, 0.2 * (jnp.abs(u) - 1.0))
    return fill(c, hairs, tint, 0.96 * has["Mustache"], soft=0.012, light=light)


# Things that are worn.


@limit_to_rows(0.0, 0.5)
def paint_hat(c: Canvas, m: FaceModel) -> Canvas:
    """Paints a cap, or a hat with a brim, down to the forehead."""
    t, worn = m.t, m.has["Wearing_Hat"]
    brimmed = ramp(t.brim, 0.35, 0.5)
    felt = 0.12 + 0.7 * mix(t.accent, jnp.mean(t.accent), 0.25)
    half = m.width * (1.20 + 0.50 * ramp(t.brim, 0.35, 0.75))
    u = c.x / m.width
    low = -0.34 + 0.06 * u * u
    light = 0.92 + 0.22 * t.light[0] * u - 0.28 * u * u + 0.05 * wave(u * 3.0) * (1.0 - brimmed)
    crown = ellipse(c, (0.0, -0.36), m.width * 1.20, 0.53 - 0.02 * brimmed)
    crown = jnp.maximum(crown, c.y - low)
    c = fill(c, crown, felt, worn, light=light)
    ribbon = jnp.maximum(crown, low - 0.13 - c.y)
    c = fill(c, ribbon, felt * mix(0.8, 0.45, brimmed), worn)
    cast = coverage(c, ellipse(c, (0.0, -0.27), half * 0.8, 0.075), 0.05)
    c = fill(c, head_outline(c, m), m.skin * 0.25, 0.4 * worn * cast)
    c = fill(c, ellipse(c, (0.0, -0.335), half, 0.075), felt * 0.6, worn)
    return fill(c, ellipse(c, (0.0, -0.35), half * 0.99, 0.062), felt, worn, light=0.9 * light)


@limit_to_rows(0.22, 0.65)
def paint_glasses(c: Canvas, m: FaceModel) -> Canvas:
    """Paints glasses, some with dark lenses."""
    t, worn = m.t, m.has["Eyeglasses"]
    shade, roundness, darkness = t.frame
    frame = mix(colour(0.04, 0.04, 0.05), colour(0.36, 0.12, 0.05), shade * shade)
    lens = jnp.where(darkness > 0.5, colour(0.05, 0.05, 0.07), colour(0.85, 0.92, 1.0))
    bridge = []
    for side in (-1.0, 1.0):
        x0, y0 = project(m, side * 0.20, 0.015, 0.37)
        half = 0.155 * eye_scale(m, side)
        rim = rectangle(c, (x0, y0), half, 0.105 + 0.02 * roundness, 0.05 + 0.055 * roundness)
        inside = worn * coverage(c, rim)
        c = paint(c, darkness * inside, lens)
        glare = jnp.abs(c.x - x0 + 0.7 * (c.y - y0) + 0.05) - 0.022
        c = fill(c, glare, WHITE, 0.22 * inside, soft=0.02)
        temple = stroke(c, (x0 + side * half, y0 - 0.03), (0.99 * side * m.width, -0.01), 0.016)
        c = fill(c, jnp.minimum(jnp.abs(rim) - 0.021, temple), frame, worn)
        bridge.append((x0 - side * half, y0 - 0.025))
    return fill(c, stroke(c, *bridge, 0.018), frame, worn)


@limit_to_rows(0.5, 1.0)
def paint_jewellery(c: Canvas, m: FaceModel) -> Canvas:
    """Paints earrings and a necklace, gold or silver."""
    earrings, necklace = m.has["Wearing_Earrings"], m.has["Wearing_Necklace"]
    metal = mix(colour(0.98, 0.80, 0.25), colour(0.88, 0.92, 0.98), m.t.jewel)
    for side in (-1.0, 1.0):
        x = side * (m.width + 0.02 - 0.10 * jnp.maximum(side * m.t.yaw, 0.0))
        drop = ellipse(c, (x, 0.285), 0.042, 0.072)
        c = fill(c, drop - 0.012, metal * 0.35, earrings)
        c = fill(c, drop, metal, earrings)
        c = paint(c, 0.8 * earrings * glow(c, (x - 0.01, 0.265), 0.025, 0.04), WHITE)
    chain = jnp.abs(ellipse(c, (0.0, 0.74), 0.24, 0.17)) - 0.013
    chain = jnp.maximum(chain, 0.77 - c.y)
    stone = ellipse(c, (0.0, 0.93), 0.036, 0.044)
    c = fill(c, chain - 0.012, BLACK, 0.5 * necklace)
    c = fill(c, chain, metal, necklace, light=0.85 + 0.25 * wave(10.0 * c.x))
    c = fill(c, stone - 0.01, metal * 0.4, necklace)
    return fill(c, stone, metal, necklace)


# The picture.

FEATURES = (  # From the back to the front.
    paint_backdrop,
    paint_hair_behind,
    paint_body,
    paint_double_chin,
    paint_ears,
    paint_head,
    paint_nose,
    paint_mouth,
    paint_eyes,
    paint_beard,
    paint_hair_front,
    paint_hat,
    paint_glasses,
    paint_jewellery,
)


def render(traits: Traits, image_size: int) -> UInt8[Array, "h w 3"]:
    """Renders the picture of a face: `image_size` (32..256) pixels square, RGB in 0..255."""
    m = measure_face(traits)
    axis = (jnp.arange(image_size) + 0.5) * (2.0 / image_size) - 1.0
    across, down = jnp.meshgrid(axis - traits.shift[0], axis + 0.05 - traits.shift[1])
    cos, sin = jnp.cos(traits.roll) / traits.scale, jnp.sin(traits.roll) / traits.scale
    x, y = cos * across + sin * down, cos * down - sin * across
    c = Canvas(jnp.zeros((3, image_size, image_size)), x, y, 2.0 / image_size / traits.scale)
    for feature in FEATURES:
        c = feature(c, m)
    lamp = 1.0 + 0.05 * traits.warmth * colour(1.0, 0.2, -1.0)
    corners = 1.0 - 0.10 * (axis[:, None] ** 2 + axis[None] ** 2)
    rgb = c.rgb * lamp[:, None, None] * corners[None]
    rgb = mix(rgb, blur(rgb, max(1, image_size // 26)), m.has["Blurry"])
    return jnp.floor(255.0 * jnp.clip(rgb, 0.0, 1.0).transpose(1, 2, 0) + 0.5).astype(jnp.uint8)
