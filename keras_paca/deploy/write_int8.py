"""LiteRT files in int8: in integers throughout where that is precise enough, or else in part."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np

from keras_paca.deploy.describe import RGB, input_kind
from keras_paca.deploy.litert_operators import Operator, read_operators

# The operators that are as good in int8, whose maps may be rounded to 256 steps. A model of these
# alone, as convolutional networks are, is written in integers throughout.
INTEGER = frozenset((
    "ADD", "AVERAGE_POOL_2D", "BATCH_TO_SPACE_ND", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D",
    "DEPTH_TO_SPACE", "EXPAND_DIMS", "FULLY_CONNECTED", "GELU", "HARD_SWISH", "LEAKY_RELU",
    "LOGISTIC", "MAXIMUM", "MAX_POOL_2D", "MEAN", "MINIMUM", "MIRROR_PAD", "MUL", "PACK", "PAD",
    "PADV2", "PRELU", "RELU", "RELU6", "RELU_N1_TO_1", "RESHAPE", "RESIZE_BILINEAR",
    "RESIZE_NEAREST_NEIGHBOR", "SHAPE", "SLICE", "SPACE_TO_BATCH_ND", "SPACE_TO_DEPTH", "SPLIT",
    "SPLIT_V", "SQUEEZE", "STRIDED_SLICE", "SUB", "TANH", "TRANSPOSE", "TRANSPOSE_CONV", "UNPACK",
))  # fmt: skip
# Those that may be the last ones, in float. Their outputs in int8 are multiples of 1/256, which is
# more than most of a thousand probabilities.
LAST_IN_FLOAT = ("SOFTMAX",)
# Operators that stay in float in a file that isn't in integers throughout. In int8, the outputs of
# a softmax are multiples of 1/256, which is more than the share of most patches in a cluster. The
# sums and scales of norms and residuals are faster in float.
IN_FLOAT = (
    "SOFTMAX",
    "BATCH_MATMUL",
    "ADD",
    "SUB",
    "MUL",
    "SQUARE",
    "SQUARED_DIFFERENCE",
    "MEAN",
    "RSQRT",
)


def write_int8(
    model: keras.Model,
    path: Path,
    signature: list,
    images: np.ndarray,
    integer_only: bool | None = None,
) -> None:
    """Write a LiteRT file in int8.

    Only TensorFlow's quantization debugger can choose by operator.

    Args:
        model: keras.Model. The model, on TensorFlow.
        path: Path. The file.
        signature: list. The `keras.InputSpec` of the input, with its batch size.
        images: np.ndarray. Images from which the ranges are computed.
        integer_only: bool. Whether everything is in integers but the operators that aren't in
            `INTEGER`; otherwise those in `IN_FLOAT` are in float. By default whether all are in
            `INTEGER` but the last.

    Example:
    >>> import tensorflow as tf
    >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)])
    >>> images = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype("float32")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "model.tflite"
    ...     write_int8(model, path, [keras.InputSpec(shape=(1, 8, 8, 3), dtype="float32")], images)
    ...     [each.name for each in read_operators(path.read_bytes()) if each.is_float]
    []
    """
    import tensorflow as tf

    takes_rgb = input_kind(model) == RGB
    images = _with_extremes(images) if takes_rgb and integer_only is not False else images

    def data() -> Iterator[list]:
        batch = signature[0].shape[0]
        for start in range(0, len(images), batch):
            chosen = np.arange(start, start + batch) % len(images)  # the last batch is filled up
            yield [images[chosen]]

    def options(in_float: tuple[str, ...]) -> object:
        return tf.lite.experimental.QuantizationDebugOptions(denylisted_ops=list(in_float))

    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, input_signature=signature, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = data
        debugger = tf.lite.experimental.QuantizationDebugger(
            converter=converter, debug_dataset=data, debug_options=options(IN_FLOAT)
        )
        others = other_operators(read_operators(debugger.calibrated_model))
        if others if integer_only is None else not integer_only:
            path.write_bytes(debugger.get_nondebug_quantized_model())
            return
        debugger.options = options((*others, *LAST_IN_FLOAT))
        content = debugger.get_nondebug_quantized_model()
    path.write_bytes(content if others else _with_integer_input(content, takes_rgb))


def other_operators(operators: list[Operator]) -> list[str]:
    """Return what keeps a model from being computed in integers throughout.

    Args:
        operators: list of Operator. The operators of the model in float.

    Returns:
        list of str. The names of the operators that aren't in `INTEGER`, sorted, without the last
        one if it is in `LAST_IN_FLOAT`.

    Example:
    >>> softmax = {"name": "SOFTMAX", "inputs": ("float32",), "outputs": ("float32",)}
    >>> other_operators([Operator(**softmax, is_last=True)])
    []
    >>> other_operators([Operator(**softmax, is_last=False)])
    ['SOFTMAX']
    """
    return sorted(
        {
            each.name
            for each in operators
            if each.name not in INTEGER and not (each.name in LAST_IN_FLOAT and each.is_last)
        }
    )


def _with_extremes(images: np.ndarray) -> np.ndarray:
    """Return RGB images with a black and a white pixel, so that a step of the input is 1."""
    images = np.array(images)
    images[0, 0, 0], images[0, -1, -1] = 0, 255
    return images


def _with_integer_input(content: bytes, takes_rgb: bool) -> bytes:
    """Return a file with an input of uint8, or of int8 where the model doesn't take RGB."""
    import tensorflow as tf
    from tensorflow.lite.python.util import modify_model_io_type

    return bytes(modify_model_io_type(content, tf.uint8 if takes_rgb else tf.int8, tf.float32))
