"""Reading PyTorch checkpoints without PyTorch, and without executing anything in them.

A checkpoint consists of a pickle and the raw bytes of its tensors. A small interpreter reads the
pickle and builds only plain containers. It keeps the name of a class or function and never imports
it, and it replaces a call by a function of this file or by a `Placeholder`. A tensor becomes a
`TensorRecord`, a description that takes almost no memory; `read_tensors` then reads the bytes of
those tensors that the caller needs.
"""

import contextlib
import functools
import io
import math
import mmap
import os
import pickletools
import stat
import struct
import sys
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

# Limits on hostile files, far above what any released checkpoint needs.
_MAX_STEPS = 2_000_000  # opcodes, plus the elements that calls copy
_MAX_KEY_CHARACTERS = 1 << 16  # of a string used as a key: comparing long ones takes time
_MAX_KEY_PARTS = 10_000  # of all tuples used as keys: their hashes can be made to collide
_MAX_NAME_CHARACTERS = 1_000  # of a global or a storage
_MAX_TABLE_BYTES = 1 << 24  # of a zip archive's table of contents
MAX_DIMENSIONS = 32
_MAX_READ = 4  # times the file's size: a storage is read once for each dtype of its tensors

PYTORCH = "a PyTorch checkpoint"
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_MAGIC_OPCODE = b"\x8a\x0a" + _LEGACY_MAGIC.to_bytes(10, "little")

# PyTorch's names of element types, and of the storages that hold them.
_DTYPES = {
    name: np.dtype(getattr(ml_dtypes, name, name))
    for name in (
        *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
        *("float16", "float32", "float64", "complex64", "complex128", "bfloat16"),
        *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"),
    )
    if not name.startswith("float8") or hasattr(ml_dtypes, name)
}
_ITEM_BYTES = {name: dtype.itemsize for name, dtype in _DTYPES.items()}
_DTYPES["complex32"] = _DTYPES["complex64"]  # NumPy has no complex of two float16
_ITEM_BYTES["complex32"] = 4
# Quantized storages may occur in training state and are skipped; none becomes an array.
_ITEM_BYTES |= {"qint8": 1, "quint8": 1, "qint32": 4, "quint4x2": 1, "quint2x4": 1}
_STORAGES = {
    **{"DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16"},
    **{"BFloat16Storage": "bfloat16", "LongStorage": "int64", "IntStorage": "int32"},
    **{"ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8"},
    **{"ComplexFloatStorage": "complex64", "ComplexDoubleStorage": "complex128"},
    **{"BoolStorage": "bool", "UntypedStorage": "uint8", "_UntypedStorage": "uint8"},
    **{"QInt8Storage": "qint8", "QUInt8Storage": "quint8", "QInt32Storage": "qint32"},
    **{"QUInt4x2Storage": "quint4x2", "QUInt2x4Storage": "quint2x4"},
}


class CheckpointError(ValueError):
    """A checkpoint can't be read.

    The message names the file, what was expected and what was found.

    Example:
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "example.pth"
    >>> _ = path.write_text("<html>Not found</html>")
    >>> try:
    ...     read_torch_file(path)
    ... except CheckpointError as error:
    ...     print(str(error).removeprefix(f"{path}: "))
    expected a PyTorch checkpoint, found another kind of file
    """


@dataclass(frozen=True, slots=True, eq=False)
class Placeholder:
    """A class, a function or an object of a checkpoint, of which only the name is kept.

    Args:
        name: str. The module and the qualified name of the class or function, joined by a dot.
        tensor: bool. Whether it stands for a tensor that can't be rebuilt without running code.

    Example:
    >>> Placeholder("torch.nn.modules.linear.Linear").tensor
    False
    """

    name: str
    tensor: bool = False


