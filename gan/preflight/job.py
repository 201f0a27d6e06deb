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

import jax
import numpy as np
from jax.sharding import Mesh

from gan.config import Config, validate
from gan.data.batch import Batch
from gan.data.faces.sampling import ATTRIBUTES
from gan.data.feed import (
    choose_feed,
    choose_sharding,
    choose_steps_per_call,
    compile_resident,
    most_steps_per_call,
)
from gan.data.prepare import prepared_training_set
from gan.data.registry import GROUPS, check_choices
from gan.errors import ConfigError, DataError
from gan.experiments import our_configs
from gan.model import flops
from gan.model.step import abstract_state, build, train_step
from gan.preflight import compiled_program
from gan.preflight.roofline import Program, largest_batch
from gan.preflight.topology import Topology, find_devices, parse_topology
from gan.preflight.words import refusal, report, row, table
from gan.runtime.parallel import AXIS, Parallel

CELEBA = 162_770  # Training pictures by its own partition.


class DoesNotFit(Exception):
    """The compiler refuses: by so many bytes, or 1 where it does not say."""

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
    """Tells how `config` would run on each of `topologies` ("v5e:4x4,h200:8"): one of each gets a
    full report, more a table; without `config` all of `configs/`.

    `price` is in US dollars for a device and hour. Raises ConfigError.
    """
    places = [parse_topology(text.strip()) for text in topologies.split(",")]
    devices = {place.name: find_devices(place) for place in places}
    if config is not None and len(places) == 1:
        full(config, name, places[0], devices[places[0].name], price, tell)
        return
    rows = [
        line(title, one, place, devices[place.name], price)
        for title, one in ({name: config}.items() if config is not None else our_configs())
        for place in places
    ]
    tell(table(rows, price))


def line(
    title: str,
    config: Config,
    topology: Topology,
    devices: list[jax.Device],
    price: float | None,
) -> list[str]:
    """The cells of a pair's row, with the next batch that so many devices can share."""
    fitted, changed = to_devices(config, topology.num)
    title += f", batch {fitted.data.batch_size:,}{'*' if changed else ''}"
    try:
        return row(title, compile_step(fitted, topology, devices), price)
    except DoesNotFit as error:
        return refusal(title, topology, str(error), price)


def full(
    config: Config,
    name: str,
    topology: Topology,
    devices: list[jax.Device],
    price: float | None,
    tell: Callable[[str], None],
) -> None:
    """Everything about one configuration on one topology."""
    validate(config)
    fitted, changed = to_devices(config, topology.num)
    if changed:
        lower = config.data.batch_size // topology.num * topology.num
        either = f"{lower} or " if lower else ""
        raise ConfigError(
            f"config.data.batch_size={config.data.batch_size}: must be a multiple of the "
            f"{topology.num} devices of --topology={topology.name}. The nearest: {either}"
            f"{fitted.data.batch_size}, by --config.data.batch_size."
        )

    @functools.cache
    def at(batch: int) -> Program | DoesNotFit:
        data = dataclasses.replace(config.data, batch_size=batch)
        try:
            return compile_step(dataclasses.replace(config, data=data), topology, devices)
        except DoesNotFit as error:
            return error

    def left(batch: int) -> int:
        found = at(batch)
        return -found.excess if isinstance(found, DoesNotFit) else found.free

    asked = at(config.data.batch_size)
    if isinstance(asked, DoesNotFit):
        tell(f"{name} on {topology.name}: does not fit, {asked} of a device's memory.")
    else:
        tell(report(name, config, asked, price))
    best = largest_batch(left, config.data.batch_size, topology.num)
    found = f"{best:,}, {best // topology.num:,} a device" if best else "none of those tried"
    tell(f"Largest batch   {found}: compiled, and the largest of few sizes tried")


def to_devices(config: Config, num: int) -> tuple[Config, bool]:
    """The same with the next batch that so many devices can share; whether it is another."""
    config = copy.deepcopy(config)
    asked = config.data.batch_size
    config.data.batch_size = -(-asked // num) * num
    return config, config.data.batch_size != asked


def compile_step(config: Config, topology: Topology, devices: list[jax.Device]) -> Program:
    """The training step as it would run there. Raises DoesNotFit where the compiler refuses."""
    validate(config, topology.num)
    # Under pmap the program of a device is the same but for its communication's form.
    parallel = Parallel("jit", Mesh(np.array(devices), (AXIS,)))
    pictures, attributes = training_set(config)
    gan = build(config, (0.5,) * attributes)
    step = functools.partial(train_step, gan)
    state = abstract_state(gan, parallel.replicated)
    side, num = config.data.image_size, config.data.batch_size * config.d_steps
    like = Batch((num, side, side, 3), (num, attributes))
    batch = Batch(*(jax.ShapeDtypeStruct(shape, np.uint8) for shape in like))

    size = (pictures or 0) * (side * side * 3 + attributes)
    free = topology.chip.memory - _bytes(state)
    kind = choose_feed(config.data.feed, size, free, parallel) if pictures else "stream"
    if kind == "stream":
        call, arguments, steps = parallel.compile(step), (batch,), 1
        text = "stream" if pictures else "stream; resident data not counted, its size is not known"
    else:
        every = (config.log_every, config.sample_every, config.checkpoint_every)
        steps = choose_steps_per_call(most_steps_per_call(config.steps_per_call, parallel), every)
        place = choose_sharding(parallel, kind == "sharded")
        shapes = (pictures, side * side * 3), (pictures, attributes)
        data = tuple(parallel.placed_shape(shape, np.uint8, place) for shape in shapes)
        call = compile_resident(parallel, step, (side, side, 3), data)
        arguments = jax.ShapeDtypeStruct((steps, num), np.int32), *data
        text = f"resident, {'a share' if kind == 'sharded' else 'all of it'} on each device"
        text += f"; {steps} steps a call"

    begin = time.monotonic()
    compiled = _compile(call.lower(state, *arguments))
    seconds = time.monotonic() - begin
    memory, program = compiled.memory_analysis(), compiled.as_text()
    costs = compiled.cost_analysis()  # None on GPUs.
    return Program(
        topology=topology,
        dtype=config.dtype,
        images=num,
        feed=text,
        state=memory.alias_size_in_bytes,  # The state is what a call consumes.
        data=memory.argument_size_in_bytes - memory.alias_size_in_bytes,
        temporaries=memory.temp_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes,
        code=memory.generated_code_size_in_bytes,
        flops=flops.count(step, state, batch) / topology.num,
        xla_flops=costs["flops"] if costs else None,
        traffic=compiled_program.traffic(program, steps),
        kernels=compiled_program.kernels(program),
        collectives=tuple(compiled_program.collectives(program, topology.num)),
        seconds=seconds,
    )


def training_set(config: Config) -> tuple[int | None, int]:
    """Pictures (None if nobody can tell yet) and attributes of the training set."""
    data = config.data
    check_choices(data)
    chosen = len((data.attributes or "").split(",")) if data.attributes else 0
    if data.source == "faces":
        return data.num_faces, chosen or len(ATTRIBUTES)
    if data.source in GROUPS["celeba"]:
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
        raise DoesNotFit(excess(str(error))) from error


def excess(message: str) -> int:
    """Bytes that a refused program needs beyond those available, by the compiler's message."""
    units = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
    sizes = [float(n) * units[unit] for n, unit in re.findall(r"\b([\d.]+)([KMGT])\b", message)]
    return int(sizes[0] - sizes[1]) if len(sizes) > 1 and sizes[0] > sizes[1] else 1


def _bytes(tree: object) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
