"""One entry for all checkpoint files: what they are, where the state dict is, what it must hold."""

import gzip
import json
import stat
import struct
import types
import zipfile
from collections import OrderedDict

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keras_paca.weights import checkpoint
from keras_paca.weights.checkpoint import CheckpointError, read_checkpoint, write_safetensors
from tests.marks import slow_but_on_torch
from tests.torch_writer import Global, Pickler, Tensor, save_legacy, save_zip, tensor

pytestmark = [
    slow_but_on_torch,
    pytest.mark.filterwarnings("ignore:invalid escape sequence"),  # pickletools' own
]
ONE, TWO = np.ones(1, np.float32), np.full(2, 2, np.float32)
WRAPPERS = [
    *("state_dict", "model", "module", "network", "net", "model_state_dict"),
    *("state_dict_ema", "model_ema", "ema"),
]


@pytest.fixture(params=[save_zip, save_legacy], ids=["zip", "legacy"])
def save(request):
    return request.param


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.pth"


def fails(path, message, **options):
    with pytest.raises(CheckpointError, match=message) as error:
        read_checkpoint(path, **options)
    assert str(error.value).startswith(f"{path}: ")
    assert str(error.value).count(str(path)) == 1


# Where the state dict is.


@pytest.mark.parametrize("inner", [None, *WRAPPERS])
@pytest.mark.parametrize("outer", [None, *WRAPPERS])
def test_places_of_the_state_dict(save, path, outer, inner):
    value = OrderedDict({"b.weight": ONE, "a.bias": TWO})
    for wrapper in (inner, outer):
        if wrapper is not None:
            value = {"epoch": 3, "args": Global("argparse", "Namespace")(new=True), wrapper: value}
    save(path, value)
    read = read_checkpoint(path)
    assert list(read) == ["b.weight", "a.bias"]
    np.testing.assert_array_equal(read["a.bias"], TWO)


@pytest.mark.parametrize("first", range(len(WRAPPERS) - 1))
def test_order_of_the_places(path, first):
    wrappers = WRAPPERS[first:]
    save_zip(path, {name: {"a": np.full(1, i)} for i, name in reversed([*enumerate(wrappers)])})
    assert read_checkpoint(path)["a"] == 0


def test_a_place_without_tensors_is_passed_over(path):
    save_zip(path, {"model": {"depth": 3}, "network": "paca", "net": [ONE], "ema": {"a": TWO}})
    assert list(read_checkpoint(path)) == ["a"]


def test_the_averaged_weights_are_not_taken_first(path):
    save_zip(path, {"state_dict_ema": {"a": TWO}, "epoch": 1, "state_dict": {"a": ONE}})
    assert read_checkpoint(path)["a"] == 1


def test_mmengine_file(save, path):
    buffer = Global("mmengine.logging.history_buffer", "HistoryBuffer")
    state = {"_history": Global("numpy.core.multiarray", "_reconstruct")(0), "_max": 5}
    save(
        path,
        {
            "meta": {"cfg": "model = dict()", "seed": 1, "experiment": Global("mmengine", "X")()},
            "state_dict": OrderedDict({"backbone.a": ONE, "decode_head.b": TWO}),
            "message_hub": {"log_scalars": OrderedDict(loss=buffer(new=True, state=state))},
            "optimizer": {"state": {0: {"exp_avg": ONE, "step": tensor(np.array(1.0))}}},
            "param_schedulers": [{"last_step": 3}],
        },
    )
    assert list(read_checkpoint(path)) == ["backbone.a", "decode_head.b"]


def test_metadata_of_the_state_dict_is_left_out(path):
    ordered = Global("collections", "OrderedDict")(
        [["a", ONE]], state={"_metadata": OrderedDict({"": {"version": 1}})}
    )
    save_zip(path, {"state_dict": ordered})
    assert list(read_checkpoint(path)) == ["a"]


