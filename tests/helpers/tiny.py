"""The smallest run: for tests."""

from gan.config import Config, Data
from gan.model.networks import dcgan


def get_config() -> Config:
    return Config(
        steps=4,
        data=Data(image_size=32, batch_size=8, num_faces=256),
        z_dim=8,
        network=dcgan.Settings(g_width=4, d_width=4, film=True),
        log_every=1,
        sample_every=4,
        checkpoint_every=2,
        eval_images=40,
    )
