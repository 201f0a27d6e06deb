"""Draws the README's picture from a finished quickstart.

python -m benchmarks.quickstart_picture runs/quickstart docs/images/quickstart.png
"""

import argparse
from pathlib import Path

from gan.runtime.pictures import write_png
from gan.sampling.attribute_sheet import AttributeSheet
from gan.sampling.open_run import open_run
from gan.sampling.sampler import Sampler

REQUESTS = (
    "Black_Hair=1,Blond_Hair=1,Gray_Hair=1,Bald=1,Bangs=1,Wearing_Hat=1,Eyeglasses=1,"
    "Smiling=0,Smiling=1,No_Beard=0,Goatee=1,Pale_Skin=1"
)


def main() -> None:
    """Draws with the newest checkpoint of a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="workdir of the run")
    parser.add_argument("out", type=Path, help="the PNG to write")
    parser.add_argument("--requests", default=REQUESTS, help="a row each (default: %(default)s)")
    options = parser.parse_args()
    pairs = [request.split("=") for request in options.requests.split(",")]
    run = open_run(options.run)
    wishes = [(name, int(value)) for name, value in pairs]
    sheet = AttributeSheet(Sampler(run.model, run.table), run.table, wishes)
    write_png(options.out, sheet(run.restore(run.choose_step())))


if __name__ == "__main__":
    main()