def test_no_state_dict(save, path):
    save(path, {"epoch": 3, "weights": {"a": ONE}, 5: None, "cfg": Global("my", "Config")()})
    fails(path, r"found top-level keys epoch \(a int\), weights \(a dict\), 5 \(a NoneType\), cfg")
    save(path, {})
    fails(path, "found top-level keys none")
    save(path, [ONE])
    fails(path, "found a list")
    save(path, Global("my.models", "Net")(new=True, state={"a": ONE}))
    fails(path, r"found a my\.models\.Net")
    save(path, {"a": {"b": {"c": ONE}}})
    fails(path, "expected a state dict, bare or under state_dict, model, module, network, net,")
    save(path, {"model": {"model": {"model": {"a": ONE}}}})
    fails(path, "entry 'model' is not a tensor but a dict")
    save(path, pickle=b"\x80\x02}q\x00X\x05\x00\x00\x00modelh\x00s.")  # it holds itself
    fails(path, "entry 'model' is not a tensor but a dict")
    save(path, {str(i): None for i in range(1000)})
    fails(path, r"19 \(a NoneType\)$")


NOT_TENSORS = {
    "deque": (Global("collections", "deque")([]), r"a collections\.deque"),
    "scalar": (Global("numpy._core.multiarray", "scalar")(1), "a NumPy scalar"),
    "old scalar": (Global("numpy.core.multiarray", "scalar")(1), "a NumPy scalar"),
    "array": (Global("numpy.core.multiarray", "_reconstruct")(1), "a NumPy array"),
    "number": (3, "a int"),
    "nothing": (None, "a NoneType"),
    "text": ("x", "a str"),
    "list": ([ONE], "a list"),
    "dtype": (Global("torch", "float32"), r"a torch\.float32"),
    "quantized": (
        Global("torch._utils", "_rebuild_qtensor")(1),
        r"a tensor that only PyTorch could rebuild \(torch\._utils\._rebuild_qtensor\)",
    ),
    "sparse": (Global("torch._utils", "_rebuild_sparse_tensor")(1), "a tensor that only PyTorch"),
    "meta": (
        Global("torch._utils", "_rebuild_meta_tensor_no_storage")(1),
        r"a tensor that only PyTorch could rebuild \(torch\._utils\._rebuild_meta_tensor_no_stor",
    ),
    "wrapper": (Global("torch._utils", "_rebuild_wrapper_subclass")(1), "a tensor that only"),
    "subclass": (
        Global("torch._tensor", "_rebuild_from_type_v2")(
            Global("torch._utils", "_rebuild_parameter"), Global("my", "Kind"), (ONE, True, {}), {}
        ),
        r"a tensor that only PyTorch could rebuild \(my\.Kind\)",
    ),
    "packed": (
        Tensor(np.zeros(4, np.uint8), (1,), (1,), dtype="int4"),
        r"a tensor .* \(torch\.int4\)",
    ),
}


@pytest.mark.parametrize("name", NOT_TENSORS)
@pytest.mark.parametrize("beside", [{}, {"a": ONE}], ids=["alone", "beside a tensor"])
def test_entries_that_are_no_tensors(save, path, name, beside):
    value, message = NOT_TENSORS[name]
    save(path, {"state_dict": {**beside, "head.weight": value}, "epoch": 1})
    fails(path, f"entry 'head.weight' is not a tensor but {message}")
    if beside or message.startswith("a tensor"):
        save(path, {**beside, "head.weight": value})
        fails(path, rf"entry 'head.weight' is not a tensor but {message}.*top-level keys")


def test_a_bare_storage_is_no_tensor(path):
    saved = ("storage", Global("torch", "FloatStorage"), "0", "cpu", 1)
    body = Pickler().save("b") + Pickler().save(saved) + b"Q"
    value = Pickler().save({"a": ONE})[:-1] + body + b"u"
    save_zip(path, pickle=b"\x80\x02" + value + b".", storages={"0": ONE.tobytes()})
    fails(path, "entry 'b' is not a tensor but a bare storage")


def test_keys_must_be_text(path):
    save_zip(path, {"a": ONE, 5: TWO})
    fails(path, "expected text as keys of the state dict, found 5")


@pytest.mark.parametrize(
    ("key", "plain"),
    [
        ("module.a", "a"),
        ("_orig_mod.a", "a"),
        ("module._orig_mod.a", "a"),
        ("_orig_mod.module.a", "a"),
        ("module.module._orig_mod._orig_mod.module.a", "a"),
        ("a.module.b", "a.module.b"),
        ("modules.a", "modules.a"),
        ("submodule.a", "submodule.a"),
        ("moduleXa", "moduleXa"),
        ("module", "module"),
    ],
)
def test_prefixes(save, path, key, plain):
    save(path, {"state_dict": {key: ONE, "other": TWO}})
    assert list(read_checkpoint(path)) == [plain, "other"]
    safe = path.with_suffix(".safetensors")
    write_safetensors(safe, {key: ONE, "other": TWO})
    assert set(read_checkpoint(safe)) == {plain, "other"}


