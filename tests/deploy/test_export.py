"""Exported files: what they compute, what they hold, and what stops them from being written."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_paca
from keras_paca import detection, segmentation
from keras_paca.deploy import check as checks
from keras_paca.deploy import exports, formats
from keras_paca.deploy.runtime import OPENERS
from keras_paca.detection.boxes import suppress
from keras_paca.warn import KerasPaCaWarning
from tests.marks import slow_but_on_tensorflow, with_tensorflow

BACKEND = keras.backend.backend()
SUFFIXES = formats.SUFFIXES

pytestmark = with_tensorflow


@pytest.fixture(autouse=True)
def _their_warnings():
    """Warnings of the converters are theirs."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", module="keras_paca")
        warnings.filterwarnings("error", category=KerasPaCaWarning)
        yield


@pytest.fixture(scope="module")
def classifier(small):
    model = small(input_shape=(None, None, 3))
    draw = np.random.default_rng(0)
    for weight in model.weights:  # fresh norms would hide what was folded wrongly
        weight.assign(weight + 0.1 * draw.standard_normal(weight.shape).astype("float32"))
    return model


def builtin(exported):
    """Check that a LiteRT file holds no operator from elsewhere."""
    assert len(exported.operators) > 5
    assert not [name for name in exported.operators if "flex" in name.lower() or "CUSTOM" in name]


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
def test_norms_without_a_mean(small, images, tmp_path):
    """Those before the branches look for no mean, in a fused model that trained on as well."""
    model = keras_paca.fuse(small(depths=(1, 1, 1, 1)))
    model.compile("sgd", "mse")
    model.fit(images(2, 32, 32, 3), np.zeros((2, 5)), epochs=2, verbose=0)
    wanted = model.predict(images(2, 32, 32, 3), verbose=0)
    exported, plain = (
        keras_paca.export(
            model, tmp_path / f"{fuse}.tflite", "litert", image_size=32, fuse=fuse, verbose=False
        )
        for fuse in (True, False)
    )
    means = [count_operators(x.path, "MEAN") for x in (exported, plain)]
    # eight norms find a mean less, and each stage's is taken once
    assert means[1] - means[0] == 8 - 4
    np.testing.assert_array_equal(model.predict(images(2, 32, 32, 3), verbose=0), wanted)


def count_operators(path, name):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    return [each["op_name"] for each in interpreter._get_ops_details()].count(name)


@slow_but_on_tensorflow
@pytest.mark.parametrize("format", ["litert", "onnx"])
def test_norms(format, tmp_path):
    """Norms have the form that the runtime is fast at; over other axes they keep their own."""
    x = inputs = keras.Input((16, 8, 6))
    draw = np.random.default_rng(0)
    for center, scale in ((True, True), (True, False), (False, True), (False, False)):
        x = keras.layers.LayerNormalization(center=center, scale=scale)(x)
        x = keras.layers.Dense(6)(x)
    for epsilon, axis in ((0.3, -1), (1e-3, 1), (1e-3, (2, 3))):
        x = keras.layers.Dense(6)(keras.layers.LayerNormalization(epsilon=epsilon, axis=axis)(x))
    model = keras.Model(inputs, keras.activations.gelu(x, approximate=False))
    for weight in model.weights:
        weight.assign(weight + 0.5 * draw.standard_normal(weight.shape).astype("float32"))
    data = draw.standard_normal((4, 16, 8, 6)).astype("float32")
    file = tmp_path / f"model{SUFFIXES[format]}"
    before = keras.layers.LayerNormalization.call
    exported = keras_paca.export(model, file, format, check_data=data, fuse=False)
    assert keras.layers.LayerNormalization.call is before
    assert exported.measures["output_0"]["difference"] < 1e-5
    if format == "litert":
        from ai_edge_litert.interpreter import Interpreter

        kinds = [each["op_name"] for each in Interpreter(str(file))._get_ops_details()]
        assert kinds.count("SQUARED_DIFFERENCE") == 2
        assert kinds.count("RSQRT") == 7
    else:
        onnx = pytest.importorskip("onnx")
        kinds = [node.op_type for node in onnx.load(str(file)).graph.node]
        assert kinds.count("LayerNormalization") == 5
        assert kinds.count("Sqrt") == 2


