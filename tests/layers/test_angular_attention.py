"""Linear angular attention: Keras's own checks, the equation, guards, and what files hold."""

import collections
import re

import keras
import numpy as np
import pytest
from keras import ops

import keras_paca
from keras_paca import layers
from keras_paca.layers.angular_attention import MaskedAttention
from tests.inference.compare import error, randomise
from tests.layers.run import run_layer_test
from tests.marks import slow_but_on_torch

CASES = {
    "tokens": ({"num_heads": 2, "qkv_bias": True, "dropout": 0.1}, (2, 11, 4), 9),
    "grid": (
        {"num_heads": 2, "convolution": "grid", "prefix_tokens": 2, "kernel_size": 3},
        (2, 11, 4),
        6,
    ),
    "map": ({"num_heads": 2, "convolution": "grid", "kernel_size": 3}, (2, 3, 5, 4), 6),
    "map of tokens": ({"num_heads": 1}, (2, 3, 5, 4), 6),
}


@pytest.mark.parametrize(
    "name", ["grid", *(pytest.param(c, marks=slow_but_on_torch) for c in CASES if c != "grid")]
)
def test_run_layer_test(name):
    options, shape, trainable = CASES[name]
    # Keras counts the parameters of PyTorch and takes all but those of weights and seeds for wrong
    auxiliary = keras.backend.backend() != "torch"
    options = {**options, "auxiliary": auxiliary}
    run_layer_test(layers.LinearAngularAttention, options, shape, shape, trainable)


@pytest.fixture
def tokens():
    """Tokens whose attention isn't uniform."""
    return np.random.default_rng(1).normal(size=(2, 13, 8)).astype("float32")


