"""The heads of boxes and masks: Keras's own checks."""

import pytest

from keras_paca.detection.heads import BoxHead, MaskHead
from tests.layers.run import run_layer_test


@pytest.mark.parametrize(
    ("cls", "options", "shape", "expected"),
    [
        pytest.param(BoxHead, {"units": 8}, (2, 5, 7, 7, 4), ((2, 5, 4), (2, 5, 3, 4)), id="box"),
        pytest.param(
            MaskHead, {"channels": 4, "depth": 2}, (2, 5, 6, 6, 4), (2, 5, 12, 12, 3), id="mask"
        ),
    ],
)
def test_run_layer_test(cls, options, shape, expected):
    run_layer_test(
        cls,
        {"num_classes": 3, **options},
        shape,
        expected,
        8,
        run_training_check=False,  # several outputs have no single loss; trained in Mask R-CNN
        run_mixed_precision_check=False,  # logits are float32 on purpose
    )
