"""Checkpoints: what was saved comes back, or it is said that it does not."""

import errno
import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from helpers.states import ORBAX_FAILS, like, make_metrics, make_state, same, save_two

from gan.errors import ConfigError, DataError, NotSaved, Preempted
from gan.workdir import checkpoint_files, manifest
from gan.workdir.checkpoints import Checkpoints, digests

pytestmark = ORBAX_FAILS


@pytest.fixture
def folder(tmp_path):
    return save_two(tmp_path)


def test_checkpoints__the_newest_comes_back_bit_for_bit(folder):
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.steps() == [1, 2]
        restored, metrics = checkpoints.restore_newest(like())
        assert same(restored, make_state(2))
        assert metrics is None
        assert same(checkpoints.restore(like(), 1), make_state(1))


def test_checkpoints__the_folder_may_be_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = save_two(Path("run"))
    with Checkpoints(folder, read_only=True) as checkpoints:
        assert same(checkpoints.restore(like(), 2), make_state(2))


@pytest.mark.parametrize("name", ["ch[v]x", "a*b", "back\\slash"])
def test_checkpoints__come_back_from_a_folder_whose_name_looks_like_a_pattern(tmp_path, name):
    (tmp_path / "chvx").mkdir()  # Which the first one would match.
    folder = save_two(tmp_path / name / "run")
    with Checkpoints(folder, read_only=True) as checkpoints:
        assert same(checkpoints.restore(like(), 1), make_state(1))
        assert same(checkpoints.restore(like(), 2), make_state(2))
    assert not list((tmp_path / "chvx").iterdir())


def test_checkpoints__what_cannot_be_read_back_is_not_saved_and_the_one_before_stays(
    folder, monkeypatch
):
    write = checkpoint_files.write

    def write_badly(folder, step, state, *rest):
        write(folder, step, jax.tree.map(np.ones_like, state), *rest)

    with Checkpoints(folder) as checkpoints:
        monkeypatch.setattr(checkpoint_files, "write", write_badly)
        checkpoints.save(make_state(3), 3)
        with pytest.raises(
            NotSaved, match=r"Step 3 cannot be saved in .*cannot be read back: its numbers"
        ):
            checkpoints.wait(0.0)
        assert checkpoints.steps() == [1, 2]
        assert same(checkpoints.restore_newest(like())[0], make_state(2))


def test_checkpoints__the_newest_few_and_every_nth_are_kept(tmp_path):
    with Checkpoints(tmp_path, keep=2, keep_every=4) as checkpoints:
        for step in range(1, 11):
            checkpoints.save(make_state(step), step)
        checkpoints.wait()
        assert checkpoints.steps() == [4, 8, 9, 10]


def test_checkpoints__one_is_never_kept_alone(tmp_path):
    """It is not for good on the disk before the next one comes."""
    with Checkpoints(tmp_path, keep=1, keep_every=1000) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(make_state(step), step)
        assert checkpoints.steps() == [2, 3]