@slow_but_on_tensorflow
@pytest.mark.parametrize(
    "quantize",
    ["int8", *(pytest.param(q, marks=pytest.mark.slow) for q in ("float16", "dynamic"))],
)
def test_quantized_litert(quantize, classifier, images, tmp_path):
    given = {"representative_data": images(8, 64, 64, 3)} if quantize == "int8" else {}
    path = tmp_path / "model.tflite"
    exported = keras_paca.export(
        classifier, path, "litert", image_size=64, quantize=quantize, **given
    )
    builtin(exported)
    assert exported.precision == quantize
    assert exported.measures["output_0"]["difference"] > 1e-5  # something was quantized
    plain = keras_paca.export(classifier, path, "litert", image_size=64, check=False)
    assert exported.size < 0.8 * plain.size


@slow_but_on_tensorflow
def test_int8_of_a_model_of_two_images_at_a_time(images, tmp_path):
    inputs = keras.Input((32, 32, 3), batch_size=2)
    x = keras.layers.Conv2D(4, 3)(inputs)
    model = keras.Model(inputs, keras.ops.reshape(x, (2, 30, 120)))
    exported = keras_paca.export(
        model, tmp_path / "model.tflite", quantize="int8", representative_data=images(3, 32, 32, 3)
    )
    assert exported.input_shape[0] == 2
    assert exported.measures["output_0"]["cosine"] > 0.99


@slow_but_on_tensorflow
@pytest.mark.parametrize("format", ["litert", pytest.param("onnx", marks=pytest.mark.slow)])
def test_segmenter(format, small, tmp_path):
    model = segmentation.Segmenter(small(include_top=False), "paca", num_classes=4)
    exported = keras_paca.export(
        model, tmp_path / f"model{SUFFIXES[format]}", format, image_size=(64, 96)
    )
    assert exported.measures["output_0"]["difference"] < 1e-5
    if format == "litert":
        builtin(exported)


@slow_but_on_tensorflow
def test_segmenter_in_int8(small, images, tmp_path):
    """A softmax over patches, whose shares are smaller than an integer's step."""
    model = segmentation.Segmenter(small(include_top=False), "paca", num_classes=4)
    exported = keras_paca.export(
        model,
        tmp_path / "model.tflite",
        "litert",
        image_size=128,
        quantize="int8",
        representative_data=images(4, 128, 128, 3),
    )
    builtin(exported)
    assert exported.measures["output_0"]["cosine"] > 0.98


@pytest.mark.slow
@pytest.mark.parametrize("format", ["tf_saved_model", "openvino"])
@pytest.mark.parametrize("head", ["paca", "upernet", "fpn"])
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


@pytest.mark.skipif(BACKEND != "tensorflow", reason="the layer is this module's own")
def test_suppression_in_onnx(tmp_path):
    """Each box overlaps the next alone, so that a repetition settles one more of them."""

    class Suppress(keras.layers.Layer):
        def call(self, boxes):
            return keras.ops.cast(suppress(boxes, boxes[..., 2] > 0, 0.3), "float32")

    left = np.arange(40.0) * 5
    chain = np.stack([left, 0 * left, left + 10, 0 * left + 10], axis=-1)[None].astype("float32")
    chains = np.stack(4 * [chain])  # (4, 1, 40, 4), as images are
    inputs = keras.Input((1, 40, 4))
    model = keras.Model(inputs, Suppress()(inputs))
    np.testing.assert_array_equal(model.predict(chains, verbose=0)[0, 0], np.arange(40) % 2 == 0)
    exported = keras_paca.export(
        model, tmp_path / "model.onnx", "onnx", fuse=False, check_data=chains
    )
    assert exported.measures["output_0"]["difference"] == 0


