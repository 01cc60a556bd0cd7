"""Models with attentive normalizations in the place of their batch norms."""

import inspect

import keras
import numpy as np
import pytest
from keras import ops

import keras_paca
from keras_paca.conversions.attentive import RULES
from keras_paca.layers import AttentiveBatchNormalization
from keras_paca.layers.attentive_norm import ATTENTIONS
from tests.inference.compare import arrays, error, randomise
from tests.marks import slow_but_on_torch

HAS_RENORM = "renorm" in inspect.signature(keras.layers.BatchNormalization.__init__).parameters


def attentive_norms(model):
    return {x.name: x for x in model.layers if isinstance(x, AttentiveBatchNormalization)}


def check(model, x, tmp_path, **options):
    """Convert a model of random weights, compare, save and load, and return the converted one."""
    randomise(model)
    before = [np.array(weight) for weight in model.get_weights()]
    wanted = model.predict(x, verbose=0)
    converted = keras_paca.attentive(model, **options)
    assert converted.name == model.name
    assert [layer.name for layer in converted.layers][1:] == [x.name for x in model.layers][1:]
    assert error(converted.predict(x, verbose=0), wanted) < 1e-5
    for weight, array in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, array)
    converted.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert error(loaded.predict(x, verbose=0), converted.predict(x, verbose=0)) == 0
    return converted


# --- Models of keras.applications ----------------------------------------------------------------


@slow_but_on_torch
def test_mobilenet_v2(images, tmp_path):
    model = keras.applications.MobileNetV2((32, 32, 3), 0.35, weights=None, classes=5)
    converted = check(model, images(2, 32, 32, 3) / 100 - 1, tmp_path)
    norms = attentive_norms(converted)
    assert len(norms) == 17
    assert norms["expanded_conv_depthwise_BN"].mixtures == 5
    assert norms["block_9_depthwise_BN"].mixtures == 5
    assert norms["block_10_depthwise_BN"].mixtures == 10
    assert {(x.momentum, x.epsilon) for x in norms.values()} == {(0.999, 1e-3)}


@pytest.mark.slow
def test_resnet50(images, tmp_path):
    model = keras.applications.ResNet50(weights=None, input_shape=(32, 32, 3), classes=5)
    converted = check(model, images(2, 32, 32, 3) / 100 - 1, tmp_path)
    norms = attentive_norms(converted)
    repeats = enumerate((3, 4, 6, 3))
    assert set(norms) == {f"conv{s + 2}_block{b + 1}_2_bn" for s, n in repeats for b in range(n)}
    assert norms["conv3_block4_2_bn"].mixtures == 10
    assert norms["conv4_block1_2_bn"].mixtures == 20
    assert {(x.momentum, x.epsilon) for x in norms.values()} == {(0.99, 1.001e-5)}
    # the paper's 25.76 million instead of 25.56
    added = converted.count_params() - model.count_params()
    widths = [
        x.mixtures * (3 * x.scales.shape[1] + 4) - 2 * x.scales.shape[1] for x in norms.values()
    ]
    assert added == sum(widths)
    assert round((added + 25.56e6) / 1e6, 2) == 25.76


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "count", "one"),
    [
        ("ResNet50V2", 16, "conv2_block1_2_bn"),
        ("DenseNet121", 58, "conv5_block16_1_bn"),
    ],
)
def test_other_applications(name, count, one, images, tmp_path):
    build = getattr(keras.applications, name)
    model = build(weights=None, input_shape=(32, 32, 3), include_top=False)
    norms = attentive_norms(check(model, images(2, 32, 32, 3) / 100 - 1, tmp_path))
    assert len(norms) == count
    assert one in norms


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ResNet50", "MobileNetV2"])
@pytest.mark.parametrize(("dtype", "bar"), [("float64", 1e-12), ("float32", 2e-5)])
def test_how_close_the_outputs_are(name, dtype, bar, images):
    """As the docstring says."""
    if dtype == "float64" and keras.backend.backend() != "tensorflow":
        pytest.skip("Keras computes float64 on TensorFlow alone")
    keras.config.set_dtype_policy(dtype)
    options = {"weights": None, "input_shape": (64, 64, 3), "classifier_activation": None}
    model = getattr(keras.applications, name)(**options)
    converted = keras_paca.attentive(model)
    x = keras.ops.cast(images(2, 64, 64, 3) / 127.5 - 1, dtype)
    old, new = (
        keras.ops.convert_to_numpy(each(x)).astype("float64") for each in (model, converted)
    )
    difference = np.linalg.norm(new - old) / np.linalg.norm(old)
    print(f"{name}, {dtype}: {difference:.1e}")
    assert difference < bar


