"""The feature pyramid: Keras's own checks, and its resize."""

import numpy as np
import pytest
from keras import ops

from keras_paca.detection.feature_pyramid import FeaturePyramid, resize_nearest
from tests.layers.run import run_layer_test


def test_run_layer_test():
    run_layer_test(
        FeaturePyramid,
        {"channels": 6},
        [(2, 9, 8, 4), (2, 5, 4, 4), (2, 3, 2, 4)],
        [(2, 9, 8, 6), (2, 5, 4, 6), (2, 3, 2, 6), (2, 2, 1, 6)],
        12,
        run_training_check=False,  # several outputs have no single loss; trained in Mask R-CNN
        run_mixed_precision_check=False,  # logits are float32 on purpose
    )


@pytest.mark.parametrize("size", [(9, 7), (8, 8), (1, 3)])
def test_the_nearest_pixel(size):
    x = np.random.default_rng(0).standard_normal((2, 4, 3, 2)).astype("float32")
    found = ops.convert_to_numpy(resize_nearest(x, np.zeros((2, *size, 1), "float32")))
    rows, columns = (np.arange(new) * old // new for new, old in zip(size, (4, 3), strict=True))
    np.testing.assert_array_equal(found, x[:, rows][:, :, columns])
