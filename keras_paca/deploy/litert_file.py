"""Metadata in a LiteRT file, as TensorFlow Lite's own tools write and read it.

A LiteRT file is a flatbuffer whose root table, `Model`, lists buffers of bytes and names some of
them as metadata. `add_entries` puts a new root table with longer lists in front of the old bytes,
which stay as they are, weights and their alignment included: references in a flatbuffer lead
forward from the place where they stand.

Source: https://github.com/tensorflow/tensorflow/blob/master/tensorflow/lite/schema/schema.fbs and
https://github.com/tensorflow/tflite-support/tree/master/tensorflow_lite_support/metadata.
"""

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

IDENTIFIER = b"TFL3"
BUFFERS, METADATA, FIELDS = 4, 6, 10  # of the table `Model`: two of its fields, and their number
ALIGNMENT = 64  # at least that of every buffer
EPOCH = (1980, 1, 1, 0, 0, 0)  # the date of files in a zip archive that has none


def is_litert(path: Path) -> bool:
    """Return whether a file begins like a LiteRT file.

    Args:
        path: Path. The file.

    Returns:
        bool. Whether the identifier of LiteRT files is in its place.

    Example:
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "model.tflite"
    >>> _ = path.write_bytes(bytes(4) + IDENTIFIER)
    >>> is_litert(path)
    True
    """
    with open(path, "rb") as file:
        return file.read(8)[4:] == IDENTIFIER


def add_entries(model: bytes, entries: Mapping[str, bytes]) -> bytes:
    """Return a LiteRT file with metadata added to it.

    Args:
        model: bytes. The content of the file.
        entries: mapping of str to bytes. The names and contents of the metadata.

    Returns:
        bytes. The content of the new file.

    Raises:
        ValueError: If `model` isn't a LiteRT file, or has fields that this code doesn't know.

    Example:
    >>> empty = struct.pack("<I4s8H4I", 24, b"TFL3", 14, 12, 4, 0, 0, 0, 8, 0, 16, 3, 4, 0)
    >>> model = add_entries(empty, {"author": b"me"})
    >>> model.endswith(empty), read_entries(model)
    (True, {'author': b'me'})
    """
    fields = _root_fields(model)
    buffers, metadata = (_references(model, fields.get(key)) for key in (BUFFERS, METADATA))
    front = _Front()
    table = front.table([key for key in range(FIELDS) if key in fields or key == METADATA])
    struct.pack_into("<I", front.data, 0, table.start)
    new_buffers = front.vector(len(buffers) + len(entries))
    new_metadata = front.vector(len(metadata) + len(entries))
    front.refer(table.at[BUFFERS], new_buffers)
    front.refer(table.at[METADATA], new_metadata)
    for number, (name, content) in enumerate(entries.items()):
        entry = front.table([0, 1])  # `Metadata`: name, number of its buffer
        front.refer(new_metadata + 4 * (1 + len(metadata) + number), entry.start)
        struct.pack_into("<I", front.data, entry.at[1], len(buffers) + number)
        front.refer(entry.at[0], front.bytes(name.encode() + b"\0", 4, len(name.encode())))
        buffer = front.table([0])  # `Buffer`: data
        front.refer(new_buffers + 4 * (1 + len(buffers) + number), buffer.start)
        front.refer(buffer.at[0], front.bytes(content, 16, len(content)))
    front.align(ALIGNMENT)
    base = len(front.data)
    for key, place in fields.items():
        if key == 0:  # `version`, a number; all others are references
            front.data[table.at[0] : table.at[0] + 4] = model[place : place + 4]
        elif key not in (BUFFERS, METADATA):
            front.refer(table.at[key], base + _follow(model, place))
    for vector, old in ((new_buffers, buffers), (new_metadata, metadata)):
        for number, target in enumerate(old):
            front.refer(vector + 4 * (1 + number), base + target)
    return bytes(front.data) + model


def read_entries(model: bytes) -> dict[str, bytes]:
    """Return the metadata of a LiteRT file by name.

    Args:
        model: bytes. The content of the file.

    Returns:
        dict of str to bytes. The names and contents of the metadata.

    Raises:
        ValueError: If `model` isn't a LiteRT file, or has fields that this code doesn't know.

    Example:
    >>> empty = struct.pack("<I4s8H4I", 24, b"TFL3", 14, 12, 4, 0, 0, 0, 8, 0, 16, 3, 4, 0)
    >>> read_entries(empty)
    {}
    >>> read_entries(add_entries(empty, {"author": b"me"}))
    {'author': b'me'}
    """
    fields = _root_fields(model)
    buffers = _references(model, fields.get(BUFFERS))
    entries = {}
    for table in _references(model, fields.get(METADATA)):
        entry = _fields(model, table)
        name = _follow(model, entry[0])
        data = _fields(model, buffers[_uint(model, entry[1])] if 1 in entry else buffers[0])
        content = _bytes(model, _follow(model, data[0])) if 0 in data else b""
        entries[_bytes(model, name).decode()] = content
    return entries


def append_files(path: Path, files: Mapping[str, bytes]) -> None:
    """Append files to a LiteRT file as an uncompressed zip archive.

    Args:
        path: Path. The LiteRT file, which is changed.
        files: mapping of str to bytes. The names and contents of the files to append.

    Example:
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "model.tflite"
    >>> _ = path.write_bytes(bytes(4) + IDENTIFIER)
    >>> append_files(path, {"labels.txt": b"ant bee"})
    >>> is_litert(path), zipfile.ZipFile(path).namelist()
    (True, ['labels.txt'])
    """
    with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, EPOCH), content)


# --- Reading ----------------------------------------------------------------------------------


def _uint(data: bytes, place: int) -> int:
    return struct.unpack_from("<I", data, place)[0]