def test_rules():
    """Of KerasHub's names, too; no rule finds the norms of another's networks."""
    bottleneck = [
        f"stack1_block0_{part}" for part in ("0_bn", "1_bn", "2_bn", "3_conv", "3_bn", "out")
    ]
    basic = [f"stack0_block1_{part}" for part in ("1_bn", "2_bn", "add", "out")]
    dense = [f"stack2_block1_{part}" for part in ("1_bn", "2_bn", "concat")]
    older = [f"conv3_block1_{part}" for part in ("0_bn", "1_bn", "concat")]
    mobile = ["block_1_depthwise_BN", "block_16_depthwise_BN", "expanded_conv_depthwise_BN"]
    names = [*bottleneck, *basic, *dense, *older, *mobile, "conv1_bn", "bn", "conv2_block1_2_bn"]
    assert RULES["resnet"].find(names) == {"stack1_block0_2_bn": 1, "stack0_block1_1_bn": 0}
    assert RULES["densenet"].find(names) == {"stack2_block1_2_bn": 0, "conv3_block1_1_bn": 1}
    assert RULES["mobilenet_v2"].find(names) == dict(zip(mobile, (1, 6, 0), strict=True))
    assert RULES["resnet"].find([]) == {}


@pytest.mark.slow
@pytest.mark.together
@pytest.mark.parametrize("format", ["litert", "onnx", "openvino", "tf_saved_model"])
def test_exports(format, tmp_path):
    """Each is run and compared with Keras by `export` itself."""
    inputs = keras.Input((32, 32, 3))
    body = keras.applications.MobileNetV2((32, 32, 3), 0.35, weights=None, classes=5)
    model = keras.Model(inputs, body(keras.layers.Rescaling(1 / 127.5, -1)(inputs)))
    converted = keras_paca.attentive(randomise(model))
    suffix = {"litert": ".tflite", "onnx": ".onnx", "openvino": ".xml", "tf_saved_model": ""}
    keras_paca.export(converted, tmp_path / f"model{suffix[format]}", format=format, verbose=False)


# --- The start ----------------------------------------------------------------------------------


def small(**norm):
    """Return a model of two batch norms, one of them in a model inside, and an addition."""
    inside = keras.Sequential(
        [
            keras.layers.Conv2D(6, 3, padding="same", data_format="channels_last"),
            keras.layers.BatchNormalization(name="inner_bn", **norm),
        ],
        name="inside",
    )
    inputs = keras.Input((None, None, 4))
    x = keras.layers.Conv2D(6, 1, data_format="channels_last")(inputs)
    x = keras.layers.BatchNormalization(name="outer_bn", **norm)(x)
    x = keras.layers.Lambda(lambda x: x * 2, output_shape=(None, None, 6))(x)
    x = keras.layers.ReLU()(x + inside(inputs))
    x = keras.layers.GlobalAveragePooling2D(data_format="channels_last")(x)
    x = keras.layers.BatchNormalization(name="last_bn")(keras.layers.Dense(5)(x))
    return randomise(keras.Model(inputs, x))


@slow_but_on_torch
@pytest.mark.parametrize(
    ("attention", "k", "norm"),
    [
        *((attention, k, {}) for attention in ATTENTIONS for k in (2, 5)),
        ("norm_hard_sigmoid", 1, {}),
        ("two_layer_sigmoid", 1, {"scale": False}),
        ("norm_softmax", 3, {"center": False}),
    ],
)
def test_equal_at_the_start(attention, k, norm, images):
    """In inference and in training, whatever the attention is, which differs between images."""
    model, x = small(**norm), images(4, 7, 5, 4) / 100 - 1
    converted = keras_paca.attentive(model, "*er_bn", k, attention=attention, squeeze="average")
    norm = converted.get_layer("inside").layers[-1]
    assert isinstance(norm, AttentiveBatchNormalization)
    mixture = arrays(norm.mixture_weights(np.tile(x, (1, 1, 1, 2))[..., :6]))[0]
    assert (k > 1) == (mixture.std(0).max() > 1e-3)
    assert error(converted(x), model(x)) < 1e-5
    # in training, the last batch norm, over 4 vectors, magnifies what is rounded
    assert error(converted(x, training=True), model(x, training=True)) < 1e-4


def test_training(images, tmp_path):
    """Between predictions, on each backend: two models never share an array."""
    inputs = keras.Input((6, 5, 4))
    x = keras.layers.BatchNormalization(name="bn")(inputs)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    converted = check(model, images(4, 6, 5, 4) / 100 - 1, tmp_path, where="bn")
    converted.compile("sgd", "mse")
    converted.fit(images(4, 6, 5, 4), images(4, 4), verbose=0)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


