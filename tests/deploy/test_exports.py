"""Exported files: what they compute, what they hold, and what stops them from being written."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_paca
from keras_paca import detection, segmentation
from keras_paca.deploy import check as checks
from keras_paca.deploy import exports, formats
from keras_paca.deploy.runtime import OPENERS
from tests.deploy.files import builtin
from tests.marks import slow_but_on_tensorflow, with_tensorflow

BACKEND = keras.backend.backend()
SUFFIXES = formats.SUFFIXES


pytestmark = [with_tensorflow, pytest.mark.usefixtures("their_warnings")]


# --- What is written --------------------------------------------------------------------------


@slow_but_on_tensorflow
@pytest.mark.parametrize("format", SUFFIXES)
def test_formats(format, classifier, tmp_path, capfd):
    """Any batch and size where the format has it, odd ones too, in the format's own runtime."""
    size = (64, 95) if format == "litert" else None
    exported = keras_paca.export(
        classifier, tmp_path / f"model{SUFFIXES[format]}", format, image_size=size
    )
    assert exported.path.exists()
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(
        {exported.path.name, *(["model.bin"] if format == "openvino" else [])}
    )
    assert 0 < exported.measures["output_0"]["difference"] < 1e-5
    assert exported.precision == "float32"
    assert exported.input_shape == ((1, 64, 95, 3) if size else (None, None, None, 3))
    assert 5e4 < exported.size < 2e6
    printed = capfd.readouterr().out
    assert str(exported.path) in printed
    assert ("written by TensorFlow" in printed) == (BACKEND != "tensorflow")
    if format == "litert":
        builtin(exported)
    if format == "onnx":  # norms and GELUs in the form that runtimes have kernels for
        assert {"LayerNormalization", "Erf"} <= set(exported.operators)
        assert not {"Sqrt", "Reciprocal"} & set(exported.operators)
    if format in ("onnx", "openvino"):
        return
    # what is there is replaced
    again = keras_paca.export(
        classifier, exported.path, format, image_size=size, check=False, fuse=False, verbose=False
    )
    assert again.measures == {}
    assert again.size != exported.size


@slow_but_on_tensorflow
@pytest.mark.parametrize(
    ("format", "head"),
    [
        ("onnx", "paca"),
        *(
            pytest.param(*pair, marks=pytest.mark.slow)
            for pair in (
                ("litert", "paca"),
                *((format, "fpn") for format in ("litert", "onnx")),
                *((format, "mask_transformer") for format in ("litert", "onnx", "tf_saved_model")),
            )
        ),
    ],
)
def test_segmenter(format, head, small, tmp_path):
    model = segmentation.Segmenter(small(include_top=False), head, num_classes=4)
    exported = keras_paca.export(
        model, tmp_path / f"model{SUFFIXES[format]}", format, image_size=(64, 96)
    )
    assert exported.measures["output_0"]["difference"] < 1e-5
    if format == "litert":
        builtin(exported)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["tf_saved_model", "openvino"])
@pytest.mark.parametrize("head", ["paca", "upernet", "fpn", "mask_transformer"])
def test_segmenters_of_any_size(format, head, small, tmp_path):
    model = segmentation.Segmenter(small(include_top=False), head, num_classes=4)
    exported = keras_paca.export(model, tmp_path / f"model{SUFFIXES[format]}", format)
    assert exported.measures["output_0"]["difference"] < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("format", SUFFIXES)
@pytest.mark.parametrize("options", [{"clustering": "teacher"}, {"include_top": False}])
def test_other_models(format, options, small, tmp_path):
    exported = keras_paca.export(
        small(**options), tmp_path / f"model{SUFFIXES[format]}", format, image_size=64
    )
    assert exported.measures["output_0"]["difference"] < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("format", "sides", "options"),
    [
        ("tf_saved_model", (96, 128), {"batch_size": 1}),
        ("onnx", (96, 128), {"batch_size": 1}),
        ("tf_saved_model", (None, None), {}),
        ("onnx", (None, None), {}),
        ("litert", (96, 128), {}),
        ("litert", (None, None), {"image_size": 64}),
    ],
)
def test_mask_rcnn(format, sides, options, small, tmp_path):
    model = detection.MaskRCNN(
        small(include_top=False, input_shape=(*sides, 3)),
        num_classes=3,
        channels=16,
        proposals=20,
        max_detections=5,
        score_threshold=0.0,
    )
    exported = keras_paca.export(model, tmp_path / f"model{SUFFIXES[format]}", format, **options)
    assert exported.measures["detections"]["unmatched"] <= 0.02