@dataclass(slots=True, eq=False)
class Extent:
    """The bytes of a whole storage in the file.

    Args:
        nbytes: int. How many bytes there are.
        start: int. The position of the first byte in the file. In the legacy format it is unknown,
            -1, until the pickle has been read.
        crc: int or None. The CRC-32 of the bytes; the legacy format has none.
        swap: bool. Whether the byte order differs from this machine's.

    Example:
    >>> Extent(nbytes=12, start=64)
    Extent(nbytes=12, start=64, crc=None, swap=False)
    """

    nbytes: int
    start: int = -1
    crc: int | None = None
    swap: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class StorageRecord:
    """A storage to which tensors refer.

    Args:
        extent: Extent. The bytes in the file. In the legacy format the storage may be a part of
            them.
        dtype: str. PyTorch's name of the element type, such as "float32".
        start: int. The first byte of the storage, counted from the start of the extent.
        nbytes: int. How many bytes the storage has.

    Example:
    >>> storage = StorageRecord(Extent(24, start=64), "float32", start=12, nbytes=12)
    >>> storage.extent.start + storage.start  # its position in the file
    76
    """

    extent: Extent
    dtype: str
    start: int
    nbytes: int


@dataclass(frozen=True, slots=True, eq=False)
class TensorRecord:
    """The place of a tensor in the file. `read_tensors` reads it as an array.

    Args:
        extent: Extent. The bytes of its storage.
        dtype: str. PyTorch's name of the element type, such as "float32".
        offset: int. The number of elements in the extent before the first one of the tensor.
        shape: tuple of int. The shape.
        strides: tuple of int. The stride of each axis, in elements.
        conj: bool. Whether the file holds the complex conjugate of the tensor.
        neg: bool. Whether the file holds the negative of the tensor.

    Example:
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "example"
    >>> _ = path.write_bytes(np.arange(6, dtype="float32").tobytes())
    >>> transposed = TensorRecord(Extent(24, start=0), "float32", 0, shape=(3, 2), strides=(1, 3))
    >>> read_tensors(path, {"kernel": transposed})["kernel"].tolist()
    [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
    """

    extent: Extent
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    conj: bool = False
    neg: bool = False


def read_torch_file(path: str | os.PathLike[str]) -> object:
    """Read the object that `torch.save` wrote, in the zip or the legacy format.

    Args:
        path: str or os.PathLike. The checkpoint.

    Returns:
        object. The top-level object. Plain containers, strings, bytes, numbers and `None` are
        returned as they are. A tensor becomes a `TensorRecord`, a bare storage a `StorageRecord`,
        a `torch.Size` a tuple, and everything else a `Placeholder`. A container may hold itself.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file is damaged or isn't a PyTorch checkpoint.

    Example:
    >>> import pickle, tempfile
    >>> path = Path(tempfile.mkdtemp()) / "example.pth"
    >>> with zipfile.ZipFile(path, "w") as archive:  # as `torch.save` writes it
    ...     archive.writestr("example/data.pkl", pickle.dumps({"epoch": 300}, protocol=2))
    >>> read_torch_file(path)
    {'epoch': 300}
    """
    with opened(path) as (file, size):
        kind = torch_kind(file, size)
        if kind != PYTORCH:
            raise CheckpointError(f"expected {PYTORCH}, found {kind or 'another kind of file'}")
        file.seek(0)
        return _read_zip(file, size) if file.read(2) == b"PK" else _read_legacy(file, size)


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[tuple[BinaryIO, int]]:
    """Open a file for reading, and name it in every error that its content causes.

    Args:
        path: str or os.PathLike. The file.

    Yields:
        (BinaryIO, int). The open file and its size in bytes, at least 1.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the path is a folder, a device or an empty file. It also replaces every
            exception of the body of the `with` statement except `OSError`.

    Example:
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "example"
    >>> _ = path.write_bytes(b"abc")
    >>> with opened(path) as (file, size):
    ...     print(file.read(), size)
    b'abc' 3
    """
    path = Path(path)
    status = path.stat()
    try:
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait forever
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device or a pipe"
            raise CheckpointError(f"expected a checkpoint file, found {kind}")
        if not status.st_size:
            raise CheckpointError("expected a checkpoint file, found an empty file")
        with path.open("rb") as file:
            yield file, status.st_size
    except OSError:
        raise
    except Exception as error:
        if str(error).startswith(f"{path}: "):  # a nested call has already named the file
            raise
        raise CheckpointError(f"{path}: {str(error)[:2000]}") from error


