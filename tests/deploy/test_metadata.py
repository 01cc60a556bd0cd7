"""What exported files say about themselves, to us and to the tools of their formats."""

import ast
import json
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest

import keras_paca
from keras_paca import deploy
from keras_paca.deploy import litert_file
from keras_paca.deploy.describe import describe, describe_config
from keras_paca.deploy.formats import SUFFIXES
from keras_paca.deploy.metadata import read_metadata
from tests.marks import slow_but_on_torch

on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="TensorFlow writes the files for all"
)


# words, commas, lines, other scripts, quotes, marks of XML, a name twice, none, half a surrogate
NAMES = [
    "tabby cat",
    "cat, big\nor small",
    "кот 猫",
    "'<\"&>\\",
    "tabby cat",
    "",
    "\udcff\x01\u2028",
]


TRANSFORM = {"image_size": [32, 32], "crop": 0.875}


@pytest.fixture(scope="module")
def model():
    """A model of one layer that says what a classifier of this library says."""
    model = keras.Sequential(
        [keras.Input((32, 32, 3)), keras.layers.Conv2D(7, 3), keras.layers.GlobalMaxPooling2D()]
    )
    model.class_names, model.evaluation_transform = NAMES, TRANSFORM
    return model


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    """The folder of a checked file of each format, and what they should say."""
    folder = tmp_path_factory.mktemp("exported")
    for suffix in SUFFIXES.values():
        found = keras_paca.export(model, folder / f"model{suffix}", verbose=False)
        assert found.measures["output_0"]["difference"] < 1e-5
    return folder, describe(model)


@on_tensorflow
def test_every_format(exported):
    folder, metadata = exported
    assert metadata["class_names"] == NAMES
    for suffix in SUFFIXES.values():
        assert read_metadata(str(folder / f"model{suffix}")) == metadata


READ = """
import sys
for name in ("tensorflow", "ai_edge_litert", "openvino", "onnxruntime"):
    sys.modules[name] = None  # an import fails
from keras_paca.deploy import read_metadata
for path in sys.argv[1:]:
    print(ascii(read_metadata(path)["class_names"]))
"""


@pytest.mark.slow
@on_tensorflow
def test_reading_needs_no_runtime(exported, tmp_path):
    folder, _ = exported
    files = [folder / f"model{suffix}" for suffix in SUFFIXES.values()]
    # nor does it need Keras's backend, but that `keras_paca` imports Keras
    script = READ.replace('"tensorflow", ', "")
    answer = subprocess.run(
        [sys.executable, "-c", script, *files], capture_output=True, text=True, check=True
    )
    assert answer.stdout.splitlines() == 4 * [ascii(NAMES)]


@on_tensorflow
def test_litert_as_its_tools_read_it(exported):
    from ai_edge_litert.interpreter import Interpreter

    folder, metadata = exported
    path = folder / "model.tflite"
    lines = ["tabby cat", "cat, big or small", "кот 猫", "'<\"&>\\", "tabby cat", "", "\\udcff\x01"]
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.read("labels.txt").decode().split("\n")[:-1] == lines
        assert json.loads(archive.read("keras_paca.json")) == metadata
        kinds = {info.compress_type for info in archive.infolist()}
        assert kinds == {zipfile.ZIP_STORED}  # Android's reader knows no other
    entries = litert_file.read_entries(path.read_bytes())
    assert json.loads(entries["keras_paca"]) == metadata
    assert "min_runtime_version" in entries  # what the converter wrote
    runs = [Interpreter(str(path)), Interpreter(model_content=path.read_bytes())]
    x = {"image": np.ones((1, 32, 32, 3), "float32")}
    found = [run.get_signature_runner() for run in runs]
    found = [each(**dict.fromkeys(each.get_input_details(), x["image"])) for each in found]
    np.testing.assert_array_equal(*[next(iter(each.values())) for each in found])


@on_tensorflow
def test_buffers_keep_their_bytes_and_alignment(model, tmp_path):
    from tensorflow.lite.python import schema_py_generated as schema

    def buffers(data):
        """Return where buffers stand, and what is in them."""
        read, start = schema.Model.GetRootAs(data), np.frombuffer(data, "uint8").ctypes.data
        found = [read.Buffers(i).DataAsNumpy() for i in range(read.BuffersLength())]
        found = [content for content in found if isinstance(content, np.ndarray)]
        return [(content.ctypes.data - start, content.tobytes()) for content in found]

    model.export(str(tmp_path / "plain.tflite"), format="litert", verbose=False)
    plain = (tmp_path / "plain.tflite").read_bytes()
    added = litert_file.add_entries(plain, {"first": b"one", "second": b"two"})
    front = len(added) - len(plain)
    assert front % 64 == 0
    before, after = buffers(plain), buffers(added)
    assert after[: len(before)] == [(start + front, content) for start, content in before]
    assert [content for _, content in after[len(before) :]] == [b"one", b"two"]
    read = schema.Model.GetRootAs(added)
    assert read.Version() == 3
    assert read.Description() == b"MLIR Converted."
    assert read.SignatureDefs(0).SignatureKey() == b"serving_default"
    assert read.SubgraphsLength() == 1


