"""Draws the README's picture from a finished quickstart.

python -m benchmarks.quickstart_picture runs/quickstart docs/images/quickstart.png
"""

import sys
from pathlib import Path

from gan.runtime.pictures import write_png
from gan.sampling.attribute_sheet import AttributeSheet
from gan.sampling.open_run import open_run
from gan.sampling.sampler import Sampler

REQUESTS = (
    *(("Black_Hair", 1), ("Blond_Hair", 1), ("Gray_Hair", 1), ("Bald", 1), ("Bangs", 1)),
    *(("Wearing_Hat", 1), ("Eyeglasses", 1), ("Smiling", 0), ("Smiling", 1)),
    *(("No_Beard", 0), ("Goatee", 1), ("Pale_Skin", 1)),
)


def main(folder: Path, out: Path) -> None:
    """Draws with the newest checkpoint of the run in `folder`."""
    run = open_run(folder)
    sheet = AttributeSheet(Sampler(run.model, run.table), run.table, REQUESTS)
    sheet = sheet(run.restore(run.choose_step()))
    write_png(out, sheet)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
