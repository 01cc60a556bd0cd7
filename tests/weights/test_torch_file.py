"""The reader of PyTorch checkpoints: exact on good files, inert and clear on all others."""

import argparse
import ast
import collections
import copyreg
import os
import pickle
import pickletools
import struct
import sys
import tracemalloc
import types
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keras_paca.weights import torch_file
from keras_paca.weights.torch_file import (
    CheckpointError,
    Placeholder,
    StorageRecord,
    TensorRecord,
    read_tensors,
    read_torch_file,
)
from tests.marks import slow_but_on_torch
from tests.torch_writer import Call, Global, Pickler, Raw, Tensor, save_legacy, save_zip, tensor

FORMATS = {"zip": save_zip, "legacy": save_legacy}
DTYPES = [
    *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
    *("float16", "bfloat16", "float32", "float64", "complex32", "complex64", "complex128"),
    *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"),
]
HOOKS = Global("collections", "OrderedDict")()
pytestmark = [
    slow_but_on_torch,
    pytest.mark.filterwarnings("ignore:invalid escape sequence"),  # pickletools' own
]


@pytest.fixture(params=["zip", "legacy"])
def kind(request):
    return request.param


@pytest.fixture
def save(kind):
    return FORMATS[kind]


@pytest.fixture
def torch():
    module = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of experimental dtypes, and of what is deprecated
        yield module


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.pth"


def load(path):
    """The file's top-level dict of tensors as arrays."""
    return read_tensors(path, read_torch_file(path))


def numpy_dtype(name):
    return np.dtype(getattr(ml_dtypes, name, name if name != "complex32" else "complex64"))


def expected(name, raw):
    """What an array of a tensor with these bytes holds."""
    if name == "complex32":
        return raw.view(np.float16).astype(np.float32).view(np.complex64)
    return raw.view(numpy_dtype(name))


def bytes_of(name, count=24):
    raw = np.random.default_rng(0).integers(0, 2 if name == "bool" else 256, 16 * count)
    raw = raw.astype(np.uint8)
    return raw[: count * (4 if name == "complex32" else numpy_dtype(name).itemsize)]


def same(array, reference):
    assert array.dtype == reference.dtype
    assert array.shape == reference.shape
    assert array.tobytes() == np.asarray(reference).tobytes()


# Files that torch wrote.


def torch_save(torch, kind, obj, path, **options):
    torch.save(obj, path, _use_new_zipfile_serialization=kind == "zip", **options)


@pytest.mark.parametrize("name", DTYPES)
def test_torch_dtype(torch, kind, path, name):
    if not hasattr(torch, name):
        pytest.skip(f"this torch has no {name}")
    raw = bytes_of(name)
    value = torch.from_numpy(raw).view(getattr(torch, name)).reshape(2, 3, 4)
    torch_save(torch, kind, {"a": value, "t": value.permute(2, 0, 1)}, path)
    arrays = load(path)
    same(arrays["a"], expected(name, raw).reshape(2, 3, 4))
    same(arrays["t"], expected(name, raw).reshape(2, 3, 4).transpose(2, 0, 1))


def test_torch_views(torch, kind, path):
    base = torch.arange(60.0)
    value = {
        "matrix": base.reshape(5, 12),
        "transposed": base.reshape(5, 12).T,
        "expanded": base[:4].expand(3, 4),
        "sliced": base[7:50:3],
        "scalar": base[59],
        "window": base.as_strided((4, 3), (1, 1), 2),
        "empty": base[:0].reshape(0, 3),
        "own": torch.full((2, 2), 3.0),
    }
    torch_save(torch, kind, value, path)
    arrays = load(path)
    for name, reference in value.items():
        same(arrays[name], reference.numpy())
    assert np.shares_memory(arrays["matrix"], arrays["transposed"])
    assert not np.shares_memory(arrays["matrix"], arrays["own"])
    assert arrays["matrix"].flags.writeable
    assert not arrays["expanded"].flags.writeable


def test_torch_conjugate_and_negative(torch, kind, path):
    value = torch.tensor([1 + 2j, 3 - 4j], dtype=torch.complex64)
    other = value.clone()
    torch_save(torch, kind, {"z": value, "conj": value.conj(), "neg": other.conj().imag}, path)
    arrays = load(path)
    same(arrays["z"], np.array([1 + 2j, 3 - 4j], np.complex64))
    same(arrays["conj"], np.array([1 - 2j, 3 + 4j], np.complex64))
    same(arrays["neg"], np.array([-2, 4], np.float32))


def test_torch_parameters_and_attributes(torch, kind, path):
    plain = torch.nn.Parameter(torch.arange(3.0))
    marked = torch.nn.Parameter(torch.arange(4.0))
    marked.note = "an attribute"
    labelled = torch.arange(5.0)
    labelled.note = "an attribute"
    torch_save(torch, kind, {"plain": plain, "marked": marked, "labelled": labelled}, path)
    arrays = load(path)
    assert {key: array.size for key, array in arrays.items()} == {
        **{"plain": 3, "marked": 4, "labelled": 5}
    }


def test_torch_modules_and_optimizer(torch, kind, path):
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    torch_save(torch, kind, saved, path)
    root = read_torch_file(path)
    arrays = read_tensors(path, root["model"])
    assert list(arrays) == list(model.state_dict())
    for name, reference in model.state_dict().items():
        same(arrays[name], reference.numpy())
    moment = root["optimizer"]["state"][0]["exp_avg"]
    same(read_tensors(path, {"m": moment})["m"], saved["optimizer"]["state"][0]["exp_avg"].numpy())


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_torch_plain_containers(torch, kind, path, protocol):
    value = {
        "text": "\u00e9\U0001f600",
        "numbers": [0, -1, 2**31, -(2**80), 1.5, float("inf"), 1 + 2j, True, None],
        "bytes": [b"", b"\x00\xff"],
        "nested": {"tuple": (1, (2, [3])), ("a", 1): {4, 5}, 6: frozenset([7])},
        "ordered": OrderedDict(b=1, a=2),
        "size": torch.Size([1, 2]),
    }
    torch_save(torch, kind, value, path, pickle_protocol=protocol)
    root = read_torch_file(path)
    assert root == value
    assert type(root["ordered"]) is OrderedDict
    assert type(root["size"]) is tuple


