"""The parity cases of the attentive normalizations: how each is built, run and compared."""

import keras
import numpy as np

from keras_paca import layers
from keras_paca.layers.attentive_norm import ATTENTIONS
from tests.parity import official

CASES = (
    *(f"attentive_batch_norm_mode{mode}" for mode in (0, 2, 5, 6)),
    "attentive_group_norm",
)
PATHS = {
    "weight_": "scales",
    "bias_": "offsets",
    "running_mean": "norm/moving_mean",
    "running_var": "norm/moving_variance",
    "attention_weights.attention.0.weight": "attention/kernel",
    "attention_weights.attention.0.bias": "attention/bias",
    "attention_weights.attention.1.weight": "attention_norm/gamma",
    "attention_weights.attention.1.bias": "attention_norm/beta",
    "attention_weights.attention.1.running_mean": "attention_norm/moving_mean",
    "attention_weights.attention.1.running_var": "attention_norm/moving_variance",
}


def load(name, **options):
    """Return (layer with the case's weights, expected arrays)."""
    description, checkpoint, expected = official.case(name)
    if "groups" in description:
        options = {"groups": description["groups"], "attention": "sigmoid", **options}
        layer = layers.AttentiveGroupNormalization(description["k"], **options)
    else:
        attention = list(ATTENTIONS)[int(name[-1])]
        layer = layers.AttentiveBatchNormalization(description["k"], attention, **options)
    layer.build(expected["x"].shape)
    variables = {weight.path.removeprefix(f"{layer.name}/"): weight for weight in layer.weights}
    for key, value in checkpoint.items():
        if not key.endswith("num_batches_tracked"):
            variable = variables.pop(PATHS[key])
            variable.assign(value.T.reshape(variable.shape) if value.ndim == 4 else value)
    assert not variables
    return layer, expected


def errors(name):
    """Yield (array, relative error, bar) of all that a case holds."""
    bar = official.FLOAT64_BAR if keras.config.floatx() == "float64" else official.BAR
    layer, expected = load(name)
    x = expected["x"].astype(keras.config.floatx())
    found = {"y": layer(x)}
    if "y_training" in expected:
        found["y_training"] = layer(x, training=True)
        found["running_mean_after"] = layer.norm.moving_mean
        found["running_var_after"] = layer.norm.moving_variance
    assert found.keys() == expected.keys() - {"x"}
    for array, value in found.items():
        value = np.asarray(keras.ops.convert_to_numpy(value))
        yield array, official.relative_error(value, expected[array]), bar
