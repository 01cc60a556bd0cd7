"""The mean IoU, against Keras's own, which counts pixel by pixel."""

import keras
import numpy as np
import pytest

from keras_paca.segmentation import MeanIoU


def batches(one_hot=False):
    """Yield true ids, some of them no classes, and predictions of four classes."""
    draw = np.random.default_rng(0)
    for _ in range(2):
        truth = draw.choice([0, 1, 2, 255], (2, 5, 6))
        logits = draw.standard_normal((2, 5, 6, 4)).astype("float32")
        yield (keras.utils.to_categorical(truth % 4, 4) if one_hot else truth), logits


def results(weights=None, one_hot=False, ids=False, **options):
    """Return what Keras's metric and ours say after two batches."""
    found = []
    for cls in (keras.metrics.MeanIoU, MeanIoU):
        metric = cls(4, sparse_y_true=not one_hot, sparse_y_pred=ids, **options)
        for truth, logits in batches(one_hot):
            given = weights
            if weights is not None and cls is keras.metrics.MeanIoU:  # which wants them all
                shape = np.shape(weights) + (1,) * (3 - np.ndim(weights))
                given = np.broadcast_to(np.reshape(weights, shape), logits.shape[:3])
            metric.update_state(truth, logits.argmax(axis=-1) if ids else logits, given)
        found.append(float(metric.result()))
        copy = cls.from_config(metric.get_config())
        assert (copy.num_classes, copy.ignore_class) == (4, metric.ignore_class)
    return found


@pytest.mark.filterwarnings("ignore:Explicitly requested dtype int64")  # Keras's, on JAX
@pytest.mark.parametrize(
    "options",
    [
        {"ignore_class": 255},
        {"ignore_class": 1},
        {},
        {"ids": True, "ignore_class": 255},
        {"one_hot": True},
        {"weights": np.array([1, 3]), "ignore_class": 255},
        {"weights": np.array([0.5, 2.0], "float32"), "dtype": "float32"},
        {"weights": np.arange(60).reshape(2, 5, 6) % 2},
    ],
)
def test_is_that_of_keras(options):
    wanted, found = results(**options)
    assert found == pytest.approx(wanted, rel=1e-6)
    assert 0.05 < found < 0.5


def test_nothing_to_count():
    metric = MeanIoU(3, ignore_class=255, sparse_y_pred=False)
    metric.update_state(np.full((1, 2, 2), 255), np.zeros((1, 2, 2, 3)))
    assert float(metric.result()) == 0.0