def test_torch_storages_dtypes_and_devices(torch, kind, path):
    storage = torch.arange(3.0)
    value = {
        "untyped": storage.untyped_storage(),
        "dtype": torch.float16,
        "device": torch.device("cpu"),
    }
    torch_save(torch, kind, value, path)
    root = read_torch_file(path)
    assert isinstance(root["untyped"], StorageRecord)
    assert root["untyped"].nbytes == 12
    assert root["dtype"].name == "torch.float16"
    assert root["device"].name == "torch.device"


def test_torch_training_state_is_inert(torch, kind, path, monkeypatch):
    package = types.ModuleType("mmlike")
    module = types.ModuleType("mmlike.logging")

    class HistoryBuffer:
        def __init__(self):
            self.history = np.arange(3)

        def __setstate__(self, state):
            raise AssertionError("executed")

    class Config(dict):
        pass

    for cls in (HistoryBuffer, Config):
        cls.__module__, cls.__qualname__ = "mmlike.logging", cls.__name__
        setattr(module, cls.__name__, cls)
    monkeypatch.setitem(sys.modules, "mmlike", package)
    monkeypatch.setitem(sys.modules, "mmlike.logging", module)
    value = {
        "meta": {"cfg": Config(a=1), "time": "now"},
        "state_dict": {"a": torch.ones(2)},
        "message_hub": {"log_scalars": OrderedDict(loss=HistoryBuffer())},
        "args": argparse.Namespace(lr=0.1),
        "numpy": [np.float64(3), np.int64(4), np.arange(3), np.dtype("f4")],
        "default": collections.defaultdict(list, a=[1]),
        "deque": collections.deque([1, 2]),
    }
    torch_save(torch, kind, value, path)
    monkeypatch.delitem(sys.modules, "mmlike")
    monkeypatch.delitem(sys.modules, "mmlike.logging")
    before = set(sys.modules)
    root = read_torch_file(path)
    assert set(sys.modules) == before
    assert root["meta"]["cfg"].name == "mmlike.logging.Config"
    assert root["meta"]["time"] == "now"
    assert root["message_hub"]["log_scalars"]["loss"].name == "mmlike.logging.HistoryBuffer"
    assert root["args"].name == "argparse.Namespace"
    assert [v.name.rpartition(".")[2] for v in root["numpy"]] == [
        *("scalar", "scalar", "_reconstruct", "dtype")
    ]
    assert root["default"].name == "collections.defaultdict"
    assert root["deque"].name == "collections.deque"
    same(read_tensors(path, root["state_dict"])["a"], np.ones(2, np.float32))


def test_torch_tensors_that_need_code(torch, kind, path):
    class Special(torch.Tensor):
        pass

    Special.__module__, Special.__qualname__ = "builtins", "Special"
    try:
        sys.modules["builtins"].Special = Special
        value = {
            "subclass": torch.ones(2).as_subclass(Special),
            "quantized": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
            "sparse": torch.eye(2).to_sparse(),
            "meta": torch.empty(2, device="meta"),
        }
        torch_save(torch, kind, value, path)
    finally:
        del sys.modules["builtins"].Special
    root = read_torch_file(path)
    assert {key: (value.name, value.tensor) for key, value in root.items()} == {
        "subclass": ("builtins.Special", True),
        "quantized": ("torch._utils._rebuild_qtensor", True),
        "sparse": ("torch._utils._rebuild_sparse_tensor", True),
        "meta": ("torch._utils._rebuild_meta_tensor_no_storage", True),
    }


def test_torch_whole_module(torch, kind, path):
    torch_save(torch, kind, torch.nn.Linear(2, 3), path)
    assert read_torch_file(path).name == "torch.nn.modules.linear.Linear"


def test_torch_script_is_refused(torch, path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 3)), path)
    with pytest.raises(CheckpointError, match="TorchScript archive, whose weights can only be"):
        read_torch_file(path)


def test_torch_without_crc_is_refused(torch, path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"a": torch.ones(2)}, path)
    finally:
        torch.serialization.set_crc32_options(True)
    with pytest.raises(CheckpointError, match=r"CRC-32 .*set_crc32_options\(False\)"):
        read_torch_file(path)


def test_torch_reads_what_the_writer_writes(torch, kind, save, path):
    value = {name: bytes_of(name).view(name) for name in ("int64", "float32", "complex128", "bool")}
    value |= {"bfloat16": bytes_of("float16").view(ml_dtypes.bfloat16)}
    if kind == "zip":  # torch 2.13 can't load the legacy files of these dtypes that it writes
        value |= {"uint16": bytes_of("uint16").view("uint16")}
    base = np.arange(12.0)
    value["view"] = Tensor(base, (2, 3), (1, 4), 1, parameter=True)
    value["args"] = Global("argparse", "Namespace")(new=True, state={"lr": 0.1})
    value["plain"] = {"set": {1}, "bytes": b"\xff", "big": 2**70, "size": ("t", [1.5, None])}
    save(path, value)
    loaded = torch.load(path, weights_only=False)
    assert loaded["args"] == argparse.Namespace(lr=0.1)
    assert loaded["plain"] == value["plain"]
    assert isinstance(loaded["view"], torch.nn.Parameter)
    np.testing.assert_array_equal(loaded["view"].detach(), [[1, 5, 9], [2, 6, 10]])
    for name, reference in value.items():
        if isinstance(reference, np.ndarray):
            assert loaded[name].view(torch.uint8).numpy().tobytes() == reference.tobytes()


# The same essentials, without torch.


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize(
    ("kind", "order"), [("zip", "little"), ("zip", "big"), ("zip", None), ("legacy", "little")]
)
def test_dtype(kind, path, name, order):
    raw = bytes_of(name)
    if name == "complex32":
        if order == "big":
            raw = raw.view("u2").byteswap().view(np.uint8)  # the writer takes these for bytes
        value = Tensor(raw, (6, 4), (4, 1), dtype=name)
    else:
        value = tensor(raw.view(numpy_dtype(name)).reshape(6, 4))
    FORMATS[kind](path, {"a": value}, **({"order": order} if kind == "zip" else {}))
    same(load(path)["a"], expected(name, bytes_of(name)).reshape(6, 4))


