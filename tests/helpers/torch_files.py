"""State dicts as `torch.save` writes them, byte by byte, and with claims that are not true."""

import io
import pickle
import struct
import zipfile

import numpy as np

from gan.metrics.extractors.torch_pickle import MAGIC

# Opcodes, as bytes.


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def group(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def call(module: str, name: str, *arguments: bytes) -> bytes:
    return f"c{module}\n{name}\n".encode() + group(*arguments) + b"R"


def tensor(key: str, array: np.ndarray, **changes) -> bytes:
    """A tensor in the storage `key`; `changes` say what its pickle claims instead."""
    claims = dict(offset=0, shape=array.shape, num=array.size, storage="FloatStorage")
    claims |= {"strides": [x // array.itemsize for x in array.strides]} | changes
    storage = f"ctorch\n{claims['storage']}\n".encode()
    ordered = call("collections", "OrderedDict")
    return call(
        "torch._utils",
        "_rebuild_tensor_v2",
        group(text("storage"), storage, text(key), text("cpu"), number(claims["num"])) + b"Q",
        number(claims["offset"]),
        group(*map(number, claims["shape"])),
        group(*map(number, claims["strides"])),
        b"\x89" + ordered,
    )


def pickled(arrays: dict[str, np.ndarray], **changes) -> bytes:
    """The pickle of a state dict, as torch.save writes it."""
    items = (text(k) + tensor(str(i), x, **changes) for i, (k, x) in enumerate(arrays.items()))
    attributes = b"}" + text("_metadata") + b"}s"
    return (
        b"\x80\x02"
        + call("collections", "OrderedDict")
        + b"("
        + b"".join(items)
        + (b"u" + attributes + b"b.")
    )


def zipped(
    pickle_: bytes, arrays: dict[str, np.ndarray], packed: bool = False, order: str = "little"
) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(
        file, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    ) as archive:
        archive.writestr("archive/data.pkl", pickle_)
        archive.writestr("archive/byteorder", order)
        for i, array in enumerate(arrays.values()):
            archive.writestr(f"archive/data/{i}", array.tobytes())
        archive.writestr("archive/version", "3\n")
    return file.getvalue()


def streamed(pickle_: bytes, arrays: dict[str, np.ndarray]) -> bytes:
    """Writes as torch < 1.6 did."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    keys = [str(i) for i in range(len(arrays))]
    heads = [MAGIC, pickle.dumps(1001, 2), pickle.dumps(system, 2), pickle_, pickle.dumps(keys, 2)]
    numbers = [struct.pack("<q", x.size) + x.tobytes() for x in arrays.values()]
    return b"".join(heads + numbers)


SMALL = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.array(7, np.float32),
    "long name": np.arange(4, dtype=np.float32),
}
WRITERS = {"zip": zipped, "stream": streamed}


def assert_same(actual: dict, expected: dict) -> None:
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array, strict=True)
