"""Labels that a classifier is evaluated on."""

import numpy as np
import pytest

from keras_paca.train import (
    evaluate_classifier,
)
from tests.train.small import LABELS, VALUES, dense


@pytest.mark.parametrize("shape", [(8, 3), (8, 2, 2)])
def test_evaluation_on_labels_of_another_number_of_classes(shape):
    batches = [(VALUES, np.zeros(shape, "float32"))]
    with pytest.raises(ValueError, match=r"one-hot \(batch, 2\).* Received: labels of shape \(8, "):
        evaluate_classifier(dense(), batches)
    labels = LABELS.argmax(1)
    for same in (labels, labels[:, None]):
        assert evaluate_classifier(dense(), [(VALUES, same)]).total == 8