def test_views(save, path):
    base = np.arange(60, dtype=np.float32)
    value = {
        "matrix": Tensor(base, (5, 12), (12, 1)),
        "transposed": Tensor(base, (12, 5), (1, 12)),
        "expanded": Tensor(base, (3, 4), (0, 1), 2),
        "sliced": Tensor(base, (15,), (3,), 7),
        "scalar": Tensor(base, (), (), 59),
        "single": Tensor(base, (1, 2), (2**62, 1)),  # the stride of one element says nothing
        "empty": Tensor(base, (0, 3), (3, 1), 1000),
        "parameter": Tensor(base, (2,), (1,), parameter=True),
        "own": np.full((2, 2), 3.0),
    }
    save(path, value)
    arrays = load(path)
    same(arrays["matrix"], base.reshape(5, 12))
    same(arrays["transposed"], base.reshape(5, 12).T)
    same(arrays["expanded"], np.broadcast_to(base[2:6], (3, 4)))
    same(arrays["sliced"], base[7:50:3])
    same(arrays["scalar"], base[59].reshape(()))
    same(arrays["single"], base[None, :2])
    same(arrays["empty"], base[:0].reshape(0, 3))
    same(arrays["parameter"], base[:2])
    same(arrays["own"], value["own"])
    assert np.shares_memory(arrays["matrix"], arrays["sliced"])
    assert not arrays["transposed"].flags.writeable


def test_huge_expanded_view_costs_nothing(save, path):
    save(path, {"a": Tensor(np.ones(1, np.float32), (2**30, 2**20), (0, 0))})
    tracemalloc.start()
    array = load(path)["a"]
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()
    assert array.shape == (2**30, 2**20)
    assert array[-1, -1] == 1


def test_legacy_storage_views(path):
    base = np.arange(12, dtype=np.int16)
    save_legacy(path, {"a": Tensor(base, (3,), (1,), 1, part=(4, 6)), "b": tensor(base)})
    same(load(path)["a"], base[5:8])
    save_legacy(path, {"a": Tensor(base, (3,), (1,), 4, part=(4, 6))})
    with pytest.raises(CheckpointError, match="inside its storage of 12 bytes"):
        read_torch_file(path)
    save_legacy(path, {"a": Tensor(base, (3,), (1,), 0, part=(8, 6))})
    with pytest.raises(CheckpointError, match="expected a view inside storage 0"):
        read_torch_file(path)
    for part in ((-1, 6), (4, -1), ("4", 6), (True, 6), (2**70, 6), (None, None)):
        save_legacy(path, {"a": Tensor(base, (1,), (1,), 0, part=part)})
        with pytest.raises(CheckpointError, match="expected a view of storage 0, found no numbers"):
            read_torch_file(path)


def test_conjugate_and_negative(save, path):
    value = np.array([1 + 2j, 3 - 4j])
    save(
        path,
        {
            "conj": tensor(value, metadata={"conj": True}),
            "both": tensor(value, metadata={"conj": True, "neg": True}),
            "neg": tensor(value.imag.astype(ml_dtypes.bfloat16), metadata={"neg": True}),
            "none": tensor(value, metadata={}),
        },
    )
    arrays = load(path)
    same(arrays["conj"], value.conj())
    same(arrays["both"], -value.conj())
    same(arrays["neg"], -value.imag.astype(ml_dtypes.bfloat16))
    same(arrays["none"], value)


def test_boolean_arrays_hold_zero_or_one(path):
    raw = np.array([0, 1, 2, 255], np.uint8)
    save_zip(path, {"a": Tensor(raw, (4,), (1,), dtype="bool")})
    same(load(path)["a"], np.array([False, True, True, True]))


def test_other_rebuild_functions(save, path):
    flat = np.arange(3, dtype=np.float32)
    saved = ("storage", Global("torch.cuda", "FloatStorage"), "0", "cuda:0", 3)
    saved += (None,) if save is save_legacy else ()

    class Old(Pickler):
        def rebuild(self, value):
            self.storages["0"] = value.storage
            storage = Raw(self.save(saved) + b"Q")
            return Global("torch._utils", "_rebuild_tensor")(storage, 0, (3,), (1,))

    old = Old(legacy=save is save_legacy)
    inner = tensor(flat)
    typed = Global("torch._tensor", "_rebuild_from_type_v2")
    parameter = Global("torch._utils", "_rebuild_parameter")
    with_state = Global("torch._utils", "_rebuild_parameter_with_state")
    value = {
        "parameter": parameter(inner, True, HOOKS),
        "state": with_state(inner, True, HOOKS, {"note": 1}),
        "typed": typed(
            parameter, Global("torch.nn.parameter", "Parameter"), (inner, True, HOOKS), {}
        ),
        "subclass": typed(parameter, Global("my", "Kind"), (inner, True, HOOKS), {}),
        "outer": typed(Global("os", "system"), Global("torch", "Tensor"), ("true",), {}),
        "quantized": Global("torch._utils", "_rebuild_qtensor")(1, 2),
    }
    pickle = old.dumps(value)
    if save is save_legacy:
        save(path, {"a": inner}, pickle=pickle, keys=["0"])
        path.write_bytes(path.read_bytes() + struct.pack("<q", 3) + flat.tobytes())
    else:
        save(path, pickle=pickle, storages={"0": flat.tobytes()})
    root = read_torch_file(path)
    arrays = read_tensors(path, {key: root[key] for key in ("parameter", "state", "typed")})
    for array in arrays.values():
        same(array, flat)
    refused = {
        key: (root[key].name, root[key].tensor) for key in ("subclass", "outer", "quantized")
    }
    assert refused == {
        "subclass": ("my.Kind", True),
        "outer": ("torch.Tensor", True),
        "quantized": ("torch._utils._rebuild_qtensor", True),
    }


@pytest.mark.parametrize("dtype", ["float4_e2m1fn_x2", "bits8", "int4", "nothing"])
def test_dtypes_without_arrays(save, path, dtype):
    save(path, {"a": Tensor(np.zeros(4, np.uint8), (2,), (1,), dtype=dtype)})
    assert read_torch_file(path)["a"].name == f"torch.{dtype}"
    assert read_torch_file(path)["a"].tensor


