"""Faces with chosen attributes in a few minutes on two CPU cores: rendered faces at 32 pixels.

python -m gan.main --config=configs/quickstart.py --workdir=runs/quickstart
"""

from gan.config import Average, Config, Data, Optimizer
from gan.model.networks import dcgan


def get_config() -> Config:
    optimizer = Optimizer(learning_rate=3e-4)
    return Config(
        steps=2_000,
        # Without it the discriminator is soon right about nearly all, and the latent is ignored.
        r1=0.2,
        data=Data(image_size=32, batch_size=64),
        z_dim=64,
        network=dcgan.Settings(g_width=32, d_width=32, film=True),
        g_optimizer=optimizer,
        d_optimizer=optimizer,
        average=Average(half_life=44_339),  # A decay of 0.999 at each step.
        sample_every=500,
        checkpoint_every=500,
    )