@slow_but_on_tensorflow
def test_a_user_s_model_and_fixed_batch(tmp_path):
    """No layer of ours, two outputs with names, three images at a time."""
    x = inputs = keras.Input((32, 40, 3), name="photo")
    x = keras.layers.Conv2D(4, 3, activation="gelu")(x)
    outputs = {"map": x, "mean": keras.layers.GlobalAveragePooling2D()(x)}
    model = keras.Model(inputs, outputs)
    path = tmp_path / "model.onnx"
    exported = keras_paca.export(model, path, "onnx", batch_size=3)
    assert set(exported.measures) == {"map", "mean"}
    run, _ = OPENERS["onnx"](str(path))
    assert run(np.zeros((3, 32, 40, 3), "float32"))["mean"].shape == (3, 4)
    with pytest.raises(Exception, match="Got: 2 Expected: 3"):
        run(np.zeros((2, 32, 40, 3), "float32"))


# --- 16-bit policies --------------------------------------------------------------------------


@slow_but_on_tensorflow
@pytest.mark.parametrize(
    ("policy", "format"),
    [
        ("mixed_float16", "litert"),
        pytest.param("mixed_bfloat16", "onnx", marks=pytest.mark.slow),
        pytest.param("float16", "openvino", marks=pytest.mark.slow),
        pytest.param("bfloat16", "tf_saved_model", marks=pytest.mark.slow),
    ],
)
def test_models_of_16_bit_policies_are_exported_in_float32(policy, format, tmp_path):
    x = inputs = keras.Input((32, 32, 3))
    for _ in range(2):
        x = keras.layers.Conv2D(4, 3, activation="gelu", dtype=policy)(x)
        x = keras.layers.LayerNormalization(dtype=policy)(x)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D(dtype=policy)(x))
    exported = keras_paca.export(model, tmp_path / f"model{SUFFIXES[format]}", verbose=False)
    assert exported.precision == "float32"
    assert exported.measures["output_0"]["difference"] < 1e-5
    assert model.output.dtype.endswith("float16")  # the model stays as it is
    images = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3)).astype("float32")
    run, _ = OPENERS[format](str(exported.path))
    (found,) = run(images[:1]).values()
    assert found.dtype == np.float32
    wanted = keras.ops.convert_to_numpy(model.predict(images[:1], verbose=0)).astype("float32")
    np.testing.assert_allclose(found, wanted, atol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["segmenter", "detector", "functional", "sequential"])
def test_other_mixed_models(kind, small, tmp_path):
    backbone = small(include_top=False, dtype="mixed_bfloat16", input_shape=(64, 64, 3))
    inputs = keras.Input((64, 64, 3))
    top = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3, dtype="mixed_bfloat16")]
    model = {
        "segmenter": lambda: segmentation.Segmenter(backbone, "paca", num_classes=4),
        "detector": lambda: detection.MaskRCNN(
            backbone, 3, channels=16, proposals=20, max_detections=5, score_threshold=0.0
        ),
        "functional": lambda: keras.Model(inputs, top[1](top[0](backbone(inputs)))),
        "sequential": lambda: keras.Sequential([inputs, backbone, *top]),
    }[kind]()
    exported = keras_paca.export(model, tmp_path / "model.onnx", batch_size=1)
    assert exported.precision == "float32"


# --- The check --------------------------------------------------------------------------------


@slow_but_on_tensorflow
def test_a_file_that_is_wrong_is_rejected(classifier, tmp_path, monkeypatch):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"what was there")
    monkeypatch.setitem(checks.BOUNDS, "float32", 1e-12)
    with pytest.raises(ValueError, match=r"difference of 'output_0' is .* the bound 1e-12"):
        keras_paca.export(classifier, path, "litert", image_size=64)
    assert path.read_bytes() == b"what was there"
    assert sorted(f.name for f in tmp_path.iterdir()) == ["model.rejected.tflite", "model.tflite"]


# --- What can go wrong ------------------------------------------------------------------------


@slow_but_on_tensorflow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "tflight"}, "`format` must be one of .*litert.*Received: format='tflight'"),
        ({"format": "onnx"}, r"must end in '\.onnx'.*format='onnx'"),
        ({"image_size": None}, r"image_size=224.*inputs \(None, None, None, 3\)"),
        ({"image_size": (64, 64, 3)}, "`image_size` must be a height and a width"),
        ({"batch_size": 0}, "`batch_size` must be a positive integer.*batch_size=0"),
        ({"check_data": (image for image in ())}, "`check_data` must be an array.*a generator"),
        ({"quantize": "int4"}, "`quantize` must be one of .*for LiteRT alone.*quantize='int4'"),
        ({"quantize": "int8"}, "`representative_data`.*representative_data=None"),
        (
            {"integer_only": True},
            '`integer_only`.*quantize="int8".*integer_only=True, quantize=None',
        ),
        (
            {"representative_data": 4 * [np.ones((64, 64, 3))]},
            r"quantize=None, representative_data=a list of 4 entries \(ndarray\)$",
        ),
        (
            {"quantize": "int8", "representative_data": np.ones((0, 64, 64, 3))},
            r"`representative_data` must be images .*shape \(0, 64, 64, 3\)",
        ),
        ({"check_data": np.ones((2, 64, 64, 3))}, "constant"),
        ({"check_data": np.ones((2, 64, 64))}, "`check_data` must be images"),
        ({"check_data": np.ones((2, 32, 64, 3))}, "`check_data` must be images"),
    ],
)
def test_bad_arguments(options, message, classifier, tmp_path):
    given = {"format": "litert", "image_size": 64, **options}
    with pytest.raises(ValueError, match=message):
        keras_paca.export(classifier, tmp_path / "model.tflite", **given)
    assert not list(tmp_path.iterdir())


