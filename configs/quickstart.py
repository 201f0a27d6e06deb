"""Faces from nothing to look at in a few minutes on two CPU cores: rendered faces, 32 pixels."""

from gan.config import Config, Data, Network


def get_config() -> Config:
    return Config(
        steps=4_000,
        data=Data(image_size=32, batch_size=64),
        network=Network(g_width=32, d_width=32, z_dim=64, film=True),
    )
