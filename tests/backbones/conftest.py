"""Small models of each kind, and data for them."""

import keras
import numpy as np
import pytest

from keras_paca.detection import MaskRCNN
from keras_paca.segmentation import Segmenter, SemanticFPNHead


@pytest.fixture
def make(small):
    """Return a function that makes a small model of a kind."""

    def build(kind, dtype=None, input_name=None, **options):
        keras.utils.set_random_seed(1)
        common = {"dtype": dtype, "input_shape": (64, 64, 3), "input_name": input_name}
        if kind == "classifier":
            return small(classes=3, **common, **options)
        backbone = small(include_top=False, **common)
        if kind == "segmenter":
            head = SemanticFPNHead(3, 8, pyramid_channels=8, dtype=dtype, name="decode_head")
            return Segmenter(backbone, head, 3, **options)
        small_sizes = {"channels": 8, "candidates": 20, "proposals": 20, "max_detections": 4}
        return MaskRCNN(backbone, 3, **small_sizes, **options)

    return build


@pytest.fixture
def data():
    """Return a function that draws images and a kind's targets."""

    def draw(kind, count=4):
        draws = np.random.default_rng(0)
        images = draws.uniform(0, 255, (count, 64, 64, 3)).astype("float32")
        if kind == "classifier":
            return images, np.arange(count) % 3
        if kind == "segmenter":
            return images, draws.integers(0, 3, (count, 64, 64))
        masks = np.zeros((count, 2, 64, 64), "uint8")
        masks[:, 0, 8:40, 8:40] = masks[:, 1, 4:50, 20:60] = 1
        return images, {
            "boxes": np.tile([[[8, 8, 40, 40], [20, 4, 60, 50]]], (count, 1, 1)).astype("float32"),
            "labels": np.tile([[0, 1]], (count, 1)),
            "masks": masks,
        }

    return draw
