"""The pictures of rendered faces: the same at each size, and every attribute visible."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.small_faces import column, labels_of_people

from gan.data.faces.dataset import draw_faces, face_traits
from gan.data.faces.render import render
from gan.data.faces.traits import (
    ATTRIBUTES,
    BEARDS,
    DRAWN,
    IMAGES_PER_IDENTITY,
    consistent_rows,
)

SAMPLE = jax.jit(face_traits)


def toggled(attributes, name):
    """Rows with one attribute flipped; No_Beard moves with the beard it speaks about."""
    changed = attributes.copy()
    value = 1 - column(attributes, name)
    changed[:, ATTRIBUTES.index(name)] = value
    if name == "No_Beard":
        for beard in BEARDS:
            column(changed, beard)[value == 1] = 0
        column(changed, "Goatee")[value == 0] = 1
    if name in BEARDS:
        bearded = np.any([column(changed, beard) for beard in BEARDS], axis=0)
        changed[:, ATTRIBUTES.index("No_Beard")] = ~bearded
    return changed


@pytest.fixture(scope="module")
def picture():
    """Renders traits at 64 px, in batches of one size, so that it compiles once."""
    render_batch = jax.jit(jax.vmap(partial(render, image_size=64)))
    batch = 64

    def draw(traits):
        count = len(traits.identity)
        images = []
        for start in range(0, count, batch):
            rows = np.minimum(np.arange(start, start + batch), count - 1)
            part = jax.tree.map(lambda leaf, r=rows: leaf[r], traits)
            images.append(np.asarray(render_batch(part)))
        return np.concatenate(images)[:count]

    return draw


@pytest.mark.slow
def test_render__shows_the_same_picture_at_each_size(picture):
    index = jnp.arange(8) * IMAGES_PER_IDENTITY
    large = picture(face_traits(0, index)).astype(np.float32)
    large = large.reshape(8, 32, 2, 32, 2, 3).mean((2, 4))
    small = np.asarray(draw_faces(0, index, 32).image, np.float32)
    assert np.abs(large - small).mean() < 4
    assert np.abs(large[:-1] - small[1:]).mean() > 16


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAWN)
def test_render__shows_every_attribute(name, picture):
    index, known = labels_of_people()
    changed = toggled(known.attributes, name)
    rows = np.flatnonzero(consistent_rows(changed))
    present = column(known.attributes, name)[rows] == 1
    rows = np.concatenate([rows[present][:96], rows[~present]])[:256]
    assert len(rows) == 256
    traits = SAMPLE(0, jnp.asarray(index[rows]))
    assert np.array_equal(traits.attributes, known.attributes[rows])
    before = picture(traits).astype(np.int32)
    after = picture(traits._replace(attributes=jnp.asarray(changed[rows]))).astype(np.int32)
    pixels = (np.abs(after - before).max(axis=3) > 8).sum(axis=(1, 2))
    assert (pixels >= 12).mean() >= 0.99