def test_keys_that_become_the_same(save, path):
    save(path, {"module.a": ONE, "b": ONE, "a": TWO})
    fails(path, "expected keys that differ, found 'a' twice")


def test_long_prefixes_take_no_time(path):
    save_zip(path, {"module." * 9000 + str(i): ONE for i in range(50)})
    assert len(read_checkpoint(path)) == 50


def test_torch_wrapped_models(path):
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    parallel = torch.nn.DataParallel(model)
    averaged = types.SimpleNamespace(
        state_dict={f"_orig_mod.{k}": v for k, v in model.state_dict().items()}
    )
    saved = {
        **{"epoch": 3, "best": torch.tensor(0.5), "lr_scheduler": {"last": 1}},
        **{"model": parallel.state_dict(), "model_ema": averaged.state_dict},
        "optimizer": torch.optim.SGD(model.parameters(), 0.1, momentum=0.9).state_dict(),
    }
    torch.save(saved, path)
    read = read_checkpoint(path)
    assert list(read) == list(model.state_dict())
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(read[name], value.numpy())
        assert read[name].dtype == value.numpy().dtype
    torch.save(parallel.state_dict(), path, _use_new_zipfile_serialization=False)
    assert list(read_checkpoint(path)) == list(model.state_dict())


# What a file is.


def keras_archive(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", b"\x89HDF")


def npz(path):
    with path.open("wb") as file:
        np.savez(file, a=ONE)


CONTENTS = {
    "an HTML page": b"<!DOCTYPE html>\n<html><body>404</body></html>",
    "an HTML page,": b"\xef\xbb\xbf \r\n<HTML lang='en'>",
    "an XML document": b'<?xml version="1.0"?><Error/>',
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "a text that begins with 'Not found'": b"Not found",
    "a text that begins with ": b'{"error": "Not found"}',
    "an HDF5 file": b"\x89HDF\r\n\x1a\n" + b"\0" * 100,
    "a PNG image": b"\x89PNG\r\n\x1a\n" + b"\0" * 100,
    "a JPEG image": b"\xff\xd8\xff\xe0" + b"\0" * 100,
    "a GIF image": b"GIF89a" + b"\0" * 100,
    "a PDF document": b"%PDF-1.7\n\xff",
    r"a NumPy array \(.npy\)": b"\x93NUMPY\x01\x00" + b"\0" * 100,
    "a gzip archive": gzip.compress(b"x"),
    "a bzip2 archive": b"BZh91AY",
    "an xz archive": b"\xfd7zXZ\0\0",
    "a Zstandard archive": b"\x28\xb5\x2f\xfd\0",
    "a GGUF file": b"GGUF\3\0\0\0",
    "an empty zip archive": b"PK\5\6" + b"\0" * 18,
    "a file of zeros": b"\0" * 5000,
    "an empty file": b"",
    "a file of an unknown kind that begins with": b"\x01\x02\x03\xff" * 50,
    "a pickle that torch": b"\x80\x04K\x01.",
    "a tar archive": b"a" * 257 + b"ustar" + b"a" * 300,
    r"a Keras model \(.keras\)": keras_archive,
    r"a NumPy archive \(.npz\)": npz,
    "a zip archive without data.pkl": lambda path: save_elsewhere(path),
    "a safetensors file": lambda path: write_safetensors(path, {"a": ONE}),
}


def save_elsewhere(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("document.xml", "")


@pytest.mark.parametrize("found", CONTENTS)
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".ckpt", ".PTH", ".safetensors", ".x"])
def test_what_a_file_really_is(tmp_path, found, suffix):
    path = tmp_path / f"weights{suffix}"
    content = CONTENTS[found]
    if callable(content):
        content(path)
    else:
        path.write_bytes(content)
    if found == "a safetensors file" and suffix in (".safetensors", ".x"):
        assert read_checkpoint(path)["a"] == 1
    else:
        fails(path, f"expected .*, found {found}")
    if found == "a safetensors file":
        assert read_checkpoint(path, match_extension=False)["a"] == 1
    else:
        fails(path, f"expected .*, found {found}", match_extension=False)


