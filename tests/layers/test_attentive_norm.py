"""Attentive normalizations: Keras's own checks, the equations, statistics, and what is refused."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

import keras_paca
from keras_paca import layers
from keras_paca.layers.attentive_norm import ATTENTIONS, SQUEEZES
from tests.inference.compare import error, randomise
from tests.layers.run import run_layer_test
from tests.marks import slow_but_on_torch

BATCH, GROUP = layers.AttentiveBatchNormalization, layers.AttentiveGroupNormalization


@slow_but_on_torch
@pytest.mark.parametrize(
    ("cls", "options", "trainable", "statistics"),
    [
        (BATCH, {}, 2 + 1 + 2, 2 + 2),
        (GROUP, {"groups": 2}, 2 + 2, 0),
        (
            BATCH,
            {"attention": "two_layer_norm_hard_sigmoid", "hidden_units": 5},
            2 + 2 * 3,
            3 * 2,
        ),
    ],
)
def test_run_layer_test(cls, options, trainable, statistics):
    run_layer_test(
        cls,
        {"mixtures": 3, **options},
        (2, 7, 5, 4),
        (2, 7, 5, 4),
        trainable,
        expected_num_non_trainable_weights=statistics,
    )


# --- The equations ------------------------------------------------------------------------------


def standardize(x, axes, epsilon=1e-5):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)


def by_hand(layer, x, training):
    """Return what the layer computes in float64, from the equations."""
    weights = {
        weight.path.removeprefix(f"{layer.name}/"): ops.convert_to_numpy(weight).astype("float64")
        for weight in layer.weights
    }

    def batch_norm(x, name):
        axes = tuple(range(x.ndim - 1))
        if training:
            return standardize(x, axes)
        mean, variance = (weights[f"{name}/moving_{which}"] for which in ("mean", "variance"))
        return (x - mean) / np.sqrt(variance + 1e-5)

    def normalize(x, name):
        x = batch_norm(x, name) if isinstance(layer, BATCH) else standardize(x, -1)
        return x * weights[f"{name}/gamma"] + weights[f"{name}/beta"]

    s = x.mean((1, 2))
    if layer.squeeze == "standardized":
        s = s / np.sqrt(x.var((1, 2), ddof=1) + 1e-3)
    elif layer.squeeze == "average_max":
        s = s + x.max((1, 2))
    for name in ("hidden", "attention"):
        if f"{name}/kernel" in weights:
            s = s @ weights[f"{name}/kernel"] + weights.get(f"{name}/bias", 0)
            s = normalize(s, f"{name}_norm") if "norm" in layer.attention else s
            s = np.maximum(s, 0) if name == "hidden" else s
    if layer.attention.endswith("hard_sigmoid"):
        mixture = np.clip(s / 6 + 0.5, 0, 1)
    elif layer.attention.endswith("softmax"):
        mixture = np.exp(s) / np.exp(s).sum(-1, keepdims=True)
    else:
        mixture = 1 / (1 + np.exp(-s))
    if isinstance(layer, BATCH):
        z = batch_norm(x, "norm")
    else:
        groups = x.reshape(*x.shape[:3], layer.groups, -1)
        z = standardize(groups, (1, 2, 4)).reshape(x.shape)
    scale, offset = mixture @ weights["scales"], mixture @ weights["offsets"]
    return scale[:, None, None] * z + offset[:, None, None], mixture


@pytest.mark.parametrize(
    ("attention", "squeeze"),
    [
        ("norm_hard_sigmoid", "standardized"),  # the published one on each backend
        *(
            pytest.param(attention, squeeze, marks=slow_but_on_torch)
            for attention in ATTENTIONS
            for squeeze in SQUEEZES
            if (attention, squeeze) != ("norm_hard_sigmoid", "standardized")
        ),
    ],
)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("cls", [BATCH, pytest.param(GROUP, marks=slow_but_on_torch)])
def test_equations(attention, squeeze, training, cls, images):
    options = {"groups": 2} if cls is GROUP else {}
    layer = cls(3, attention=attention, squeeze=squeeze, **options)
    # of different contrasts, without which the attention's batch norm divides by almost nothing
    x = (images(4, 7, 5, 6) / 100 - 1) * np.float32([0.5, 1, 2, 3]).reshape(4, 1, 1, 1)
    layer.build(x.shape)
    randomise(layer)
    wanted = by_hand(layer, x.astype("float64"), training)
    found = layer(x, training=training), layer.mixture_weights(x, training=training)
    assert error(found, wanted) < 1e-5


@slow_but_on_torch
@pytest.mark.parametrize("shape", [(2, 1, 1, 4), (1, 1, 1, 4)])
@pytest.mark.parametrize("cls", [BATCH, GROUP])
def test_maps_of_one_pixel(cls, shape, images):
    """Their unbiased variance would be 0 / 0."""
    layer, x = cls(3, **({"groups": 2} if cls is GROUP else {})), images(*shape) / 100
    for training in (False, True):
        assert np.isfinite(ops.convert_to_numpy(layer(x, training=training))).all()
    squeezed = ops.convert_to_numpy(layer._squeeze(x))
    np.testing.assert_allclose(squeezed, x[:, 0, 0] / np.sqrt(1e-3), rtol=1e-5)
    model = keras.Sequential([keras.Input((None, None, 4)), layer])
    model.compile("sgd", "mse")
    model.fit(x, x, verbose=0)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_unknown_sizes_and_training(images):
    """Outputs at an odd size are those of a layer of that size, and all weights change."""
    x = images(3, 7, 5, 4) / 100
    model = randomise(keras.Sequential([keras.Input((None, None, 4)), BATCH(3)]))
    layer = BATCH(3)
    layer.build(x.shape)
    layer.set_weights(model.get_weights())
    model.compile("sgd", "mse")
    before = [np.array(weight) for weight in model.get_weights()]
    assert error(model.predict(x, verbose=0), layer(x)) < 1e-5
    model.fit(x, x, verbose=0)
    layer(x, training=True)
    for name in ("moving_mean", "moving_variance"):
        found, wanted = (getattr(each.norm, name) for each in (model.layers[0], layer))
        assert error(found, wanted) < 1e-5
    assert all(np.abs(a - b).max() > 0 for a, b in zip(model.get_weights(), before, strict=True))


@slow_but_on_torch
@pytest.mark.parametrize("cls", [BATCH, GROUP])
def test_under_channels_first(cls, images):
    """Keras's global layout changes nothing."""
    found = []
    for layout in ("channels_last", "channels_first"):
        keras.config.set_image_data_format(layout)
        layer = cls(3, **({"groups": 2} if cls is GROUP else {}))
        layer.build((2, 7, 5, 4))
        found.append(randomise(layer)(images(2, 7, 5, 4) / 100, training=True))
    assert error(found[0], found[1]) == 0


