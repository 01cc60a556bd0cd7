"""What is added to a LiteRT file: entries of its own, and files behind it."""

import zipfile

import pytest

from keras_paca.deploy import litert_file
from keras_paca.deploy.metadata import read_metadata, write_metadata
from tests.marks import slow_but_on_torch


def flatbuffer(content):
    """A LiteRT file that is all but empty: version 3, two buffers, a description."""
    flatbuffers = pytest.importorskip("flatbuffers")
    builder = flatbuffers.Builder(64)
    description = builder.CreateString("nothing")
    data = builder.CreateByteVector(content)
    buffers = []
    for offset in (None, data):
        builder.StartObject(1)
        if offset is not None:
            builder.PrependUOffsetTRelativeSlot(0, offset, 0)
        buffers.append(builder.EndObject())
    builder.StartVector(4, 2, 4)
    for offset in reversed(buffers):
        builder.PrependUOffsetTRelative(offset)
    vector = builder.EndVector()
    builder.StartObject(5)
    builder.PrependUint32Slot(0, 3, 0)
    builder.PrependUOffsetTRelativeSlot(3, description, 0)
    builder.PrependUOffsetTRelativeSlot(4, vector, 0)
    builder.Finish(builder.EndObject(), b"TFL3")
    return bytes(builder.Output())


@slow_but_on_torch
def test_entries():
    model = flatbuffer(b"weights")
    assert litert_file.read_entries(model) == {}
    entries = {"first": b"one", "größe": bytes(range(256)), "empty": b""}
    once = litert_file.add_entries(model, entries)
    assert once.endswith(model)  # untouched
    assert (len(once) - len(model)) % 64 == 0
    assert litert_file.read_entries(once) == entries
    twice = litert_file.add_entries(once, {"last": b"more"})
    assert litert_file.read_entries(twice) == {**entries, "last": b"more"}
    assert litert_file.add_entries(model, {})[4:8] == b"TFL3"
    with pytest.raises(ValueError, match="no LiteRT file"):
        litert_file.read_entries(b"something else")


@slow_but_on_torch
def test_appended_files(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(flatbuffer(b"weights"))
    before = path.read_bytes()
    litert_file.append_files(path, {"labels.txt": b"a\nb\n"})
    assert path.read_bytes().startswith(before)
    assert zipfile.ZipFile(path).read("labels.txt") == b"a\nb\n"
    metadata = {"class_names": ["a", "b"], "input": None, "task": None}
    path.write_bytes(before)
    write_metadata(path, "litert", metadata)
    assert read_metadata(path) == metadata