def test_extensions_of_pytorch(save, tmp_path):
    for suffix in (".pth", ".pt", ".bin", ".ckpt", ".PTH", "", ".tar", ".x"):
        path = tmp_path / f"weights{suffix}"
        save(path, {"a": ONE})
        assert read_checkpoint(path)["a"] == 1
        assert read_checkpoint(str(path), match_extension=False)["a"] == 1
    path = tmp_path / "weights.safetensors"
    save(path, {"a": ONE})
    fails(path, "expected a safetensors file, as its name says, found a PyTorch checkpoint")
    assert read_checkpoint(path, match_extension=False)["a"] == 1


def test_files_that_are_no_files(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_checkpoint(tmp_path / "none.pth")
    fails(tmp_path, "expected a checkpoint file, found a folder")


def test_script_is_refused(path):
    save_zip(path, {"a": ONE}, extra=[("archive/constants.pkl", b"")])
    fails(path, "found a TorchScript archive, whose weights can only be had by running it")


def test_damage_is_named(save, path):
    save(path, {"a": np.ones(1000)})
    path.write_bytes(path.read_bytes()[:-3000])
    fails(path, "expected .* found")


def test_a_tensor_too_large_to_hold_is_only_described(path):
    save_zip(path, {"head.weight": Tensor(ONE, (2**40, 2**10), (0, 0))})
    assert read_checkpoint(path)["head.weight"].shape == (2**40, 2**10)


# safetensors.


def known_to_the_library(name):
    array = np.zeros(1, getattr(ml_dtypes, name, name))
    try:
        return bool(safetensors.numpy.save({"a": array}))
    except safetensors.SafetensorError:
        return False


DTYPES = [*filter(known_to_the_library, sorted(set(checkpoint._SAFETENSORS_DTYPES.values())))]


def test_common_dtypes_are_known():
    assert {"float32", "float16", "bfloat16", "int64", "bool", "float8_e4m3fn"} <= set(DTYPES)


def test_a_dtype_that_an_old_library_lacks(tmp_path, monkeypatch):
    def save_file(tensors, filename, metadata=None):
        raise safetensors.SafetensorError("dtype float8_e8m0fnu is not covered")

    monkeypatch.setattr(checkpoint, "save_file", save_file)
    with pytest.raises(CheckpointError, match="dtype float8_e8m0fnu is not covered"):
        write_safetensors(tmp_path / "weights.safetensors", {"a": ONE})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", DTYPES)
def test_safetensors_dtypes(tmp_path, name):
    path = tmp_path / "weights.safetensors"
    array = np.arange(6).reshape(2, 3).astype(getattr(ml_dtypes, name, name))
    tensors = {"matrix": array, "transposed": array.T, "scalar": array[1, 2], "empty": array[:0]}
    tensors["scalar"] = np.array(array[1, 2])
    write_safetensors(path, tensors, {"made": "by a test"})
    read = read_checkpoint(path)
    assert set(read) == set(tensors)
    for key, reference in tensors.items():
        assert read[key].dtype == array.dtype
        assert read[key].shape == reference.shape
        assert read[key].tobytes() == reference.tobytes()
        assert read[key].flags.writeable
    with safetensors.safe_open(path, framework="np") as file:
        assert file.metadata() == {"made": "by a test"}


def test_safetensors_from_torch(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    path = tmp_path / "model.safetensors"
    value = {"b": torch.arange(4.0).bfloat16(), "f": torch.arange(4.0).to(torch.float8_e4m3fn)}
    save_file(value, path)
    read = read_checkpoint(path)
    np.testing.assert_array_equal(read["b"], np.arange(4).astype(ml_dtypes.bfloat16))
    np.testing.assert_array_equal(read["f"], np.arange(4).astype(ml_dtypes.float8_e4m3fn))


def test_safetensors_views_of_many_kinds(tmp_path):
    path = tmp_path / "weights.safetensors"
    base = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    tensors = {
        "sliced": base[:, ::2, 1:],
        "reversed": base[::-1],
        "expanded": np.broadcast_to(base[0, 0], (3, 4)),
        "swapped": base.astype(">f4"),
        "fortran": np.asfortranarray(base[0]),
    }
    write_safetensors(path, tensors)
    for key, array in read_checkpoint(path).items():
        np.testing.assert_array_equal(array, tensors[key])
        assert array.dtype == np.float32


def safetensors_file(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


HEADERS = {
    "no json": b"{not json at all",
    "list": b"{[]}",
    "number": {"a": 5},
    "no dtype": {"a": {"shape": [1], "data_offsets": [0, 4]}},
    "unknown dtype": {"a": {"dtype": "F33", "shape": [1], "data_offsets": [0, 4]}},
    "past the end": {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}},
    "too short": {"a": {"dtype": "F32", "shape": [], "data_offsets": [0, 2]}},
    "shape": {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}},
    "negative": {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
    "overflow": {"a": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 4]}},
    "backwards": {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}},
    "hole": {"a": {"dtype": "U8", "shape": [1], "data_offsets": [3, 4]}},
    "overlap": {
        "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        "b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
    },
    "left over": {"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}},
    "empty but large": {
        "a": {"dtype": "F32", "shape": [0, 2**62], "data_offsets": [0, 0]},
        "b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
    },
    "metadata": {"__metadata__": 5},
}


