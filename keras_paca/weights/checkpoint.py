"""Reading released weights from files of any kind, and writing them as safetensors.

The content of a file decides how it is read: as a PyTorch checkpoint (zip or legacy) or as
safetensors. The prefixes that wrappers add are removed from the keys of the state dict, and every
entry must be a tensor.
"""

import contextlib
import itertools
import json
import math
import os
import re
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from keras_paca.weights.torch_file import (
    MAX_DIMENSIONS,
    PYTORCH,
    CheckpointError,
    Extent,
    Placeholder,
    StorageRecord,
    TensorRecord,
    opened,
    read_tensors,
    read_torch_file,
    shown,
    torch_kind,
)

__all__ = ["CheckpointError", "read_checkpoint", "write_safetensors"]

_SAFETENSORS = "a safetensors file"
_EXTENSIONS = {
    **{".pth": PYTORCH, ".pt": PYTORCH, ".bin": PYTORCH, ".ckpt": PYTORCH},
    ".safetensors": _SAFETENSORS,
}

# How files begin that often have a wrong name.
_BEGINNINGS = {
    b"\x89HDF\r\n\x1a\n": "an HDF5 file (Keras weights, .h5)",
    b"PK": "an empty zip archive",
    b"\x89PNG\r\n\x1a\n": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"%PDF": "a PDF document",
    b"\x93NUMPY": "a NumPy array (.npy)",
    b"\x1f\x8b": "a gzip archive: unpack it first",
    b"BZh": "a bzip2 archive: unpack it first",
    b"\xfd7zXZ\0": "an xz archive: unpack it first",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive: unpack it first",
    b"GGUF": "a GGUF file",
    b"version https://git-lfs": "a Git LFS pointer in place of the file",
    b"<!doctype html": "an HTML page, perhaps a server's error message",
    b"<html": "an HTML page, perhaps a server's error message",
    b"<?xml": "an XML document, perhaps a server's error message",
}

# The keys under which training scripts store the state dict, in the order of the search. The
# averaged weights come last: the stated accuracy is that of `state_dict`.
_EMA_WRAPPERS = ("state_dict_ema", "model_ema", "ema")
_WRAPPERS = (
    *("state_dict", "model", "module", "network", "net", "model_state_dict"),
    *_EMA_WRAPPERS,
)
_PREFIXES = re.compile(r"\A(?:module\.|_orig_mod\.)+")  # of DataParallel and of torch.compile

_SAFETENSORS_DTYPES = {
    **{"BOOL": "bool", "U8": "uint8", "U16": "uint16", "U32": "uint32", "U64": "uint64"},
    **{"I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64", "BF16": "bfloat16"},
    **{"F16": "float16", "F32": "float32", "F64": "float64", "C64": "complex64"},
    **{"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu"},
    **{"F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz"},
}


def read_checkpoint(
    path: str | os.PathLike[str], *, match_extension: bool = True, ema: bool = False
) -> dict[str, np.ndarray]:
    """Read the state dict of a released checkpoint.

    Nothing in the file is executed, and no class that it names is imported. The state dict is
    either the whole content of the file or nested in it, at most two levels deep, under the first
    of these keys that leads to tensors: `state_dict`, `model`, `module`, `network`, `net`,
    `model_state_dict`, `state_dict_ema`, `model_ema`, `ema`.

    Args:
        path: str or os.PathLike. A PyTorch checkpoint in the zip or the legacy format, or a
            safetensors file.
        match_extension: bool. Whether to refuse a file whose extension belongs to the other
            format.
        ema: bool. Whether to read only the exponential moving average of the weights, under
            `state_dict_ema`, `model_ema` or `ema`.

    Returns:
        dict. {key: array}, in the order of the file, without the prefixes `module.` and
        `_orig_mod.` of the keys. Arrays that aren't contiguous are read-only views.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file is damaged, isn't a checkpoint or has no state dict, or no
            moving average with `ema=True`; or if the state dict has an entry that isn't a tensor,
            or two keys that differ only by a prefix.

    Example:
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "example.safetensors"
    >>> write_safetensors(path, {"module.head.bias": np.zeros(3)})
    >>> read_checkpoint(path)
    {'head.bias': array([0., 0., 0.])}
    """
    path = Path(path)
    with opened(path) as (file, size):
        found = _kind(file, size)
        expected = _EXTENSIONS.get(path.suffix.lower())
        if match_extension and expected and found != expected:
            raise CheckpointError(f"expected {expected}, as its name says, found {found}")
        if found == PYTORCH:
            root = read_torch_file(path)
            records = _state_dict(_averaged(root) if ema else root)
        elif found == _SAFETENSORS and ema:
            raise CheckpointError(f"expected {PYTORCH} with a moving average, found {found}")
        elif found == _SAFETENSORS:
            records = _safetensors(path, file)
        else:
            raise CheckpointError(f"expected {PYTORCH} or {_SAFETENSORS}, found {found}")
        return read_tensors(path, _without_prefixes(records))


