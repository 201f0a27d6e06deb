"""Builds the store of one split: reads, decodes, crops and resizes its pictures on all cores."""

import collections
import contextlib
import functools
import itertools
import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
from joblib.externals.loky import get_reusable_executor
from tqdm import tqdm

from gan.data.colours import find_depth, highest_level
from gan.data.decode import Decoded, Recipe, decode_pictures, decoded_bytes
from gan.data.source import Picture, Source, Split
from gan.data.store import InputReport, Meta, Rows, write_store
from gan.errors import DataError

log = logging.getLogger("gan")

CHUNK = 256  # Pictures drawn at a time: always as many, so that drawing compiles once.
TELL_EVERY = 10.0  # Seconds between two log lines, where no progress bar is shown.
TASK, TASK_BYTES = 32, 2**24  # Pictures that a worker process decodes at a time, at most.
# Memory for pictures on their way, for each worker process: with more in sight, reading waits.
WORKER_BYTES = 2**28
MOST_BAD = 0.5  # Share of the pictures that on_bad="skip" may leave out: it is for single ones.
FEW = 1024  # Up to so many pictures are decoded in this process: starting others takes longer.
SAMPLE = 64  # Training pictures that are looked at to find how many of 16 bits they use.
# Levels: a picture whose colours differ by no more is counted. Empty and wrongly read ones do.
FLAT = 16


class Task(NamedTuple):
    """Some pictures to decode."""

    pictures: list[Picture | DataError]
    names: Sequence[str]
    size: int  # Bytes of memory that they take, about.


def build_store(
    path: Path, meta: Meta, split: Split, source: Source, on_bad: str, bits: int = 16
) -> None:
    """Prepares the pictures of one split and writes its store to `path`, which must not exist.

    `meta` says how; `on_bad` ("error" or "skip") what becomes of bad pictures; `bits` is what
    `find_bits` found. Raises DataError for bad pictures and for a full disk.
    """
    report = InputReport(skipped=list(split.left_out))
    if source.drawn:
        rows = draw_rows(split, meta.image_size)
    else:
        recipe = Recipe(meta.image_size, meta.crop, meta.resize, source.formats, source.frame, bits)
        rows = decode_rows(split, recipe, report, on_bad)
    rows = show_progress(rows, f"{meta.source} {meta.split}", meta.num)
    write_store(path, meta, rows, report)
    for change, num in report.changes.most_common():
        first = report.first[change]
        log.info("%s: %s pictures %s (the first: %s)", meta.split, f"{num:,}", change, first)
    for name, reason in report.skipped[:5]:
        log.warning("%s: skipped %s: %s", meta.split, name, reason)


def find_bits(source: Source) -> int:
    """Finds how many of the 16 bits the grey pictures of a source use, from some for training."""
    if "PNG" not in source.formats:
        return 16
    split = source.splits["train"]()
    if split.stream:
        sample = itertools.islice(split.stream(), SAMPLE)
    else:
        rows = np.linspace(0, len(split.attributes) - 1, SAMPLE).astype(int)
        sample = (read_picture(split, int(row)) for row in np.unique(rows))
    highest = max((highest_level(picture, source.formats) for picture in sample), default=0)
    return find_depth(highest) if highest else 16


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
    with contextlib.closing(decode_in_parallel(split, recipe)) as decoded:
        for results in decoded:
            good = []
            for index, result in enumerate(results, first):
                if isinstance(result, DataError):
                    note_bad(split.names[index], result, report, on_bad)
                else:
                    good.append(index)
                    report.note(result.changes, split.names[index])
            if good:
                images = np.stack([results[index - first].image for index in good])
                for index in np.flatnonzero(are_flat(images)):
                    report.note(["nearly all of one colour"], split.names[good[index]])
                yield Rows(images, split.attributes[good], split.identity[good])
            first += len(results)
    bad = len(report.skipped) - len(split.left_out)
    if bad > MOST_BAD * num:
        raise DataError(
            f"{bad:,} of the {num:,} pictures are bad, which is more than some: for example "
            f"{': '.join(report.skipped[-1])}."
        )
    if first != num:
        raise DataError(f"{split.names[first]}: {first} pictures came for {num} rows of labels.")


def are_flat(images: np.ndarray) -> np.ndarray:
    """Tells which pictures (uint8 [b s s 3]) have nearly the same colour everywhere."""
    return (np.ptp(images, axis=(1, 2)) <= FLAT).all(axis=-1)


def decode_in_parallel(split: Split, recipe: Recipe) -> Iterator[list[Decoded | DataError]]:
    """Yields the decoded pictures of a split, some at a time and in order; bad ones as errors.

    Raises whatever reading the pictures raises.
    """
    tasks = cut_into_tasks(split)
    if len(split.attributes) > FEW:
        yield from decode_in_workers(tasks, recipe, joblib.cpu_count())
    else:
        yield from (decode_pictures(recipe, task.pictures, task.names) for task in tasks)


def cut_into_tasks(split: Split) -> Iterator[Task]:
    """Reads the pictures of a split, and cuts them into tasks by their number and their bytes."""
    num = len(split.attributes)
    every = split.stream() if split.stream else (read_picture(split, i) for i in range(num))
    pictures: list[Picture | DataError] = []
    first = encoded = decoded = 0
    for picture in itertools.islice(every, num):
        size = len(picture) if isinstance(picture, bytes) else getattr(picture, "nbytes", 0)
        if pictures and (len(pictures) == TASK or encoded + size > TASK_BYTES):
            names = split.names[first : first + len(pictures)]
            yield Task(pictures, names, encoded + decoded)
            first += len(pictures)
            pictures, encoded, decoded = [], 0, 0
        pictures.append(picture)
        encoded += size
        decoded = max(decoded, decoded_bytes(picture))  # One at a time is decoded.
    if pictures:
        yield Task(pictures, split.names[first : first + len(pictures)], encoded + decoded)


def decode_in_workers(
    tasks: Iterable[Task], recipe: Recipe, workers: int
) -> Iterator[list[Decoded | DataError]]:
    """Decodes tasks in worker processes and yields the results in order.

    Never more than WORKER_BYTES a worker are on their way, unless a single task has more.
    """
    executor = get_reusable_executor(workers, timeout=30)
    waiting: collections.deque = collections.deque()  # (result to come, bytes)
    try:
        for task in tasks:
            while waiting and (
                len(waiting) >= 3 * workers
                or task.size + sum(size for _, size in waiting) > workers * WORKER_BYTES
            ):
                yield waiting.popleft()[0].result()
            arguments = (os.getpid(), recipe, task.pictures, task.names)
            waiting.append((executor.submit(decode_in_worker, *arguments), task.size))
        while waiting:
            yield waiting.popleft()[0].result()
    finally:
        for result, _ in waiting:
            result.cancel()


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
