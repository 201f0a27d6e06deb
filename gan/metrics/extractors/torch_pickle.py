"""Reads state dicts that `torch.save` wrote, without torch and without running what they hold.

A pickle is a program: `torch.load` and `pickle` call whatever functions it names. Here the standard
library's `pickletools` lists its opcodes, and those that a state dict needs are followed with two
functions of our own. Any other opcode or name is an error.
"""

import io
import pickletools
import struct
import types
import zipfile
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # Files of torch < 1.6 begin so.


class Storage(NamedTuple):
    """A row of `num` numbers somewhere in the file."""

    key: str
    dtype: np.dtype
    num: int


class Tensor(NamedTuple):
    """An array in a storage from `offset` on; `strides` are counted in numbers."""

    storage: Storage
    offset: int
    shape: Sequence[int]
    strides: Sequence[int]


def _tensor(storage: Storage, offset: int, shape: Sequence, strides: Sequence, *_: Any) -> Tensor:
    return Tensor(storage, offset, shape, strides)  # The other arguments are about gradients.


def _ordered_dict() -> dict:
    return {}


CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
GLOBALS = {
    "collections OrderedDict": _ordered_dict,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch DoubleStorage": np.dtype("<f8"),
    "torch FloatStorage": np.dtype("<f4"),
    "torch HalfStorage": np.dtype("<f2"),
    "torch LongStorage": np.dtype("<i8"),
    "torch IntStorage": np.dtype("<i4"),
}


def read_state_dict(data: bytes) -> dict[str, np.ndarray]:
    """Reads arrays by name, read-only, from the bytes of a file: a zip, or torch < 1.6's stream.

    Raises ValueError if the pickle names anything but `GLOBALS`. Damage may raise any exception.
    """
    if zipfile.is_zipfile(io.BytesIO(data)):
        tensors, numbers = _read_zip(data)
    elif data.startswith(MAGIC):
        tensors, numbers = _read_stream(data)
    elif data.startswith(b"PK"):
        raise ValueError("it is the beginning of a zip, and not the whole of it")
    else:
        raise ValueError("it is neither a zip nor what torch.save wrote before it wrote zips")
    if not isinstance(tensors, dict):
        raise ValueError("it holds no state dict")
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(f"it holds more than tensors by name: see {name[:50]!r}")
    return {name: _array(tensor, numbers) for name, tensor in tensors.items()}


