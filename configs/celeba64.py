"""CelebA at 64 pixels with all 40 attributes: the conditional DCGAN at the paper's width.

    python -m gan.main --config=configs/celeba64.py --workdir=runs/celeba64 \
        --config.data.path=FOLDER_WITH_CELEBA

25 epochs of 162,770 images. `:narrow` is a quarter as wide, for a CPU.
"""

from gan.config import Augment, Config, Data, Network


def get_config(variant: str = "") -> Config:
    width = {"": 64, "narrow": 32}[variant]
    return Config(
        steps=32_000,
        data=Data(source="celeba", image_size=64, crop="center178", batch_size=128),
        augment=Augment(),
        network=Network(g_width=width, d_width=width, film=True),
    )
