"""Samples the traits of a rendered face: its attributes, which obey rules, and everything else.

Attributes come from integer comparisons on threefry bits, so they are the same on every device.
Their probabilities are those of CelebA up to a few percent, with its strongest dependences.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, UInt8

from gan.data.readers.celeba_labels import ATTRIBUTES

UNDRAWN: tuple[str, ...] = ("Attractive",)  # Always 0: nothing in a picture would show it.
DRAWN: tuple[str, ...] = tuple(name for name in ATTRIBUTES if name not in UNDRAWN)

IMAGES_PER_IDENTITY = 20  # The average of CelebA.
YOUNG_BELOW = 45.0  # Years of age.

# Hair of none of these colours is red or dyed.
HAIR_COLOURS = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair")
HAIR = (*HAIR_COLOURS, "Straight_Hair", "Wavy_Hair")
BEARDS = ("5_o_Clock_Shadow", "Goatee", "Mustache", "Sideburns")

# Who has everything on the left has nothing on the right.
EXCLUDES: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("Black_Hair",), ("Blond_Hair", "Brown_Hair", "Gray_Hair")),
    (("Blond_Hair",), ("Brown_Hair", "Gray_Hair")),
    (("Brown_Hair",), ("Gray_Hair",)),
    (("Young",), ("Gray_Hair",)),
    (("Straight_Hair",), ("Wavy_Hair",)),
    (("Bald",), (*HAIR, "Bangs", "Receding_Hairline", "Sideburns", "Wearing_Hat")),
    (("Bangs",), ("Receding_Hairline",)),
    (("Wearing_Hat",), ("Bangs", "Receding_Hairline")),
    (("Wearing_Hat", "Male"), HAIR),  # A hat hides short hair only.
    (("No_Beard",), BEARDS),  # So stubble counts as a beard.
    (("Arched_Eyebrows",), ("Bushy_Eyebrows",)),
    (("Big_Nose",), ("Pointy_Nose",)),
    (("Chubby",), ("Oval_Face",)),
    (("Wearing_Necktie",), ("Wearing_Necklace",)),
    ((), UNDRAWN),
)
# Who has the left has at least one on the right.
REQUIRES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Bald", ("Male",)),
    *((beard, ("Male",)) for beard in BEARDS),
)
# Everybody has at least one of these.
COMPLETE: tuple[tuple[str, ...], ...] = (("No_Beard", *BEARDS),)


def consistent_rows(attributes: UInt8[np.ndarray, "n 40"]) -> Bool[np.ndarray, " n"]:
    """Whether each row obeys all rules: EXCLUDES, REQUIRES and COMPLETE."""
    has = dict(zip(ATTRIBUTES, attributes.astype(bool).T, strict=True))
    good = np.ones(len(attributes), bool)
    for causes, banned in EXCLUDES:
        applies = np.all([good] + [has[name] for name in causes], axis=0)
        good &= ~(applies & np.any([has[name] for name in banned], axis=0))
    for cause, needed in REQUIRES:
        good &= ~has[cause] | np.any([has[name] for name in needed], axis=0)
    for needed in COMPLETE:
        good &= np.any([has[name] for name in needed], axis=0)
    return good


class Traits(NamedTuple):
    """Everything that determines the picture of a face.

    In lengths, half the picture's width is 1. Colours are RGB in 0..1.
    """

    attributes: UInt8[Array, "40"]  # 0 | 1, in the order of ATTRIBUTES.
    identity: Int[Array, ""]  # Number of the person: 0, 1, ...
    # The same in all pictures of a person:
    tone: Float[Array, ""]  # Tone of the skin: 0 light, 1 dark.
    age: Float[Array, ""]  # Years, 18..80.
    shape: Float[Array, "3"]  # Width and length of the head, width of the jaw: -1..1.
    eyes: Float[Array, "3"]  # Distance, size, tilt: -1..1.
    iris: Float[Array, "3"]  # Colour of the iris.
    features: Float[Array, "3"]  # Length of the nose, width and height of the mouth: -1..1.
    hair_tint: Float[Array, "2"]  # Brightness, and hue of red or dyed hair: 0..1.
    # Different in each picture:
    yaw: Float[Array, ""]  # Radians; positive: the face looks to the picture's right.
    pitch: Float[Array, ""]  # Radians; positive: down.
    roll: Float[Array, ""]  # Radians; positive: clockwise.
    shift: Float[Array, "2"]  # To the right and down.
    scale: Float[Array, ""]  # 1 is the average size.
    gaze: Float[Array, ""]  # -1..1; positive: to the picture's right.
    light: Float[Array, "2"]  # Strength from the right and from above, relative to the front.
    warmth: Float[Array, ""]  # Colour of the light: -1 blue, 1 yellow.
    hair_style: Float[Array, "4"]  # Length, parting and two phases of the strands: 0..1.
    makeup: Float[Array, "3"]  # Shares that mix two eye shadows and a lipstick: 0..1.
    backdrop: Float[Array, "2 3"]  # Colours above and below.
    blobs: Float[Array, "2 2"]  # Centres of two soft lights behind the face.
    cloth: Float[Array, "3"]  # Colour of the clothes.
    accent: Float[Array, "3"]  # Colour of hat and necktie.
    jewel: Float[Array, ""]  # 0 gold, 1 silver.
    frame: Float[Array, "3"]  # Shade, roundness, darkness of the lenses of glasses: 0..1.
    brim: Float[Array, ""]  # Width of the brim of a hat: 0 none, 1 wide.


class Dice:
    """Independent draws from one key, at most `draws` of them."""

    def __init__(self, key: Key[Array, ""], draws: int) -> None:
        words = jax.random.bits(key, (draws,), jnp.uint32)
        rolls = ((words >> 16) * 1000 >> 16).astype(jnp.int32)
        fractions = (words >> 8).astype(jnp.float32) * 2.0**-24
        octets = sum((words >> shift) & 255 for shift in (0, 8, 16, 24))
        self.rolls, self.fractions, self.sums = rolls, fractions, octets.astype(jnp.float32)
        self.draws = iter(range(draws))

    def roll(self) -> Int[Array, ""]:
        """A whole number, 0..999."""
        return self.rolls[next(self.draws)]

    def flip(self, per_mille: int | Int[Array, ""]) -> Bool[Array, ""]:
        """True in `per_mille` of a thousand cases."""
        return self.roll() < per_mille

    def uniform(self, low: float = 0.0, high: float = 1.0) -> Float[Array, ""]:
        """A number in [low, high)."""
        return low + (high - low) * self.fractions[next(self.draws)]

    def uniforms(self, count: int, low: float = 0.0, high: float = 1.0) -> Float[Array, " count"]:
        """`count` numbers in [low, high)."""
        return jnp.stack([self.uniform(low, high) for _ in range(count)])

    def bell(self, deviation: float) -> Float[Array, ""]:
        """A nearly normal number around 0, within 3.5 deviations: the sum of four bytes."""
        return (self.sums[next(self.draws)] - 510.0) * (deviation / 147.8)


def sample_traits(key: Key[Array, ""], index: Int[Array, ""]) -> Traits:
    """Samples the traits of face `index` (0, 1, ...) in the data set with the root `key`."""
    identity = index // IMAGES_PER_IDENTITY
    person = Dice(jax.random.fold_in(jax.random.fold_in(key, 0), identity), 40)
    moment = Dice(jax.random.fold_in(jax.random.fold_in(key, 1), index), 80)
    has, where = {}, jnp.where

    # The person.
    male = has["Male"] = person.flip(417)
    young = has["Young"] = person.flip(where(male, 645, 868))
    age = where(young, person.uniform(18.0, YOUNG_BELOW), person.uniform(YOUNG_BELOW, 80.0))
    tone = person.uniform() * person.uniform(0.2, 1.0)
    dark = person.flip(220)
    tone = where(dark, 0.5 + 0.5 * tone, 0.5 * tone)
    has["Pale_Skin"] = person.flip(where(dark, 0, 55))
    has["Big_Nose"] = person.flip(where(male, 420, 100))
    has["Pointy_Nose"] = person.flip(where(male, 200, 440)) & ~has["Big_Nose"]
    has["Big_Lips"] = person.flip(where(male, 140, 313))
    has["Narrow_Eyes"] = person.flip(115)
    has["Chubby"] = person.flip(where(male, 115, 17))
    has["Double_Chin"] = person.flip(where(has["Chubby"], 460, 21))
    has["Oval_Face"] = person.flip(where(male, 225, 350)) & ~has["Chubby"]
    colour = person.roll()
    shares = (
        where(dark, where(male, 600, 480), where(male, 280, 130)),
        where(dark, where(male, 5, 30), where(male, 48, 305)),
        where(dark, where(male, 150, 170), where(male, 250, 255)),
        where(young, 0, where(male, 260, 120)),
    )
    for name, share in zip(HAIR_COLOURS, shares, strict=True):
        has[name] = (colour >= 0) & (colour < share)
        colour = colour - share
    irises = jnp.array(
        [[0.22, 0.13, 0.07], [0.36, 0.24, 0.12], [0.28, 0.48, 0.70], [0.30, 0.48, 0.30]]
    )
    iris = irises[where(dark, 0, person.roll() // 250)]

    # The expression and the make-up.
    smiling = has["Smiling"] = moment.flip(where(male, 400, 540))
    has["Mouth_Slightly_Open"] = moment.flip(where(smiling, 700, 280))
    has["High_Cheekbones"] = moment.flip(where(smiling, 750, 180))
    has["Bags_Under_Eyes"] = moment.flip(where(male, 350, 100))
    has["Bushy_Eyebrows"] = moment.flip(where(male, 260, 60))
    has["Arched_Eyebrows"] = moment.flip(where(male, 80, 440)) & ~has["Bushy_Eyebrows"]
    lipstick = has["Wearing_Lipstick"] = moment.flip(where(male, 6, 806))
    makeup = has["Heavy_Makeup"] = moment.flip(where(lipstick, 790, 25))
    has["Rosy_Cheeks"] = moment.flip(where(makeup, 165, 5))

    # The hair and the beard.
    bald = has["Bald"] = moment.flip(where(male, where(young, 27, 110), 0))
    hat = has["Wearing_Hat"] = moment.flip(where(male, 80, 29)) & ~bald
    has["Receding_Hairline"] = (
        moment.flip(where(male, where(young, 115, 310), where(young, 20, 50))) & ~bald & ~hat
    )
    has["Bangs"] = moment.flip(where(male, 95, 220)) & ~bald & ~hat & ~has["Receding_Hairline"]
    has["Wavy_Hair"] = moment.flip(where(male, 165, 450))
    has["Straight_Hair"] = moment.flip(where(male, 285, 375)) & ~has["Wavy_Hair"]
    for name in HAIR:
        has[name] &= ~bald & ~(hat & male)
    bearded = moment.flip(where(male, 396, 0))
    has["5_o_Clock_Shadow"] = moment.flip(640) & bearded
    has["Mustache"] = moment.flip(250) & bearded
    has["Sideburns"] = moment.flip(350) & bearded & ~bald
    other = has["5_o_Clock_Shadow"] | has["Mustache"] | has["Sideburns"]
    has["Goatee"] = (moment.flip(240) | ~other) & bearded
    has["No_Beard"] = ~bearded

    # Things that are worn, and the camera.
    has["Eyeglasses"] = moment.flip(where(young, 40, 150))
    has["Wearing_Earrings"] = moment.flip(where(male, 20, 310))
    has["Wearing_Necktie"] = moment.flip(where(male, 174, 0))
    has["Wearing_Necklace"] = moment.flip(where(male, 12, 205)) & ~has["Wearing_Necktie"]
    has["Blurry"] = moment.flip(51)
    has["Attractive"] = jnp.zeros_like(male)

    sunglasses = moment.flip(250)
    return Traits(
        attributes=jnp.stack([has[name] for name in ATTRIBUTES]).astype(jnp.uint8),
        identity=identity.astype(jnp.int32),
        tone=tone,
        age=age,
        shape=person.uniforms(3, -1.0, 1.0),
        eyes=person.uniforms(3, -1.0, 1.0),
        iris=iris,
        features=person.uniforms(3, -1.0, 1.0),
        hair_tint=person.uniforms(2),
        yaw=moment.bell(0.17),
        pitch=moment.bell(0.08),
        roll=moment.bell(0.05),
        shift=jnp.stack([moment.bell(0.018), moment.bell(0.018)]),
        scale=1.1 + moment.bell(0.025),
        gaze=moment.uniform(-1.0, 1.0),
        light=jnp.stack([moment.bell(0.55), 0.45 + moment.bell(0.2)]),
        warmth=moment.uniform(-1.0, 1.0),
        hair_style=moment.uniforms(4),
        makeup=moment.uniforms(3),
        backdrop=moment.uniforms(6).reshape(2, 3),
        blobs=moment.uniforms(4, -1.0, 1.0).reshape(2, 2),
        cloth=moment.uniforms(3),
        accent=moment.uniforms(3),
        jewel=moment.flip(400).astype(jnp.float32),
        frame=jnp.stack([moment.uniform(), moment.uniform(), where(sunglasses, 0.55, 0.06)]),
        brim=moment.uniform(),
    )