def test_plain_containers(save, path):
    value = {
        "text": "\u00e9\U0001f600\ud800",
        "numbers": [0, -1, 255, 2**80, 1.5, True, None],
        "bytes": [b"", b"\x00\xff"],
        ("a", 1): {4, 5},
        6: OrderedDict(b=1, a=(2, [3])),
    }
    save(path, value)
    assert read_torch_file(path) == value
    assert list(read_torch_file(path)[6]) == ["b", "a"]


@pytest.mark.parametrize("protocol", range(6))
def test_every_opcode_of_pickle(path, protocol):
    value = [
        [0, -1, 300, 70_000, 2**40, 2**3000, 1.5, True, False, None, "a\nb\u20ac", "x" * 300, ""],
        [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], [1], [1, 2], {}, {1: 2}, {1: 2, 3: 4}],
        [b"a" * 300, b"short", {1, 2}, frozenset([3]), 2j],
        OrderedDict([("k", [5])]),
        "x" * 300,
    ]
    value.append(value[1])  # from the memo
    save_zip(path, pickle=pickle.dumps(value, protocol))
    root = read_torch_file(path)
    assert root == value
    assert root[1] is root[-1]


def test_containers_that_hold_themselves(save, path):
    save(path, pickle=b"\x80\x02]q\x00h\x00ah\x00a.")
    root = read_torch_file(path)
    assert root[0] is root
    assert root[1] is root


def test_python_2_ordered_dict(path):
    ordered = Global("collections", "OrderedDict")([["b", 1], ["a", 2]])
    save_zip(path, {"a": ordered, "b": Call(Global("__builtin__", "set"), ([1, 2],))})
    assert read_torch_file(path) == {"a": OrderedDict(b=1, a=2), "b": {1, 2}}


def test_attributes_of_a_state_dict_are_left_out(path):
    ordered = Global("collections", "OrderedDict")(state={"_metadata": {"": {"version": 1}}})
    save_zip(path, {"a": ordered})
    assert read_torch_file(path) == {"a": OrderedDict()}


def test_only_chosen_tensors_are_read(path):
    big = np.zeros(1_000_000, np.float32)
    save_zip(path, {"model": {"a": np.ones(3)}, "optimizer": {"m": big}})
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("archive/data/1").header_offset + 100
    content = bytearray(path.read_bytes())
    content[start] ^= 1
    path.write_bytes(content)
    tracemalloc.start()
    root = read_torch_file(path)
    same(read_tensors(path, root["model"])["a"], np.ones(3))
    assert tracemalloc.get_traced_memory()[1] < big.nbytes / 4
    tracemalloc.stop()
    with pytest.raises(CheckpointError, match="CRC-32"):
        read_tensors(path, root["optimizer"])


# Hostile files: nothing that they name is imported or called.


def evil_call(marker):
    raise AssertionError(marker)


def hostile(marker):
    """Pickles that would write the marker if anything in them were called."""
    write = f"__import__('pathlib').Path({str(marker)!r}).touch()"
    save = Pickler().save
    system = Global("posix" if os.name == "posix" else "nt", "system")(f"echo > {marker}")
    evaluate = Global("builtins", "eval")
    text = save(write)
    named = save("builtins") + save("eval")
    typed = Global("torch._tensor", "_rebuild_from_type_v2")
    pickles = {
        "system": save(system),
        "eval": save(evaluate(write)),
        "exec": save(Global("builtins", "exec")(write)),
        "python 2": save(Global("__builtin__", "eval")(write)),
        "popen": save(Global("subprocess", "Popen")(["touch", str(marker)])),
        "getattr": save(Global("builtins", "getattr")(Global("os", "system"), "__call__")),
        "nested call": save(Call(evaluate(write), ())),
        "stack global": named + b"\x93" + text + b"\x85R",
        "dotted": save("builtins") + save("eval.__call__") + b"\x93" + text + b"\x85R",
        "newobj": save(Global("tests.weights.test_torch_file", "EvilNew")(str(marker), new=True)),
        "newobj_ex": save(Global("io", "FileIO")) + save((str(marker), "w")) + b"}\x92",
        "inst": b"(" + text + b"ibuiltins\neval\n",
        "obj": b"(" + save(evaluate) + text + b"o",
        "build": save(Global("tests.weights.test_torch_file", "Evil")(new=True, state=str(marker))),
        "append": save(Global("collections", "deque")()) + save(evaluate(write)) + b"a",
        "setitem": save(Global("os", "environ")) + save("A") + save(str(marker)) + b"s",
        "typed": save(typed(evaluate, Global("torch", "Tensor"), (write,), {})),
        "ordered": save(Global("collections", "OrderedDict")([["a", evaluate(write)]])),
        "key": b"}" + save(evaluate(write)) + b"Ns",
        "set": save(Global("builtins", "set")([evaluate(write)])),
        "load": save(Global("torch.storage", "_load_from_bytes")(pickle.dumps(1))),
        "encode": save(Global("_codecs", "encode")(write, "idna")),
        "hooks": save(Global("torch._utils", "_rebuild_parameter")(evaluate(write), True, HOOKS)),
    }
    return {name: b"\x80\x04" + body + b"." for name, body in pickles.items()}


class Evil:
    def __setstate__(self, path):
        Path(path).touch()


class EvilNew:
    def __new__(cls, path):
        Path(path).touch()


@pytest.mark.parametrize("name", hostile("marker"))
def test_nothing_is_executed(save, path, tmp_path, name):
    marker = tmp_path / "marker"
    save(path, pickle=hostile(marker)[name])
    before = set(sys.modules)
    read_torch_file(path)  # into placeholders
    assert set(sys.modules) == before
    assert not marker.exists()


@pytest.mark.parametrize(
    "name", ["system", "eval", "stack global", "newobj", "inst", "obj", "build"]
)
def test_pickle_itself_would_execute(tmp_path, name):
    marker = tmp_path / "marker"
    pickle.loads(hostile(marker)[name])
    assert marker.exists()


@pytest.mark.parametrize(
    "body",
    [b"\x82\xf0", b"\x83\xf0\x00", b"\x84\xf0\x00\x00\x00", b"Pmarker\n", b"\x97", b"\x97\x98"],
    ids=["EXT1", "EXT2", "EXT4", "PERSID", "NEXT_BUFFER", "READONLY_BUFFER"],
)
def test_opcodes_without_a_place_in_checkpoints(save, path, body, monkeypatch):
    monkeypatch.setitem(copyreg._inverted_registry, 0xF0, ("tests.weights", "evil_call"))
    save(path, pickle=b"\x80\x04" + body + b")R.")
    with pytest.raises(CheckpointError, match="expected an opcode of torch"):
        read_torch_file(path)