@pytest.mark.skipif(BACKEND != "tensorflow", reason="the layer is TensorFlow's")
def test_erfc_in_onnx(tmp_path):
    """ONNX has no erfc, in a GELU or anywhere else."""
    import tensorflow as tf

    class Erfc(keras.layers.Layer):
        def call(self, x):
            return tf.math.erfc(x) + tf.math.erfc(-x * 0.3) + tf.math.erfc(-x)

    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, Erfc()(keras.layers.Rescaling(1 / 128, -1.0)(inputs)))
    exported = keras_paca.export(model, tmp_path / "model.onnx", "onnx", fuse=False)
    assert exported.measures["output_0"]["difference"] < 1e-6


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
        ("mixed_bfloat16", "onnx"),
        ("float16", "openvino"),
        ("bfloat16", "tf_saved_model"),
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


@slow_but_on_tensorflow
def test_a_mixed_classifier_in_half_the_size(small, tmp_path):
    model = small(dtype="mixed_float16")
    exported = keras_paca.export(
        model, tmp_path / "model.tflite", image_size=64, quantize="float16", verbose=False
    )
    builtin(exported)
    assert exported.precision == "float16"
    assert exported.measures["output_0"]["difference"] < 1e-2


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


@slow_but_on_tensorflow
def test_a_copy_that_computes_something_else_is_no_file(tmp_path):
    model = keras.Sequential([keras.Input((32, 32, 3)), Forgetful(3.0, dtype="mixed_float16")])
    with pytest.raises(ValueError, match=r"float32 copy .* in float16.*get_config"):
        keras_paca.export(model, tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())


@slow_but_on_tensorflow
def test_probabilities_that_16_bits_lose(tmp_path):
    """Their logarithms differ by far more than the bound of the copy."""
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(8, 3, dtype="float16")(inputs)
    x = keras.layers.GlobalMaxPooling2D(dtype="float16")(x)
    model = keras.Model(inputs, keras.layers.Softmax(dtype="float16")(x))
    exported = keras_paca.export(model, tmp_path / "model.tflite")
    assert (model.predict(np.full((1, 32, 32, 3), 255.0), verbose=0) == 0).any()
    assert exported.measures["output_0"]["difference"] < 1e-5


@slow_but_on_tensorflow
def test_a_model_that_overflows_in_float16(tmp_path):
    first, last = (keras.layers.Rescaling(scale, dtype="float16") for scale in (1e3, 1e-3))
    between = keras.layers.ReLU(dtype="float16")  # or TensorFlow would multiply the scales
    model = keras.Sequential([keras.Input((32, 32, 3)), first, between, last])
    with pytest.warns(KerasPaCaWarning, match="NaN or infinity in float16"):
        exported = keras_paca.export(model, tmp_path / "model.tflite")
    assert exported.measures["output_0"]["difference"] < 1e-5


@keras.saving.register_keras_serializable("tests")
class Forgetful(keras.layers.Layer):
    """A layer that doesn't say what it was made with."""

    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, inputs):
        return inputs * self.factor

    def get_config(self):
        return {"name": self.name, "dtype": self.dtype_policy.name}


OUTSIDER = """
import runpy, sys
for name in ("keras", "keras_paca", "tensorflow", "jax", "torch"):
    sys.modules[name] = None  # an import fails
sys.argv = ["runtime.py", *sys.argv[2:]]
runpy.run_path(RUNTIME, run_name="__main__")
"""


# One format each in `make test`: what the others write goes through TensorFlow as well.
OUTSIDE = {"tensorflow": ("litert", "onnx"), "jax": ("onnx",), "torch": ("litert",)}[BACKEND]


@pytest.mark.parametrize(
    "format",
    [f if f in OUTSIDE else pytest.param(f, marks=pytest.mark.slow) for f in ("litert", "onnx")],
)
def test_runs_without_any_backend(format, classifier, images, tmp_path):
    exported = keras_paca.export(
        classifier, tmp_path / f"model{SUFFIXES[format]}", format, image_size=64
    )
    assert exported.measures["output_0"]["difference"] < 1e-5
    x = images(1, 64, 64, 3)
    np.savez(tmp_path / "in.npz", images=x)
    script = OUTSIDER.replace("RUNTIME", repr(checks.__file__.replace("check.py", "runtime.py")))
    command = [sys.executable, "-c", script, "-", format, str(exported.path)]
    subprocess.run([*command, tmp_path / "in.npz", tmp_path / "out.npz"], check=True)
    found = np.load(tmp_path / "out.npz")["0/output_0"]
    np.testing.assert_allclose(found, classifier.predict(x, verbose=0), rtol=1e-4)


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


