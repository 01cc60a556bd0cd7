"""Cluster maps of other libraries' detectors are those of the backbone inside them."""

import numpy as np
import pytest

from keras_paca import cluster_maps
from tests.marks import slow_but_on_torch

pytestmark = [pytest.mark.plugins, slow_but_on_torch]


def hub_retinanet(backbone):
    import keras_hub

    pyramid = keras_hub.models.RetinaNetBackbone(
        image_encoder=backbone, min_level=3, max_level=5, use_p5=False
    )
    return keras_hub.models.RetinaNetObjectDetector(pyramid, num_classes=3, preprocessor=None)


def hub_segformer(backbone):
    import keras_hub

    encoder = keras_hub.models.SegFormerBackbone(
        image_encoder=backbone.as_segformer_encoder(), projection_filters=8
    )
    return keras_hub.models.SegFormerImageSegmenter(backbone=encoder, num_classes=3)


def cv_retinanet(backbone):
    import keras_cv

    return keras_cv.models.RetinaNet(num_classes=3, bounding_box_format="xyxy", backbone=backbone)


@pytest.mark.parametrize("make", [hub_retinanet, hub_segformer, cv_retinanet])
def test_maps_of_the_backbone_inside(make, small, images):
    backbone = small(include_top=False, input_shape=(64, 64, 3))
    model = make(backbone)
    x = images(1, 64, 64, 3)
    expected = cluster_maps(backbone, x)
    found = cluster_maps(model, x)
    assert list(found) == ["P2", "P3", "P4"]
    for level, maps in found.items():
        np.testing.assert_allclose(maps, expected[level], rtol=1e-5, atol=1e-7)


def test_maps_of_a_model_that_prepares_its_images(small, images):
    """`keras_paca.hub` normalises in a preprocessor what `PaCaViT` normalises itself."""
    from keras_paca.hub import PaCaImageClassifier

    model = small()
    x = images(2, 48, 64, 3)
    found = cluster_maps(PaCaImageClassifier.from_model(model, image_size=(48, 64)), x)
    for level, maps in cluster_maps(model, x).items():
        np.testing.assert_allclose(found[level], maps, rtol=1e-3, atol=1e-6)