@pytest.mark.parametrize("saved", ["mark", 5, None, (), ("storage",), ("module",), [1, 2, 3, 4]])
def test_persistent_ids_of_other_kinds(save, path, saved):
    save(path, pickle=b"\x80\x02" + Pickler().save(saved) + b"Q.")
    with pytest.raises(CheckpointError, match="expected a whole pickle, found"):
        read_torch_file(path)


@pytest.mark.parametrize(
    "saved",
    [
        ("evil", Global("torch", "FloatStorage"), "0", "cpu", 1),
        ("storage", Global("os", "FloatStorage"), "0", "cpu", 1),
        ("storage", Global("torch", "system"), "0", "cpu", 1),
        ("storage", "torch.FloatStorage", "0", "cpu", 1),
        ("storage", Global("torch", "FloatStorage"), 0, "cpu", 1),
        ("storage", Global("torch", "FloatStorage"), "x" * 1001, "cpu", 1),
        ("storage", Global("torch", "FloatStorage"), "0", "cpu", -1),
        ("storage", Global("torch", "FloatStorage"), "0", "cpu", 2**70),
        ("storage", Global("torch", "FloatStorage"), "0", "cpu", True),
        ("storage", Global("torch", "FloatStorage"), "0", "cpu", None),
    ],
)
def test_persistent_ids_name_storages_alone(save, path, saved):
    if save is save_zip:
        save(path, pickle=b"\x80\x02" + Pickler().save(saved) + b"Q.", storages=FOUR_BYTES)
    else:
        save(path, pickle=b"\x80\x02" + Pickler().save((*saved, None)) + b"Q.", keys=["0"])
    with pytest.raises(CheckpointError, match="expected a torch storage, its key and size, found"):
        read_torch_file(path)


FOUR_BYTES = {"0": b"\0" * 4, "x" * 1001: b"\0" * 4}


def test_a_storage_is_an_entry_of_the_data_folder(path):
    saved = ("storage", Global("torch", "ByteStorage"), "../version", "cpu", 2)
    save_zip(path, pickle=b"\x80\x02" + Pickler().save(saved) + b"Q.")
    with pytest.raises(CheckpointError, match=r"expected a zip entry for storage \.\./version"):
        read_torch_file(path)


# Limits: whatever a pickle says, it ends soon and in little memory.


def text(content):
    return b"X" + struct.pack("<L", len(content)) + content


MANY, STEPS = 100_000, 300_000
LIMITED = {
    "nested lists": (b"]" * MANY + b"a" * (MANY - 1), None),
    "nested tuples": (b")" + b"\x85" * MANY, None),
    "nested key": (b"}" + b")" + b"\x85" * MANY + b"Ns", "too many"),
    "doubled key": (b"}" + b")" + b"2\x86" * 60 + b"Ns", "too many"),
    "doubled member": (b"(" + b")" + b"2\x86" * 60 + b"\x91", "too many"),
    "long key": (b"}" + text(b"a" * 100_000) + b"Ns", "short key, found 100000 characters"),
    "long number": (b"}\x8b" + struct.pack("<l", 100) + b"\x7f" * 100 + b"Ns", "799 bits"),
    "list as key": (b"}]Ns", "key of a dict or set, found an object of type list"),
    "steps": (b"N" * (STEPS + 1), "300000 steps"),
    "copies": (
        b"cbuiltins\nset\nq\x00(" + b"N" * MANY + b"l\x85q\x01" + b"h\x00h\x01R" * 20,
        "300000 steps",
    ),
    "copied items": (
        b"ccollections\nOrderedDict\nq\x00](]q\x02(NNe"
        + b"h\x02" * (MANY - 1)
        + b"e\x85q\x01"
        + b"h\x00h\x01R" * 20,
        "300000 steps",
    ),
    "encoded": (
        b"c_codecs\nencode\nq\x00" + text(b"a" * MANY) + text(b"latin1") + b"\x86q\x01"
        b"h\x00h\x01Rh\x00h\x01R",
        "bytes that fit",
    ),
    "long global": (text(b"a" * 600) + text(b"b" * 600) + b"\x93", "found a long text"),
    "declared text": (b"X\xff\xff\xff\xff", "truncated or damaged"),
    "declared bytes": (b"\x8e" + b"\xff" * 7 + b"\x7f", "truncated or damaged"),
    "declared number": (b"\x8b\xff\xff\xff\x7f", "truncated or damaged"),
    "negative number": (b"\x8b\xff\xff\xff\xff", "truncated or damaged"),
    "decimal number": (b"I" + b"9" * 100_000 + b"\n", "truncated or damaged"),
    "frame": (b"\x95" + b"\xff" * 8 + b"N", None),
    "memo": (b"Nr\xff\xff\xff\xffj\xff\xff\xff\xff", None),
    "memo without": (b"j\xff\xff\xff\xff", "KeyError"),
    "empty stack": (b"0", "IndexError"),
    "below a mark": (b"N(0a", "IndexError"),
    "no mark": (b"Nt", "IndexError"),
    "odd items": (b"}(N" + b"u", "zip"),
    "append to text": (text(b"a") + b"Na", "expected a list or a set, found a"),
    "item of list": (b"]NNs", "expected a dict, found an object of type list"),
    "state of list": (b"]}b", "expected no attributes"),
    "call of text": (text(b"a") + b")R", "expected a global and its arguments, found a"),
    "arguments": (b"cos\nsystem\n]R", "expected a global and its arguments"),
    "global of numbers": (b"K\x01K\x02\x93", "expected the name of a global"),
    "unknown opcode": (b"\xff", "truncated or damaged"),
}