def reference(layer, x, training, prefix=0, grid=None):
    """Return the outputs in float64, from the equation, by loops over the taps."""
    weights = {
        "/".join(w.path.split("/")[-2:]): ops.convert_to_numpy(w).astype("float64")
        for w in layer.weights
    }
    batch, count, channels = x.shape
    size = channels // layer.num_heads

    def heads(name):
        y = x.astype("float64") @ weights[f"{name}/kernel"] + weights.get(f"{name}/bias", 0)
        return y.reshape(batch, count, layer.num_heads, size).swapaxes(1, 2)

    q, k, v = heads("query"), heads("key"), heads("value")
    scores = np.exp(q @ k.swapaxes(2, 3) / np.sqrt(size))
    scores /= scores.sum(-1, keepdims=True)
    mask = scores > layer.threshold
    q, k = (y / np.linalg.norm(y, axis=-1, keepdims=True) for y in (q, k))
    y = v / 2 + q @ k.swapaxes(2, 3) @ v / np.pi + (mask * scores @ v if training else 0)
    y = y / np.linalg.norm(y, axis=-1, keepdims=True)
    kernel = weights["local/kernel"][..., 0]  # (rows, columns, heads)
    rows, columns = grid or (count, 1)
    patches = v[:, :, prefix:].reshape(batch, layer.num_heads, rows, columns, size)
    margins = [(side // 2, side // 2) for side in kernel.shape[:2]]
    padded = np.pad(patches, ((0, 0), (0, 0), *margins, (0, 0)))
    local = sum(
        kernel[i, j, None, :, None, None, None] * padded[:, :, i : i + rows, j : j + columns]
        for i in range(kernel.shape[0])
        for j in range(kernel.shape[1])
    )
    y[:, :, prefix:] += local.reshape(batch, layer.num_heads, -1, size)
    y = y.swapaxes(1, 2).reshape(x.shape)
    return y @ weights["attention_output/kernel"] + weights["attention_output/bias"], mask.mean()


@slow_but_on_torch
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("options", "grid"),
    [
        ({"qkv_bias": True}, None),
        ({"convolution": "grid", "prefix_tokens": 1, "kernel_size": 3}, (3, 4)),
    ],
)
def test_the_equation(options, grid, training, tokens):
    layer = layers.LinearAngularAttention(2, threshold=0.1, **options)
    image = None if grid is None else np.zeros((2, *grid, 3), "float32")
    layer.build(tokens.shape, None if grid is None else image.shape)
    randomise(layer)
    wanted, density = reference(layer, tokens, training, layer.prefix_tokens, grid)
    found = layer(tokens, like=image, training=training)
    assert error(found, ops.convert_to_tensor(wanted.astype("float32"))) < 2e-6
    if training:
        assert 0.05 < density < 0.95
        assert layer.mask_density == pytest.approx(density)


@slow_but_on_torch
def test_a_map_is_its_tokens(tokens):
    x = tokens[:, :12]
    layer = layers.LinearAngularAttention(2)
    assert error(layer(x.reshape(2, 3, 4, 8)), ops.reshape(layer(x), (2, 3, 4, 8))) < 1e-6
    grid = layers.LinearAngularAttention(2, convolution="grid", kernel_size=3)
    wanted = grid(x, like=np.zeros((2, 3, 4, 1), "float32"))
    assert error(grid(x.reshape(2, 3, 4, 8)), ops.reshape(wanted, (2, 3, 4, 8))) < 1e-6
    x = x[:, :9]
    assert error(grid(x), grid(x, like=np.zeros((2, 3, 3, 1), "float32"))) < 1e-6


def gradients(layer, x):
    """Return the gradient of the sum of the outputs in training by the inputs."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        state = [[v.value for v in layer.trainable_variables]]
        state.append([v.value for v in layer.non_trainable_variables])

        def loss(x):
            return layer.stateless_call(*state, x, training=True)[0].sum()

        return np.asarray(jax.jit(jax.grad(loss))(x))
    x = ops.convert_to_tensor(x)
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(layer(x, training=True))
        return tape.gradient(loss, x).numpy()
    x = x.clone().requires_grad_(True)
    layer(x, training=True).sum().backward()
    return ops.convert_to_numpy(x.grad)


@pytest.mark.parametrize(
    "policy", [pytest.param("float32", marks=slow_but_on_torch), "mixed_float16"]
)
def test_zero_vectors(policy):
    """Padded parts of an image: outputs and gradients are finite, and no larger than elsewhere."""
    x = np.random.default_rng(0).normal(size=(1, 12, 8)).astype("float32")
    x[:, 6:] = 0
    layer = layers.LinearAngularAttention(2, kernel_size=3, dtype=policy)
    found = ops.convert_to_numpy(layer(x))
    assert np.isfinite(found).all()
    assert found[:, :6].any()
    assert not found[:, 7:].any()
    for inputs in (x, np.zeros_like(x)):
        found = gradients(layer, inputs)
        assert np.isfinite(found).all()
        assert 0 < np.abs(found).max() < 1


@slow_but_on_torch
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_policies(policy, tokens):
    """Lengths, sums and the softmax are in float32, and a threshold isn't rounded."""
    exact = layers.LinearAngularAttention(2, threshold=0.0769)
    half = layers.LinearAngularAttention(2, threshold=0.0769, dtype=policy)
    x = np.full((2, 13, 8), 300.0, "float32") * np.sign(tokens)  # squares above 65,504
    for layer in (exact, half):
        layer.build(x.shape)
        randomise(layer)
        outputs = layer(x)
    assert keras.backend.standardize_dtype(outputs.dtype) == half.compute_dtype
    assert error(half(x), exact(x)) < (0.003 if policy == "mixed_float16" else 0.02)
    zeros = np.zeros_like(x)  # uniform weights of 1 / 13 = 0.07692...
    half(zeros, training=True)
    assert half.mask_density == 1
    half.threshold = 0.07694
    half(zeros, training=True)
    assert half.mask_density == 0


# --- The auxiliary --------------------------------------------------------------------------------


def test_inference_has_no_auxiliary(tokens, monkeypatch):
    layer = layers.LinearAngularAttention(2)
    layer.build(tokens.shape)
    monkeypatch.setattr(MaskedAttention, "call", None)
    assert layer(tokens).shape == tokens.shape
    assert layers.LinearAngularAttention(2, auxiliary=False)(tokens, training=True) is not None


def test_threshold_and_density(tokens):
    layer = layers.LinearAngularAttention(2, threshold=np.float32(0.02))
    assert layer.mask_density is None
    layer.threshold = 0.5  # before the layer is built
    layer.build(tokens.shape)
    randomise(layer)
    assert layer.mask_density is None
    assert layer.get_config()["threshold"] == 0.5
    assert float(layer.auxiliary_attention.threshold) == 0.5
    densities = []
    for threshold in (0.0, 0.1, 0.3):
        layer.threshold = threshold
        layer(tokens, training=True)
        densities.append(layer.mask_density)
    assert densities[0] == 1
    assert densities[0] > densities[1] > densities[2] > 0
    layer.threshold = 1.0
    wanted = ops.convert_to_numpy(layer(tokens))
    np.testing.assert_allclose(ops.convert_to_numpy(layer(tokens, training=True)), wanted)
    assert layer.mask_density == 0
    assert float(layer.auxiliary_attention.density) == 0


def test_switched_off(tokens):
    layer = layers.LinearAngularAttention(2, threshold=0.0)
    layer(tokens, training=True)
    before, wanted = layer.get_weights(), layer(tokens)
    layer.auxiliary = False
    assert layer.mask_density == 0
    assert not layer.get_config()["auxiliary"]
    assert all("auxiliary" not in v.path for v in layer.variables)
    assert [a.shape for a in layer.get_weights()] == [a.shape for a in before]
    for outputs in (layer(tokens), layer(tokens, training=True)):
        np.testing.assert_array_equal(*map(ops.convert_to_numpy, (outputs, wanted)))
    with pytest.raises(ValueError, match="can't get one"):
        layer.auxiliary = True


@slow_but_on_torch
def test_files_are_the_same_with_and_without(tmp_path, tokens):
    """Each form loads the weights of the other, and none of its two variables is a weight."""
    models = [
        randomise(
            keras.Sequential(
                [
                    keras.Input((13, 8)),
                    layers.LinearAngularAttention(2, auxiliary=auxiliary, name="attention"),
                ]
            ),
            seed=int(auxiliary),
        )
        for auxiliary in (False, True)
    ]
    assert models[0].count_params() == models[1].count_params()
    assert len(models[1].variables) == len(models[0].variables) + 2
    models[1].layers[0].threshold = 0.25
    for source, target in (models, models[::-1]):
        path = tmp_path / "model.weights.h5"
        source.save_weights(path)
        wanted = ops.convert_to_numpy(source(tokens))
        target.load_weights(path)
        np.testing.assert_array_equal(ops.convert_to_numpy(target(tokens)), wanted)
    models[1].save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras").layers[0]
    assert loaded.auxiliary
    assert loaded.threshold == 0.25
    assert loaded.mask_density is None


# --- What is refused ------------------------------------------------------------------------------


@slow_but_on_torch
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_heads": 0}, "`num_heads` must be a positive integer"),
        ({"kernel_size": 4}, "`kernel_size` must be odd. Received: kernel_size=4"),
        ({"convolution": "rows"}, "`convolution` must be one of"),
        ({"prefix_tokens": -1}, "`prefix_tokens` must be a positive integer"),
        ({"threshold": 1.5}, r"`threshold` must lie in \[0, 1\]. Received: threshold=1.5"),
        ({"threshold": True}, "`threshold` must lie in"),
        ({"auxiliary": "no"}, "`auxiliary` must be True or False"),
        ({"dropout": 1.0}, "`dropout` must lie in"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        layers.LinearAngularAttention(**{"num_heads": 2, **options})


@slow_but_on_torch
@pytest.mark.parametrize(
    ("options", "shapes", "message"),
    [
        ({}, [(1, 9, 7)], "`num_heads` must divide the channels"),
        ({}, [(1, 8)], "must be tokens"),
        ({"prefix_tokens": 1}, [(1, 3, 3, 8)], "A map has no prefix tokens"),
        ({"convolution": "grid"}, [(1, 12, 8)], "must make a square"),
        ({"convolution": "grid", "prefix_tokens": 2}, [(1, 12, 8)], "prefix_tokens=2"),
        ({"convolution": "grid"}, [(1, 12, 8), (1, 3, 5, 2)], "as many rows x columns"),
    ],
)
def test_bad_shapes(options, shapes, message):
    layer = layers.LinearAngularAttention(2, **options)
    with pytest.raises(ValueError, match=message):
        layer(*(np.zeros(shape, "float32") for shape in shapes))


@slow_but_on_torch
def test_unknown_number_of_tokens():
    inputs = keras.Input((None, 8)), keras.Input((None, None, 3))
    layer = layers.LinearAngularAttention(2, convolution="grid", prefix_tokens=1)
    model = keras.Model(inputs, layer(*inputs))
    given = np.ones((1, 13, 8), "float32"), np.ones((1, 3, 4, 3), "float32")
    assert tuple(model(given).shape) == (1, 13, 8)
    square = keras.Model(inputs[0], layers.LinearAngularAttention(2, convolution="grid")(inputs[0]))
    assert tuple(square(given[0][:, :9]).shape) == (1, 9, 8)
    with pytest.raises(ValueError, match="must make a square"):
        square(given[0])


@slow_but_on_torch
def test_initial_values_and_products():
    layer = layers.LinearAngularAttention(4, auxiliary=False)
    layer.build((2, 49, 96))
    for dense in (layer.query_dense, layer.key_dense, layer.value_dense, layer.output_dense):
        assert ops.convert_to_numpy(dense.kernel).std() == pytest.approx(0.02, rel=0.05)
    kernel = ops.convert_to_numpy(layer.local.kernel)
    assert kernel.shape == (9, 1, 4, 1)
    assert np.abs(kernel).max() <= 1 / 3
    assert kernel.std() == pytest.approx(1 / 3 / np.sqrt(3), rel=0.4)
    # k^T v and q (k^T v): 96 / 4 products for each of the 96 channels of 2 x 49 tokens
    assert layer.count_products((2, 49, 96)) == 2 * 2 * 49 * 96 * 24


@slow_but_on_torch
@pytest.mark.parametrize("convolution", ["tokens", "grid"])
def test_products_of_a_model(convolution):
    """Four projections, k^T v, q (k^T v) and the filters, for 12 tokens of 8 channels."""
    image = keras.Input((3, 4, 8))
    layer = layers.LinearAngularAttention(2, kernel_size=3, convolution=convolution)
    tokens = keras.layers.Reshape((12, 8))(image)
    model = keras.Model(image, layer(tokens, like=image))
    report = keras_paca.quantization_report(model, image_size=(3, 4))
    taps = 3 if convolution == "tokens" else 9
    assert report.macs == 12 * 8 * (4 * 8 + 2 * 4 + taps)


# --- Exports and training that is compiled --------------------------------------------------------


def operators(model, folder):
    """Return how often each operator occurs in what the backend exports of a model."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        state = [[v.value for v in model.trainable_variables]]
        state.append([v.value for v in model.non_trainable_variables])
        call = lambda x: model.stateless_call(*state, x, training=False)[0]  # noqa: E731
        text = jax.jit(call).lower(np.zeros((2, 13, 8), "float32")).as_text()
        return collections.Counter(re.findall(r"stablehlo\.(\w+)", text))
    if backend == "tensorflow":
        import tensorflow as tf

        model.export(folder, format="tf_saved_model", verbose=False)
        graph = tf.saved_model.load(folder).signatures["serving_default"].graph.as_graph_def()
        nodes = [*graph.node, *(node for each in graph.library.function for node in each.node_def)]
        return collections.Counter(node.op for node in nodes)
    import torch

    program = torch.export.export(model, (torch.zeros(2, 13, 8),))
    return collections.Counter(
        str(node.target) for node in program.graph.nodes if "call" in node.op
    )


def test_exports_hold_no_auxiliary(tmp_path):
    """As many of each operator as without it, and no softmax."""
    found = []
    for auxiliary in (True, False):
        layer = layers.LinearAngularAttention(2, auxiliary=auxiliary)
        model = keras.Sequential([keras.Input((13, 8)), layer])
        found.append(operators(model, str(tmp_path / str(auxiliary))))
    names = " ".join(found[0]).lower()
    assert "softmax" not in names
    assert "exp " not in names
    assert sum(found[1].values()) > 10
    for name in (found[0] | found[1]).keys() - {"VarHandleOp", "ReadVariableOp", "Const"}:
        assert found[0][name] == found[1][name], name


@slow_but_on_torch
@pytest.mark.parametrize("recompute", [False, True])
def test_recomputed_in_the_backward_pass(recompute, tokens):
    """The density is kept once where a block around it is computed again."""

    class Block(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.attention = layers.LinearAngularAttention(2, threshold=0.1)

        def build(self, shape):
            self.attention.build(shape)

        def call(self, x, training=False):
            call = lambda x: self.attention(x, training=training)  # noqa: E731
            return keras_paca.ops.recompute([self.attention], call, x) if recompute else call(x)

    model = keras.Sequential([keras.Input((13, 8)), Block()])
    randomise(model)
    _, wanted = reference(model.layers[0].attention, tokens, True)
    model.compile("sgd", "mse")
    model.train_on_batch(tokens, tokens)
    assert model.layers[0].attention.mask_density == pytest.approx(wanted)
