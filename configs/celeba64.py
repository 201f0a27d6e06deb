"""CelebA at 64 pixels with all 40 attributes: the conditional DCGAN at the paper's width.

    python -m gan.main --config=configs/celeba64.py --workdir=runs/celeba64 \
        --config.data.path=FOLDER_WITH_CELEBA

25 epochs of its 162,770 training images. `:narrow` is half as wide, for a CPU.
"""

from gan.config import Average, Config, Data
from gan.errors import ConfigError, nearest
from gan.model.networks import dcgan

VARIANTS = {"": 64, "narrow": 32}  # Widths.


def get_config(variant: str = "") -> Config:
    if variant not in VARIANTS:
        hint = nearest(variant, VARIANTS)
        raise ConfigError(f"configs/celeba64.py:{variant}: no such variant.{hint}")
    return Config(
        steps=32_000,
        r1=1.0,
        data=Data(source="celeba"),
        network=dcgan.Settings(g_width=VARIANTS[variant], d_width=VARIANTS[variant], film=True),
        average=Average(half_life=88_678),  # A decay of 0.999 at each step.
    )