def _follow(data: bytes, place: int) -> int:
    """Return the target of the reference at a place."""
    return place + _uint(data, place)


def _bytes(data: bytes, place: int) -> bytes:
    """Return the bytes of the vector or string at a place."""
    return data[place + 4 : place + 4 + _uint(data, place)]


def _fields(data: bytes, table: int) -> dict[int, int]:
    """Return the places of a table's fields, by their numbers."""
    start = table - struct.unpack_from("<i", data, table)[0]
    size = struct.unpack_from("<H", data, start)[0]
    offsets = struct.unpack_from(f"<{size // 2 - 2}H", data, start + 4)
    return {key: table + offset for key, offset in enumerate(offsets) if offset}


def _root_fields(model: bytes) -> dict[int, int]:
    if model[4:8] != IDENTIFIER:
        raise ValueError("This is no LiteRT file.")
    fields = _fields(model, _uint(model, 0))
    if max(fields) >= FIELDS:
        raise ValueError(f"LiteRT's schema has a field {max(fields)}, which isn't known here.")
    return fields


def _references(data: bytes, place: int | None) -> list[int]:
    """Return the targets of the references in the vector that the field at a place refers to."""
    if place is None:
        return []
    vector = _follow(data, place)
    return [_follow(data, vector + 4 * (1 + i)) for i in range(_uint(data, vector))]


# --- Writing ----------------------------------------------------------------------------------


class _Table:
    """A table in `_Front`: its start, and the places of its fields by number."""

    def __init__(self, start: int, at: dict[int, int]) -> None:
        self.start, self.at = start, at


class _Front:
    """The bytes that come before the old file, from front to back."""

    def __init__(self) -> None:
        self.data = bytearray(4) + IDENTIFIER

    def align(self, size: int) -> None:
        self.data += bytes(-len(self.data) % size)

    def refer(self, place: int, target: int) -> None:
        struct.pack_into("<I", self.data, place, target - place)

    def table(self, keys: list[int]) -> _Table:
        """Add a table whose fields take four bytes each."""
        size = max(keys) + 1
        offsets = [4 * (1 + keys.index(key)) if key in keys else 0 for key in range(size)]
        self.align(4)
        before = len(self.data)
        self.data += struct.pack(f"<{2 + size}H", 4 + 2 * size, 4 + 4 * len(keys), *offsets)
        self.align(4)
        start = len(self.data)
        self.data += struct.pack("<i", start - before) + bytes(4 * len(keys))
        return _Table(start, {key: start + offsets[key] for key in keys})

    def vector(self, count: int) -> int:
        """Add a vector of references."""
        self.align(4)
        self.data += struct.pack("<I", count) + bytes(4 * count)
        return len(self.data) - 4 * (1 + count)

    def bytes(self, content: bytes, alignment: int, count: int) -> int:
        """Add a vector of bytes, or a string with the zero after it."""
        self.data += bytes(-(len(self.data) + 4) % alignment)
        self.data += struct.pack("<I", count) + content
        return len(self.data) - len(content) - 4


# --- The metadata of TensorFlow Lite's tools --------------------------------------------------

IMAGE, NORMALIZATION, AXIS_LABELS, RGB = 2, 1, 2, 1  # of the unions and enumerations of its schema


def tools_metadata(name: str, labels: str | None) -> bytes:
    """Return the entry "TFLITE_METADATA" of a model from one RGB image to scores of classes.

    Args:
        name: str. The model's name.
        labels: str. Name of the appended file with the names of the classes, `None` for no file.

    Returns:
        bytes. A flatbuffer of the schema `metadata_schema.fbs`.

    Example:
    >>> metadata = tools_metadata("insects", "labels.txt")
    >>> metadata[4:8], b"labels.txt" in metadata
    (b'M001', True)
    """
    import flatbuffers

    builder = flatbuffers.Builder(512)
    image = _table(builder, {0: ("Int8", RGB)})
    content = _table(builder, {0: ("Uint8", IMAGE), 1: image})
    mean, deviation = (_floats(builder, value) for value in (0.0, 1.0))
    options = _table(builder, {0: mean, 1: deviation})
    unit = _table(builder, {0: ("Uint8", NORMALIZATION), 1: options})
    given = {0: builder.CreateString("image"), 3: content, 4: _tables(builder, unit)}
    made: dict[int, Any] = {0: builder.CreateString("score")}
    if labels is not None:
        file = {0: builder.CreateString(labels), 2: ("Int8", AXIS_LABELS)}
        made[6] = _tables(builder, _table(builder, file))
    given, made = (_tables(builder, _table(builder, tensor)) for tensor in (given, made))
    graph = _tables(builder, _table(builder, {2: given, 3: made}))
    model = {0: builder.CreateString(name), 3: graph, 7: builder.CreateString("1.0.0")}
    builder.Finish(_table(builder, model), b"M001")
    return bytes(builder.Output())


def _table(builder: Any, fields: dict[int, Any]) -> int:
    """Add a table of {number: reference, or (type, value)}."""
    builder.StartObject(max(fields) + 1)
    for key, value in fields.items():
        if isinstance(value, tuple):
            kind, number = value
            getattr(builder, f"Prepend{kind}Slot")(key, number, 0)
        else:
            builder.PrependUOffsetTRelativeSlot(key, value, 0)
    return builder.EndObject()


def _tables(builder: Any, table: int) -> int:
    """Add a vector of one table."""
    builder.StartVector(4, 1, 4)
    builder.PrependUOffsetTRelative(table)
    return builder.EndVector()


def _floats(builder: Any, value: float) -> int:
    """Add a vector of one number."""
    builder.StartVector(4, 1, 4)
    builder.PrependFloat32(value)
    return builder.EndVector()