def _read_zip(data: bytes) -> tuple[Any, dict[str, np.ndarray]]:
    """Returns the value of the pickle, and the numbers of each storage by its key."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        root = next((x for x in archive.namelist() if x.endswith("/data.pkl")), None)
        if root is None:
            raise ValueError("the zip has no data.pkl")
        root = root.removesuffix("data.pkl")
        if f"{root}constants.pkl" in archive.namelist():
            raise ValueError("it is a TorchScript archive, where a state dict is read")

        def record(name: str) -> bytes:
            if archive.getinfo(root + name).compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{name} is compressed, which torch.save never does")
            return archive.read(root + name)

        if f"{root}byteorder" in archive.namelist() and record("byteorder") != b"little":
            raise ValueError("its byte order is not little endian")
        value, storages = _follow(io.BytesIO(record("data.pkl")))
        numbers = {
            key: np.frombuffer(record(f"data/{key}"), storage.dtype)
            for key, storage in storages.items()
        }
    return value, numbers


def _read_stream(data: bytes) -> tuple[Any, dict[str, np.ndarray]]:
    """Does the same for the older format: five pickles, then length and numbers of each storage.

    By its size pytorch-fid's file is of this format: the same tensors as a zip are 60 kB more.
    """
    file = io.BytesIO(data)
    _, _, (system, _), (value, storages), (keys, _) = (_follow(file) for _ in range(5))
    if not system["little_endian"]:
        raise ValueError("its byte order is not little endian")
    numbers, offset = {}, file.tell()
    if not all(isinstance(key, str) for key in keys):
        raise ValueError("its list of storages is none")
    for key in keys:
        (num,) = struct.unpack_from("<q", data, offset)
        numbers[key] = np.frombuffer(data, storages[key].dtype, num, offset + 8)
        offset += 8 + numbers[key].nbytes
    return value, numbers


def _array(tensor: Tensor, numbers: dict[str, np.ndarray]) -> np.ndarray:
    """Makes a view of a storage, and checks that it stays inside, which NumPy does not."""
    row, steps = numbers[tensor.storage.key], zip(tensor.shape, tensor.strides, strict=True)
    last = tensor.offset + sum((num - 1) * step for num, step in steps)
    if (
        min([tensor.offset, *tensor.strides]) < 0
        or min([1, *tensor.shape]) < 1
        or not last < len(row) == tensor.storage.num
    ):
        raise ValueError(f"the tensor in storage {tensor.storage.key[:50]} leaves it")
    strides = [step * row.itemsize for step in tensor.strides]
    return np.lib.stride_tricks.as_strided(
        row[tensor.offset :], tensor.shape, strides, writeable=False
    )


def _follow(file: io.BytesIO) -> tuple[Any, dict[str, Storage]]:
    """Returns the value of the pickle at the position of `file`, and the storages it names.

    The position is behind the pickle then.
    """
    storages: dict[str, Storage] = {}
    memo: dict[int, Any] = {}
    stack: list[Any] = []
    marked: list[list] = []  # Stacks that MARK put aside.

    def since_mark() -> list:
        nonlocal stack
        items, stack = stack, marked.pop()
        return items

    for opcode, argument, _ in pickletools.genops(file):
        match opcode.name:
            case "PROTO":
                pass
            case "STOP":
                return stack.pop(), storages
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINUNICODE":
                stack.append(argument)
            case name if name in CONSTANTS:
                stack.append(CONSTANTS[name])
            case name if name in EMPTY:
                stack.append(EMPTY[name]())
            case "MARK":
                marked.append(stack)
                stack = []
            case "TUPLE":
                items = since_mark()
                stack.append(tuple(items))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                num = int(opcode.name[-1])
                stack[-num:] = [tuple(stack[-num:])]
            case "APPEND":
                item = stack.pop()
                stack[-1].append(item)
            case "APPENDS":
                items = since_mark()
                stack[-1].extend(items)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                _update(stack[-1], [key, value])
            case "SETITEMS":
                items = since_mark()
                _update(stack[-1], items)
            case "GLOBAL":
                stack.append(_global(argument))
            case "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                stack.append(_call(function, arguments))
            case (
                "BUILD"
            ):  # Attributes of an OrderedDict: torch keeps the versions of modules there.
                stack.pop()
            case "BINPERSID":
                storage = _storage(*stack.pop())
                storages[storage.key] = storage
                stack.append(storage)
            case other:
                raise ValueError(f"its pickle has the opcode {other}, which no state dict needs")
    raise ValueError("its pickle has no end")


def _global(name: str) -> Any:
    if name not in GLOBALS:
        raise ValueError(
            f"its pickle names {name.replace(' ', '.')[:100]}, which no state dict needs and which "
            "other readers would load and run"
        )
    return GLOBALS[name]


def _update(target: dict, items: list) -> None:
    names = items[::2]
    if not all(isinstance(name, str) for name in names):  # Hashing nested tuples can take years.
        raise ValueError("its pickle names something by what is no text")
    target.update(zip(names, items[1::2], strict=True))


def _storage(kind: str, dtype: np.dtype, key: str, _: str, num: int, view: None = None) -> Storage:
    if (kind, type(key), view) != ("storage", str, None) or not isinstance(dtype, np.dtype):
        raise ValueError("its pickle names a storage as no state dict does")
    return Storage(key, dtype, num)


def _call(function: Callable, arguments: tuple) -> Any:
    if not isinstance(function, types.FunctionType):  # Only `GLOBALS` are functions here.
        raise ValueError("its pickle calls what is no function")
    return function(*arguments)
