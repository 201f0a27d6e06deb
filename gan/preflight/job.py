"""The job that compiles the training step for hardware that is not here, before it is paid for.

It compiles what `gan.training` runs (the same step, feed and parallelism) with the compiler of that
hardware. No data, no workdir and no device are needed.
"""

import copy
import dataclasses
import functools
import re
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from gan.config import Config, validate
from gan.data.batch import Batch
from gan.data.faces.traits import ATTRIBUTES
from gan.data.feed import (
    choose_feed,
    choose_sharding,
    choose_steps_per_call,
    compile_resident,
    most_steps_per_call,
)
from gan.data.prepare import prepared_training_set
from gan.data.registry import CELEBA_SOURCES
from gan.errors import ConfigError, DataError
from gan.experiments import our_configs
from gan.model import flops
from gan.model.step import abstract_state, build, train_step
from gan.preflight.compiled_program import count_kernels, count_traffic, find_collectives
from gan.preflight.roofline import CompiledStep, find_largest_batch
from gan.preflight.topology import Topology, ask_compiler_for_devices, parse_topology
from gan.preflight.words import format_refused_row, format_report, format_row, format_table
from gan.runtime.parallel import AXIS, Parallel

CELEBA = 162_770  # Number of training pictures in CelebA's own partition.


class DoesNotFit(Exception):
    """The compiler refuses the step: it needs `excess` bytes too much, 1 where it does not say."""

    def __init__(self, excess: int):
        super().__init__(f"{excess / 1e9:.1f} GB too much")
        self.excess = excess


def preflight(
    config: Config | None,
    name: str,
    topologies: str,
    price: float | None = None,
    tell: Callable[[str], None] = print,
) -> None:
    """Tells how a configuration would run on each of `topologies`, such as "v5e:4x4,h200:8".

    One topology gets a full report, several get a table. Without `config` the table has all of
    `configs/`. `price` is in US dollars for a device and hour. Raises ConfigError.
    """
    places = [parse_topology(text.strip()) for text in topologies.split(",")]
    devices = {place.name: ask_compiler_for_devices(place) for place in places}
    if config is not None and len(places) == 1:
        tell_report(config, name, places[0], devices[places[0].name], price, tell)
        return
    rows = [
        compile_row(title, one, place, devices[place.name], price)
        for title, one in ({name: config}.items() if config is not None else our_configs())
        for place in places
    ]
    tell(format_table(rows, price))


def compile_row(
    title: str,
    config: Config,
    topology: Topology,
    devices: list[jax.Device],
    price: float | None,
) -> list[str]:
    """Compiles a configuration for a topology, and returns the cells of its line in the table.

    A batch that the devices cannot share is rounded up, and marked with a star.
    """
    shared, changed = share_batch(config, topology.num_devices)
    title += f", batch {shared.data.batch_size:,}{'*' if changed else ''}"
    try:
        return format_row(title, compile_step(shared, topology, devices), price)
    except DoesNotFit as error:
        return format_refused_row(title, topology, str(error), price)


def tell_report(
    config: Config,
    name: str,
    topology: Topology,
    devices: list[jax.Device],
    price: float | None,
    tell: Callable[[str], None],
) -> None:
    """Tells all about one configuration on one topology, and the largest batch that fits.

    Raises ConfigError if the devices cannot share its batch.
    """
    validate(config)
    num = topology.num_devices
    shared, changed = share_batch(config, num)
    if changed:
        lower = config.data.batch_size // num * num
        either = f"{lower} or " if lower else ""
        raise ConfigError(
            f"config.data.batch_size={config.data.batch_size}: must be a multiple of the "
            f"{num} devices of --topology={topology.name}. The nearest: {either}"
            f"{shared.data.batch_size}, by --config.data.batch_size."
        )

    @functools.cache
    def compile_batch(batch: int) -> CompiledStep | DoesNotFit:
        data = dataclasses.replace(config.data, batch_size=batch)
        try:
            return compile_step(dataclasses.replace(config, data=data), topology, devices)
        except DoesNotFit as error:
            return error

    def count_free(batch: int) -> int:
        step = compile_batch(batch)
        return -step.excess if isinstance(step, DoesNotFit) else step.free

    asked = compile_batch(config.data.batch_size)
    if isinstance(asked, DoesNotFit):
        tell(f"{name} on {topology.name}: does not fit, {asked} of a device's memory.")
    else:
        tell(format_report(name, config, asked, price))
    best = find_largest_batch(count_free, config.data.batch_size, num)
    found = f"{best:,}, {best // num:,} a device" if best else "none of those tried"
    tell(f"Largest batch   {found}: compiled, and the largest of few sizes tried")


