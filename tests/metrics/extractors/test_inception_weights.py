"""Weights are read from files in three formats; nothing in a file is run."""

import builtins
import hashlib
import io
import os
import pickle
import zipfile

import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from helpers.inception_golden import DATA, random_state
from helpers.torch_files import SMALL, WRITERS, assert_same, call, pickled, streamed, text, zipped

from gan.errors import ConfigError, DataError
from gan.metrics.extractors import inception_weights
from gan.metrics.extractors.inception_weights import KNOWN, read_weights, to_variables, torch_shapes


@pytest.fixture(scope="module")
def state():
    """Returns pytorch-fid's checkpoint, with what is not needed of it."""
    others = {"Conv2d_1a_3x3.bn.num_batches_tracked": (1,), "AuxLogits.fc.bias": (5,)}
    return random_state(torch_shapes() | others | {"fc.bias": (1008,)})


def flat(variables: dict) -> dict[tuple, np.ndarray]:
    return flatten_dict(variables)


# What files hold.


def test_read_weights__are_the_same_from_each_kind_of_file(state, tmp_path):
    expected = flat(to_variables(state))
    np.savez(tmp_path / "weights.npz", **state)
    (tmp_path / "zip.pth").write_bytes(zipped(pickled(state), state))
    (tmp_path / "stream.pth").write_bytes(streamed(pickled(state), state))
    for name in ("weights.npz", "zip.pth", "stream.pth"):
        path = tmp_path / name
        read = read_weights(path)
        assert_same(flat(read.variables), expected)
        assert read.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert not read.known
        path.unlink()


def test_read_weights__only_the_published_files_are_known(state, tmp_path):
    path = tmp_path / "weights.npz"
    np.savez(path, **state)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_weights(path, known={sha256: "ours"}).known
    assert not read_weights(path).known
    assert len(KNOWN) == 2
    assert all(len(x) == 64 for x in KNOWN)
    assert inception_weights.FILE.split("-")[-1].removesuffix(".pth") == next(iter(KNOWN))[:8]


def test_to_variables__have_their_places_and_layouts(state):
    variables = to_variables(state)
    # 94 convolutions with normalisation, and the classifier without bias.
    assert len(torch_shapes()) == 94 * 5 + 1
    assert sum(x.size for x in flat(variables).values()) == sum(
        np.prod(shape) for shape in torch_shapes().values()
    )
    params, statistics = variables["params"]["Mixed_6b"]["branch7x7_2"], variables["batch_stats"]
    name = "Mixed_6b.branch7x7_2"
    assert params["conv"]["kernel"].shape == (1, 7, 128, 128)
    assert params["conv"]["kernel"][0, 5, 2, 9] == state[f"{name}.conv.weight"][9, 2, 0, 5]
    assert params["bn"]["scale"][3] == state[f"{name}.bn.weight"][3]
    var = statistics["Mixed_6b"]["branch7x7_2"]["bn"]["var"]
    np.testing.assert_array_equal(var, state[f"{name}.bn.running_var"])
    assert variables["params"]["fc"]["kernel"][7, 900] == state["fc.weight"][900, 7]


# What they must not hold.


def changed(state: dict, **arrays) -> dict:
    return {k: x for k, x in (state | arrays).items() if x is not None}


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("fc.weight", np.zeros((1000, 2048), np.float32), r"fc.weight is float32 \[1000, 2048\]"),
        ("fc.weight", np.zeros((1008, 2048), np.int32), r"is int32 .* has float32 \[1008, 2048\]"),
        ("fc.weight", None, r"has no fc.weight, which FID's InceptionV3 has"),
        ("Mixed_8a.conv.weight", np.zeros(3), r"has Mixed_8a.conv.weight, which .* does not have"),
        ("Mixed_7c.branch1x1.bn.bias", np.full(320, np.nan, np.float32), "no weights have"),
        ("Mixed_7c.branch1x1.bn.running_var", np.full(320, -1, np.float32), "no weights have"),
    ],
)
def test_to_variables__refuse_other_networks_by_what_differs(state, name, array, message):
    with pytest.raises(DataError, match=message):
        to_variables(changed(state, **{name: array}))


def test_to_variables__point_at_a_misspelt_name(state):
    array = state["fc.weight"]
    with pytest.raises(DataError, match=r"has no fc.weight.* Did you mean 'fc.weights'"):
        to_variables(changed(state, **{"fc.weight": None, "fc.weights": array}))


class Evil:
    def __init__(self, function, command: str):
        self.call = function, (command,)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("function", [os.system, builtins.eval, builtins.exec])