@pytest.mark.parametrize("name", LIMITED)
def test_limits(save, path, name, monkeypatch):
    monkeypatch.setattr(torch_file, "_MAX_STEPS", STEPS)
    body, message = LIMITED[name]
    save(path, pickle=b"\x80\x04" + body + b".")
    tracemalloc.start()
    if message is None:
        read_torch_file(path)
    else:
        with pytest.raises(CheckpointError, match=message) as error:
            read_torch_file(path)
        assert str(error.value).startswith(str(path))
        assert len(str(error.value)) < 2500
    assert tracemalloc.get_traced_memory()[1] < 300 * len(body) + 1e6
    tracemalloc.stop()


def test_colliding_tuples_are_refused(path):
    keys = Pickler().save({(i,): None for i in range(6000)})
    save_zip(path, pickle=b"\x80\x02" + keys + b".")
    with pytest.raises(CheckpointError, match="too many"):
        read_torch_file(path)


def test_a_storage_seen_in_many_ways_is_not_read_again_and_again(path):
    flat = np.zeros(1000, np.uint8)
    names = [name for name in DTYPES if name != "complex32"]
    save_zip(path, {name: Tensor(flat, (2,), (1,), dtype=name) for name in names})
    records = read_torch_file(path)
    assert len(read_tensors(path, {name: records[name] for name in names[:4]})) == 4
    with pytest.raises(CheckpointError, match="each storage in one dtype"):
        read_tensors(path, dict.fromkeys(names) | records)


# Tensors that don't fit their storage.

VIEWS = {
    "too long": ((5,), (1,), 0),
    "offset": ((4,), (1,), 1),
    "far offset": ((1,), (1,), 2**62),
    "strides": ((2, 2), (3, 1), 0),
    "negative size": ((-1,), (1,), 0),
    "negative stride": ((2,), (-1,), 1),
    "negative offset": ((2,), (1,), -1),
    "fewer strides": ((2, 2), (1,), 0),
    "more strides": ((2,), (1, 1), 0),
    "axes": ((1,) * 33, (1,) * 33, 0),
    "float size": ((2.0,), (1,), 0),
    "boolean size": ((True,), (1,), 0),
    "large size": ((2**63,), (0,), 0),
    "large number": ((2**1000,), (0,), 0),
    "large product": ((2**40, 2**40), (0, 0), 0),
    "empty but large": ((0, 2**62), (0, 0), 0),
    "large stride": ((2,), (2**62,), 0),
    "list": ([2], (1,), 0),
    "no size": (None, (1,), 0),
}


@pytest.mark.parametrize("name", VIEWS)
def test_tensor_outside_its_storage(save, path, name):
    shape, strides, offset = VIEWS[name]
    save(path, {"a": Tensor(np.zeros(4, np.float32), shape, strides, offset)})
    with pytest.raises(CheckpointError, match=r"weights\.pth: expected .* found"):
        read_torch_file(path)


@pytest.mark.parametrize(
    "metadata", [5, [], {"conj": True, "other": True}, {1: True}, {"conj": True}, {"neg": True}]
)
def test_marks_that_mean_nothing(save, path, metadata):
    save(path, {"a": tensor(np.zeros(4, np.int32), metadata=metadata)})
    with pytest.raises(CheckpointError, match="conj and neg"):
        read_torch_file(path)


@pytest.mark.parametrize("name", sorted(torch_file._REBUILD))
@pytest.mark.parametrize("arguments", [(), (1,), (1, 2, 3), (None,) * 6, ([],) * 7, ("a",) * 20])
def test_arguments_of_rebuild_functions(save, path, name, arguments):
    save(path, Global(*name.rsplit(".", 1))(*arguments))
    with pytest.raises(CheckpointError, match="expected the arguments of"):
        read_torch_file(path)


# Damaged files.


@pytest.fixture
def good(save, path):
    value = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(2, np.uint16)}
    save(path, value | {"c": Global("m", "C")()})
    root = read_torch_file(path)
    return path.read_bytes(), read_tensors(path, {key: root[key] for key in ("a", "b")})


def test_every_truncation(good, path):
    content, _ = good
    for size in range(len(content)):
        path.write_bytes(content[:size])
        with pytest.raises(CheckpointError, match=str(path)):
            read_torch_file(path)


@pytest.mark.parametrize("appended", [b"\0", b"a longer text", b"\0" * 100_000, b"PK\x05\x06"])
def test_appended_bytes(good, path, appended):
    path.write_bytes(good[0] + appended)
    with pytest.raises(CheckpointError, match=r"appended|expected a file of \d+ bytes, found"):
        read_torch_file(path)


@pytest.mark.parametrize("flip", [0xFF, 0x01, 0x80])
def test_every_flipped_byte(kind, good, path, flip):
    content, arrays = good
    refused = 0
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= flip
        path.write_bytes(damaged)
        try:
            root = read_torch_file(path)
            found = dict(root) if isinstance(root, dict) else {}
            read = read_tensors(path, {k: v for k, v in found.items() if k in arrays})
        except CheckpointError:
            refused += 1
        else:
            if kind == "zip":  # the checksums leave nothing to chance; legacy files have none
                for name, array in arrays.items():
                    same(read[name], array)
    assert refused > len(content) // (2 if kind == "zip" else 4)


def zip_error(path, message):
    with pytest.raises(CheckpointError, match=message) as error:
        load(path)
    assert str(error.value).startswith(f"{path}: ")


