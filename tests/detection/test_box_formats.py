"""Formats of boxes, against Keras's own conversion."""

import keras
import numpy as np
import pytest

from keras_paca.detection.box_formats import (
    BOX_FORMATS,
    check_box_format,
    check_image_size,
    to_xyxy,
)
from tests.detection.predictions import BOXES, SIZE, found


@pytest.mark.parametrize("kind", BOX_FORMATS)
def test_to_xyxy(kind):
    boxes = found(kind)["boxes"]
    for given in (boxes, keras.ops.convert_to_tensor(boxes)):
        np.testing.assert_allclose(to_xyxy(given, kind, SIZE), BOXES, atol=1e-4)
    assert check_box_format(kind.upper()) == check_box_format(kind) == kind


@pytest.mark.parametrize("name", ["rel_center_yxhw", "coco", "", None, 4])
def test_other_formats(name):
    with pytest.raises(ValueError, match=r"must be one of xyxy, yxyx.*rel_center_xywh"):
        check_box_format(name)


def test_sizes_of_images():
    for size in (np.array(SIZE), [40, 60], tuple(map(np.int64, SIZE))):
        assert check_image_size(size) == (40, 60)
    for size in ((40, 60, 3), 40, (40.5, 60), ("40", "60"), None, (0, 60)):
        with pytest.raises(ValueError, match="`image_size` must be"):
            check_image_size(size)
