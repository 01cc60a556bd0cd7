"""Annotation files in COCO's format, and detectors for their images."""

import json

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 64, 96


IMAGE = {"id": 4711, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}
OBJECT = {"id": 815, "image_id": 4711, "category_id": 1, "bbox": [5, 5, 30, 30], "area": 450}
POLYGON = [5, 5, 35, 5, 35, 35]
MISSING = object()


def write(folder, images=(IMAGE,), annotations=(OBJECT,), categories=({"id": 1},), **more):
    """Write an annotation file and its images; return the arguments of `read_coco`."""
    for image in images:
        if isinstance(image, dict) and isinstance(image.get("file_name"), str):
            path = folder / image["file_name"]
            if path.parent.is_dir() and not path.exists() and "\\" not in path.name:
                Image.new("RGB", (WIDTH, HEIGHT)).save(path)
    content = {"images": images, "annotations": annotations, "categories": categories, **more}
    (folder / "a.json").write_text(json.dumps(content))
    return folder / "a.json", folder


def changed(entry, **fields):
    entry = {**entry, **fields}
    return {name: value for name, value in entry.items() if value is not MISSING}


class Blind:
    """A detector that finds nothing and counts its images."""

    bounding_box_format, num_classes, input_shape = "xyxy", 1, (None, None, None, 3)

    def __init__(self, num_classes=1):
        self.num_classes, self.images = num_classes, []

    def predict_on_batch(self, images):
        self.images.append(images[0])
        return {
            "boxes": np.zeros((1, 1, 4)),
            "scores": np.zeros((1, 1)),
            "labels": np.full((1, 1), -1),
            "masks": np.zeros((1, 1, 28, 28)),
        }


class Finder(Blind):
    """A detector that finds the same boxes with full masks in every image of 64 x 96 pixels."""

    def __init__(self, boxes, labels, num_classes):
        super().__init__(num_classes)
        self.boxes, self.labels = np.array([boxes], float), np.array([labels])

    def predict_on_batch(self, images):
        assert images.shape == (1, HEIGHT, WIDTH, 3)
        n = self.labels.size
        return {
            "boxes": self.boxes,
            "scores": np.full((1, n), 0.9),
            "labels": self.labels,
            "masks": np.ones((1, n, 28, 28)),
        }
