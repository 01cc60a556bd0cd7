"""The parity cases of networks with attentive normalization, and of a detector's box head."""

import keras
import numpy as np

from keras_paca import weights
from keras_paca.backbones import DenseNet121AN, MobileNetV2AN, ResNet50AN
from keras_paca.backbones.loading import load_weights
from keras_paca.detection import AttentiveBoxHead
from keras_paca.detection.checkpoints import box_head_map
from keras_paca.inference import fuse
from tests.parity import official

NETWORKS = {
    "mobilenetv2_an": MobileNetV2AN,
    "densenet121_an": DenseNet121AN,
    "resnet50_an": ResNet50AN,
}
BOX_HEAD = "box_head_an_gn"
BAR = 5e-6


def load(name, **options):
    """Return (model with the case's weights, description, expected arrays)."""
    description, checkpoint, expected = official.case(name)
    options = {"include_preprocessing": False, "classifier_activation": None, **options}
    model = NETWORKS[name](weights=None, **options)
    load_weights(model, weights.Checkpoint("stand-in", True, checkpoint))
    return model, description, expected


def errors(name):
    """Yield (array, relative error, bar) of all that a case holds, fused models included."""
    bar = official.FLOAT64_BAR if keras.config.floatx() == "float64" else BAR
    model, description, expected = load(name)
    for kind, each in (("", model), ("fused_", fuse(model))):
        for array, values in expected.items():
            sides = (int(side) for side in array.rpartition("_")[2].split("x"))
            x = official.images((len(values), 3, *sides), description["seed"])
            found = each.predict_on_batch(x)
            yield f"{kind}{array}", official.relative_error(found, values), bar


def load_box_head(**options):
    """Return (model of the box head with the case's weights, description, expected arrays)."""
    description, checkpoint, expected = official.case(BOX_HEAD)
    classes = description["options"]["num_classes_with_background"] - 1
    regions = keras.Input((12, 7, 7, 256))
    head = AttentiveBoxHead(classes, name="box_head", **options)
    model = keras.Model(regions, head(regions))
    key_map = box_head_map(head, "box_head", background_first=True)
    weights.load_official(model, checkpoint, key_map, "stand-in")
    return model, description, expected


def box_head_errors(name=BOX_HEAD):
    """Yield (array, relative error, bar) of the box head's case."""
    bar = official.FLOAT64_BAR if keras.config.floatx() == "float64" else BAR
    model, description, expected = load_box_head()
    x = official.images((12, 256, 7, 7), description["seed"])[None]
    logits, deltas = (keras.ops.convert_to_numpy(y)[0] for y in model(x))
    (head,) = model.layers[1:]
    found = {
        "cls_score": np.roll(logits, 1, axis=-1),  # there, the background comes first
        "bbox_pred": deltas.reshape(12, -1),
        "convs": keras.ops.convert_to_numpy(head.convolve(keras.ops.convert_to_tensor(x)))[0],
    }
    found["convs"] = found["convs"][..., ::8]
    expected["bbox_pred"] = expected["bbox_pred"][:, 4:]  # nothing uses those of the background
    for array, values in expected.items():
        yield array, official.relative_error(found[array], values), bar