def torch_kind(file: BinaryIO, size: int) -> str | None:
    """Tell whether a file is a PyTorch checkpoint or a file that resembles one.

    Args:
        file: BinaryIO. The open file.
        size: int. Its size in bytes.

    Returns:
        str or None. `PYTORCH` for a PyTorch checkpoint, a description for any other zip archive or
        pickle, and `None` for any other file.

    Raises:
        CheckpointError: If the file is a zip archive whose table of contents is missing or
            damaged.

    Example:
    >>> torch_kind(io.BytesIO(b"GIF89a"), 6) is None
    True
    """
    file.seek(0)
    head = file.read(512)
    if head.startswith(b"PK\x03\x04"):
        return _zip_kind([info.filename for info in _zip_infos(file, size)])
    if head.startswith(b"\x80") and _LEGACY_MAGIC_OPCODE in head[:32]:
        return PYTORCH
    if head[257:262] == b"ustar":
        return "a tar archive, as PyTorch 0.1 wrote it: load it in PyTorch and save it again"
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "a pickle that torch.save did not write"
    return None


# The zip format: folder/data.pkl, and an uncompressed entry folder/data/<key> for each storage.


def _read_zip(file: BinaryIO, size: int) -> object:
    infos = _zip_infos(file, size)
    entries: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        if info.filename in entries:
            raise CheckpointError(f"expected one zip entry {info.filename!r}, found two")
        if info.flag_bits & 0x41:
            raise CheckpointError(f"expected plain zip entries, {info.filename!r} is encrypted")
        if info.compress_type or info.compress_size != info.file_size:  # may unpack to any size
            raise CheckpointError(f"expected stored zip entries, {info.filename!r} is compressed")
        entries[info.filename] = info
    if sum(info.file_size for info in infos) > size:
        raise CheckpointError("expected zip entries that fit the file, found larger ones")

    def locate(info: zipfile.ZipInfo) -> int:
        inside = 0 <= info.header_offset <= size - 30
        file.seek(info.header_offset if inside else 0)
        header = file.read(30)
        if not inside or not header.startswith(b"PK\x03\x04"):
            raise CheckpointError(f"expected zip entry {info.filename!r}, found other bytes")
        start = info.header_offset + 30 + sum(struct.unpack("<2H", header[26:]))
        if start + info.file_size > size:
            raise CheckpointError(f"expected zip entry {info.filename!r}, found the file's end")
        return start

    def read(name: str) -> bytes:
        info = entries[name]
        file.seek(locate(info))
        content = file.read(info.file_size)
        _check_crc(content, info.CRC)
        return content

    folder = infos[0].filename.partition("/")[0]
    order = read(name) if (name := f"{folder}/byteorder") in entries else b"little"
    if order not in (b"little", b"big"):
        raise CheckpointError(f"expected byte order 'little' or 'big', found {order[:20]!r}")
    swap = order.decode() != sys.byteorder
    extents: dict[str, Extent] = {}

    def load_storage(saved: Any) -> StorageRecord:
        dtype, nbytes = _storage_size(*saved)
        key = saved[2]
        if key not in extents:
            if (info := entries.get(f"{folder}/data/{key}")) is None:
                raise CheckpointError(f"expected a zip entry for storage {shown(key)}, found none")
            extents[key] = Extent(info.file_size, locate(info), info.CRC, swap)
        if extents[key].nbytes != nbytes:
            raise CheckpointError(
                f"expected {nbytes} bytes in storage {shown(key)}, found {extents[key].nbytes}"
            )
        return StorageRecord(extents[key], dtype, 0, nbytes)

    content = read(f"{folder}/data.pkl")
    return _PickleMachine(len(content), load_storage).run(io.BytesIO(content))


