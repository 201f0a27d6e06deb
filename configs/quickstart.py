"""Faces with chosen attributes in a few minutes on two CPU cores: rendered faces at 32 pixels.

python -m gan.main --config=configs/quickstart.py --workdir=runs/quickstart
"""

from gan.config import Config, Data, Network, Optimizer


def get_config() -> Config:
    optimizer = Optimizer(learning_rate=3e-4)
    return Config(
        steps=2_000,
        # Without it the discriminator is soon right about nearly all, and the latent is ignored.
        r1=0.2,
        data=Data(image_size=32, batch_size=64),
        network=Network(g_width=32, d_width=32, z_dim=64, film=True),
        g_optimizer=optimizer,
        d_optimizer=optimizer,
        sample_every=500,
        checkpoint_every=500,
    )