@on_tensorflow
def test_onnx_as_others_read_it(exported):
    onnxruntime = pytest.importorskip("onnxruntime")
    folder, metadata = exported
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    properties = session.get_modelmeta().custom_metadata_map
    assert ast.literal_eval(properties["names"]) == dict(enumerate(NAMES))  # Ultralytics
    names = json.loads(properties["class_names"])  # QGIS's Deepness
    assert names == {str(i): name for i, name in enumerate(NAMES)}
    assert json.loads(properties["keras_paca"]) == metadata


@on_tensorflow
def test_openvino_as_its_model_api_reads_it(exported):
    openvino = pytest.importorskip("openvino")
    folder, metadata = exported
    model = openvino.Core().read_model(folder / "model.xml")
    labels = model.get_rt_info(["model_info", "labels"]).astype(str).split()
    assert labels[:6] == ["tabby_cat", "cat,_big_or_small", "кот_猫", "'<\"&>\\", "tabby_cat", "_"]
    assert len(labels) == 7
    found = json.loads(model.get_rt_info("keras_paca").astype(str))
    assert found["class_names"][:6] == NAMES[:6]
    assert {**found, "class_names": NAMES} == metadata


@on_tensorflow
def test_saved_model(exported):
    folder, metadata = exported
    extra = folder / "model" / "assets.extra"
    assert json.loads((extra / "keras_paca.json").read_bytes()) == metadata
    assert (extra / "labels.txt").read_text("utf-8").count("\n") == len(NAMES)


@pytest.mark.slow
@on_tensorflow
def test_a_file_of_nobody_s_classes(tmp_path):
    model = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(2, 3)])
    for suffix in SUFFIXES.values():
        path = tmp_path / f"model{suffix}"
        keras_paca.export(model, path, check=False, verbose=False)
        assert read_metadata(path) == describe(model)
    assert not (tmp_path / "model" / "assets.extra" / "labels.txt").exists()
    model.export(str(tmp_path / "plain"), verbose=False)
    model.export(str(tmp_path / "plain.tflite"), format="litert", verbose=False)
    assert read_metadata(tmp_path / "plain") == read_metadata(tmp_path / "plain.tflite") == {}


@slow_but_on_torch
def test_keras_files(small, tmp_path):
    model = small()
    model.save(tmp_path / "model.keras")
    found = read_metadata(tmp_path / "model.keras")
    assert found == describe_config(keras.saving.serialize_keras_object(model))
    assert found["task"] == "classification"
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(tmp_path / "other.keras")
    assert read_metadata(tmp_path / "other.keras") == {}


@slow_but_on_torch
def test_a_saved_file_s_names(small, tmp_path):
    """The names of the configuration, though the model isn't built."""
    small().save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        config = json.loads(archive.read("config.json"))
    config["config"] |= {"class_names": NAMES, "evaluation_transform": TRANSFORM}
    config["config"]["depths"] = "nonsense"
    with zipfile.ZipFile(tmp_path / "named.keras", "w") as archive:
        archive.writestr("config.json", json.dumps(config))
    found = read_metadata(tmp_path / "named.keras")
    assert (found["class_names"], found["evaluation_transform"]) == (NAMES, TRANSFORM)


@slow_but_on_torch
def test_what_is_no_such_file(tmp_path):
    assert deploy.read_metadata is read_metadata
    with pytest.raises(FileNotFoundError, match="No such file or folder"):
        read_metadata(tmp_path / "model.tflite")
    (tmp_path / "model.pb").write_bytes(b"")
    (tmp_path / "model").write_bytes(b"")
    for name in ("model.pb", "model"):
        with pytest.raises(ValueError, match="`path` must end in one of"):
            read_metadata(tmp_path / name)
    for suffix in (".tflite", ".onnx", ".xml", ".keras"):
        (tmp_path / f"broken{suffix}").write_bytes(b"no such file at all")
        with pytest.raises((ValueError, ImportError), match=r"can't be read as|needs onnx"):
            read_metadata(tmp_path / f"broken{suffix}")
    (tmp_path / "folder").mkdir()
    assert read_metadata(tmp_path / "folder") == {}