def _zip_infos(file: BinaryIO, size: int) -> list[zipfile.ZipInfo]:
    file.seek(-min(size, 98), os.SEEK_END)
    tail = file.read().rjust(98, b"\0")
    if tail[-22:-18] != b"PK\x05\x06" or tail[-2:] != b"\0\0":
        raise CheckpointError(
            "expected a zip archive that ends with its table of contents, found other bytes there: "
            "the file is truncated, or something was appended"
        )
    table_bytes = struct.unpack("<L", tail[-10:-6])[0]
    if tail[-42:-38] == b"PK\x06\x07":  # the extension for archives over 4 GB
        table_bytes = struct.unpack("<Q", tail[40:48])[0]
    if table_bytes > min(size, _MAX_TABLE_BYTES):
        raise CheckpointError(f"expected a zip archive, its table would have {table_bytes} bytes")
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.infolist()
    except Exception as error:  # damaged bytes can cause almost any exception
        raise CheckpointError(f"expected a whole zip archive, found damage: {error}") from error


def _zip_kind(names: list[str]) -> str:
    folder = names[0].partition("/")[0] if names else ""
    if any(name.startswith((f"{folder}/constants.pkl", f"{folder}/code/")) for name in names):
        return "a TorchScript archive, whose weights can only be had by running it"
    if f"{folder}/data.pkl" in names:
        return PYTORCH
    if "model.weights.h5" in names:
        return "a Keras model (.keras)"
    if names and all(name.endswith(".npy") for name in names):
        return "a NumPy archive (.npz)"
    return f"a zip archive without data.pkl, that holds {ascii(names[:5])[:300]}"


def _check_crc(content: bytes | np.ndarray, crc: int) -> None:
    if zlib.crc32(content) != crc:
        raise CheckpointError(
            "expected the CRC-32 that the zip archive states, found another: the file is damaged, "
            "or torch wrote it after `set_crc32_options(False)`; then save it again without that"
        )


# The legacy format: five pickles (magic number, protocol, system, object, keys of the storages),
# then for each key eight bytes with the number of elements, and the elements, little endian.


def _read_legacy(file: BinaryIO, size: int) -> object:
    extents: dict[str, Extent] = {}
    item_bytes: dict[str, int] = {}

    def load_storage(saved: Any) -> object:
        if saved[0] == "module":
            return saved[1]  # the class of a pickled module, beside its source code
        *saved, view = saved
        dtype, nbytes = _storage_size(*saved)
        key = saved[2]
        if nbytes > size:
            raise CheckpointError(f"expected a storage that fits the file, found {nbytes} bytes")
        item_bytes.setdefault(key, _ITEM_BYTES[dtype])
        extent = extents.setdefault(key, Extent(nbytes, swap=sys.byteorder != "little"))
        if extent.nbytes != nbytes:
            raise CheckpointError(
                f"expected {extent.nbytes} bytes in storage {shown(key)}, found {nbytes}"
            )
        start = 0
        if view is not None:
            _, first, count = view
            if not (_is_size(first) and _is_size(count)):
                raise CheckpointError(f"expected a view of storage {shown(key)}, found no numbers")
            start, nbytes = first * _ITEM_BYTES[dtype], count * _ITEM_BYTES[dtype]
            if start + nbytes > extent.nbytes:
                raise CheckpointError(
                    f"expected a view inside storage {shown(key)}, found one outside"
                )
        return StorageRecord(extent, dtype, start, nbytes)

    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        machine = _PickleMachine(size, load_storage)
        header = [machine.run(data) for _ in range(3)]
        if header[:2] != [_LEGACY_MAGIC, 1001]:
            raise CheckpointError(f"expected legacy format 1001, found {shown(header[1])}")
        result = machine.run(data)
        keys = machine.run(data)
        named = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
        if not named or sorted(keys) != sorted(extents):
            raise CheckpointError("expected the keys of the tensors' storages, found others")
        position = data.tell()
        for key in keys:
            extent = extents[key]
            count = int.from_bytes(data[position : position + 8], "little")
            if count * item_bytes[key] != extent.nbytes:
                raise CheckpointError(
                    f"expected {extent.nbytes} bytes in storage {shown(key)}, "
                    f"found {count * item_bytes[key]}"
                )
            extent.start = position + 8
            position = extent.start + extent.nbytes
        if position != size:
            raise CheckpointError(f"expected a file of {position} bytes, found {size}")
    return result