def test_read_weights__refuses_a_file_that_would_run_code_and_runs_nothing(
    tmp_path, protocol, write, function
):
    marker, path = tmp_path / "marker", tmp_path / "evil.pth"
    command = f"touch {marker}" if function is os.system else f"open({str(marker)!r}, 'w')"
    content = pickle.dumps({"a": Evil(function, command)}, protocol)
    path.write_bytes(write(content, SMALL))
    # The oldest and the newest have opcodes that no state dict needs before they come to the name.
    named = rf"names \w+\.{function.__name__}," if protocol in (1, 2, 3) else "has the opcode"
    with pytest.raises(DataError, match=rf"evil\.pth cannot be read: its pickle {named}"):
        read_weights(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    "trap",
    [
        call("posix", "system", text("true")),
        b"cbuiltins\neval\n",
        b"ctorch._utils\n_rebuild_parameter\n",
        b"ctorch.FloatStorage\n__init__\n",
        b"ccollections\nOrderedDict.fromkeys\n",
    ],
)
def test_read_weights__refuses_one_name_too_many_among_good_ones(tmp_path, trap):
    content = pickled(SMALL)
    path = tmp_path / "mixed.pth"
    path.write_bytes(zipped(content[:-1] + trap + b"0.", SMALL))
    with pytest.raises(DataError, match=r"mixed\.pth .*which no state dict needs"):
        read_weights(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"offset": 5},
        {"offset": -1},
        {"num": 10**6},
        {"shape": (2, 3, 10**6), "strides": (3, 1, 0), "offset": 3},
        {"shape": (2**30, 2**30), "strides": (1, 1)},
        {"shape": (2, 0), "strides": (1, 1)},
        {"shape": (2, 3), "strides": (-3, 1)},
        {"shape": (2, 3), "strides": (1,)},
        {"storage": "LongStorage"},
    ],
    ids=str,
)
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_read_weights__refuses_a_tensor_that_leaves_its_storage(tmp_path, changes, write):
    arrays, path = {"a": SMALL["a"]}, tmp_path / "weights.pth"
    path.write_bytes(write(pickled(arrays, **changes), arrays))
    with pytest.raises(DataError, match=r"weights\.pth"):
        read_weights(path)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, "no state dict"),
        ({"epoch": 3}, "more than tensors by name: see 'epoch'"),
        ({"state_dict": {}}, "more than tensors by name"),
        ({3: 4}, "by what is no text"),
        ({("a",): 4}, "by what is no text"),
    ],
)
def test_read_weights__refuses_what_torch_saved_otherwise(tmp_path, value, message):
    path = tmp_path / "run.pth"
    path.write_bytes(zipped(pickle.dumps(value, 2), {}))
    with pytest.raises(
        DataError, match=rf"run\.pth cannot be read: .*{message}.* Give pytorch-fid"
    ):
        read_weights(path)


def torchscript() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("data.pkl", "constants.pkl"):
            archive.writestr(f"inception/{name}", pickle.dumps({}, 2))
    return file.getvalue()


def objects() -> bytes:
    file = io.BytesIO()
    np.savez(file, a=np.array([Evil(os.system, "true")], object))
    return file.getvalue()


FILES = {
    "nothing": (b"", "neither a zip"),
    "text": (b"<!DOCTYPE html>", "neither a zip"),
    "a pickle": (pickle.dumps(SMALL), "neither a zip"),
    "half a zip": (zipped(pickled(SMALL), SMALL)[:500], "the beginning of a zip"),
    "half a stream": (streamed(pickled(SMALL), SMALL)[:-5], "cannot be read"),
    "half a pickle": (streamed(pickled(SMALL), SMALL)[:200], "cannot be read"),
    "another zip": (zipped(b"", {}).replace(b"data.pkl", b"data.txt"), "no data.pkl"),
    "packed": (zipped(pickled(SMALL), SMALL, packed=True), "compressed"),
    "damaged": (zipped(pickled(SMALL), SMALL).replace(b"_metadata", b"_metadatA"), "CRC"),
    "big endian": (zipped(pickled(SMALL), SMALL, order="big"), "byte order"),
    "TorchScript": (torchscript(), "TorchScript"),
    "objects": (objects(), "cannot be read"),
    "another state dict": (zipped(pickled(SMALL), SMALL), "has no Conv2d_1a_3x3"),
}


@pytest.mark.parametrize(("content", "message"), FILES.values(), ids=FILES)
def test_read_weights__refuses_other_files_by_name_with_a_remedy(tmp_path, content, message):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"weights\.pth.*({message}).* Give pytorch-fid's pt_inc"):
        read_weights(path)


def test_read_weights__names_the_path_where_no_file_is(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.pth cannot be read \(No such file"):
        read_weights(tmp_path / "none.pth")
    with pytest.raises(ConfigError, match=r"cannot be read \(Is a directory"):
        read_weights(tmp_path)


@pytest.mark.parametrize("kind", WRITERS)
def test_read_weights__damage_anywhere_is_a_data_error(kind, tmp_path):
    content, path = (DATA / f"torch_{kind}.pth").read_bytes(), tmp_path / "weights.pth"
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), 3):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        with pytest.raises(DataError):  # If it is read, then as another network.
            read_weights(path)
