"""Quantized models: what is quantized, saving and loading, and the report."""

import gc
import inspect
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

import keras_paca
from keras_paca import layers
from keras_paca.backbones import loading
from keras_paca.detection import MaskRCNN
from keras_paca.detection.heads import BoxHead, MaskHead
from keras_paca.forms import twin_of
from keras_paca.layers.dense import Dense
from keras_paca.segmentation import FCNHead, PaCaSegmentationHead, Segmenter
from keras_paca.segmentation.segmenter import HEADS
from keras_paca.weights import open_checkpoint
from tests.marks import slow_but_on_torch

pytestmark = pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")


PROJECTIONS = {"conv": 37, "mlp": 37, "linear": 34, "teacher": 44}


only_on_torch = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="the same work on each backend"
)


@pytest.fixture(autouse=True)
def _quick_collections():
    """Keras collects garbage after each layer that it quantizes: let there be little to look at."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def projections(model):
    return [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.Dense)]


def run(model, *inputs):
    inputs = inputs[0] if len(inputs) == 1 else list(inputs)
    return [ops.convert_to_numpy(x) for x in keras.tree.flatten(model.predict_on_batch(inputs))]


def assert_same(outputs, expected):
    for x, y in zip(outputs, expected, strict=True):
        np.testing.assert_array_equal(x, y)


def assert_loads(model, path, *inputs, times=1):
    """Save, load and check; `times=2` saves what was loaded and loads it. Return the last."""
    expected = run(model, *inputs)
    assert all(np.isfinite(x).all() for x in expected)
    policies = [layer.dtype_policy for layer in projections(model)]
    for _ in range(times):
        model.save(path)
        model = keras.saving.load_model(path)
        assert [layer.dtype_policy for layer in projections(model)] == policies
        for layer in model._flatten_layers():
            assert not isinstance(layer.dtype_policy, keras.dtype_policies.DTypePolicyMap)
    assert_same(run(model, *inputs), expected)
    return model


@slow_but_on_torch
@pytest.mark.parametrize(
    ("mode", "clustering"),
    [
        ("int8", "conv"),
        pytest.param("int8", "mlp", marks=pytest.mark.slow),
        pytest.param("int8", "linear", marks=pytest.mark.slow),
        pytest.param("int8", "teacher", marks=slow_but_on_torch),
        pytest.param("int4", "conv", marks=slow_but_on_torch),
        pytest.param("int4", "mlp", marks=pytest.mark.slow),
        pytest.param("int4", "linear", marks=pytest.mark.slow),
        pytest.param("int4", "teacher", marks=pytest.mark.slow),
        pytest.param("float8", "conv", marks=pytest.mark.slow),
    ],
)
def test_classifier(mode, clustering, small, images, tmp_path):
    model = small(clustering=clustering, input_shape=(32, 48, 3))
    x = images(2, 32, 48, 3)
    float_outputs = run(model, x)[0]
    model.quantize(mode)
    assert [layer.quantization_mode for layer in projections(model)] == (
        [mode] * PROJECTIONS[clustering]
    )
    report = keras_paca.quantization_report(model, x, float_outputs)
    low, high = {"int8": (1e-4, 0.05), "int4": (1e-3, 0.5), "float8": (1e-3, 0.3)}[mode]
    assert low < report.changes["outputs"].relative_error < high
    assert_loads(model, tmp_path / "model.keras", x, times=2 if clustering == "conv" else 1)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["int8", pytest.param("int4", marks=pytest.mark.slow)])
def test_backbone_by_other_names_and_inside_another_model(mode, small, images, tmp_path):
    backbone = small(include_top=False, input_shape=(32, 48, 3), name="one")
    backbone.quantize(mode)
    x = images(2, 32, 48, 3)
    assert_loads(backbone, tmp_path / "one.keras", x)

    other = keras_paca.PaCaViT.from_config({**backbone.get_config(), "name": "two"})
    other.set_weights(backbone.get_weights())
    assert_same(run(other, x), run(backbone, x))

    inputs = keras.Input((32, 48, 3))
    pooled = keras.layers.GlobalAveragePooling2D(data_format="channels_last")(other(inputs))
    nested = keras.Model(inputs, Dense(3)(pooled), name="three")
    nested.layers[-1].quantize(mode)
    assert_loads(nested, tmp_path / "nested.keras", x)

    outputs = [*backbone.pyramid_outputs.values(), backbone.assignments["P3"][0]]
    assert_loads(keras.Model(backbone.input, outputs), tmp_path / "flat.keras", x)
    assert_loads(backbone.as_dict_encoder(), tmp_path / "view.keras", x)


@slow_but_on_torch
@pytest.mark.parametrize(
    ("mode", "head"),
    [
        ("int8", "paca"),
        *(
            pytest.param(*pair, marks=pytest.mark.slow)
            for pair in (
                ("int4", "paca"),
                ("int8", "upernet"),
                ("int8", "fpn"),
                ("int8", "mask_transformer"),
            )
        ),
    ],
)
def test_segmenter(mode, head, small, images, tmp_path):
    backbone = small(include_top=False, input_shape=(32, 48, 3))
    auxiliary = FCNHead(4, 8, name="auxiliary_head") if head == "upernet" else None
    segmenter = Segmenter(backbone, HEADS[head](4, 8, name="decode_head"), 4, auxiliary)
    segmenter.quantize(mode)
    count = {"paca": 4, "upernet": 2, "fpn": 1, "mask_transformer": 3 + 2 * 6}[head]
    found = [layer.quantization_mode for layer in projections(segmenter)]
    assert found == [mode] * (PROJECTIONS["conv"] - 1 + count)
    assert_loads(segmenter, tmp_path / "model.keras", images(1, 32, 48, 3))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["int8", pytest.param("int4", marks=pytest.mark.slow)])
def test_mask_rcnn(mode, small, images, tmp_path):
    detector = MaskRCNN(
        small(include_top=False, input_shape=(64, 64, 3)),
        num_classes=3,
        channels=8,
        max_detections=4,
        score_threshold=0.0,
        proposals=12,
        candidates=20,
    )
    detector.quantize(mode)
    found = [layer.quantization_mode for layer in projections(detector)]
    assert found == [mode] * (PROJECTIONS["conv"] - 1 + 5)
    loaded = assert_loads(detector, tmp_path / "model.keras", images(1, 64, 64, 3))
    assert loaded.box_head.classify.quantization_mode == mode


def model_of_single_layers():
    x = keras.Input((8, 6, 8))
    assignment = layers.LinearClustering(5)(x)
    y = layers.PatchToClusterAttention(2)(x, assignment)
    y = layers.PatchToClusterAttention(2)(layers.ConvMLP()(y))
    clustering = layers.ConvClustering(4, 3, name="given")
    y, made = layers.PaCaBlock(2, clustering=clustering, name="projection")(y)
    y, _ = layers.PaCaBlock(2, clustering=layers.MLPClustering(4))(y)
    taught, maps = layers.ConvMixerTeacher((8, 12), (1, 1), (3, 2), 3)(y)
    head = PaCaSegmentationHead(3, channels=8)([y, y, y, maps[1]])
    regions = keras.layers.Reshape((3, 4, 4, 8))(y)
    outputs = [y, made, *taught, *head, *BoxHead(2, 6)(regions), MaskHead(2, 4, 1)(regions)]
    return keras.Model(x, outputs)


@slow_but_on_torch
@pytest.mark.parametrize("mode", ["int8", pytest.param("int4", marks=pytest.mark.slow)])
def test_single_layers_in_a_model_of_ones_own(mode, images, tmp_path):
    model = model_of_single_layers()
    model.quantize(mode)
    x = images(2, 8, 6, 8) / 255
    assert {layer.quantization_mode for layer in projections(model)} == {mode}
    assert len(projections(model)) == 1 + 4 + 2 + 4 + 8 + 8 + 6 + 4 + 4 + 1
    assert_loads(model, tmp_path / "model.keras", x, times=2)


@slow_but_on_torch
@only_on_torch
def test_another_process_computes_the_same(small, images, tmp_path):
    model = small(input_shape=(32, 48, 3))
    model.quantize("int8")
    x = images(2, 32, 48, 3)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", x)
    code = (
        "import keras, keras_paca, numpy as np\n"
        "model = keras.saving.load_model('model.keras')\n"
        "np.save('outputs.npy', model.predict_on_batch(np.load('images.npy')))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    assert_same([np.load(tmp_path / "outputs.npy")], run(model, x))


@slow_but_on_torch
@pytest.mark.parametrize(
    ("filters", "chosen"),
    [
        ("query|value", lambda layer: layer.name in ("query", "value")),
        (["^predictions$"], lambda layer: layer.name == "predictions"),
        (lambda layer: "/mlp/" in f"{layer.path}", lambda layer: "/mlp/" in layer.path),
    ],
)
def test_a_part_of_the_layers(filters, chosen, small, images, tmp_path):
    model = small(input_shape=(32, 32, 3))
    model.quantize("int8", filters=filters)
    modes = {layer.path: layer.quantization_mode for layer in projections(model)}
    assert modes == {x.path: "int8" if chosen(x) else None for x in projections(model)}
    assert len(set(modes.values())) == 2
    assert_loads(model, tmp_path / "model.keras", images(2, 32, 32, 3))


@pytest.mark.slow
def test_quantizers_and_block_sizes_are_kept(small, images, tmp_path):
    x = images(2, 32, 32, 3)
    configs = [keras.quantizers.Int8QuantizationConfig(activation_quantizer=None)]
    if "block_size" in inspect.signature(keras.quantizers.Int4QuantizationConfig).parameters:
        configs += [keras.quantizers.Int4QuantizationConfig(block_size=size) for size in (None, 8)]
    for config in configs:
        model = small(input_shape=(32, 32, 3))
        before = run(model, x)[0]
        model.quantize(config=config)
        assert np.abs(run(model, x)[0] - before).max() > 0
        loaded = assert_loads(model, tmp_path / "model.keras", x)
        for layer in projections(loaded):
            assert layer.inputs_quantizer is None
            assert getattr(layer, "_int4_block_size", None) == getattr(config, "block_size", None)


@pytest.mark.slow
def test_under_a_mixed_policy(small, images, tmp_path):
    segmenter = Segmenter(
        small(include_top=False, input_shape=(32, 32, 3), dtype="mixed_bfloat16"), num_classes=4
    )
    segmenter.quantize("int8")
    loaded = assert_loads(segmenter, tmp_path / "model.keras", images(1, 32, 32, 3))
    assert loaded.dtype_policy.name == loaded.backbone.dtype_policy.name == "mixed_bfloat16"
    inside = loaded._flatten_layers(include_self=False)
    for layer in [x for x in inside if not isinstance(x, keras.layers.InputLayer)]:
        exact = layer.name in ("preprocessing", "logits", "classify", "clusters")
        assert layer.compute_dtype == ("float32" if exact else "bfloat16"), layer.path
        assert layer.variable_dtype == "float32"


@slow_but_on_torch
def test_configurations_of_float_models_are_as_always(small):
    made = [
        small(),
        small(include_top=False, clustering="teacher"),
        Segmenter(small(include_top=False), num_classes=4),
        MaskRCNN(small(include_top=False), num_classes=3, channels=8),
        model_of_single_layers(),
    ]
    for model in made:
        assert "PolicyMap" not in json.dumps(keras.saving.serialize_keras_object(model))
    assert made[0].get_config()["dtype"] == keras.dtype_policies.serialize(made[0].dtype_policy)
    block = layers.PaCaBlock(2, dtype="mixed_bfloat16").get_config()["dtype"]
    assert block == keras.dtype_policies.serialize(keras.DTypePolicy("mixed_bfloat16"))


@pytest.mark.slow
def test_lora_of_a_quantized_model_trains_and_is_merged(small, images, tmp_path):
    model = small(input_shape=(32, 32, 3))
    x = images(2, 32, 32, 3)
    model.quantize("int8")
    chosen = [layer for layer in projections(model) if layer.name in ("query", "value")]
    for layer in chosen:
        layer.enable_lora(2)
    integers = [ops.convert_to_numpy(layer._kernel) for layer in chosen]
    before = run(model, x)[0]
    model.compile(keras.optimizers.SGD(1.0), "sparse_categorical_crossentropy")
    model.fit(x, np.array([0, 1]), epochs=2, verbose=0)
    assert_same([ops.convert_to_numpy(layer._kernel) for layer in chosen], integers)
    trained = run(model, x)[0]
    assert np.abs(trained - before).max() > 1e-3
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert not any(layer.lora_enabled for layer in projections(loaded))
    np.testing.assert_allclose(run(loaded, x)[0], trained, atol=2e-3)  # rounded once more


@pytest.mark.slow
def test_weights_of_another_model(small, images, tmp_path):
    x = images(2, 32, 32, 3)
    model, other = small(input_shape=(32, 32, 3)), small(input_shape=(32, 32, 3))
    model.save_weights(tmp_path / "float.weights.h5")
    other.load_weights(tmp_path / "float.weights.h5")
    model.quantize("int8")
    other.quantize("int8")
    assert_same(run(other, x), run(model, x))

    third = small(input_shape=(32, 32, 3))
    third.quantize("int8")
    model.save_weights(tmp_path / "quantized.weights.h5")
    third.load_weights(tmp_path / "quantized.weights.h5")
    assert_same(run(third, x), run(model, x))
    checkpoint = open_checkpoint(str(tmp_path / "quantized.weights.h5"))
    with pytest.raises(ValueError, match="not floating-point"):
        loading.load_weights(small(), checkpoint, other_options=False)


@slow_but_on_torch
def test_report_counts_by_hand(images):
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", data_format="channels_last")(inputs)
    x = keras.layers.Conv2DTranspose(
        6, 2, strides=2, padding="same", data_format="channels_last", name="up"
    )(x)
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = Dense(5, name="odd")(x)
    shared = Dense(5, use_bias=False, name="shared")
    assignment = layers.LinearClustering(7, name="clustering")(x)
    x = layers.PatchToClusterAttention(1, name="attention")(shared(shared(x)), assignment)
    model = keras.Model(inputs, x)
    model.quantize("int4", filters="odd|shared")
    report = keras_paca.quantization_report(model, image_size=(8, 6))
    found = {layer.path: (layer.mode, layer.weights, layer.macs) for layer in report.layers}
    patches = 16 * 12
    name = model.layers[1].name
    assert found == {
        name: (None, 27 * 4 + 4, 8 * 6 * 27 * 4),
        "up": (None, 4 * 4 * 6 + 6, 8 * 6 * 4 * 4 * 6),
        "depthwise": (None, 9 * 6 + 6, patches * 9 * 6),
        "odd": ("int4", 6 * 5 + 5, patches * 6 * 5),
        "shared": ("int4", 25, 2 * patches * 25),
        "clustering/projection": (None, 35, patches * 35),
        "attention": (None, 0, 3 * patches * 7 * 5),
        "attention/cluster_norm": (None, 10, 0),
        "attention/query": (None, 30, patches * 25),
        "attention/key": (None, 30, 7 * 25),
        "attention/value": (None, 30, 7 * 25),
        "attention/attention_output": (None, 30, patches * 25),
    }
    assert report.image_size == (8, 6)
    assert report.macs == sum(macs for *_, macs in found.values())
    assert report.quantized_macs == patches * (30 + 50)
    assert report.quantized_weights == 30 + 25  # biases stay
    assert report.weights == sum(weights for _, weights, _ in found.values())
    assert report.weight_fraction == report.quantized_weights / report.weights
    assert report.mac_fraction == report.quantized_macs / report.macs
    assert report.changes == {}
    text = str(report)
    assert "odd" in text
    assert "cluster_norm" not in text
    assert f"{report.mac_fraction:.1%} of the multiply-accumulates" in text


@slow_but_on_torch
def test_report_counts_the_one_convolution_of_a_fused_stem():
    stem = twin_of(layers.OverlappingStem)(8, name="stem")
    model = keras.Sequential([keras.Input((None, None, 3)), stem])
    counts = {}
    for size in ((8, 12), (10, 12)):
        report = keras_paca.quantization_report(model, image_size=size)
        counts[size] = {layer.path: layer.macs for layer in report.layers}
    assert counts[8, 12]["stem"] == 49 * 3 * 8 * (2 * 3)
    assert counts[10, 12] == {
        "stem/conv1": 27 * 4 * (5 * 6),
        "stem/conv2": 36 * 8 * (3 * 3),
        "stem/norm": 0,
    }


@slow_but_on_torch
def test_report_of_plain_attention_and_of_what_it_does_not_know(images):
    inputs = keras.Input((4, 5, 8))
    x = layers.PatchToClusterAttention(2, name="attention")(inputs)
    x = keras.layers.SeparableConv2D(4, 3, data_format="channels_last", name="separable")(x)
    report = keras_paca.quantization_report(keras.Model(inputs, x))
    assert report.image_size == (4, 5)
    assert next(layer.macs for layer in report.layers) == 2 * 20 * 20 * 8
    assert report.uncounted == ["separable"]
    assert "not counted: the multiply-accumulates of separable" in str(report)
    assert report.macs == 2 * 20 * 20 * 8 + 4 * 20 * 64
    assert report.quantized_macs == report.quantized_weights == 0


@slow_but_on_torch
@only_on_torch
@pytest.mark.parametrize(
    "clustering",
    ["teacher", *(pytest.param(c, marks=pytest.mark.slow) for c in ("conv", "mlp", "linear"))],
)
def test_report_counts_what_pytorch_counts(clustering, small, images):
    from benchmarks.macs import count_costs

    model = small(clustering=clustering, input_shape=(64, 64, 3))
    report = keras_paca.quantization_report(model)
    counted = count_costs(lambda: model(images(1, 64, 64, 3)))[0]
    if clustering == "teacher":  # its maps are resized by products, which are no layer's
        assert 0.95 * counted < report.macs < counted
    else:
        assert report.macs == counted
    assert report.weights == model.count_params()
    model.quantize("int4")
    quantized = keras_paca.quantization_report(model)
    assert (quantized.macs, quantized.weights) == (report.macs, report.weights)


@slow_but_on_torch
@only_on_torch
@pytest.mark.parametrize(
    ("name", "official"),
    [("PaCaTiny", 3.2), pytest.param("PaCaSmall", 5.5, marks=pytest.mark.slow)],
)
def test_report_counts_the_official_numbers(name, official):
    model = getattr(keras_paca, name)(weights=None)
    report = keras_paca.quantization_report(model)
    assert report.image_size == (224, 224)
    assert round(report.macs / 1e9, 1) == official
    assert report.bytes == 4 * report.weights == 4 * model.count_params()


@pytest.mark.slow
def test_report_of_outputs(small, images):
    x = images(3, 32, 48, 3)
    model = small(input_shape=(None, None, 3))
    logits = small(input_shape=(None, None, 3), classifier_activation=None)
    logits.set_weights(model.get_weights())
    exact, exact_logits = run(model, x)[0], run(logits, x)[0]
    same = keras_paca.quantization_report(model, x, model).changes["outputs"]
    assert same.relative_error < 1e-6
    assert same.cosine == pytest.approx(1)
    assert same.top1_agreement == 1

    for each in (model, logits):
        each.quantize("int4")
    y = run(logits, x)[0]
    y, z = (values - values.mean(axis=-1, keepdims=True) for values in (y, exact_logits))
    report = keras_paca.quantization_report(model, x, exact)
    change = report.changes["outputs"]
    assert report.image_size == (32, 48)
    expected = np.linalg.norm(y - z) / np.linalg.norm(z)
    assert change.relative_error == pytest.approx(expected, rel=1e-3)
    cosines = np.sum(y * z, axis=1) / np.linalg.norm(y, axis=1) / np.linalg.norm(z, axis=1)
    assert change.cosine == pytest.approx(cosines.mean(), abs=1e-6)
    assert change.top1_agreement == np.mean(y.argmax(axis=1) == z.argmax(axis=1))
    assert f"top-1 agreement {change.top1_agreement:.1%}" in str(report)

    wrong = np.roll(exact, 1, axis=1)
    assert keras_paca.quantization_report(model, x, wrong).changes["outputs"].top1_agreement < 1


@pytest.mark.slow
def test_report_of_several_outputs(small, images):
    segmenter = Segmenter(small(include_top=False, input_shape=(32, 32, 3)), num_classes=4)
    x = images(2, 32, 32, 3)
    exact = segmenter.predict(x, verbose=0)
    segmenter.quantize("int8")
    report = keras_paca.quantization_report(segmenter, x, exact)
    assert 1e-4 < report.changes["outputs"].relative_error < 0.1
    head = next(layer for layer in report.layers if layer.path == "decode_head")
    assert head.macs == 8 * 8 * 4 * 6 * 256
    assert report.uncounted == []

    encoder = segmenter.backbone.as_dict_encoder()
    levels = encoder.predict(x, verbose=0)
    report = keras_paca.quantization_report(encoder, x, levels)
    assert {
        name: change.relative_error for name, change in report.changes.items()
    } == dict.fromkeys(levels, 0)


@slow_but_on_torch
def test_report_refuses_what_does_not_fit(small, images):
    model = small(input_shape=(32, 32, 3))
    x = images(1, 32, 32, 3)
    with pytest.raises(ValueError, match="given together"):
        keras_paca.quantization_report(model, x)
    with pytest.raises(ValueError, match=r"of the shape \(1, 5\)"):
        keras_paca.quantization_report(model, x, np.zeros((1, 4)))
    inputs = keras.Input((3,))
    with pytest.raises(ValueError, match="one input"):
        keras_paca.quantization_report(keras.Model(inputs, Dense(2)(inputs)))