def test_zip_entries(path):
    value = {"a": np.zeros(100, np.float32)}
    save_zip(path, value, compression=zipfile.ZIP_DEFLATED)
    zip_error(path, "'archive/data.pkl' is compressed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's own, of the name
        save_zip(path, value, extra=[("archive/data/0", b"\0" * 400)])
        zip_error(path, "expected one zip entry 'archive/data/0', found two")
        save_zip(path, value, extra=[("a" * 60_000, b"")] * 2)
    with pytest.raises(CheckpointError) as error:
        read_torch_file(path)
    assert len(str(error.value)) < 2500
    save_zip(path, value, extra=[("archive/constants.pkl", b"")])
    zip_error(path, "TorchScript")
    save_zip(path, value, extra=[("archive/code/__torch__.py", b"")])
    zip_error(path, "TorchScript")
    save_zip(path, value, order="middle")
    zip_error(path, "byte order")
    save_zip(path, value, storages={"0": b"\0" * 396})
    zip_error(path, "expected 400 bytes in storage 0, found 396")
    save_zip(path, value, storages={"0": b"\0" * 404})
    zip_error(path, "expected 400 bytes in storage 0, found 404")
    saved = ("storage", Global("torch", "FloatStorage"), "7", "cpu", 1)
    save_zip(path, pickle=b"\x80\x02" + Pickler().save(saved) + b"Q.")
    zip_error(path, "expected a zip entry for storage 7, found none")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/version", "3")
    zip_error(path, r"without data.pkl, that holds \['archive/version'\]")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", "")
    zip_error(path, "found a Keras model")
    np.savez(path.with_suffix(".npz"), a=np.ones(1))
    path.write_bytes(path.with_suffix(".npz").read_bytes())
    zip_error(path, "found a NumPy archive")


def patched(path, name, offset, new, local=False):
    """Overwrites a field of an entry in the archive's table, or in the entry's own header."""
    content = bytearray(path.read_bytes())
    encoded = name.encode()
    start = content.index(encoded) - 30 if local else content.rindex(encoded) - 46
    content[start + offset : start + offset + len(new)] = new
    path.write_bytes(content)


def test_zip_fields(path):
    value = {"a": np.zeros(100, np.float32)}

    def after(*patch, **options):
        for name in ("archive/data/0", "archive/data.pkl"):
            save_zip(path, value)
            patched(path, name, *patch, **options)
            yield name

    for _ in after(8, b"\x01\x00"):
        zip_error(path, "is encrypted")
    for _ in after(16, b"\x00\x00\x00\x00"):
        zip_error(path, "CRC-32")
    for _ in after(20, struct.pack("<LL", 2**31, 2**31)):
        zip_error(path, "larger ones|damage")
    for name in after(42, struct.pack("<L", 5)):
        zip_error(path, f"expected zip entry '{name}', found other bytes")
    for name in after(42, struct.pack("<L", 2**31)):
        zip_error(path, f"expected zip entry '{name}', found other bytes")
    for name in after(26, b"\xff\xff", local=True):
        zip_error(path, f"expected zip entry '{name}', found the file's end")
    save_zip(path, value)
    patched(path, "archive/data/0", 0, b"PK\x01\x02", local=True)
    zip_error(path, "expected zip entry 'archive/data/0', found other bytes")
    for _ in after(6, b"\xff\xff"):
        zip_error(path, "found damage: zip file version")


def test_zip_table(path):
    save_zip(path, {"a": np.zeros(100, np.float32)})
    content = path.read_bytes()
    for start, new in (
        (12, b"\xff\xff\xff\x7f"),
        (12, b"\0" * 4),
        (16, b"\xff" * 4),
        (20, b"\1\0"),
    ):
        damaged = bytearray(content)
        damaged[len(content) - 22 + start : len(content) - 22 + start + len(new)] = new
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=str(path)):
            load(path)
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 4, 4, 2**62, 0)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(content) - 22, 1)
    path.write_bytes(content[:-22] + record + locator + content[-22:])
    zip_error(path, f"its table would have {2**62} bytes")


def test_large_zip_format(path, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)  # its extension, for many entries
    save_zip(path, {"a": np.arange(3)})
    assert path.read_bytes()[-42:-38] == b"PK\6\7"
    same(load(path)["a"], np.arange(3))


def test_legacy_storages(path):
    value = {"a": np.arange(4, dtype=np.float32)}
    save_legacy(path, value)
    content = path.read_bytes()
    start = len(content) - 24
    for count in (3, 5, 2**62, 2**64 - 1):
        path.write_bytes(content[:start] + struct.pack("<Q", count) + content[start + 8 :])
        with pytest.raises(CheckpointError, match="expected 16 bytes in storage 0, found"):
            read_torch_file(path)
    for keys in ([], ["0", "0"], ["1"], ["0", "1"], [0], "0", {"0": 1}):
        save_legacy(path, value, keys=keys)
        with pytest.raises(CheckpointError, match="expected the keys of the tensors' storages"):
            read_torch_file(path)
    save_legacy(path, pickle=b"\x80\x02N.", keys=["0"])
    with pytest.raises(CheckpointError, match="expected the keys of the tensors' storages"):
        read_torch_file(path)
    path.write_bytes(content.replace(Pickler().dumps(1001), Pickler().dumps(1002), 1))
    with pytest.raises(CheckpointError, match="expected legacy format 1001, found 1002"):
        read_torch_file(path)
    storage = Global("torch", "FloatStorage")
    both = [Raw(Pickler().save(("storage", storage, "0", "cpu", n, None)) + b"Q") for n in (4, 3)]
    save_legacy(path, pickle=Pickler().dumps(both), keys=["0"])
    with pytest.raises(CheckpointError, match="expected 16 bytes in storage 0, found 12"):
        read_torch_file(path)
    huge = Raw(Pickler().save(("storage", storage, "0", "cpu", 10**9, None)) + b"Q")
    save_legacy(path, pickle=Pickler().dumps(huge), keys=["0"])
    with pytest.raises(CheckpointError, match="expected a storage that fits the file"):
        read_torch_file(path)


