"""Measures how fast data gets from files to the step: preparing, feeds alone, feeds in training.

    python -m benchmarks.feed --json=feed.json

The pictures are rendered faces, written as JPEG files in CelebA's frame (178 x 218), or those at
`--path` (any layout that `config.data.path` takes). All that is compared is timed in turns, round
by round, and ratios are taken within a round.
"""

import argparse
import functools
import io
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import joblib
import numpy as np
from jax import lax
from PIL import Image

from benchmarks import turns
from gan.config import Augment, Config, Data
from gan.data import build_store as building
from gan.data.batch import Batch
from gan.data.decode import VERSION, Recipe, decode_pictures
from gan.data.faces import dataset
from gan.data.feed import STEPS_PER_CALL, ResidentFeed, StreamFeed, reduce_metrics
from gan.data.prepare import choose_crop
from gan.data.registry import find_source
from gan.data.source import Source, Split
from gan.data.store import InputReport, Meta, Store, open_store, write_store
from gan.model.networks import dcgan
from gan.model.step import build, init_state, train_step
from gan.runtime.parallel import Parallel

FRAME = (218, 178)  # Height and width of CelebA's pictures.
QUALITY = 90  # Quality of the JPEG files, which makes them as large as CelebA's: about 7 kB.
RENDERED = 256  # Number of different faces; more files are copies.


def render_source(num: int) -> Source:
    """Renders a data set of `num` JPEG files in CelebA's frame, in memory."""
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


def rate_preparing(
    source: Source, config: Data, folder: Path, rounds: int
) -> dict[str, list[float]]:
    """Measures images/s of decoding, cropping and resizing on one core, and of the whole: reading,
    the same on all cores, and writing the store, which stays in `folder`.
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
    return turns.rate_in_turns({"one core": one_core, "the whole": whole}, num, rounds)


def rate_feeds_alone(
    store: Store, parallel: Parallel, batch: int, steps: int, rounds: int
) -> dict[str, list[float]]:
    """Measures images/s of each feed when almost nothing is done with its batches."""

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
    return turns.rate_in_turns(contestants, batch * steps, rounds)


class ConstantFeed:
    """A feed that brings one batch that lies on the devices already, again and again."""

    def __init__(self, parallel: Parallel, batch: Batch, per_call: int):
        self._parallel, self._per_call = parallel, per_call
        self._batch = parallel.put_batch(batch)

    def calls(self, start: int, stop: int, every: Sequence[int]) -> Iterator[tuple[int, Batch]]:
        """Yields the batch, and the number of steps after each call."""
        for step in range(start, stop, self._per_call):
            yield step + self._per_call, self._batch

    def compile(self, step: Callable) -> Callable:
        """Compiles a step as the feeds do: several of them in one call, where that is fast."""

        def call(state: Any, batch: Batch) -> tuple[Any, Any]:
            if self._per_call == 1:
                return step(state, batch)
            scanned = lax.scan(lambda s, _: step(s, batch), state, length=self._per_call)
            return scanned[0], reduce_metrics(scanned[1])

        return self._parallel.compile(call)


def rate_training(
    store: Store, parallel: Parallel, config: Config, calls: int, rounds: int
) -> dict[str, list[float]]:
    """Measures images/s of training with each feed, and of the step alone on one batch."""
    batch = config.data.batch_size
    per_call = 1 if jax.default_backend() == "cpu" else STEPS_PER_CALL
    model, rules = build(config, store.attributes.mean(axis=0), parallel.axis_name)
    rows = slice(0, batch)
    synthetic = Batch(np.asarray(store.images[rows]), np.asarray(store.attributes[rows]))
    options = dict(seed=0, batch=batch)
    feeds = {
        "step alone": ConstantFeed(parallel, synthetic, per_call),
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
    return turns.rate_in_turns(runs, steps * batch, rounds)


def main() -> None:
    """Prints three tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--path", help="CelebA or any labelled pictures; default: rendered faces")
    parser.add_argument("--source", default="auto", help="kind of data set at the path")
    parser.add_argument("--images", type=int, default=4096, help="number of rendered faces")
    parser.add_argument("--size", type=int, default=64, help="pixels")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--width", type=int, default=64, help="channels of the networks")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=2, help="calls of the step in a round")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there, too")
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
    source = find_source(data) if options.path else render_source(options.images)
    print(source.found)
    cores = joblib.cpu_count()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train"
        prepared = rate_preparing(source, data, path, options.rounds)
        title = f"Preparing at {options.size} px, {cores} cores"
        print(turns.format_rates(title, prepared, "one core"), flush=True)
        store = open_store(path)
        parallel = Parallel.create("jit")
        by_itself = rate_feeds_alone(store, parallel, options.batch, 200, options.rounds)
        title = f"Feeds alone, batch {options.batch}, {len(store.images):,} pictures"
        print(turns.format_rates(title, by_itself, "stream"), flush=True)
        training = rate_training(store, parallel, config, options.calls, options.rounds)
    title = f"Training with DCGAN-{options.size}, width {options.width}, {options.dtype}"
    print(turns.format_rates(title, training, "step alone"))
    results = dict(preparing=prepared, alone=by_itself, training=training)
    turns.write_results(options, **results, source=source.found)


if __name__ == "__main__":
    main()
