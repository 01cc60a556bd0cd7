"""Stand-ins for the released files of segmenters and detectors."""

import keras

from keras_paca import detection, segmentation
from keras_paca.detection.checkpoints import checkpoint_map as detector_map
from keras_paca.segmentation.checkpoints import checkpoint_map as segmenter_map
from keras_paca.weights import model_variables

SEGMENTERS = {
    "tiny": segmentation.PaCaTinySegmenter,
    "small": segmentation.PaCaSmallSegmenter,
    "base": segmentation.PaCaBaseSegmenter,
}


DETECTORS = {
    "tiny": detection.PaCaTinyMaskRCNN,
    "small": detection.PaCaSmallMaskRCNN,
    "base": detection.PaCaBaseMaskRCNN,
}


def build(file, **options):
    """Return the model of a released file, without its weights."""
    options = {
        "weights": None,
        "clustering": file.clustering,
        "clusters": file.clusters,
        "cluster_every": 1 if file.blockwise else None,
        **options,
    }
    if file.task == "segmentation":
        return SEGMENTERS[file.size](file.head, **options)
    return DETECTORS[file.size](**options)


def official_checkpoint(model):
    """Return a model's weights as an official file holds them."""
    key_map = detector_map if isinstance(model, detection.MaskRCNN) else segmenter_map
    arrays = {
        path: keras.ops.convert_to_numpy(variable)
        for path, variable in model_variables(model).items()
    }
    return {key: entry.join(arrays) for key, entry in key_map(model).items()}