def test_other_files(path, tmp_path):
    with pytest.raises(FileNotFoundError):
        read_torch_file(tmp_path / "none.pth")
    with pytest.raises(CheckpointError, match="found a folder"):
        read_torch_file(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="found an empty file"):
        read_torch_file(path)
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(CheckpointError, match="found a pickle"):
        read_torch_file(path)
    path.write_bytes(b"a" * 257 + b"ustar" + b"a" * 300)
    with pytest.raises(CheckpointError, match="a tar archive, as PyTorch"):
        read_torch_file(path)
    path.write_bytes(b"anything")
    with pytest.raises(CheckpointError, match="expected a PyTorch checkpoint"):
        read_torch_file(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in folders")
def test_a_pipe_is_not_waited_for(path):
    os.mkfifo(path)
    with pytest.raises(CheckpointError, match="found a device or a pipe"):
        read_torch_file(path)


def test_a_file_that_shrank(save, path):
    save(path, {"a": np.zeros(10)})
    records = read_torch_file(path)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(CheckpointError, match=str(path)):
        read_tensors(path, records)


# Any bytes at all.


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "weights.pth"


def survives(path, content):
    """Reads any bytes: a result of known kinds, or the one error."""
    path.write_bytes(content)
    try:
        root = read_torch_file(path)
        kinds = dict | list | tuple | set | frozenset | str | bytes | int | float | complex | None
        assert isinstance(root, kinds | Placeholder | TensorRecord | StorageRecord)
        values = root.values() if isinstance(root, dict) else root if isinstance(root, list) else []
        tensors = {str(i): v for i, v in enumerate(values) if isinstance(v, TensorRecord)}
        for array in read_tensors(path, tensors).values():
            if array.size < 100_000:
                array.tobytes()  # touches every element
    except CheckpointError as error:
        if not str(error).startswith(f"{path}: "):
            raise


FUZZ = settings(deadline=None, max_examples=1000, suppress_health_check=list(HealthCheck))


def sample(kind, tmp_path):
    base = np.arange(6, dtype=np.float32)
    value = {
        "a": Tensor(base, (2, 3), (3, 1)),
        "t": Tensor(base, (3, 2), (1, 3)),
        "u": np.ones(2, "u2"),
    }
    value |= {"args": Global("argparse", "Namespace")(new=True, state={"x": (1, [2.5, None])})}
    FORMATS[kind](tmp_path, value)
    return tmp_path.read_bytes()


@pytest.mark.slow
@given(st.binary(max_size=600))
@FUZZ
def test_fuzz_bytes(fuzzed, content):
    survives(fuzzed, content)
    survives(fuzzed, b"PK\x03\x04" + content)
    survives(fuzzed, Pickler().dumps(torch_file._LEGACY_MAGIC) + content)


edits = st.lists(
    st.tuples(
        st.sampled_from(["flip", "delete", "insert", "copy"]),
        st.integers(0, 10_000),
        st.integers(0, 10_000),
        st.binary(min_size=1, max_size=9),
    ),
    min_size=1,
    max_size=4,
)


def edited(content, edits):
    content = bytearray(content)
    for action, position, other, data in edits:
        start, size = position % len(content), len(data)
        if action == "flip":
            content[start] ^= data[0] or 1
        elif action == "delete" and len(content) > 2 * size:
            del content[start : start + size]
        elif action == "insert":
            content[start:start] = data
        else:
            other %= len(content)
            content[start : start + size] = content[other : other + size]
    return bytes(content)


@given(st.sampled_from(list(FORMATS)), edits)
@FUZZ
def test_fuzz_edited_files(fuzzed, kind, edits):
    survives(fuzzed, edited(sample(kind, fuzzed), edits))


@pytest.mark.slow
@given(edits)
@FUZZ
def test_fuzz_edited_pickles(fuzzed, edits):
    sample("zip", fuzzed)
    with zipfile.ZipFile(fuzzed) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    save_zip(
        fuzzed,
        pickle=edited(content["archive/data.pkl"], edits),  # with a checksum that is right
        storages={key: content[f"archive/data/{key}"] for key in "01"},
    )
    survives(fuzzed, fuzzed.read_bytes())


SAVE = Pickler().save
STORAGE = ("storage", Global("torch", "FloatStorage"), "0", "cpu", 4)
SNIPPETS = [
    *(SAVE(value) for value in (0, 1, 4, -1, 2**70, "a", "storage", "0", (), (2,), (1,), [1], {})),
    *(SAVE(STORAGE) + b"Q", SAVE((*STORAGE, None)) + b"Q", SAVE((*STORAGE, ("v", 1, 2))) + b"Q"),
    *(SAVE(Global(*name.rsplit(".", 1))) for name in torch_file._REBUILD),
    *(SAVE(Global("torch._tensor", "_rebuild_from_type_v2")), SAVE(Global("torch", "Tensor"))),
    *(SAVE(Global("collections", "OrderedDict")), SAVE(Global("__builtin__", "set")), SAVE(HOOKS)),
    *(SAVE(Global("_codecs", "encode")), SAVE("latin1"), SAVE(Global("torch", "float8_e5m2"))),
    *(SAVE(Global("torch", "Size")), SAVE(Global("os", "system")), b"q\x00", b"h\x00", b"q\x01"),
    *(b"h\x01", b"(", b"(", b"t", b"R", b"\x81", b"b", b"Q", b"u", b"s", b"a", b"e", b"2", b"0"),
]
opcodes = st.one_of(
    st.sampled_from(SNIPPETS),
    st.sampled_from(SNIPPETS),
    st.tuples(st.sampled_from(pickletools.opcodes), st.binary(max_size=9)).map(
        lambda pair: pair[0].code.encode("latin1") + pair[1]
    ),
    st.sampled_from([code.code.encode("latin1") for code in pickletools.opcodes if not code.arg]),
)


@pytest.mark.slow
@given(st.sampled_from(list(FORMATS)), st.lists(opcodes, max_size=30))
@FUZZ
def test_fuzz_opcodes(fuzzed, kind, body):
    pickle = b"\x80\x04" + b"".join(body) + b"."
    if kind == "zip":
        save_zip(fuzzed, pickle=pickle, storages={"0": b"\0" * 16})
        survives(fuzzed, fuzzed.read_bytes())
    else:
        save_legacy(fuzzed, pickle=pickle, keys=["0"])
        survives(fuzzed, fuzzed.read_bytes() + struct.pack("<q", 4) + b"\0" * 16)


def test_the_fuzzer_can_reach_tensors(fuzzed):
    place = SAVE((0, (2,), (1,), False, HOOKS))
    body = (
        SAVE(Global("torch._utils", "_rebuild_tensor_v2"))
        + b"("
        + SAVE(STORAGE)
        + b"Q"
        + place[1:-1]
    )
    save_zip(fuzzed, pickle=b"\x80\x04]" + body + b"tRa.", storages={"0": b"\0" * 16})
    assert isinstance(read_torch_file(fuzzed)[0], TensorRecord)


def test_imports():
    """The reader needs neither torch nor Keras, and never Python's unpickler."""
    for name in ("torch_file.py", "checkpoint.py"):
        tree = ast.parse(Path(torch_file.__file__).with_name(name).read_text())
        modules = {
            alias.name if isinstance(node, ast.Import) else node.module
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        outside = {m.split(".")[0] for m in modules} - set(sys.stdlib_module_names)
        assert outside <= {"numpy", "ml_dtypes", "safetensors", "keras_paca"}
        assert all(m.startswith("keras_paca.weights.") for m in modules if "keras_paca" in m)
        assert "pickle" not in modules
