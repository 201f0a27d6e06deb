"""What is private to JAX is used in one file."""

from pathlib import Path

import jax

from gan.runtime import jax_private

ROOT = Path(__file__).parents[2]


def test_jax_private__is_the_only_file_that_uses_jax_src():
    folders = ("gan", "benchmarks", "configs", "tests")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    users = {path for path in files if "jax._src" in path.read_text()}
    assert users == {Path(jax_private.__file__), Path(__file__)}


def test_get_distributed_state__is_none_in_a_process_of_its_own():
    assert jax_private.get_distributed_state() is None


def test_has_started_devices__from_the_first_that_is_asked_for():
    jax.devices()
    assert jax_private.has_started_devices()


def test_is_tpu_host__is_false_without_tpus():
    assert jax_private.is_tpu_host() is False
