"""The traits of rendered faces: consistent, and like CelebA in their statistics."""

import numpy as np
import pytest
from helpers.small_faces import column, labels_of_people

from gan.data.faces.traits import (
    ATTRIBUTES,
    BEARDS,
    DRAWN,
    UNDRAWN,
    YOUNG_BELOW,
    consistent_rows,
)


def test_attributes__are_celebas_in_order():
    assert len(ATTRIBUTES) == 40
    assert list(ATTRIBUTES) == sorted(ATTRIBUTES, key=str.lower)
    assert set(DRAWN) | set(UNDRAWN) == set(ATTRIBUTES)
    assert not set(DRAWN) & set(UNDRAWN)


def test_consistent_rows__are_all_that_are_sampled():
    assert consistent_rows(labels_of_people()[1].attributes).all()


@pytest.mark.parametrize(
    ("on", "off"),
    [
        (("Bald", "Male"), ()),
        (("Blond_Hair", "Black_Hair"), ("Bald", "Wearing_Hat")),
        (("Goatee",), ("No_Beard", "Male")),
        (("No_Beard", "Male", "Mustache"), ()),
        (("Attractive",), ()),
        ((), ("No_Beard", *BEARDS)),
    ],
)
def test_consistent_rows__excludes_contradictions(on, off):
    rows = labels_of_people()[1].attributes.copy()
    before = consistent_rows(rows)
    for name in on:
        column(rows, name)[:] = 1
    for name in off:
        column(rows, name)[:] = 0
    after = consistent_rows(rows)
    assert before.all()
    if on == ("Bald", "Male"):  # Right for those without any visible hair.
        assert 0 < after.mean() < 0.3
    else:
        assert not after.any()


def test_sample_traits__has_celebas_marginals():
    celeba = {
        "5_o_Clock_Shadow": 0.111, "Arched_Eyebrows": 0.267, "Bags_Under_Eyes": 0.205,
        "Bald": 0.022, "Bangs": 0.152, "Big_Lips": 0.241, "Big_Nose": 0.235, "Black_Hair": 0.239,
        "Blond_Hair": 0.148, "Blurry": 0.051, "Brown_Hair": 0.205, "Bushy_Eyebrows": 0.142,
        "Chubby": 0.058, "Double_Chin": 0.047, "Eyeglasses": 0.065, "Goatee": 0.063,
        "Gray_Hair": 0.042, "Heavy_Makeup": 0.387, "High_Cheekbones": 0.455, "Male": 0.417,
        "Mouth_Slightly_Open": 0.483, "Mustache": 0.042, "Narrow_Eyes": 0.115, "No_Beard": 0.835,
        "Oval_Face": 0.284, "Pale_Skin": 0.043, "Pointy_Nose": 0.277, "Receding_Hairline": 0.080,
        "Rosy_Cheeks": 0.066, "Sideburns": 0.057, "Smiling": 0.482, "Straight_Hair": 0.208,
        "Wavy_Hair": 0.320, "Wearing_Earrings": 0.189, "Wearing_Hat": 0.049,
        "Wearing_Lipstick": 0.472, "Wearing_Necklace": 0.123, "Wearing_Necktie": 0.073,
        "Young": 0.774,
    }  # fmt: skip
    assert set(celeba) == set(DRAWN)
    attributes = labels_of_people()[1].attributes
    for name, share in celeba.items():
        assert abs(column(attributes, name).mean() - share) < 0.01 + 0.05 * share, name
    assert attributes.sum(1).mean() == pytest.approx(8.5, abs=0.2)


def test_sample_traits__continuous_values_agree_with_the_attributes():
    _, known = labels_of_people()
    young = column(known.attributes, "Young").astype(bool)
    assert known.age[young].max() < YOUNG_BELOW <= known.age[~young].min()
    assert known.age.min() >= 18
    assert known.age.max() <= 80
    assert np.abs(known.yaw).max() < 0.6
    assert known.yaw.std() == pytest.approx(0.17, rel=0.05)
    assert known.tone.min() >= 0
    assert known.tone.max() <= 1
    assert known.tone.std() > 0.1
