"""KerasCV 0.9's models around our backbone: build, fit, predict, save and load."""

from importlib.util import find_spec

import keras
import numpy as np
import pytest

from tests.marks import slow_but_on_torch
from tests.plugins.conftest import assert_finite, check_segmenter, sides

pytestmark = pytest.mark.plugins


@pytest.fixture(scope="module")
def cv():
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import keras_cv
    return keras_cv


def boxes(images):
    """Return an object per image, in "xyxy"."""
    corners = np.tile([8.0, 8.0, 48.0, 56.0], (len(images), 1, 1)).astype("float32")
    return {"boxes": corners, "classes": np.ones((len(images), 1), "float32")}


def check_detector(model, x, round_trip, seen):
    seen("build")
    assert np.isfinite(model.fit(x, boxes(x), verbose=0).history["loss"][0])
    seen("fit")
    if keras.backend.backend() == "torch" and find_spec("torchvision") is None:
        with pytest.raises(ModuleNotFoundError, match="torchvision"):
            model.predict(x, verbose=0)
        seen("predict", "needs torchvision, for KerasCV's suppression")
    else:
        assert_finite(model.predict(x, verbose=0))
        seen("predict")
    round_trip(model, x)
    seen("save and load")


@slow_but_on_torch
def test_retinanet(shape, cv, backbone, images, round_trip, seen):
    seen("consumer", "RetinaNet")
    model = cv.models.RetinaNet(num_classes=3, bounding_box_format="xyxy", backbone=backbone(shape))
    model.compile(classification_loss="focal", box_loss="smoothl1", optimizer="adam")
    check_detector(model, images(*sides(shape)), round_trip, seen)


@pytest.mark.slow
def test_yolo(shape, cv, backbone, images, round_trip, seen):
    seen("consumer", "YOLOV8Detector")
    model = cv.models.YOLOV8Detector(
        num_classes=3, bounding_box_format="xyxy", backbone=backbone(shape), fpn_depth=1
    )
    model.compile(classification_loss="binary_crossentropy", box_loss="ciou", optimizer="adam")
    check_detector(model, images(*sides(shape)), round_trip, seen)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["DeepLabV3Plus", "SegFormer"])
def test_segmenter(name, shape, cv, backbone, images, round_trip, seen):
    seen("consumer", name)
    if name == "SegFormer" and None in shape:
        pytest.skip("KerasCV's SegFormer resizes to the height and width of its input's shape")
    model = getattr(cv.models, name)(num_classes=4, backbone=backbone(shape))
    model.compile("adam", "categorical_crossentropy")
    check_segmenter(model, images(*sides(shape)), round_trip, seen)