def _storage_size(word: Any, kind: Any, key: Any, _device: Any, count: Any) -> tuple[str, int]:
    name = kind.name if isinstance(kind, Placeholder) else ""
    dtype = _STORAGES.get(name.rpartition(".")[2]) if name.startswith("torch.") else None
    named = word == "storage" and isinstance(key, str) and len(key) <= _MAX_NAME_CHARACTERS
    if dtype is None or not named or not _is_size(count):
        raise CheckpointError(
            f"expected a torch storage, its key and size, found {shown(kind)}, {shown(key)}, "
            f"{shown(count)}"
        )
    return dtype, count * _ITEM_BYTES[dtype]


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def shown(value: object) -> str:
    """Describe an object of a checkpoint for an error message, in at most about 100 characters.

    Args:
        value: object. The object.

    Returns:
        str. The text of a string, the name of a placeholder, the digits of a size, and for any
        other object its type. It is plain ASCII.

    Example:
    >>> shown("head.weight"), shown([1, 2])
    ('head.weight', 'an object of type list')
    """
    if isinstance(value, str | Placeholder):
        return ascii(value if isinstance(value, str) else value.name)[1:-1][:100]
    return str(value) if _is_size(value) else f"an object of type {type(value).__name__}"


# The interpreter of pickles: it knows the opcodes that torch.save uses, and no class.

_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
}
_SINGLETONS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_CONTAINERS = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_SET": set}
_SHORT_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_KEYS = float | complex | None | Placeholder | TensorRecord | StorageRecord


