"""Mean intersection over union, the metric of segmenters."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_paca")
class MeanIoU(keras.metrics.MeanIoU):
    """Mean intersection over union, a faster `keras.metrics.MeanIoU`.

    With n_ij the number of pixels (or their total weight) of class i that were predicted as j,

        mean over the classes i of n_ii / (sum_j n_ij + sum_j n_ji - n_ii).

    Classes that occur neither in the masks nor in the predictions don't count. One segment sum
    counts the pixels. Keras's class counts them one by one in Python on PyTorch, which takes 2.9 s
    for sixteen 128 x 128 images, and requests an integer type on JAX that isn't available there.

    Args:
        num_classes: int. Number of classes.
        name: str. Name of the metric.
        dtype: str. Dtype of the result.
        ignore_class: int. Id of the pixels that don't count, or `None`.
        sparse_y_true: bool. Whether the masks hold ids and aren't one-hot.
        sparse_y_pred: bool. Whether the predictions are ids and not logits or probabilities.
        axis: int. Axis of the classes in one-hot masks, logits and probabilities.

    Example:
    >>> import numpy as np
    >>> from keras_paca.segmentation import MeanIoU
    >>> metric = MeanIoU(num_classes=2, ignore_class=255)
    >>> metric.update_state(np.array([[[0, 1], [1, 255]]]), np.array([[[0, 1], [0, 0]]]))
    >>> float(metric.result())
    0.5
    """

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count pixels by their true and their predicted class.

        Args:
            y_true: Tensor. Ids (batch, height, width), where ids without a class don't count. With
                `sparse_y_true=False`, and optionally with `sparse_y_pred=False`, one-hot (batch,
                height, width, num_classes).
            y_pred: Tensor. Ids (batch, height, width), or logits (batch, height, width,
                num_classes) with `sparse_y_pred=False`.
            sample_weight: Tensor. Weights of images or pixels, whose shape is the beginning of the
                ids' shape; or `None`.
        """
        beside_logits = not self.sparse_y_pred and len(y_true.shape) == len(y_pred.shape)
        if not self.sparse_y_true or (beside_logits and y_true.shape[-1] == self.num_classes):
            y_true = ops.where(
                ops.any(y_true > 0, axis=self.axis), ops.argmax(y_true, axis=self.axis), -1
            )
        if not self.sparse_y_pred:
            y_pred = ops.argmax(y_pred, axis=self.axis)
        y_true, y_pred = ops.cast(y_true, "int32"), ops.cast(y_pred, "int32")
        classes = self.num_classes
        known = ops.logical_and(y_true >= 0, y_true < classes)
        known = ops.logical_and(known, ops.logical_and(y_pred >= 0, y_pred < classes))
        if self.ignore_class is not None:
            known = ops.logical_and(known, y_true != self.ignore_class)
        # The last cell collects the pixels that don't count.
        cell = ops.where(known, y_true * classes + y_pred, classes**2)
        weights = ops.ones_like(cell)
        if sample_weight is not None:
            sample_weight = ops.convert_to_tensor(sample_weight)
            missing = range(len(sample_weight.shape), len(cell.shape))
            weights = ops.cast(weights, sample_weight.dtype)
            weights = weights * ops.expand_dims(sample_weight, tuple(missing))
        counts = ops.segment_sum(
            ops.reshape(weights, (-1,)), ops.reshape(cell, (-1,)), num_segments=classes**2 + 1
        )
        counts = ops.reshape(counts[:-1], (classes, classes))
        self.total_cm.assign_add(ops.cast(counts, self.total_cm.dtype))