@slow_but_on_torch
def test_frozen(images):
    """A frozen layer uses its moving statistics; so does one whose norms alone are frozen."""
    x, layer = images(3, 7, 5, 4) / 100, BATCH(3)
    layer.build(x.shape)
    randomise(layer)
    wanted = layer(x)
    layer.norm.trainable = layer.attention_norm.trainable = False
    copy = BATCH.from_config(layer.get_config())
    copy.build(x.shape)
    copy.set_weights(layer.get_weights())
    layer.trainable = False
    for each in (layer, copy):
        assert error(each(x, training=True), wanted) == 0
    assert len(copy.trainable_weights) == 3
    assert not layer.trainable_weights


# --- Precision ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "cls"),
    [
        ("mixed_float16", BATCH),
        pytest.param("mixed_bfloat16", BATCH, marks=slow_but_on_torch),
        pytest.param("mixed_float16", GROUP, marks=slow_but_on_torch),
        pytest.param("mixed_bfloat16", GROUP, marks=slow_but_on_torch),
    ],
)
def test_statistics_are_float32(policy, cls):
    """Squares of the values exceed float16, and the attention isn't rounded."""
    options = {"momentum": 0.0} if cls is BATCH else {"groups": 2}
    x = 300 + np.random.default_rng(0).normal(size=(2, 16, 16, 4)).astype("float32") * 40
    x = np.float32(ops.convert_to_numpy(ops.cast(ops.cast(x, policy[6:]), "float32")))
    exact, layer = (cls(3, dtype=dtype, **options) for dtype in ("float32", policy))
    for each in (exact, layer):
        each.build(x.shape)
        randomise(each)
    outputs, wanted = layer(x, training=True), exact(x, training=True)
    assert keras.backend.standardize_dtype(outputs.dtype) == policy[6:]
    assert error(ops.cast(outputs, "float32"), wanted) < (
        1e-3 if policy == "mixed_float16" else 5e-3
    )
    assert {weight.dtype for weight in layer.weights} == {"float32"}
    if cls is BATCH:
        assert error(layer.norm.moving_variance, x.var((0, 1, 2), ddof=1)) < 1e-5
    mixture = layer.mixture_weights(x)
    assert keras.backend.standardize_dtype(mixture.dtype) == "float32"
    assert error(mixture, exact.mixture_weights(x)) < 1e-5