@pytest.mark.parametrize("name", HEADERS)
def test_malformed_safetensors(tmp_path, name):
    path = tmp_path / "weights.safetensors"
    safetensors_file(path, HEADERS[name], b"\0" * 4)
    fails(path, "weights.safetensors: .")


def test_safetensors_lengths(tmp_path):
    path = tmp_path / "weights.safetensors"
    write_safetensors(path, {"a": TWO, "b": ONE})
    content = path.read_bytes()
    for size in range(1, len(content)):
        path.write_bytes(content[:size])
        fails(path, "weights.safetensors: .")
    path.write_bytes(content + b"\0")
    fails(path, "weights.safetensors: .")
    for length in (0, 1, 99_999_999, 2**63, 2**64 - 1):
        path.write_bytes(struct.pack("<Q", length) + content[8:])
        fails(path, "weights.safetensors: .")


def test_safetensors_of_very_many_axes(tmp_path):
    path = tmp_path / "weights.safetensors"
    safetensors_file(
        path, {"a": {"dtype": "U8", "shape": [1] * 200_000, "data_offsets": [0, 1]}}, b"a"
    )
    fails(path, "found entry 'a' of U8 and 200000 axes")


def test_packed_safetensors_are_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    safetensors_file(path, {"a": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}, b"\0")
    fails(path, "weights.safetensors: .")


# Writing.


def test_write_replaces_the_file(tmp_path):
    path = tmp_path / "weights.safetensors"
    write_safetensors(path, {"a": ONE})
    write_safetensors(str(path), {"b": TWO})
    assert list(read_checkpoint(path)) == ["b"]
    assert [item.name for item in tmp_path.iterdir()] == ["weights.safetensors"]
    other = tmp_path / "other"
    other.touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(other.stat().st_mode)


def full_disk(tensors, filename, metadata=None):
    with open(filename, "wb") as file:
        file.write(b"half of it")
    raise safetensors.SafetensorError("Error while serializing: I/O error: No space left on device")


def killed(*_, **__):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("name", "broken", "error"),
    [
        ("save_file", full_disk, OSError),
        ("save_file", killed, KeyboardInterrupt),
        ("os.replace", killed, KeyboardInterrupt),
        ("os.fsync", killed, KeyboardInterrupt),
    ],
)
@pytest.mark.parametrize("before", [True, False])
def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch, name, broken, error, before):
    path = tmp_path / "weights.safetensors"
    if before:
        write_safetensors(path, {"a": ONE})
    owner, _, attribute = name.rpartition(".")
    monkeypatch.setattr(getattr(checkpoint, owner) if owner else checkpoint, attribute, broken)
    with pytest.raises(error):
        write_safetensors(path, {"b": TWO})
    monkeypatch.undo()
    assert [item.name for item in tmp_path.iterdir()] == ["weights.safetensors"] * before
    if before:
        assert list(read_checkpoint(path)) == ["a"]


def test_a_full_disk_names_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "save_file", full_disk)
    path = tmp_path / "weights.safetensors"
    with pytest.raises(OSError, match=r"weights\.safetensors: can't be written: .*No space left"):
        write_safetensors(path, {"b": TWO})


