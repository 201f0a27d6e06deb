"""Builds the store of one split: reads, decodes, crops and resizes its pictures on all cores."""

import contextlib
import functools
import itertools
import logging
import os
import threading
import time
import warnings
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import joblib
import numpy as np
from tqdm import tqdm

from gan.data.decode import Decoded, Recipe, decode_pictures
from gan.data.source import Picture, Source, Split
from gan.data.store import InputReport, Meta, Rows, write_store
from gan.errors import DataError

log = logging.getLogger("gan")

CHUNK = 256  # Pictures drawn at a time: always as many, so that drawing compiles once.
TELL_EVERY = 10.0  # Seconds between two log lines, where no progress bar is shown.
TASK = 32  # Pictures that a worker process decodes at a time.
MOST_BAD = 0.5  # Share of the pictures that on_bad="skip" may leave out: it is for single ones.
FEW = 1024  # Up to so many pictures are decoded in this process: starting others takes longer.


def build_store(path: Path, meta: Meta, split: Split, source: Source, on_bad: str) -> None:
    """Prepares the pictures of one split and writes its store to `path`, which must not exist.

    `meta` says how; `on_bad` ("error" or "skip") what becomes of bad pictures. Raises DataError for
    bad pictures and for a full disk.
    """
    report = InputReport(skipped=list(split.left_out))
    if source.drawn:
        rows = draw_rows(split, meta.image_size)
    else:
        recipe = Recipe(meta.image_size, meta.crop, meta.resize, source.formats, source.frame)
        rows = decode_rows(split, recipe, report, on_bad)
    rows = show_progress(rows, f"{meta.source} {meta.split}", meta.num)
    write_store(path, meta, rows, report)
    for change, num in report.changes.most_common():
        log.info("%s: %s pictures %s", meta.split, f"{num:,}", change)
    for name, reason in report.skipped[:5]:
        log.warning("%s: skipped %s: %s", meta.split, name, reason)


def draw_rows(split: Split, image_size: int) -> Iterator[Rows]:
    """Draws all pictures of a split, CHUNK at a time."""
    num = len(split.attributes)
    for first in range(0, num, CHUNK):
        indices = np.minimum(np.arange(first, first + CHUNK), num - 1)
        images = split.draw(indices, image_size)[: num - first]
        rows = slice(first, first + CHUNK)
        yield Rows(images, split.attributes[rows], split.identity[rows])


def decode_rows(split: Split, recipe: Recipe, report: InputReport, on_bad: str) -> Iterator[Rows]:
    """Decodes all pictures of a split, on all cores and in order.

    A bad picture raises DataError, or with `on_bad` "skip" is left out and noted in the `report`,
    which also counts the changes to the others. Raises DataError if more than MOST_BAD of the
    pictures are bad, or if not as many come as there are labels.
    """
    num, first = len(split.attributes), 0
    with closing_quietly(decode_in_parallel(split, recipe)) as decoded:
        for results in decoded:
            good = []
            for index, result in enumerate(results):
                if isinstance(result, DataError):
                    note_bad(split.names[first + index], result, report, on_bad)
                else:
                    good.append(index)
                    report.changes.update(result.changes)
            rows = [first + index for index in good]
            first += len(results)
            if good:
                images = np.stack([results[index].image for index in good])
                yield Rows(images, split.attributes[rows], split.identity[rows])
    bad = len(report.skipped) - len(split.left_out)
    if bad > MOST_BAD * num:
        raise DataError(
            f"{bad:,} of the {num:,} pictures are bad, which is more than some: for example "
            f"{': '.join(report.skipped[-1])}."
        )
    if first != num:
        raise DataError(f"{split.names[first]}: {first} pictures came for {num} rows of labels.")


def decode_in_parallel(
    split: Split, recipe: Recipe
) -> Generator[list[Decoded | DataError], None, None]:
    """Yields the decoded pictures of a split, TASK at a time and in order; bad ones as errors.

    Raises whatever reading the pictures raises.
    """
    num = len(split.attributes)
    broken: list[Exception] = []
    stream = split.stream() if split.stream else None

    def tasks() -> Iterator[tuple]:
        try:
            for first in range(0, num, TASK):
                count = min(TASK, num - first)
                if stream is None:
                    pictures = [read_picture(split, first + i) for i in range(count)]
                else:
                    pictures = list(itertools.islice(stream, count))
                names = split.names[first : first + len(pictures)]
                yield joblib.delayed(decode_in_worker)(os.getpid(), recipe, pictures, names)
        except Exception as error:  # Joblib asks for tasks in another thread: raised below.
            broken.append(error)

    with joblib.parallel_config("loky", idle_worker_timeout=30):
        parallel = joblib.Parallel(
            n_jobs=joblib.cpu_count() if num > FEW else 1,
            return_as="generator",
            pre_dispatch="3*n_jobs",
            max_nbytes=None,
        )
        yield from parallel(tasks())
    if broken:
        raise broken[0]


@contextlib.contextmanager
def closing_quietly(decoded: Generator) -> Iterator[Generator]:
    """Closes the generator at the end of the block, without joblib's warning of unfinished work."""
    try:
        yield decoded
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            decoded.close()


def note_bad(name: str, error: DataError, report: InputReport, on_bad: str) -> None:
    """Notes a bad picture in the `report`; raises DataError unless `on_bad` is "skip"."""
    if on_bad != "skip":
        raise DataError(f"{error} (To leave out single bad pictures: --config.data.on_bad=skip.)")
    report.skipped.append((name, str(error).removeprefix(name).strip(" :")))


def decode_in_worker(
    parent: int, recipe: Recipe, pictures: list[Picture | DataError], names: Sequence[str]
) -> list[Decoded | DataError]:
    """Calls `decode_pictures`; a worker process first ties its life to that of its `parent`."""
    if os.getpid() != parent:
        end_with_parent(parent)
    return decode_pictures(recipe, pictures, names)


@functools.cache
def end_with_parent(parent: int) -> None:
    """Ends this process when its parent ends: joblib's workers would wait for work forever."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def read_picture(split: Split, index: int) -> Picture | DataError:
    """Reads picture `index`; returns the DataError of one that cannot be read."""
    try:
        return split.read(index)
    except DataError as error:
        return error


def show_progress(
    batches: Iterator[Rows], name: str, num: int, tell_every: float = TELL_EVERY
) -> Iterator[Rows]:
    """Yields the batches of a split of `num` pictures, and shows how far it is.

    A terminal shows a bar; elsewhere a line is logged every `tell_every` seconds.
    """
    start = told = time.monotonic()
    done = 0
    with tqdm(total=num, desc=name, unit="img", leave=False, disable=None) as bar:
        for batch in batches:
            yield batch
            done += len(batch.images)
            bar.update(len(batch.images))
            now = time.monotonic()
            if bar.disable and now - told >= tell_every:
                told, rate = now, done / (now - start)
                left = (num - done) / rate
                log.info("%s: %.0f %%, %.0f img/s, %.0f s left", name, 100 * done / num, rate, left)
    seconds = time.monotonic() - start
    log.info("%s: %d pictures in %.1f s, %.0f img/s", name, done, seconds, done / seconds)
