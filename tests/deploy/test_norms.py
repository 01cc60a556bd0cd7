"""Layer norms in files, in the form of each format."""

import keras
import numpy as np
import pytest

import keras_paca
from keras_paca.deploy import formats
from tests.marks import slow_but_on_tensorflow, with_tensorflow

SUFFIXES = formats.SUFFIXES


pytestmark = [with_tensorflow, pytest.mark.usefixtures("their_warnings")]


@pytest.mark.slow
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