class _PickleMachine:
    def __init__(self, size: int, load_storage: Callable[[Any], object]) -> None:
        self.load_storage = load_storage
        self.steps_left = _MAX_STEPS
        self.key_parts_left = _MAX_KEY_PARTS
        self.encoded_left = size  # each text is encoded once, so this many bytes are enough

    def run(self, stream: Any) -> object:
        """Read one pickle and stop behind it; the limits are for all pickles read together."""
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks below each mark
        self.memo: dict[int, Any] = {}
        position = stream.tell()
        try:
            for opcode, argument, position in pickletools.genops(stream):  # noqa: B007
                self.take_steps(1)
                if opcode.name != "STOP":
                    self.step(opcode.name, argument)
            return self.stack.pop()
        except CheckpointError as error:
            raise CheckpointError(f"{error} (at byte {position} of the pickle)") from error
        except Exception as error:  # damaged bytes can cause almost any exception
            raise CheckpointError(
                f"expected a whole pickle, found a truncated or damaged one at byte {position}: "
                f"{type(error).__name__}: {str(error)[:200]}"
            ) from error

    def take_steps(self, count: int) -> None:
        self.steps_left -= count
        if self.steps_left < 0:
            raise CheckpointError(f"expected a pickle of {_MAX_STEPS} steps at most, found more")

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        match name:
            case _ if name in _LITERALS:
                stack.append(argument)
            case _ if name in _SINGLETONS:
                stack.append(_SINGLETONS[name])
            case _ if name in _CONTAINERS:
                stack.append(_CONTAINERS[name]())
            case _ if name in _SHORT_TUPLES:
                items = [stack.pop() for _ in range(_SHORT_TUPLES[name])]
                stack.append(tuple(items[::-1]))
            case "BINPUT" | "LONG_BINPUT" | "PUT":
                self.memo[argument] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET" | "GET":
                stack.append(self.memo[argument])
            case "MARK":
                self.below.append(stack)
                self.stack = []
            case "TUPLE" | "LIST":
                items = self.pop_mark()
                self.stack.append(tuple(items) if name == "TUPLE" else items)
            case "FROZENSET":
                keys = frozenset(map(self.as_key, self.pop_mark()))
                self.stack.append(keys)
            case "DICT":
                items = self.pop_mark()
                self.stack.append({})
                self.set_items(self.stack[-1], items)
            case "APPEND":
                item = stack.pop()
                self.extend(stack[-1], [item])
            case "APPENDS" | "ADDITEMS":
                items = self.pop_mark()
                self.extend(self.stack[-1], items)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                self.set_items(stack[-1], [key, value])
            case "SETITEMS":
                items = self.pop_mark()
                self.set_items(self.stack[-1], items)
            case "GLOBAL":
                stack.append(self.find_global(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                qualname, module = stack.pop(), stack.pop()
                stack.append(self.find_global(module, qualname))
            case "REDUCE" | "NEWOBJ":
                arguments, function = stack.pop(), stack.pop()
                stack.append(self.call(function, arguments))
            case "NEWOBJ_EX":
                function, _, _ = [stack.pop() for _ in range(3)][::-1]
                stack.append(Placeholder(function.name))
            case "INST":
                self.pop_mark()
                self.stack.append(self.find_global(*argument.split(" ", 1)))
            case "OBJ":
                function = self.pop_mark()[0]
                self.stack.append(Placeholder(function.name))
            case "BUILD":
                stack.pop()  # attributes, which no plain container and no placeholder needs
                if not isinstance(stack[-1], Placeholder | dict):
                    raise CheckpointError(f"expected no attributes of {shown(stack[-1])}")
            case "BINPERSID":
                stack.append(self.load_storage(stack.pop()))
            case "POP" if stack:
                stack.pop()
            case "POP" | "POP_MARK":
                self.pop_mark()
            case "DUP":
                stack.append(stack[-1])
            case "BYTEARRAY8":
                stack.append(bytes(argument))
            case "PROTO" | "FRAME":
                pass
            case _:
                raise CheckpointError(f"expected an opcode of torch.save, found {name}")

    def pop_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.below.pop()
        return items

    def extend(self, target: object, items: list[Any]) -> None:
        if isinstance(target, list):
            target.extend(items)
        elif isinstance(target, set):
            target.update(map(self.as_key, items))
        elif not isinstance(target, Placeholder):
            raise CheckpointError(f"expected a list or a set, found {shown(target)}")

    def set_items(self, target: object, items: list[Any]) -> None:
        if isinstance(target, dict):
            for key, value in zip(items[::2], items[1::2], strict=True):
                target[self.as_key(key)] = value
        elif not isinstance(target, Placeholder):
            raise CheckpointError(f"expected a dict, found {shown(target)}")

    def as_key(self, key: Any) -> Any:
        # Refuse keys whose hash or comparison could take long or recurse deeply.
        parts = [key]
        while parts:
            part = parts.pop()
            if isinstance(part, tuple):
                self.key_parts_left -= 1 + len(part)
                if self.key_parts_left < 0:
                    raise CheckpointError("expected few tuples as keys, found too many")
                parts.extend(part)
            elif isinstance(part, str | bytes):
                if len(part) > _MAX_KEY_CHARACTERS:
                    raise CheckpointError(f"expected a short key, found {len(part)} characters")
            elif isinstance(part, int):
                if part.bit_length() > 60:
                    raise CheckpointError(f"expected a short key, found {part.bit_length()} bits")
            elif not isinstance(part, _KEYS):
                raise CheckpointError(f"expected the key of a dict or set, found {shown(part)}")
        return key

    def find_global(self, module: object, qualname: object) -> Placeholder:
        if not (isinstance(module, str) and isinstance(qualname, str)):
            raise CheckpointError("expected the name of a global, found another object")
        if len(module) + len(qualname) > _MAX_NAME_CHARACTERS:
            raise CheckpointError("expected the name of a global, found a long text")
        return Placeholder(f"{'builtins' if module == '__builtin__' else module}.{qualname}")

    def call(self, function: Any, arguments: Any) -> object:
        if not isinstance(function, Placeholder) or not isinstance(arguments, tuple):
            raise CheckpointError(f"expected a global and its arguments, found {shown(function)}")
        match function.name, arguments:
            case "collections.OrderedDict", ():
                return OrderedDict()
            case "collections.OrderedDict", (list() as pairs,):  # as Python 2 wrote it
                self.take_steps(len(pairs))
                result: dict[Any, Any] = OrderedDict()
                self.set_items(result, [part for key, value in pairs for part in (key, value)])
                return result
            case (("builtins.set" | "builtins.frozenset"), (list() as items,)):
                self.take_steps(len(items))
                keys = map(self.as_key, items)
                return set(keys) if function.name == "builtins.set" else frozenset(keys)
            case "_codecs.encode", (str() as text, "latin1"):  # bytes, before protocol 3
                self.encoded_left -= len(text)
                if self.encoded_left < 0:
                    raise CheckpointError("expected bytes that fit the pickle, found more")
                return text.encode("latin1")
            case "builtins.bytes", ():
                return b""
            case "builtins.complex", (float() as real, float() as imag):
                return complex(real, imag)
            case "torch.Size", (tuple() as sizes,):
                return sizes
        if function.name in _REBUILD:
            return _rebuild(function.name, arguments)
        if function.name == "torch._tensor._rebuild_from_type_v2":
            return _rebuild_from_type(*arguments)
        tensor = function.name.startswith(("torch._utils._rebuild", "torch._tensor._rebuild"))
        return Placeholder(function.name, tensor)


# The functions of torch that a checkpoint may call; here each only describes a tensor.

_REBUILD = frozenset(
    f"torch._utils._rebuild_{name}"
    for name in ("tensor", "tensor_v2", "tensor_v3", "parameter", "parameter_with_state")
)
_PLAIN_TENSORS = ("torch.Tensor", "torch._tensor.Tensor", "torch.nn.parameter.Parameter")


def _rebuild_from_type(function: Any, kind: Any, arguments: Any, _attributes: object) -> object:
    if function.name in _REBUILD and kind.name in _PLAIN_TENSORS:
        return _rebuild(function.name, arguments)
    return Placeholder(kind.name, tensor=True)


def _rebuild(name: str, arguments: Any) -> object:
    match name.removeprefix("torch._utils._rebuild_"), arguments:
        case "tensor", (StorageRecord() as storage, offset, shape, strides):
            return _tensor(storage, storage.dtype, offset, shape, strides)
        case "tensor_v2", (StorageRecord() as storage, _, _, _, _, _, *marks):
            return _tensor(storage, storage.dtype, *arguments[1:4], *marks)
        case "tensor_v3", (StorageRecord() as storage, _, _, _, _, _, Placeholder(dtype), *marks):
            return _tensor(storage, dtype.removeprefix("torch."), *arguments[1:4], *marks)
        case "parameter", (TensorRecord() | Placeholder() as data, _, _):
            return data
        case "parameter_with_state", (TensorRecord() | Placeholder() as data, _, _, _):
            return data
    raise CheckpointError(f"expected the arguments of {name}, found others")


def _tensor(
    storage: StorageRecord, dtype: str, offset: Any, shape: Any, strides: Any, marks: Any = None
) -> TensorRecord | Placeholder:
    if dtype not in _DTYPES:  # quantized, packed, or of fewer than eight bits
        return Placeholder(f"torch.{dtype}", tensor=True)
    if not (isinstance(shape, tuple) and isinstance(strides, tuple)):
        raise CheckpointError(f"expected a tensor's shape, found {shown(shape)}, {shown(strides)}")
    if len(shape) != len(strides) or len(shape) > MAX_DIMENSIONS:
        raise CheckpointError(f"expected a stride per axis, found {len(shape)}, {len(strides)}")
    if not all(map(_is_size, (offset, *shape, *strides))):
        raise CheckpointError("expected sizes and strides from 0 to 2^63, found others")
    if math.prod(size or 1 for size in shape) * _DTYPES[dtype].itemsize >= 1 << 63:
        raise CheckpointError("expected a tensor that can be addressed, found a larger one")
    item = _ITEM_BYTES[dtype]
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if 0 not in shape and ((last + 1) * item > storage.nbytes or storage.start % item):
        raise CheckpointError(
            f"expected a tensor inside its storage of {storage.nbytes} bytes, found one that ends "
            f"at {(last + 1) * item}"
        )
    marks = {} if marks is None else marks
    signed = dtype.startswith(("float", "bfloat", "complex"))
    if not isinstance(marks, dict) or marks.keys() - {"conj", "neg"} or (marks and not signed):
        raise CheckpointError("expected the marks conj and neg of a tensor, found others")
    conj, neg = (bool(marks.get(mark)) for mark in ("conj", "neg"))
    offset += storage.start // item
    return TensorRecord(storage.extent, dtype, offset, shape, strides, conj, neg)


def read_tensors(
    path: str | os.PathLike[str], records: Mapping[str, TensorRecord]
) -> dict[str, np.ndarray]:
    """Read some of the tensors of a file that `read_torch_file` has read.

    Args:
        path: str or os.PathLike. The checkpoint.
        records: Mapping of str to TensorRecord. Tensors of that checkpoint, under any names.

    Returns:
        dict. {name: array}, with the same names and in this machine's byte order. complex32 is
        widened to complex64; bfloat16 and float8 are the types of `ml_dtypes`. Tensors of one
        storage share its memory. Arrays that aren't contiguous are read-only views, whatever their
        shape.

    Raises:
        CheckpointError: If the bytes are damaged or no longer there.

    Example:
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "example"
    >>> _ = path.write_bytes(np.arange(3, dtype="float32").tobytes())
    >>> record = TensorRecord(Extent(12, start=0), "float32", offset=1, shape=(2,), strides=(1,))
    >>> read_tensors(path, {"bias": record})
    {'bias': array([1., 2.], dtype=float32)}
    """
    with opened(path) as (file, size):
        bytes_left = _MAX_READ * size

        @functools.cache
        def read(extent: Extent, dtype: str, conj: bool, neg: bool) -> np.ndarray:
            nonlocal bytes_left
            bytes_left -= extent.nbytes
            if bytes_left < 0:
                raise CheckpointError("expected each storage in one dtype, found it in many")
            return _read_elements(file, extent, dtype, conj, neg)

        return {
            name: _view(read(record.extent, record.dtype, record.conj, record.neg), record)
            for name, record in records.items()
        }


def _read_elements(file: BinaryIO, extent: Extent, dtype: str, conj: bool, neg: bool) -> np.ndarray:
    raw = np.empty(extent.nbytes, np.uint8)
    file.seek(extent.start)
    if file.readinto(raw) != extent.nbytes:  # type: ignore[attr-defined]
        raise CheckpointError(f"expected {extent.nbytes} bytes at {extent.start}, found fewer")
    if extent.crc is not None:
        _check_crc(raw, extent.crc)
    item = _ITEM_BYTES[dtype]
    raw = raw[: extent.nbytes // item * item]
    number_bytes = item // 2 if dtype.startswith("complex") else item
    if extent.swap and number_bytes > 1:
        raw.view(f"u{number_bytes}").byteswap(inplace=True)
    with np.errstate(all="ignore"):  # warnings of signalling NaNs don't matter here
        if dtype == "bool":
            elements = raw != 0  # a boolean array's bytes must be 0 or 1
        elif dtype == "complex32":
            elements = raw.view(np.float16).astype(np.float32).view(np.complex64)
        else:
            elements = raw.view(_DTYPES[dtype])
        elements = np.conjugate(elements) if conj else elements
        return np.negative(elements) if neg else elements


def _view(elements: np.ndarray, record: TensorRecord) -> np.ndarray:
    if 0 in record.shape:
        return np.empty(record.shape, elements.dtype)
    item = elements.itemsize
    strides = [s * item if n > 1 else 0 for n, s in zip(record.shape, record.strides, strict=True)]
    # Unlike `as_strided`, this checks the bounds once more.
    memory = elements.view(np.uint8)
    array = np.ndarray(record.shape, elements.dtype, memory, record.offset * item, strides)
    array.flags.writeable = array.flags.c_contiguous
    return array