@slow_but_on_tensorflow
def test_the_format_follows_the_suffix(tmp_path):
    model = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(2, 3)])
    for format, suffix in SUFFIXES.items():
        exported = keras_paca.export(model, tmp_path / f"model{suffix}", check=False)
        assert exported.format == format
        again = keras_paca.export(model, tmp_path / f"model{suffix}", format.upper(), check=False)
        assert again.format == format
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {"model", "model.tflite", "model.onnx", "model.xml", "model.bin"}
    assert (tmp_path / "model" / "saved_model.pb").exists()
    for name in ("model.pb", "model.keras", "model-0.3", ".onnx"):
        with pytest.raises(ValueError, match=rf"'\.onnx' \(onnx\).*no suffix.*{name}'"):
            keras_paca.export(model, tmp_path / name, check=False)
    assert {file.name for file in tmp_path.iterdir()} == names


@slow_but_on_tensorflow
@pytest.mark.parametrize("format", ["litert", "openvino"])
def test_suffixes_in_capitals(format, tmp_path):
    model = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(2, 3)])
    path = tmp_path / f"Model{SUFFIXES[format].upper()}"
    exported = keras_paca.export(model, path, check=False)
    weights = ["Model.bin"] if format == "openvino" else []
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([path.name, *weights])
    assert exported.size == sum(file.stat().st_size for file in tmp_path.iterdir())
    assert keras_paca.deploy.read_metadata(path)["keras_paca_version"] == keras_paca.__version__
    run, _ = OPENERS[format](str(path))
    assert run(np.zeros((1, 32, 32, 3), "float32"))


@slow_but_on_tensorflow
@pytest.mark.parametrize("around", [False, True])
def test_what_can_t_hold_a_detector(around, small, images, tmp_path, monkeypatch):
    """Before the work; TensorFlow's calibration of one ends the process."""
    monkeypatch.setattr(exports, "_write", None)
    backbone = small(include_top=False, input_shape=(64, 64, 3))
    model = detection.MaskRCNN(backbone, 3, channels=16, proposals=20, max_detections=5)
    if around:
        inputs = keras.Input((64, 64, 3))
        model = keras.Model(inputs, model(inputs)["scores"])
    with pytest.raises(ValueError, match=r"Mask R-CNN .*litert or onnx\. Received: openvino"):
        keras_paca.export(model, tmp_path / "model.xml")
    data = {"quantize": "int8", "representative_data": images(2, 64, 64, 3)}
    with pytest.raises(ValueError, match=r"Mask R-CNN can't be written in int8.*quantize='int8'"):
        keras_paca.export(model, tmp_path / "model.tflite", **data)
    assert not list(tmp_path.iterdir())


@slow_but_on_tensorflow
def test_bad_models(small, classifier, tmp_path):
    path = tmp_path / "model.tflite"
    with pytest.raises(ValueError, match=r"keras\.Model"):
        keras_paca.export("model.keras", path, "litert")
    with pytest.raises(ValueError, match="must be built"):
        keras_paca.export(keras.Sequential([keras.layers.Dense(2)]), path, "litert")
    with pytest.raises(ValueError, match="images"):
        keras_paca.export(
            keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]), path, "litert"
        )
    with pytest.raises(ValueError, match="the model's own"):
        keras_paca.export(small(input_shape=(64, 64, 3)), path, "litert", image_size=32)
    quantized = keras.Sequential([keras.Input((64, 64, 3)), keras.layers.Dense(4)])
    quantized.quantize("int8")
    with pytest.raises(ValueError, match="export the float model with `quantize`"):
        keras_paca.export(quantized, path, "litert", image_size=64)
    assert not list(tmp_path.iterdir())


