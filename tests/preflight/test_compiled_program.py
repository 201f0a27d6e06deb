"""Tests of `gan.preflight.compiled_program` on programs as XLA writes them."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from gan.preflight.compiled_program import (
    Collective,
    count_kernels,
    count_traffic,
    find_collectives,
)
from gan.runtime.parallel import Parallel

# Lines of programs for TPU v5e, H200 and CPU, shortened.
MESSAGES = {
    "%a = f32[4,4,512]{2,1,0:T(4,128)S(1)} all-reduce(%x), channel_id=1, "
    "replica_groups=mesh['axis_0'=8,'axis_1'=1] {'axis_0'}, to_apply=%add": Collective(
        "all-reduce", 4 * 4 * 512 * 4, 8, False
    ),
    "ROOT %b = (bf16[10]{0:T(128)}, /*index=1*/pred[]) all-reduce(%x, %x), "
    "replica_groups=[2,4]<=[8], to_apply=%add": Collective("all-reduce", 10 * 2 + 1, 4, False),
    "%c = f32[8]{0} reduce-scatter(%x), replica_groups={{0,1,2},{3,4,5}}": Collective(
        "reduce-scatter", 32, 3, False
    ),
    "%d = u8[6]{0} collective-permute(%x), source_target_pairs={{0,1},{1,0}}": Collective(
        "collective-permute", 6, 2, False
    ),
    "%e = f32[] all-reduce(%x), replica_groups={}, to_apply=%add": Collective(
        "all-reduce", 4, 64, False
    ),
}


def write_program(*lines: str) -> str:
    body = "\n".join(f"  {line}" for line in lines)
    return f"HloModule m\n\nENTRY %main.1 (x: f32[8]) -> f32[8] {{\n{body}\n}}\n"


@pytest.mark.parametrize("line", MESSAGES)
def test_find_collectives__reads_each_form_of_message(line):
    text = write_program("%x = f32[8]{0} parameter(0)", line)
    assert find_collectives(text, 64) == [MESSAGES[line]]


@pytest.mark.parametrize(("sync", "hidden"), [("true", False), ("false", True)])
def test_find_collectives__start_and_end_are_one_message_of_its_result(sync, hidden):
    text = write_program(
        "%x = f32[8]{0} parameter(0)",
        "%s = (f32[1]{0}, f32[8]{0}) all-gather-start(%x), replica_groups=[1,8]<=[8], "
        f'backend_config={{"collective_backend_config":{{"is_sync":{sync}}}}}',
        "%d = f32[8]{0} all-gather-done(%s)",
        'ROOT %n = f32[8]{0} negate(%d), metadata={op_name="all-reduce"}',
    )
    assert find_collectives(text, 8) == [Collective("all-gather", 32, 8, hidden)]


def test_count_traffic__operands_are_read_and_results_written_except_on_the_chip():
    text = write_program(
        "%x = f32[8]{0:T(128)} parameter(0)",
        "%t = (f32[8]{0}) tuple(%x)",
        "%g = f32[8]{0} get-tuple-element(%t), index=0",
        "%n = f32[8]{0:T(128)S(1)} negate(%g)",
        "ROOT %r = f32[8]{0} add(%n, %g)",
    )
    assert count_traffic(text) == 32 + (32 + 32)
    assert count_traffic(text, steps=2) == 48  # Not in the loop: once a call.
    assert count_kernels(text) == 2


def test_count_traffic__of_sliced_arrays_only_the_slices_are_read():
    text = """
%fused (p: u8[1000,40], i: s32[4,1]) -> u8[4,40] {
  %p = u8[1000,40]{1,0} parameter(0)
  %i = s32[4,1]{1,0} parameter(1)
  %b = u8[1000,40]{1,0} bitcast(%p)
  ROOT %g = u8[4,40]{1,0} gather(%b, %i), offset_dims={1}
}

ENTRY %main (x: u8[1000,40], i: s32[4,1]) -> u8[1000,40] {
  %x = u8[1000,40]{1,0} parameter(0)
  %i = s32[4,1]{1,0} parameter(1)
  %z = s32[] constant(0)
  %rows = u8[4,40]{1,0} fusion(%x, %i), kind=kLoop, calls=%fused
  %two = ((u8[1000,40]{1,0}), u8[2,40]{1,0:S(1)}, s32[]) slice-start(%x), slice={[0:2], [0:40]}
  %done = u8[2,40]{1,0:S(1)} slice-done(%two)
  ROOT %u = u8[1000,40]{1,0} dynamic-update-slice(%x, %rows, %z, %z)
}
"""
    fusion, start = 160 + 16 + 160, 80
    update = 160 + 160 + 4 + 160  # Of %x only what is replaced.
    assert count_traffic(text) == fusion + start + update


def test_count_traffic__a_loops_body_counts_once():
    def run(x):
        return jax.lax.fori_loop(0, 50, lambda _, x: jnp.sin(x) @ x, x)

    like = jax.ShapeDtypeStruct((64, 64), jnp.float32)
    once = count_traffic(jax.jit(lambda x: jnp.sin(x) @ x).lower(like).compile().as_text())
    looped = count_traffic(jax.jit(run).lower(like).compile().as_text(), steps=50)
    assert once <= looped < 2 * once


def test_find_collectives__reads_a_real_program_for_four_devices():
    parallel = Parallel.create("jit")
    rows, all_of_it = parallel.by_rows, NamedSharding(parallel.mesh, P())
    call = jax.jit(lambda x: x.sum(axis=0), in_shardings=rows, out_shardings=all_of_it)
    text = call.lower(jax.ShapeDtypeStruct((8, 100), jnp.float32)).compile().as_text()
    assert find_collectives(text, 4) == [Collective("all-reduce", 400, 4, False)]
