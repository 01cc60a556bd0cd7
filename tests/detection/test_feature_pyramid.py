"""The feature pyramid: Keras's own checks."""

from keras_paca.detection.feature_pyramid import FeaturePyramid
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