@slow_but_on_tensorflow
def test_bad_paths(classifier, tmp_path):
    with pytest.raises(FileNotFoundError, match="No such folder"):
        keras_paca.export(classifier, tmp_path / "no" / "model.onnx", "onnx")
    (tmp_path / "model.onnx").mkdir()
    with pytest.raises(IsADirectoryError):
        keras_paca.export(classifier, tmp_path / "model.onnx", "onnx", check=False)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "precious.txt").write_text("somebody's")
    with pytest.raises(FileExistsError, match="no SavedModel"):  # which a new one may replace
        keras_paca.export(classifier, tmp_path / "model", check=False)
    (tmp_path / "other.bin").mkdir()
    with pytest.raises(IsADirectoryError, match=r"other\.bin is a folder"):
        keras_paca.export(classifier, tmp_path / "other.xml", check=False)
    found = {file.name for file in tmp_path.rglob("*")}
    assert found == {"model.onnx", "model", "precious.txt", "other.bin"}
    (tmp_path / "empty").mkdir()
    keras_paca.export(classifier, tmp_path / "empty", "saved_model", check=False)
    assert (tmp_path / "empty" / "saved_model.pb").exists()


@slow_but_on_tensorflow
def test_a_saved_model_with_a_user_s_files_stays(tmp_path, monkeypatch):
    model = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(2, 3)])
    model.class_names = ["a", "b"]
    folder = tmp_path / "old"
    for _ in range(2):  # the second replaces all that the first wrote
        keras_paca.export(model, folder, check=False, verbose=False)
    (folder / "assets" / "words.txt").write_text("a SavedModel's own")
    keras_paca.export(model, folder, check=False, verbose=False)
    files = ["notes.txt", "run/best.keras", "variables/mine", "assets.extra/more.json"]
    for name in files:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("somebody's")
    words = r"old holds other files .*: assets\.extra/more\.json, notes\.txt, run and 1 more$"
    write = exports._write
    monkeypatch.setattr(exports, "_write", None)  # refused before the work
    with pytest.raises(FileExistsError, match=words):
        keras_paca.export(model, folder, check=False)
    monkeypatch.undo()
    assert all((folder / name).exists() for name in files)
    # or else at its end
    keras_paca.export(model, tmp_path / "late", check=False, verbose=False)

    def write_for_long(*arguments):
        write(*arguments)
        (tmp_path / "late" / "notes.txt").write_text("somebody's")

    monkeypatch.setattr(exports, "_write", write_for_long)
    with pytest.raises(FileExistsError, match=r"notes\.txt$"):
        keras_paca.export(model, tmp_path / "late", check=False)
    assert (tmp_path / "late" / "notes.txt").exists()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["late", "old"]


@slow_but_on_tensorflow
@pytest.mark.parametrize("format", SUFFIXES)
def test_missing_packages(format, classifier, tmp_path, monkeypatch):
    find = formats.find_spec
    missing = formats.RUNTIMES[format]
    monkeypatch.setattr(formats, "find_spec", lambda name: None if name == missing else find(name))
    with pytest.raises(ImportError, match=rf'{missing}.*pip install ".*\[tensorflow'):
        keras_paca.export(classifier, tmp_path / f"model{SUFFIXES[format]}", format, image_size=64)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="the layer is TensorFlow's")
@pytest.mark.parametrize("format", ["litert", "onnx", "openvino"])
def test_a_converter_s_failure_is_a_sentence(format, tmp_path, capfd):
    import tensorflow as tf

    class Beta(keras.layers.Layer):
        def call(self, x):
            return tf.raw_ops.Betainc(a=x + 1, b=x + 1, x=x / 255)

    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, Beta()(inputs))
    with pytest.raises(RuntimeError, match=rf"^{format} can't be written: .*Betainc") as caught:
        keras_paca.export(model, tmp_path / f"model{SUFFIXES[format]}")
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)
    assert "Betainc" in str(caught.value.__cause__)
    assert "Betainc" not in capfd.readouterr().err  # the converters' own dump
    assert not list(tmp_path.iterdir())


FULL_DISK = """
import resource, signal, sys, keras
import keras_paca
model = keras.saving.load_model(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # as a disk that is full then
try:
    keras_paca.export(model, sys.argv[2], sys.argv[3], image_size=64, check=False)
except (OSError, RuntimeError) as error:
    print("refused:", type(error).__name__)
"""


@pytest.mark.slow
@slow_but_on_tensorflow
@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files")
@pytest.mark.parametrize(
    "format", ["litert", pytest.param("tf_saved_model", marks=pytest.mark.slow)]
)
def test_full_disk(format, small, tmp_path):
    small().save(tmp_path / "model.keras")
    target = tmp_path / "out"
    target.mkdir()
    command = [sys.executable, "-c", FULL_DISK, tmp_path / "model.keras"]
    answer = subprocess.run(
        [*command, target / f"model{SUFFIXES[format]}", format],
        env={**os.environ, "KERAS_BACKEND": BACKEND},
        capture_output=True,
        text=True,
    )
    assert "refused:" in answer.stdout, answer.stderr[-2000:]
    assert not list(target.iterdir())
