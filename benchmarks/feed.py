"""How fast data gets from files to the step: preparing, both feeds alone, and both under a step.

    python -m benchmarks.feed --json=feed.json

The pictures are rendered faces, written as JPEG files in CelebA's frame (178 x 218), or those at
`--path` (any layout that `config.data.path` takes). All that is compared is timed in turns, round
by round, and ratios are taken within a round.
"""

import argparse
import functools
import io
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import joblib
import numpy as np
from jax import lax
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))  # For `python benchmarks/feed.py`.
from benchmarks import turns
from gan.config import Augment, Config, Data
from gan.data import build_store as building
from gan.data.batch import Batch
from gan.data.decode import VERSION, Recipe, decode_pictures
from gan.data.faces import dataset
from gan.data.feed import STEPS_PER_CALL, ResidentFeed, StreamFeed
from gan.data.prepare import choose_crop
from gan.data.registry import find_source
from gan.data.source import Source, Split
from gan.data.store import InputReport, Meta, Store, open_store, write_store
from gan.model.networks import dcgan
from gan.model.step import build, init_state, train_step
from gan.runtime.parallel import Parallel

FRAME = (218, 178)
QUALITY = 90  # Of the JPEG files: about 7 kB each; CelebA's have 7.
RENDERED = 256  # Different faces; more files are copies.


def rendered(num: int) -> Source:
    """A data set of `num` JPEG files in CelebA's frame, in memory."""
    drawn = np.asarray(dataset.draw_faces(0, np.arange(RENDERED), FRAME[1]).image)
    top = (FRAME[0] - FRAME[1]) // 2
    files = []
    for image in drawn:
        padded = np.pad(image, ((top, top), (0, 0), (0, 0)), mode="edge")
        file = io.BytesIO()
        Image.fromarray(padded).save(file, "JPEG", quality=QUALITY)
        files.append(file.getvalue())
    split = Split(
        attributes=np.tile(np.asarray(dataset.describe_faces(0, np.arange(num)).attributes), 1),
        identity=np.arange(num, dtype=np.int32),
        names=[f"{i}.jpg" for i in range(num)],
        read=lambda i: files[i % RENDERED],
    )
    size = sum(map(len, files)) / len(files) / 1000
    return Source(
        name="faces",
        found=f"{num:,} rendered faces as JPEG of {FRAME[1]} x {FRAME[0]}, {size:.1f} kB each",
        fingerprint="0" * 64,
        attribute_names=dataset.ATTRIBUTES,
        splits={"train": lambda: split},
        formats=("JPEG",),
        frame=FRAME,
    )


def preparing(source: Source, config: Data, folder: Path, rounds: int) -> dict[str, list[float]]:
    """Images/s of decoding, cropping and resizing on one core; and of reading, doing that on all
    cores, and writing the store, which stays in `folder`.
    """
    split = source.splits["train"]()
    num = len(split.attributes)
    recipe = Recipe(
        config.image_size, choose_crop(config, source), config.resize, source.formats, source.frame
    )
    pictures = list(split.stream()) if split.stream else [split.read(i) for i in range(num)]
    meta = Meta(
        source=source.name,
        fingerprint=source.fingerprint,
        version=VERSION,
        split="train",
        crop=recipe.crop,
        resize=recipe.resize,
        attribute_names=source.attribute_names,
        image_size=recipe.size,
        num=num,
    )

    def one_core() -> None:
        decode_pictures(recipe, pictures, split.names)

    def whole() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        building.FEW = 0  # All cores, however few pictures there are.
        write_store(folder, meta, building.decode_rows(split, recipe, InputReport(), "error"))

    whole()  # Starts the processes.
    return turns.in_turns({"one core": one_core, "the whole": whole}, num, rounds)


