"""Operators that ONNX lacks, or that a loop repeats."""

import keras
import numpy as np
import pytest

import keras_paca
from keras_paca.detection.boxes import suppress
from tests.marks import with_tensorflow

BACKEND = keras.backend.backend()


pytestmark = [with_tensorflow, pytest.mark.usefixtures("their_warnings")]


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
