"""Models and data of several tests."""

import json

import keras
import numpy as np
import pytest
import skimage.data
from PIL import Image

from keras_paca.detection import (
    MaskRCNN,
)
from tests.detection.scenes import CATEGORIES, SIZE, TWO, objects


@pytest.fixture
def detector(small):
    """Return a function that builds a small detector of three classes."""

    def build(dtype=None, input_shape=None, **options):
        keras.utils.set_random_seed(1)
        backbone = small(
            include_top=False, drop_path_rate=0.2, dtype=dtype, input_shape=input_shape
        )
        settings = {"channels": 16, "proposals": 60, "max_detections": 8, "score_threshold": 0.0}
        return MaskRCNN(backbone, 3, **{**settings, **options})

    return build


# --- Through a model --------------------------------------------------------------------------


@pytest.fixture
def scenes():
    """Images of noise of different brightness, and their truth as one batch."""
    draw = np.random.default_rng(0)
    images = draw.uniform(0, 100, (3, *SIZE, 3)).astype("float32")
    images += np.array([0, 70, 140], "float32")[:, None, None, None]
    truths = [objects(TWO, [0, 1]), objects([TWO[1], TWO[0]], [2, -1]), objects(TWO, [1, 2])]
    targets = {name: np.concatenate([truth[name] for truth in truths]) for name in truths[0]}
    return images, targets


@pytest.fixture
def detector_of_three(small):
    """Return a function that builds a small detector of three classes."""

    def build(input_shape=None, include_preprocessing=True, **options):
        keras.utils.set_random_seed(1)
        backbone = small(
            include_top=False, input_shape=input_shape, include_preprocessing=include_preprocessing
        )
        settings = {"channels": 16, "proposals": 60, "max_detections": 8, "score_threshold": 0.0}
        return MaskRCNN(backbone, 3, **{**settings, **options})

    return build


# --- Files ------------------------------------------------------------------------------------


@pytest.fixture
def coco_files(tmp_path):
    """Return the paths of an annotation file and its images, and what is in them."""
    pictures = [
        (
            "astronaut.png",
            skimage.data.astronaut()[:300],
            [[100, 0, 250, 200], [300, 50, 420, 260]],
        ),
        ("cat.png", skimage.data.chelsea()[:, :200], [[60, 60, 200, 300]]),
        ("coffee.png", skimage.data.coffee(), [[70, 90, 430, 380], [20, 20, 60, 50]]),
    ]
    folder = tmp_path / "images"
    folder.mkdir()
    content = {"images": [], "annotations": [], "categories": [{"id": i} for i in CATEGORIES]}
    scenes = []
    for number, (name, image, boxes) in enumerate(pictures):
        Image.fromarray(image).save(folder / name)
        height, width = image.shape[:2]
        content["images"].append(
            {"id": 10 * number, "file_name": name, "height": height, "width": width}
        )
        labels = [(number + i) % 3 for i in range(len(boxes))]
        scenes.append((image, {"boxes": boxes, "labels": labels}))
        for (left, top, right, bottom), label in zip(boxes, labels, strict=True):
            size = (right - left) * (bottom - top)
            content["annotations"].append({
                "id": len(content["annotations"]), "image_id": 10 * number, "iscrowd": 0,
                "category_id": sorted(CATEGORIES)[label], "area": size,
                "bbox": [left, top, right - left, bottom - top],
                "segmentation": [[left, top, right, top, right, bottom, left, bottom]],
            })  # fmt: skip
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(content))
    return path, folder, content, scenes
