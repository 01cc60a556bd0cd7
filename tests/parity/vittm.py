"""The parity cases of ViTTM: how each is built, run and compared."""

import keras

from keras_paca import weights
from keras_paca.backbones import ViTTMSmall, ViTTMTiny
from keras_paca.backbones.loading import load_weights
from tests.parity import official

SMALL = ("vittm_tiny_28", "vittm_tiny_28_gradient")
LARGE = ("vittm_small_16_32",)
BAR = 5e-6  # relative error of logits and gradients in float32
FACTORIES = {"tiny": ViTTMTiny, "small": ViTTMSmall}
CLASSIFIERS = {"memory_logits": "predictions", "process_logits": "process_predictions"}


def build(description, **options):
    """Return the model of a case, without weights, from normalised images to logits."""
    given = description["options"]
    return FACTORIES[given["size"]](
        weights=None,
        **{
            "memory_patch_size": given["memory_patch"],
            "process_patch_size": given["process_patch"],
            "include_preprocessing": False,
            "classifier_activation": None,
            **options,
        },
    )


def load(name, **options):
    """Return (model with the case's weights, description, expected arrays)."""
    description, checkpoint, expected = official.case(name)
    model = build(description, **options)
    load_weights(model, weights.Checkpoint("stand-in", True, checkpoint))
    return model, description, expected


def errors(name):
    """Yield (array, relative error, bar) of all that a case holds."""
    model, description, expected = load(name)
    bar = official.FLOAT64_BAR if keras.config.floatx() == "float64" else BAR
    logits = {array: model.get_layer(layer).output for array, layer in CLASSIFIERS.items()}
    if "grad_norm" in expected:
        both = keras.Model(model.input, keras.ops.add(*logits.values()))
        key_map = model.checkpoint_map(model.get_config())
        found = official.gradient_errors(both, description, expected, (224, 224), key_map)
        for array, error in found.items():
            yield array, error, bar
        return
    probe, outputs = keras.Model(model.input, logits), {}
    for array, values in expected.items():
        name, _, size = array.rpartition("_")
        sides = tuple(int(side) for side in size.split("x"))
        if sides not in outputs:
            x = official.images((len(values), 3, *sides), description["seed"])
            outputs[sides] = probe(x)  # `predict` would compile it
        found = keras.ops.convert_to_numpy(outputs[sides][name])
        yield array, official.relative_error(found, values), bar