def test_write_refuses_what_little_memory_is_repeated_to(tmp_path):
    """A hostile file's views; writing them out would fill the disk."""
    bomb = np.broadcast_to(np.float32(1), (2**30, 2**20))
    with pytest.raises(CheckpointError, match="found 4 bytes that are repeated to"):
        write_safetensors(tmp_path / "bomb.safetensors", {"a": bomb})
    page = np.ones((1024, 1024), np.float32)
    many = {f"key{i}": page.T for i in range(40)}
    with pytest.raises(CheckpointError, match="that are repeated to"):
        write_safetensors(tmp_path / "bomb.safetensors", many)
    assert not list(tmp_path.iterdir())
    write_safetensors(tmp_path / "shared.safetensors", dict.fromkeys(("a", "b"), page))


def test_write_where_nothing_can_be_written(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_safetensors(tmp_path / "none" / "weights.safetensors", {"a": ONE})
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(OSError, match=r"folder\.safetensors"):
        write_safetensors(tmp_path / "folder.safetensors", {"a": ONE})
    assert [item.name for item in tmp_path.iterdir()] == ["folder.safetensors"]


def test_a_write_that_the_system_stops(tmp_path):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    path = tmp_path / "weights.safetensors"
    write_safetensors(path, {"a": ONE})
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"weights\.safetensors: can't be written"):
            write_safetensors(path, {"b": np.ones(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [item.name for item in tmp_path.iterdir()] == ["weights.safetensors"]
    assert list(read_checkpoint(path)) == ["a"]


@pytest.mark.parametrize(
    "tensors",
    [
        {"a": np.ones(1, np.complex128)},
        {"a": np.array(["text"])},
        {"a": np.array([None])},
        {"a": ONE, "__metadata__": ONE},
    ],
)
def test_what_safetensors_cannot_hold(tmp_path, tensors):
    path = tmp_path / "weights.safetensors"
    with pytest.raises(CheckpointError, match=r"weights\.safetensors: expected tensors of dtypes"):
        write_safetensors(path, tensors)
    with pytest.raises(TypeError):
        write_safetensors(path, {"a": ONE}, {"epoch": 5})
    assert not list(tmp_path.iterdir())


# Any bytes at all.


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "weights"


FUZZ = settings(deadline=None, max_examples=1000, suppress_health_check=list(HealthCheck))


def survives(path, content):
    path.write_bytes(content)
    try:
        for key, array in read_checkpoint(path).items():
            assert isinstance(key, str)
            assert isinstance(array, np.ndarray)
            if array.size < 100_000:
                array.tobytes()
    except CheckpointError as error:
        if not str(error).startswith(f"{path}: "):
            raise


@given(st.binary(max_size=600))
@FUZZ
def test_fuzz_bytes(fuzzed, content):
    survives(fuzzed, content)


@pytest.mark.slow
@given(
    st.sampled_from(["zip", "legacy", "safetensors"]),
    st.lists(st.tuples(st.integers(0, 10_000), st.binary(min_size=1, max_size=9)), max_size=4),
    st.booleans(),
)
@FUZZ
def test_fuzz_edited_files(fuzzed, kind, edits, insert):
    value = {"module.a": TWO, "b": np.ones((2, 3), ml_dtypes.bfloat16)}
    if kind == "safetensors":
        write_safetensors(fuzzed, value, {"made": "by a test"})
    else:
        {"zip": save_zip, "legacy": save_legacy}[kind](fuzzed, {"model": value, "epoch": 1})
    content = bytearray(fuzzed.read_bytes())
    for position, data in edits:
        start = position % len(content)
        content[start : start if insert else start + len(data)] = data
    survives(fuzzed, bytes(content))


numbers = st.one_of(st.integers(), st.sampled_from([0, 1, 2, 4, 8, 2**62, 2**64]))
specs = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from([*checkpoint._SAFETENSORS_DTYPES, "F4", "E", 5]),
        "shape": st.one_of(st.lists(numbers, max_size=3), st.none()),
        "data_offsets": st.lists(numbers, max_size=3),
    }
)


@pytest.mark.slow
@given(
    st.dictionaries(st.text(max_size=5), st.one_of(specs, st.none()), max_size=3),
    st.binary(max_size=16),
)
@FUZZ
def test_fuzz_safetensors_headers(fuzzed, header, data):
    safetensors_file(fuzzed, header, data)
    survives(fuzzed, fuzzed.read_bytes())