def share_batch(config: Config, num_devices: int) -> tuple[Config, bool]:
    """Rounds the batch up to one that the devices can share; also says whether that changed it."""
    config = copy.deepcopy(config)
    asked = config.data.batch_size
    config.data.batch_size = -(-asked // num_devices) * num_devices
    return config, config.data.batch_size != asked


def compile_step(config: Config, topology: Topology, devices: list[jax.Device]) -> CompiledStep:
    """Compiles the training step as it would run on a topology.

    Raises DoesNotFit if the compiler refuses it, and ConfigError.
    """
    validate(config, topology.num_devices)
    # Under pmap the program of a device is the same but for its communication's form.
    parallel = Parallel("jit", Mesh(np.array(devices), (AXIS,)))
    num_pictures, num_attributes = size_of_training_set(config)
    built = build(config, (0.5,) * num_attributes)
    step = functools.partial(train_step, *built)
    state = abstract_state(*built, parallel.replicated)
    side, images = config.data.image_size, config.data.batch_size * config.d_steps
    like = Batch((images, side, side, 3), (images, num_attributes))
    batch = Batch(*(jax.ShapeDtypeStruct(shape, np.uint8) for shape in like))

    size = (num_pictures or 0) * (side * side * 3 + num_attributes)
    free = topology.chip.memory - _count_bytes(state)
    kind = choose_feed(config.data.feed, size, free, parallel) if num_pictures else "stream"
    if kind == "stream":
        call, arguments, steps = parallel.compile(step), (batch,), 1
        feed = "stream"
        if num_pictures is None:
            feed += "; resident data not counted, its size is not known"
    else:
        call, arguments, steps = _resident_call(
            config, step, parallel, num_pictures, num_attributes, sharded=kind == "sharded"
        )
        feed = f"resident, {'a share' if kind == 'sharded' else 'all of it'} on each device"
        feed += f"; {steps} steps a call"

    begin = time.monotonic()
    compiled = _compile(call.lower(state, *arguments))
    seconds = time.monotonic() - begin
    memory, program = compiled.memory_analysis(), compiled.as_text()
    costs = compiled.cost_analysis()  # None on GPUs.
    return CompiledStep(
        topology=topology,
        dtype=config.dtype,
        images=images,
        feed=feed,
        state=memory.alias_size_in_bytes,  # The state is what a call consumes.
        data=memory.argument_size_in_bytes - memory.alias_size_in_bytes,
        temporaries=memory.temp_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes,
        code=memory.generated_code_size_in_bytes,
        flops=flops.count(step, state, batch) / topology.num_devices,
        xla_flops=costs["flops"] if costs else None,
        traffic=count_traffic(program, steps),
        kernels=count_kernels(program),
        collectives=tuple(find_collectives(program, topology.num_devices)),
        seconds=seconds,
    )


def _resident_call(
    config: Config,
    step: Callable,
    parallel: Parallel,
    num_pictures: int,
    num_attributes: int,
    sharded: bool,
) -> tuple[Callable, tuple[Any, ...], int]:
    """Returns the resident feed's call of several steps, its arguments after the state, and how
    many steps it runs.
    """
    side, images = config.data.image_size, config.data.batch_size * config.d_steps
    every = (config.log_every, config.sample_every, config.checkpoint_every)
    steps = choose_steps_per_call(most_steps_per_call(config.steps_per_call, parallel), every)
    place = choose_sharding(parallel, sharded)
    shapes = (num_pictures, side * side * 3), (num_pictures, num_attributes)
    data = tuple(parallel.placed_shape(shape, np.uint8, place) for shape in shapes)
    call = compile_resident(parallel, step, (side, side, 3), data)
    return call, (jax.ShapeDtypeStruct((steps, images), np.int32), *data), steps


def size_of_training_set(config: Config) -> tuple[int | None, int]:
    """Number of pictures (None if nobody can tell yet) and of attributes of the training set."""
    data = config.data
    chosen = len((data.attributes or "").split(",")) if data.attributes else 0
    if data.source == "faces":
        return data.num_faces, chosen or len(ATTRIBUTES)
    if data.source in CELEBA_SOURCES:
        return CELEBA, chosen or len(ATTRIBUTES)
    try:
        store = prepared_training_set(data)
    except (ConfigError, DataError):  # Its files are elsewhere.
        store = None
    if store is None:
        return None, chosen or len(ATTRIBUTES)
    return len(store.images), len(store.attribute_names)


def _compile(lowered: jax.stages.Lowered) -> jax.stages.Compiled:
    try:
        return lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise DoesNotFit(read_excess(str(error))) from error


def read_excess(message: str) -> int:
    """Returns the bytes that a refused program needs beyond what there is, by the message.

    1 if the message does not say.
    """
    units = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
    sizes = [float(n) * units[unit] for n, unit in re.findall(r"\b([\d.]+)([KMGT])\b", message)]
    return int(sizes[0] - sizes[1]) if len(sizes) > 1 and sizes[0] > sizes[1] else 1


def _count_bytes(tree: object) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