def _kind(file: BinaryIO, size: int) -> str:
    if kind := torch_kind(file, size):
        return kind
    file.seek(0)
    head = file.read(512)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= 100_000_000:
        return _SAFETENSORS
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for beginning, kind in _BEGINNINGS.items():
        if head.startswith(beginning) or text.startswith(beginning):
            return kind
    if not head.strip(b"\0"):
        return "a file of zeros, perhaps an unfinished download"
    if head.isascii() and not any(byte < 32 for byte in head if byte not in b"\t\r\n"):
        return f"a text that begins with {head[:60].decode()!r}"
    return f"a file of an unknown kind that begins with {head[:16]!r}"


def _state_dict(root: object) -> dict[str, TensorRecord]:
    found = _with_tensors(root, 2) or _wrapped(root)
    if isinstance(root, dict):
        keys = [f"{shown(k)} ({_described(v)})" for k, v in itertools.islice(root.items(), 20)]
        top = f"top-level keys {', '.join(keys) or 'none'}"
    else:
        top = _described(root)
    if found is None:
        places = ", ".join(_WRAPPERS)
        raise CheckpointError(f"expected a state dict, bare or under {places}, found {top}")
    for key, value in found.items():
        if not isinstance(key, str):
            raise CheckpointError(f"expected text as keys of the state dict, found {shown(key)}")
        if not isinstance(value, TensorRecord):
            where = f", among the {top}" if found is root else ""
            raise CheckpointError(
                f"entry '{shown(key)}' is not a tensor but {_described(value)}{where}"
            )
    return found


def _averaged(root: Any) -> Any:
    """Return the part of a file that holds the moving average of the weights."""
    for key in _EMA_WRAPPERS:
        if isinstance(root, dict) and _with_tensors(root.get(key), 1):
            return root[key]
    keys = [shown(key) for key in itertools.islice(root, 20)] if isinstance(root, dict) else []
    raise CheckpointError(
        f"expected a moving average of the weights under {', '.join(_EMA_WRAPPERS)}, found "
        f"{', '.join(keys) or 'none'}"
    )


def _with_tensors(node: Any, depth: int) -> dict[Any, Any] | None:
    if not isinstance(node, dict):
        return None
    if depth:
        for key in _WRAPPERS:
            if found := _with_tensors(node.get(key), depth - 1):
                return found
    return node if any(map(_is_tensor, node.values())) else None


def _is_tensor(value: object) -> bool:
    return isinstance(value, TensorRecord) or (isinstance(value, Placeholder) and value.tensor)


def _wrapped(root: Any) -> dict[Any, Any] | None:
    # It holds no tensor although its name says so, so the error is about its first entry.
    inner = [root[key] for key in _WRAPPERS if key in root] if isinstance(root, dict) else []
    return next((node for node in inner if isinstance(node, dict) and node), None)


def _described(value: object) -> str:
    match value:
        case TensorRecord():
            return "a tensor"
        case StorageRecord():
            return "a bare storage"
        case Placeholder(name, tensor=True):
            return f"a tensor that only PyTorch could rebuild ({shown(name)})"
        case Placeholder(name) if name.startswith("numpy") and name.endswith(".scalar"):
            return "a NumPy scalar"
        case Placeholder(name) if name.startswith("numpy") and name.endswith("._reconstruct"):
            return "a NumPy array"
        case Placeholder(name):
            return f"a {shown(name)}"
    return f"a {type(value).__name__}"