@slow_but_on_torch
def test_the_pairs_part(images):
    """All weights train, the pairs part, and the loss falls."""
    x, y = images(8, 7, 5, 4) / 100 - 1, images(8, 5, seed=1) / 100 - 1
    converted = keras_paca.attentive(small(), "*er_bn", 3)
    converted.compile(keras.optimizers.Adam(0.01), "mse")
    before = [np.array(weight) for weight in converted.get_weights()]
    losses = converted.fit(x, y, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    assert all(
        np.abs(a - b).max() > 0 for a, b in zip(converted.get_weights(), before, strict=True)
    )
    scales = arrays(converted.get_layer("outer_bn").scales)[0]
    assert np.abs(scales[0] - scales[1]).max() > 1e-3
    assert error(keras_paca.fuse(converted)(x), converted(x)) < 1e-5


# --- Arguments and what is kept -----------------------------------------------------------------


@slow_but_on_torch
def test_where_and_k():
    model = small()
    by_function = keras_paca.attentive(model, lambda norm: norm.name == "outer_bn", k=3)
    assert list(attentive_norms(by_function)) == ["outer_bn"]
    assert isinstance(by_function.get_layer("inside").layers[-1], keras.layers.BatchNormalization)
    twice = keras_paca.attentive(by_function, "inner_*")
    assert twice.get_layer("outer_bn").mixtures == 3
    assert twice.get_layer("inside").layers[-1].mixtures == 10
    model = keras.applications.MobileNetV2((32, 32, 3), 0.35, weights=None)
    per_stage = keras_paca.attentive(model, "mobilenet_v2", (1, 2, 3, 4, 5, 6, 7))
    found = [norm.mixtures for norm in attentive_norms(per_stage).values()]
    assert found == [1, 2, 2, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 6, 6, 6, 7]
    same = attentive_norms(keras_paca.attentive(model, k=4)).values()
    assert {norm.mixtures for norm in same} == {4}


@slow_but_on_torch
def test_what_is_kept(images):
    """Frozen norms, policies, a norm that is used twice, structured outputs, and levels."""
    inputs = keras.Input((8, 8, 4), name="images")
    norm = keras.layers.BatchNormalization(name="bn", trainable=False, dtype="mixed_bfloat16")
    first = norm(inputs)
    second = norm(keras.layers.ReLU(name="relu")(first))
    model = keras.Model({"images": inputs}, {"a": first, "b": second}, name="twice")
    model.pyramid_outputs = {"P3": first}
    model.compile("sgd", "mse")
    converted = keras_paca.attentive(randomise(model), "bn")
    new = converted.get_layer("bn")
    assert new.dtype_policy.name == "mixed_bfloat16"
    assert not new.trainable_weights
    x = {"images": images(2, 8, 8, 4) / 100 - 1}
    found = converted(x, training=True)
    assert set(found) == {"a", "b"}
    assert (
        error(
            {k: ops.cast(v, "float32") for k, v in found.items()},
            {k: ops.cast(v, "float32") for k, v in model(x).items()},
        )
        < 1e-2
    )
    assert not converted.compiled
    levels = keras.Model(converted.input, converted.pyramid_outputs)(x)
    assert error(ops.cast(levels["P3"], "float32"), ops.cast(found["a"], "float32")) == 0


@slow_but_on_torch
@pytest.mark.parametrize(
    ("where", "k", "message"),
    [
        (
            "resnet",
            None,
            r"must choose a batch norm.* Received: where='resnet' for .* 3 others, such",
        ),
        (None, None, "`where` must choose a batch normalization of the model's graph. Received"),
        ("conv*", None, r"where='conv\*'"),
        (lambda norm: False, None, "must choose a batch normalization"),
        (3, None, "`where` must be 'mobilenet_v2', 'densenet', 'resnet', a pattern .*where=3"),
        ("*_bn", None, "over the last axis of maps .*'last_bn' over the axis -1 of 2"),
        ("outer_bn", 0, "`k` must be a positive integer. Received: k=0"),
        ("outer_bn", (3, 4), r"`k` must be an integer. Received: k=\(3, 4\)"),
    ],
)
def test_bad_arguments(where, k, message):
    with pytest.raises(ValueError, match=message):
        keras_paca.attentive(small(), where, k)


@slow_but_on_torch
def test_bad_models():
    class Subclassed(keras.Model):
        def call(self, inputs):
            return inputs

    for model in (Subclassed(), keras.Sequential([keras.layers.ReLU()]), keras.layers.ReLU(), None):
        with pytest.raises(ValueError, match="`model` must be a functional model"):
            keras_paca.attentive(model)
    model = keras.applications.MobileNetV2((32, 32, 3), 0.35, weights=None)
    with pytest.raises(ValueError, match=r"each of 7 stages. Received: k=\[3, 4\]"):
        keras_paca.attentive(model, k=[3, 4])
    with pytest.raises(ValueError, match=r"has attentive ones already\. Received: where=None"):
        keras_paca.attentive(keras_paca.attentive(model))
    with pytest.raises(ValueError, match="`attention` must be one of"):
        keras_paca.attentive(model, attention="relu")
    inputs = keras.Input((4, 8, 8))
    for options, message in (
        ({"axis": 1}, "over the last axis of maps .* over the axis 1 of 4"),
        ({"gamma_regularizer": "l2"}, "no gamma_regularizer"),
        *([({"renorm": True}, "no `renorm`")] if HAS_RENORM else []),
    ):
        norm = keras.layers.BatchNormalization(name="bn", **options)
        with pytest.raises(ValueError, match=message):
            keras_paca.attentive(keras.Model(inputs, norm(inputs)), "bn")