def alone(store: Store, parallel: Parallel, batch: int, steps: int, rounds: int) -> dict:
    """Images/s of each feed when nothing else is done with its batches."""

    def look(state: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        return state + 1, batch.image[:, ::8, ::8].sum() + batch.attributes.sum()

    def contestant(feed: Any) -> Callable[[], None]:
        call = feed.compile(look)
        calls = feed.calls(0, 2**40, (2**40,))
        state = jax.device_put(np.int32(0), parallel.replicated)

        def run() -> None:
            nonlocal state
            for _ in range(steps):
                _, item = next(calls)
                state, seen = call(state, item)
            jax.block_until_ready((state, seen))

        run()  # Compiles.
        return run

    feeds = {
        "stream": StreamFeed(store, parallel, seed=0, batch=batch),
        "resident": ResidentFeed(store, parallel, seed=0, batch=batch, per_call=1),
    }
    contestants = {name: contestant(feed) for name, feed in feeds.items()}
    return turns.in_turns(contestants, batch * steps, rounds)


class Synthetic:
    """One batch that lies on the devices, again and again: the step with no feed at all."""

    def __init__(self, parallel: Parallel, batch: Batch, per_call: int):
        self._parallel, self._per_call = parallel, per_call
        self._batch = parallel.put_batch(batch)

    def calls(self, start: int, stop: int, every: Sequence[int]) -> Iterator[tuple[int, Batch]]:
        """The batch."""
        for step in range(start, stop, self._per_call):
            yield step + self._per_call, self._batch

    def compile(self, step: Callable) -> Callable:
        """As the feeds do."""

        def call(state: Any, batch: Batch) -> tuple[Any, Any]:
            if self._per_call == 1:
                return step(state, batch)
            scanned = lax.scan(lambda s, _: step(s, batch), state, length=self._per_call)
            return scanned[0], scanned[1].reduce()

        return self._parallel.compile(call)


def under_a_step(
    store: Store, parallel: Parallel, config: Config, calls: int, rounds: int
) -> dict[str, list[float]]:
    """Images/s of training with each feed, and of the step alone on one batch."""
    batch = config.data.batch_size
    per_call = 1 if jax.default_backend() == "cpu" else STEPS_PER_CALL
    model, rules = build(config, store.attributes.mean(axis=0), parallel.axis_name)
    rows = slice(0, batch)
    synthetic = Batch(np.asarray(store.images[rows]), np.asarray(store.attributes[rows]))
    options = dict(seed=0, batch=batch)
    feeds = {
        "step alone": Synthetic(parallel, synthetic, per_call),
        "resident": ResidentFeed(store, parallel, **options, per_call=per_call),
        "stream": StreamFeed(store, parallel, **options),
    }

    def contestant(feed: Any, steps: int) -> Callable[[], None]:
        init = jax.jit(
            functools.partial(init_state, model, rules), out_shardings=parallel.replicated
        )
        state = init(jax.random.key(0))
        call = feed.compile(functools.partial(train_step, model, rules))
        items = feed.calls(0, 2**40, (2**40,))

        def run() -> None:
            nonlocal state
            done = 0
            while done < steps:
                before = done
                _, item = next(items)
                state, metrics = call(state, item)
                done = before + (1 if isinstance(feed, StreamFeed) else per_call)
            jax.block_until_ready((state, metrics))

        run()  # Compiles.
        return run

    steps = calls * per_call
    runs = {name: contestant(feed, steps) for name, feed in feeds.items()}
    return turns.in_turns(runs, steps * batch, rounds)


def main() -> None:
    """Prints three tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--path", help="CelebA or any labelled pictures. Default: rendered faces.")
    parser.add_argument("--source", default="auto", help="Of what lies at the path.")
    parser.add_argument("--images", type=int, default=4096, help="Rendered faces.")
    parser.add_argument("--size", type=int, default=64, help="Pixels.")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--width", type=int, default=64, help="Channels of the networks.")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=2, help="Of the step, in a round.")
    parser.add_argument("--json", type=Path, help="Where to write all of it.")
    options = parser.parse_args()
    data = Data(
        source=options.source,
        path=options.path,
        image_size=options.size,
        batch_size=options.batch,
    )
    config = Config(
        data=data,
        augment=Augment(flip=False),
        dtype=options.dtype,
        network=dcgan.Settings(g_width=options.width, d_width=options.width),
    )
    source = find_source(data) if options.path else rendered(options.images)
    print(source.found)
    cores = joblib.cpu_count()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train"
        prepared = preparing(source, data, path, options.rounds)
        title = f"Preparing at {options.size} px, {cores} cores"
        print(turns.table(title, prepared, "one core"), flush=True)
        store = open_store(path)
        parallel = Parallel.create("jit")
        by_itself = alone(store, parallel, options.batch, 200, options.rounds)
        title = f"Feeds alone, batch {options.batch}, {len(store.images):,} pictures"
        print(turns.table(title, by_itself, "stream"), flush=True)
        training = under_a_step(store, parallel, config, options.calls, options.rounds)
    title = f"Training with DCGAN-{options.size}, width {options.width}, {options.dtype}"
    print(turns.table(title, training, "step alone"))
    results = dict(preparing=prepared, alone=by_itself, training=training)
    turns.write(options, **results, source=source.found)


if __name__ == "__main__":
    main()
