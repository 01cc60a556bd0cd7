"""The parity cases of Castling-ViT: one attention layer each, its outputs and its gradient."""

import keras
import numpy as np

from keras_paca.layers import LinearAngularAttention
from keras_paca.weights import KeyMap, load_official
from tests.parity import official

CASES = tuple(
    f"linear_angular{form}{kind}" for form in ("", "_masked_softmax") for kind in ("", "_gradient")
)
BAR = 5e-6  # relative error of outputs and gradients in float32; the official code: 3e-7


def load(name):
    """Return (model of the layer with the case's weights, whether it trains, expected arrays)."""
    description, checkpoint, expected = official.case(name)
    options = description["options"]
    layer = LinearAngularAttention(
        options["num_heads"],
        qkv_bias=options["qkv_bias"],
        auxiliary=options.get("sparse_reg", False),
        kernel_size=options["res_kernel_size"],
        name="attention",
    )
    model = keras.Sequential([keras.Input(expected["x"].shape[1:]), layer])
    assert model.count_params() == description["parameters"]
    load_official(model, checkpoint, key_map(options["qkv_bias"]), "stand-in")
    return model, layer.auxiliary, expected


def key_map(qkv_bias):
    """Return where the tensors of the official layer belong."""
    keys = KeyMap()
    projections = [f"attention/{name}" for name in ("query", "key", "value")]
    keys.kernels("qkv", projections, "linear", bias=qkv_bias)
    keys.kernel("proj", "attention/attention_output", "linear")
    keys.kernel("dconv", "attention/local", "depthwise", bias=False)
    return keys


def errors(name):
    """Yield (array, relative error, bar) of all that a case holds."""
    model, training, expected = load(name)
    bar = official.FLOAT64_BAR if keras.config.floatx() == "float64" else BAR
    x = expected["x"]
    weights = np.random.RandomState(77).standard_normal(x.shape)
    found = dict(
        zip(("y", "grad_x"), outputs_and_gradient(model, x, weights, training), strict=True)
    )
    for array in expected.keys() - {"x"}:
        yield array, official.relative_error(found[array], expected[array]), bar


def outputs_and_gradient(model, x, weights, training):
    """Return the outputs, in training mode or not, and the gradient by `x` of sum(y * weights)."""
    weights, backend = weights.astype(x.dtype), keras.backend.backend()
    if backend == "jax":
        import jax

        state = [[v.value for v in model.trainable_variables]]
        state.append([v.value for v in model.non_trainable_variables])

        def loss(x):
            y = model.stateless_call(*state, x, training=training)[0]
            return (y * weights).sum(), y

        (_, y), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(x)
    elif backend == "tensorflow":
        import tensorflow as tf

        x = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = model(x, training=training)
            loss = tf.reduce_sum(y * weights)
        gradient = tape.gradient(loss, x)
    else:
        x = keras.ops.convert_to_tensor(x).clone().requires_grad_(True)
        y = model(x, training=training)
        (y * keras.ops.convert_to_tensor(weights)).sum().backward()
        gradient = x.grad
    return keras.ops.convert_to_numpy(y), keras.ops.convert_to_numpy(gradient)