@slow_but_on_tensorflow
def test_check_images(small, classifier):
    odd, even = checks.check_images(classifier, (None, None, None, 3))
    assert (odd.shape, even.shape) == ((5, 224, 224, 3), (5, 193, 257, 3))
    assert odd.std(axis=(1, 2, 3)).min() > 30
    assert odd.max() > 200
    normalised = small(include_preprocessing=False)
    (images,) = checks.check_images(normalised, (4, 64, 64, 3))
    assert images.shape == (8, 64, 64, 3)
    assert np.abs(images).max() < 5
    with pytest.raises(ValueError, match="check_data"):
        checks.check_images(classifier, (None, 64, 64, 4))


@slow_but_on_tensorflow
def test_compare():
    draw = np.random.default_rng(0)
    logits = draw.standard_normal((4, 7))
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    moved = np.exp(1.01 * logits) / np.exp(1.01 * logits).sum(-1, keepdims=True)
    found = checks.compare({"a": probabilities}, {"a": moved}, "float32")
    assert found["a"]["difference"] == pytest.approx(0.01)  # of the logits
    assert "is 0.01, the bound 1e-05" in checks.exceeded(found, "float32")[0]
    assert checks.exceeded({"a": {"difference": np.nan}}, "float32")
    for precision in ("dynamic", "int8"):
        found = checks.compare({"a": logits}, {"other": -logits}, precision)
        assert found["a"]["cosine"] == pytest.approx(-1)
        assert len(checks.exceeded(found, precision)) == 2
        found = checks.compare({"a": logits}, {"a": logits * np.nan}, precision)
        assert "nan" in checks.exceeded(found, precision)[0]
    with pytest.raises(ValueError, match="outputs"):
        checks.compare({"a": logits}, {"b": logits, "c": logits}, "int8")

    boxes = draw.uniform(0, 50, (1, 3, 4))
    wanted = {"boxes": boxes, "scores": np.ones((1, 3)), "labels": np.array([[1, 2, -1]])}
    other = {**wanted, "boxes": boxes[:, [1, 0, 2]], "labels": np.array([[2, 1, -1]])}
    assert checks.compare(wanted, other, "float32")["detections"]["unmatched"] == 0
    other = {**wanted, "boxes": boxes + 1}
    assert checks.compare(wanted, other, "float32")["detections"]["unmatched"] == 1


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


@slow_but_on_tensorflow
@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files")
@pytest.mark.parametrize("format", ["litert", "tf_saved_model"])
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


CLASS = """
import keras
@keras.saving.register_keras_serializable("mine")
class Twice(keras.layers.Layer):
    def call(self, inputs):
        return 2 * inputs
"""
SCRIPT = """
import keras_paca
model = keras.Sequential([keras.Input((32, 32, 3)), Twice(), keras.layers.Conv2D(2, 3)])
try:
    keras_paca.export(model, "model.onnx", "onnx")
except ValueError as error:
    print(error)
"""


@pytest.mark.skipif(BACKEND != "jax", reason="one backend that can't write shows it")
def test_classes_that_the_other_process_needs(tmp_path):
    def run(script):
        (tmp_path / "script.py").write_text(script)
        return subprocess.run(
            [sys.executable, "script.py"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(keras_paca.__file__).parents[1])},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    assert "can't import __main__.Twice" in run(CLASS + SCRIPT)  # as in a notebook
    assert not (tmp_path / "model.onnx").exists()
    (tmp_path / "layers_of_mine.py").write_text(CLASS)
    assert "difference" in run("import keras\nfrom layers_of_mine import Twice\n" + SCRIPT)