@slow_but_on_torch
@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize`")
def test_quantized_layers_are_saved(images, tmp_path):
    """The attention's linear layer has an int8 form like any other."""
    x = images(2, 7, 5, 16) / 100
    model = randomise(keras.Sequential([keras.Input((7, 5, 16)), BATCH(4)]))
    wanted = model(x)
    model.quantize("int8")
    assert model.layers[0].attention_dense.quantization_mode == "int8"
    assert error(model(x), wanted) < 0.05
    model.save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras")
    assert error(copy(x), model(x)) == 0


@slow_but_on_torch
def test_products(images):
    """K C of the attention and 2 K C of the mixture; nothing per pixel."""
    inputs = keras.Input((7, 5, 16))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(BATCH(4)(inputs)))
    report = keras_paca.quantization_report(model, image_size=(7, 5))
    assert report.macs == 3 * 4 * 16


# --- Initial values, replicas, errors -----------------------------------------------------------


@slow_but_on_torch
def test_initial_values():
    """N(1, 0.1) and N(0, 0.1), and the "Kaiming" deviation sqrt(2 / K) of the attention."""
    layer = BATCH(20, "two_layer_sigmoid", hidden_units=30)
    layer.build((None, None, None, 256))
    for weight, mean, deviation in (
        (layer.scales, 1, 0.1),
        (layer.offsets, 0, 0.1),
        (layer.hidden_dense.kernel, 0, np.sqrt(2 / 30)),
        (layer.attention_dense.kernel, 0, np.sqrt(2 / 20)),
    ):
        values = ops.convert_to_numpy(weight)
        assert abs(values.mean() - mean) < 4 * deviation / np.sqrt(values.size)
        assert abs(values.std() / deviation - 1) < 4 / np.sqrt(values.size)
    assert not ops.convert_to_numpy(layer.attention_dense.bias).any()
    assert BATCH(3).norm.epsilon == 1e-5
    assert BATCH(3).attention_norm.momentum == 0.9
    layer = BATCH(3, momentum=0.8, epsilon=1e-3)
    assert (layer.norm.momentum, layer.norm.epsilon) == (0.8, 1e-3)
    assert (layer.attention_norm.momentum, layer.attention_norm.epsilon) == (0.9, 1e-5)


REPLICAS = """
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from keras_paca import layers

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    norm = layers.AttentiveBatchNormalization(3, momentum=0.0, synchronized=True)
    norm.build((None, 2, 3, 4))
x = np.random.default_rng(0).normal(size=(6, 2, 3, 4)).astype("float32")


@tf.function
def step():
    def replica():
        first = tf.distribute.get_replica_context().replica_id_in_sync_group == 0
        return norm(tf.cond(first, lambda: x[:4], lambda: x[4:]), training=True)

    return strategy.run(replica)


found = np.concatenate([part.numpy() for part in step().values])
alone = layers.AttentiveBatchNormalization(3, momentum=0.0)
alone.build((None, 2, 3, 4))
alone.set_weights(norm.get_weights())
np.testing.assert_allclose(found, alone(x, training=True), rtol=1e-4, atol=1e-5)
for one, other in zip(norm.get_weights(), alone.get_weights(), strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
"""


@pytest.mark.slow  # another process imports TensorFlow: 6 s
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the others have no replicas")
def test_synchronized():
    """Two replicas with 4 and 2 maps compute what one computes with 6, the attention included."""
    answer = subprocess.run([sys.executable, "-c", REPLICAS], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr


@slow_but_on_torch
@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (BATCH, {"mixtures": 0}, "`mixtures` must be a positive integer. Received: mixtures=0"),
        (BATCH, {"attention": "relu"}, r"`attention` must be one of \('sigmoid'.*'relu'"),
        (BATCH, {"squeeze": "max"}, r"`squeeze` must be one of \('standardized'.*'max'"),
        (BATCH, {"hidden_units": 4}, "`hidden_units` is for an `attention` of two layers"),
        (
            BATCH,
            {"hidden_units": 0, "attention": "two_layer_sigmoid"},
            "`hidden_units` must be a positive integer",
        ),
        (BATCH, {"momentum": -1}, "`momentum` must be a finite number of at least 0"),
        (BATCH, {"epsilon": "small"}, "`epsilon` must be a finite number of at least 0"),
        (BATCH, {"synchronized": "yes"}, "`synchronized` must be True or False"),
        (GROUP, {"groups": 0}, "`groups` must be a positive integer"),
        (GROUP, {"epsilon": -1.0}, "`epsilon` must be a finite number of at least 0"),
    ],
)
def test_bad_arguments(cls, options, message):
    with pytest.raises(ValueError, match=message):
        cls(**{"mixtures": 3, **options})


@slow_but_on_torch
def test_bad_inputs():
    for shape in ((2, 8), (2, 4, 8), (2, 4, 4, None)):
        with pytest.raises(ValueError, match="must be a map"):
            BATCH(3).build(shape)
    with pytest.raises(ValueError, match="must be a map"):
        GROUP(3, groups=2).build((2, 8))
    with pytest.raises(ValueError, match=r"`groups` must divide .* groups=3, input_shape=\(2, 4"):
        GROUP(3, groups=3).build((2, 4, 4, 8))


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="Keras has it there alone")
@pytest.mark.parametrize("name", ["AttentiveBatchNormalization", "AttentiveGroupNormalization"])
def test_float64_is_kept(name):
    """Keras computes many operations on float64 in float32 on PyTorch, and all on JAX."""
    options = {"groups": 2} if "Group" in name else {}
    layer = getattr(layers, name)(3, **options, dtype="float64")
    layer.build((None, None, None, 8))
    assert {keras.backend.standardize_dtype(x.dtype) for x in layer.weights} == {"float64"}
    x = ops.ones((2, 3, 3, 8), "float64") / 3
    assert keras.backend.standardize_dtype(layer(x, training=True).dtype) == "float64"
