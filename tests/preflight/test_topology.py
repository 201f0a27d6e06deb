"""Tests of `gan.preflight.topology`: names of hardware, and what is wrong with them."""

import importlib.util

import pytest

from gan.errors import ConfigError
from gan.preflight.topology import ask_compiler_for_devices, parse_topology

MISTAKES = {
    "v5:2x2": "'v5' is not one of v4, v5e",
    "h20:8": "Did you mean 'h200'?",
    "v5e": "must be v5e:AxB",
    "v5e:2x2x2": "must be v5e:AxB",
    "v5p:8x8": "must be v5p:AxBxC",
    "h200:2x4": "must be h200:NUMBER",
    "v5e:0x4": "must be v5e:AxB",
    "v5e:32x32": "1,024 devices, where v5e has 256 at most",
    "h200:12": "take h200:8 or h200:16",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_parse_topology__names_the_mistake_and_the_rule(text):
    with pytest.raises(ConfigError) as error:
        parse_topology(text)
    assert f"--topology={text}: " in str(error.value)
    assert MISTAKES[text] in str(error.value)


def test_parse_topology__counts_devices():
    assert {
        name: parse_topology(name).num_devices for name in ("v5e:4x4", "v5p:8x8x8", "h200:16")
    } == {
        "v5e:4x4": 16,
        "v5p:8x8x8": 512,
        "h200:16": 16,
    }


@pytest.mark.parametrize(
    ("name", "links"),
    [
        *(("v5e:1x1", 0), ("v5e:1x2", 1), ("v5e:2x4", 2), ("v5e:8x16", 3), ("v5e:16x16", 4)),
        *(("v5p:2x2x1", 2), ("v5p:2x4x4", 3), ("v5p:4x4x8", 6), ("h200:8", 1)),
    ],
)
def test_send_rate__the_corner_of_a_slice_has_the_fewest_links(name, links):
    topology = parse_topology(name)
    assert topology.send_rate == links * topology.chip.link


def test_send_rate__gpus_of_several_hosts_share_the_network():
    assert parse_topology("h200:16").send_rate == 8 * 50e9 < parse_topology("h200:8").send_rate


def test_ask_compiler_for_devices__names_a_missing_compiler_and_the_remedy(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"libtpu is not installed.*pip install -e '.\[tpu\]'"):
        ask_compiler_for_devices(parse_topology("v5e:2x2"))
    with pytest.raises(ConfigError, match=r"pip install -e '.\[cuda\]'"):
        ask_compiler_for_devices(parse_topology("h200:8"))
