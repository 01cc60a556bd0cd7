"""Maps of the PaCa head's clusters; when they are compiled is tested with `cluster_maps`."""

import keras
import numpy as np
import pytest

from keras_paca import segmentation
from tests.marks import slow_but_on_torch

pytestmark = slow_but_on_torch


@pytest.fixture(scope="module")
def segmenter(small):
    return segmentation.Segmenter(small(include_top=False), "paca", num_classes=3)


def test_images_as_predict_takes_them(segmenter, images):
    x = images(2, 32, 48, 3).round()
    expected = segmentation.head_cluster_maps(segmenter, x)
    assert expected.shape == (2, 8, 12, 3)
    assert expected.dtype == np.float32
    np.testing.assert_allclose(expected.sum(axis=(1, 2)), 1, rtol=1e-5)
    for given in ({"image": x}, [x], x.astype("uint8"), keras.ops.convert_to_tensor(x)):
        found = segmentation.head_cluster_maps(segmenter, given, batch_size=1)
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_follows_weights(segmenter, images):
    x = images(1, 32, 32, 3)
    before = segmentation.head_cluster_maps(segmenter, x)
    for weight in segmenter.decode_head.weights:
        weight.assign(weight * 1.5)
    assert (segmentation.head_cluster_maps(segmenter, x) != before).any()


def test_in_16_bits(small, images):
    model = small(include_top=False, dtype="mixed_bfloat16")
    segmenter = segmentation.Segmenter(model, "paca", num_classes=3)
    maps = segmentation.head_cluster_maps(segmenter, images(1, 32, 32, 3))
    assert maps.dtype == np.float32
    np.testing.assert_allclose(maps.sum(axis=(1, 2)), 1, rtol=1e-5)


def test_what_is_refused(segmenter, small, images):
    x = images(2, 32, 32, 3)
    with pytest.raises(ValueError, match=r"one image needs a batch axis: image\[None\]"):
        segmentation.head_cluster_maps(segmenter, x[0])
    with pytest.raises(ValueError, match=r"`images` must .* Received: None"):
        segmentation.head_cluster_maps(segmenter, None)
    with pytest.raises(ValueError, match="fit the model's input"):
        segmentation.head_cluster_maps(segmenter, x[..., :1])
    with pytest.raises(ValueError, match="`batch_size` must be a positive integer"):
        segmentation.head_cluster_maps(segmenter, x, batch_size=0)
    fpn = segmentation.Segmenter(small(include_top=False), "fpn", num_classes=3)
    for wrong, received in (
        (fpn, "a Segmenter with <SemanticFPNHead"),
        (small(), "<PaCaViT"),
        ("segmenter.keras", "'segmenter.keras'"),
        (None, "None"),
    ):
        with pytest.raises(ValueError, match=f"with a PaCaSegmentationHead. Received: {received}"):
            segmentation.head_cluster_maps(wrong, x)