def _safetensors(path: Path, file: BinaryIO) -> dict[str, TensorRecord]:
    with safe_open(path, framework="np"):  # checks the header against the file's size
        pass
    # The library returns no float8 arrays, nor bfloat16 in older releases, so they are read here.
    file.seek(0)
    header_bytes = int.from_bytes(file.read(8), "little")
    header = json.loads(file.read(header_bytes))
    header.pop("__metadata__", None)
    records: dict[str, TensorRecord] = {}
    for key, spec in header.items():
        dtype, shape = _SAFETENSORS_DTYPES.get(spec["dtype"]), tuple(spec["shape"])
        if dtype is None or len(shape) > MAX_DIMENSIONS:
            raise CheckpointError(
                f"expected arrays that NumPy has, found entry '{shown(key)}' of {spec['dtype']} "
                f"and {len(shape)} axes"
            )
        start, end = (8 + header_bytes + offset for offset in spec["data_offsets"])
        strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
        extent = Extent(end - start, start, swap=sys.byteorder != "little")
        records[key] = TensorRecord(extent, dtype, 0, shape, strides)
    return records


def read_safetensors_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the metadata of a safetensors file, each text parsed as JSON.

    Args:
        path: str or os.PathLike. A safetensors file that `read_checkpoint` has already read.

    Returns:
        dict. {name: value}. Texts that aren't JSON are left out.

    Example:
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "example.safetensors"
    >>> write_safetensors(path, {}, metadata={"class_names": '["cat", "dog"]'})
    >>> read_safetensors_metadata(path)
    {'class_names': ['cat', 'dog']}
    """
    found = {}
    with safe_open(path, framework="np") as file:
        for name, text in (file.metadata() or {}).items():
            with contextlib.suppress(ValueError):
                found[name] = json.loads(text)
    return found


def _without_prefixes(records: Mapping[str, TensorRecord]) -> dict[str, TensorRecord]:
    stripped: dict[str, TensorRecord] = {}
    for key, record in records.items():
        name = _PREFIXES.sub("", key)
        if name in stripped:
            raise CheckpointError(f"expected keys that differ, found '{shown(name)}' twice")
        stripped[name] = record
    return stripped


def _refuse_repetition(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Refuse views that repeat little memory so often that they would fill the disk.

    Only a hostile file holds such views.
    """
    memory = {
        array.__array_interface__["data"][0]: array.itemsize
        + sum((n - 1) * abs(step) for n, step in zip(array.shape, array.strides, strict=True))
        for array in tensors.values()
        if array.size
    }
    held, wanted = sum(memory.values()), sum(array.nbytes for array in tensors.values())
    if wanted > 16 * held + 2**26:
        raise CheckpointError(
            f"{path}: expected tensors of about the size of what holds them, found {held} bytes "
            f"that are repeated to {wanted}"
        )


def write_safetensors(
    path: str | os.PathLike[str],
    tensors: Mapping[str, np.ndarray],
    metadata: dict[str, str] | None = None,
) -> None:
    """Write a safetensors file.

    If writing fails, an older file of that name is still there unchanged.

    Args:
        path: str or os.PathLike. The file. An existing file of that name is replaced.
        tensors: Mapping of str to np.ndarray. The arrays, contiguous or not.
        metadata: dict of str to str or None. Texts to store with the arrays.

    Raises:
        CheckpointError: If safetensors can't hold the dtype or the name of an array. This is a
            subclass of `ValueError`.
        OSError: If the file can't be written.

    Example:
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from keras_paca.weights import open_checkpoint, write_safetensors
    >>> path = Path(tempfile.mkdtemp()) / "example.safetensors"
    >>> write_safetensors(path, {"head.weight": np.ones((3, 2), "float32")})
    >>> open_checkpoint(path).tensors["head.weight"].shape
    (3, 2)
    """
    path = Path(path)
    _refuse_repetition(path, tensors)
    plain: dict[str, np.ndarray] = {}
    for name, array in tensors.items():
        if array.dtype.name not in _SAFETENSORS_DTYPES.values() or name == "__metadata__":
            raise CheckpointError(
                f"{path}: expected tensors of dtypes and names that safetensors has, "
                f"found '{shown(name)}' of {array.dtype}"
            )
        plain[name] = np.asarray(array, order="C")  # the library ignores strides
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode
        save_file(plain, temporary, metadata=metadata)
        temporary.chmod(mode)  # the library creates files that only their owner can read
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except SafetensorError as error:
        # An old release of the library raises the same exception for a dtype that it lacks.
        kind = OSError if "serializing" in str(error) else CheckpointError
        raise kind(f"{path}: can't be written: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)