def data_files(folder, step):
    return [p for p in (folder / f"checkpoints/{step}/state").rglob("d/*") if p.is_file()]


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "meta"])
def test_checkpoints__a_damaged_checkpoint_is_set_aside_and_the_one_before_used(folder, damage):
    largest = max(data_files(folder, 2), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        largest.write_bytes(content)
    elif damage == "cut":
        largest.write_bytes(content[: len(content) // 2])
    elif damage == "meta":
        (folder / "checkpoints/2/meta/metadata").write_text("{}")
    else:
        largest.unlink()
    with Checkpoints(folder, keep=3) as checkpoints:
        with pytest.raises(DataError, match="checkpoints/2"):
            checkpoints.restore(like(), 2)
        assert same(checkpoints.restore_newest(like())[0], make_state(1))
        assert checkpoints.steps() == [1]
        assert list((folder / "checkpoints").glob("2.damaged-*"))
        checkpoints.save(make_state(7), 2)  # Orbax would skip it, were the damaged one still there.
        checkpoints.wait()
        assert same(checkpoints.restore_newest(like())[0], make_state(7))


def test_checkpoints__one_that_was_renamed_is_not_of_its_step(folder):
    (folder / "checkpoints/2").rename(folder / "checkpoints/3")
    with Checkpoints(folder) as checkpoints:
        with pytest.raises(DataError, match="checkpoints/3 says that it is of step 2"):
            checkpoints.restore(like(), 3)
        assert same(checkpoints.restore_newest(like())[0], make_state(1))


def test_checkpoints__where_none_is_whole_nothing_starts_over(folder):
    for step in (1, 2):
        for path in data_files(folder, step):
            path.unlink()
    with Checkpoints(folder) as checkpoints:
        with pytest.raises(DataError, match="no checkpoint is whole"):
            checkpoints.restore_newest(like())
        assert checkpoints.steps() == [1, 2]


def test_checkpoints__another_model_is_said_to_be_one_and_nothing_is_set_aside(folder):
    with Checkpoints(folder) as checkpoints:
        with pytest.raises(ConfigError, match="another model") as error:
            checkpoints.restore_newest(like(width=4))
        assert "generator.params['w']: float32 [3, 400] there, float32 [4, 400] now" in str(
            error.value
        )
        assert re.search(r"; and \d more\. Name another workdir", str(error.value))
        assert checkpoints.steps() == [1, 2]


def test_checkpoints__one_of_a_newer_version_is_said_to_be_one_and_nothing_is_set_aside(folder):
    path = folder / "checkpoints/2/meta/metadata"
    fields = json.loads(path.read_text()) | {"rng": "other"}
    del fields["digest"]
    path.write_text(json.dumps(fields | {"digest": manifest._digest(fields)}))
    with Checkpoints(folder) as checkpoints:
        with pytest.raises(ConfigError, match="checkpoints/2: a newer version wrote rng"):
            checkpoints.restore_newest(like())
        assert checkpoints.steps() == [1, 2]


@pytest.mark.parametrize(
    "error",
    [
        Preempted("SIGTERM"),
        OSError(errno.EIO, "Input/output error"),
        PermissionError(errno.EACCES, "denied"),
        MemoryError("no more"),
        RuntimeError("UNAVAILABLE: socket closed"),
        ValueError("INTERNAL: read failed [os_error_code='5']"),
    ],
    ids=repr,
)
def test_checkpoints__what_comes_between_is_no_damage(folder, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(ocp.Checkpointer, "restore", fail)
    with Checkpoints(folder) as checkpoints:
        with pytest.raises(type(error)) as caught:
            checkpoints.restore_newest(like())
        assert caught.value is error
        assert checkpoints.steps() == [1, 2]
    if isinstance(error, OSError):  # The same of the manifest.
        monkeypatch.setattr(Path, "read_text", fail)
        with pytest.raises(type(error)):
            checkpoint_files.read_meta(folder / "checkpoints/2")


def test_checkpoints__a_type_is_never_cast(folder):
    with Checkpoints(folder) as checkpoints:
        with pytest.raises(ConfigError, match=r"float32 \[3, 400\] there, bfloat16 \[3, 400\] now"):
            checkpoints.restore_newest(like(dtype=jnp.bfloat16))
        with pytest.raises(ConfigError, match="bfloat16"):
            checkpoints.restore(like(dtype=jnp.bfloat16), 2)
        assert checkpoints.steps() == [1, 2]


def test_checkpoints__arrays_that_only_one_has_are_named(folder):
    more = like().replace(averages={"ema": {**like().averages["ema"], "new": like().step}})
    less = like().replace(averages={"ema": {}})
    with Checkpoints(folder) as checkpoints:
        with pytest.raises(
            ConfigError, match=r"only now: averages\['ema'\]\['new'\] \(int32 \[\]\)\. Name"
        ):
            checkpoints.restore_newest(more)
        with pytest.raises(
            ConfigError, match=r"only there: averages\['ema'\]\['w'\] \(float32 \[3\]\)\. Name"
        ):
            checkpoints.restore_newest(less)


def test_checkpoints__bfloat16_comes_back(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(make_state(1, dtype=jnp.bfloat16), 1)
        state, _ = checkpoints.restore_newest(like(dtype=jnp.bfloat16))
    assert same(state, make_state(1, dtype=jnp.bfloat16))


def test_checkpoints__a_state_of_other_data_is_an_error_for_who_goes_on_from_it(tmp_path):
    about = {"images": 7, "pictures": {"source": "a", "pixels": "b"}, "attribute Bald": 0}
    with Checkpoints(tmp_path, about=about) as checkpoints:
        checkpoints.save(make_state(1), 1)
    others = {
        "images: 7 there, 8 now": about | {"images": 8},
        "only there: attribute Bald (0)": {k: about[k] for k in ("images", "pictures")},
        'pictures: {"source": "a"': about | {"pictures": {"source": "c", "pixels": "d"}},
    }
    for text, other in others.items():
        with Checkpoints(tmp_path, about=other) as checkpoints:
            with pytest.raises(ConfigError, match=re.escape(text)):
                checkpoints.restore_newest(like())
            assert checkpoints.steps() == [1]
    copied = about | {"pictures": {"source": "c", "pixels": "b"}}  # One of two is enough.
    for one in (about, copied, None):
        with Checkpoints(tmp_path, about=one) as checkpoints:
            assert same(checkpoints.restore_newest(like())[0], make_state(1))


def test_checkpoints__checkpoints_of_the_first_format_come_back(tmp_path):
    """Those held the arrays' checksums, but neither their types nor whose they are."""
    meta = {"step": 1, "sha256": digests(make_state(1))}
    with ocp.CheckpointManager(tmp_path / "checkpoints") as manager:
        arrays = ocp.args.StandardSave(make_state(1))
        manager.save(1, args=ocp.args.Composite(state=arrays, meta=ocp.args.JsonSave(meta)))
    with Checkpoints(tmp_path, about={"images": 1}) as checkpoints:
        state, metrics = checkpoints.restore_newest(like())
        assert same(state, make_state(1))
        assert metrics is None
        for other in (
            like(width=4),
            like(dtype=jnp.bfloat16),
            like().replace(averages={"ema": {}}),
        ):
            with pytest.raises(ConfigError, match="another model"):
                checkpoints.restore_newest(other)
        assert checkpoints.steps() == [1]


def test_restore_newest__brings_the_metrics_back_bit_for_bit(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(make_state(1), 1, make_metrics(1))
        _, metrics = checkpoints.restore_newest(like())
        assert metrics == make_metrics(1)


def test_restore_averages__reads_them_alone(folder):
    wanted = like().averages
    with Checkpoints(folder, read_only=True) as checkpoints:
        found = checkpoints.restore_averages(wanted, 2)
        assert same(found, make_state(2).averages)
        with pytest.raises(ConfigError, match=r"holds another model: averages\['ema'\]\['w'\]"):
            checkpoints.restore_averages(like(width=4).averages, 2)


def test_checkpoints__what_is_saved_is_the_state_at_that_moment(tmp_path):
    step = jax.jit(lambda state: jax.tree.map(lambda x: x + 1, state), donate_argnums=0)
    weights = jnp.zeros(200_000)
    saved = lambda: make_state(1).replace(averages={"ema": {"w": weights}})  # noqa: E731
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(saved(), 1)
        before = digests(saved())
        for _ in range(20):
            weights = step(weights)
        shape = jax.ShapeDtypeStruct(weights.shape, weights.dtype, sharding=weights.sharding)
        state = checkpoints.restore(like().replace(averages={"ema": {"w": shape}}), 1)
        assert digests(state) == before


def test_checkpoints__a_reader_changes_nothing(folder):
    for path in data_files(folder, 2):
        path.unlink()
    (folder / "checkpoints/3.orbax-checkpoint-tmp").mkdir()
    there = sorted(folder.rglob("*"))
    with Checkpoints(folder, read_only=True) as checkpoints:
        with pytest.raises(DataError):
            checkpoints.restore(like(), 2)
        assert same(checkpoints.restore(like(), 1), make_state(1))
    assert sorted(folder.rglob("*")) == there
    with Checkpoints(folder / "nothing", read_only=True) as checkpoints:
        assert checkpoints.steps() == []
    assert not (folder / "nothing").exists()


def test_checkpoints__none_where_there_is_none(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.restore_newest(like()) is None


def test_digests__see_type_and_shape():
    zeros = np.zeros((2, 2), np.float32)
    trees = [zeros, zeros.reshape(4), zeros.view(np.int32), jax.random.key(0), jax.random.key(1)]
    assert len({digests(jnp.asarray(tree))[""] for tree in trees}) == len(trees)
