"""Writes what `torch.save` writes, without PyTorch: tensors are NumPy arrays, globals are names."""

import struct
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np

STORAGES = {
    **{"float64": "DoubleStorage", "float32": "FloatStorage", "float16": "HalfStorage"},
    **{"bfloat16": "BFloat16Storage", "int64": "LongStorage", "int32": "IntStorage"},
    **{"int16": "ShortStorage", "int8": "CharStorage", "uint8": "ByteStorage"},
    **{"bool": "BoolStorage", "complex64": "ComplexFloatStorage"},
    **{"complex128": "ComplexDoubleStorage"},
}
MAGIC = 0x1950A86A20F9469CFC6C


@dataclass(frozen=True)
class Global:
    """A global by its name; calling it gives what a pickle calls (REDUCE, or NEWOBJ with `new`)."""

    module: str
    name: str

    def __call__(self, *args, new=False, state=None):
        return Call(self, args, new, state)


@dataclass(frozen=True)
class Call:
    function: Any
    args: tuple
    new: bool = False
    state: Any = None


@dataclass(frozen=True)
class Raw:
    """Opcodes that stand for themselves."""

    opcodes: bytes


@dataclass(frozen=True, eq=False)
class Tensor:
    """A view of a flat array, which several tensors may share; all numbers count elements.

    `dtype` is torch's name where it isn't the array's, `part` a legacy storage view (start, size).
    """

    storage: np.ndarray
    shape: tuple
    strides: tuple
    offset: int = 0
    parameter: bool = False
    dtype: str | None = None
    metadata: dict | None = None
    part: tuple | None = None


def tensor(array, **options):
    """The array as a tensor with a storage of its own."""
    flat = np.array(array, order="C").reshape(-1)
    strides = tuple(int(np.prod(array.shape[axis + 1 :])) for axis in range(array.ndim))
    return Tensor(flat, array.shape, strides, **options)


class Pickler:
    """Writes one pickle of protocol 2, and collects the storages that it refers to."""

    def __init__(self, legacy=False):
        self.legacy = legacy
        self.storages = {}  # key -> flat array

    def dumps(self, value):
        return b"\x80\x02" + self.save(value) + b"."

    def save(self, value):
        match value:
            case None | True | False:
                return {None: b"N", True: b"\x88", False: b"\x89"}[value]
            case Raw():
                return value.opcodes
            case np.ndarray():
                return self.save(tensor(value))
            case Tensor():
                return self.save(self.rebuild(value))
            case Global():
                return f"c{value.module}\n{value.name}\n".encode()
            case Call():
                call = self.save(value.function) + self.save(value.args)
                call += b"\x81" if value.new else b"R"
                return call if value.state is None else call + self.save(value.state) + b"b"
            case str():
                text = value.encode("utf-8", "surrogatepass")
                return b"X" + struct.pack("<L", len(text)) + text
            case bytes():
                return self.save(Global("_codecs", "encode")(value.decode("latin1"), "latin1"))
            case float():
                return b"G" + struct.pack(">d", value)
            case int():
                size = value.bit_length() // 8 + 1
                return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)
            case tuple():
                return b"(" + b"".join(map(self.save, value)) + b"t"
            case list():
                return b"](" + b"".join(map(self.save, value)) + b"e"
            case set():
                return self.save(Global("__builtin__", "set")(list(value)))
            case dict():
                ordered = Global("collections", "OrderedDict")()
                start = self.save(ordered) if isinstance(value, OrderedDict) else b"}"
                items = b"".join(self.save(k) + self.save(v) for k, v in value.items())
                return start + b"(" + items + b"u"
        raise TypeError(type(value))

    def rebuild(self, value):
        key = str(next((k for k, s in self.storages.items() if s is value.storage), None))
        if key == "None":
            key = str(len(self.storages))
            self.storages[key] = value.storage
        name = value.storage.dtype.name
        if name in STORAGES and value.dtype is None:
            storage_type, count = Global("torch", STORAGES[name]), value.storage.size
            version, dtype = "v2", ()
        else:
            storage_type, count = Global("torch.storage", "UntypedStorage"), value.storage.nbytes
            version, dtype = "v3", (Global("torch", value.dtype or name),)
        saved = ("storage", storage_type, key, "cpu", count)
        if self.legacy:
            saved += (None if value.part is None else (f"{key}-part", *value.part),)
        hooks = Global("collections", "OrderedDict")()
        view = (Raw(self.save(saved) + b"Q"), value.offset, value.shape, value.strides)
        metadata = () if value.metadata is None else (value.metadata,)
        call = Global("torch._utils", f"_rebuild_tensor_{version}")
        call = call(*view, False, hooks, *dtype, *metadata)
        if value.parameter:
            return Global("torch._utils", "_rebuild_parameter")(call, True, hooks)
        return call


def save_zip(path, obj=None, *, pickle=None, order="little", extra=(), storages=(), **options):
    """Writes the zip format.

    Args:
        path: the file.
        obj: what to save.
        pickle: the bytes of `data.pkl` in its place.
        order: the byte order of the storages, or `None` for no record of it.
        extra: (name, bytes) of further entries.
        storages: {key: bytes} in place of the tensors' own.
        options: of `zipfile.ZipFile`.
    """
    pickler = Pickler()
    content = pickler.dumps(obj) if pickle is None else pickle
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr("archive/data.pkl", content)
        if order is not None:
            archive.writestr("archive/byteorder", order)
        stored = {k: _bytes(s, order or "little") for k, s in pickler.storages.items()}
        for key, data in (stored | dict(storages)).items():
            archive.writestr(f"archive/data/{key}", data)
        archive.writestr("archive/version", "3\n")
        for name, data in extra:
            archive.writestr(name, data)


def save_legacy(path, obj=None, *, pickle=None, keys=None):
    """Writes the legacy format.

    Args:
        path: the file.
        obj: what to save.
        pickle: the bytes of the object's pickle in its place.
        keys: the list of storage keys in place of the true one.
    """
    pickler = Pickler(legacy=True)
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    content = b"".join(Pickler().dumps(value) for value in (MAGIC, 1001, system))
    content += pickler.dumps(obj) if pickle is None else pickle
    content += Pickler().dumps(sorted(pickler.storages) if keys is None else keys)
    for key in sorted(pickler.storages):
        storage = pickler.storages[key]
        typed = storage.dtype.name in STORAGES
        content += struct.pack("<q", storage.size if typed else storage.nbytes)
        content += _bytes(storage, "little")
    with open(path, "wb") as file:
        file.write(content)


def _bytes(storage, order):
    number = storage.itemsize // (2 if storage.dtype.kind == "c" else 1)
    numbers = storage.view(np.uint8).view(f"u{number}")
    return numbers.astype(numbers.dtype.newbyteorder("<" if order == "little" else ">")).tobytes()
