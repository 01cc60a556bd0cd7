"""Batch normalization whose running variance is the unbiased one, as in PyTorch."""

from typing import Any

import keras
from keras import ops

from keras_paca.ops import sum_over_replicas, to_float32


@keras.saving.register_keras_serializable(package="keras_paca")
class BatchNormalization(keras.layers.BatchNormalization):
    """Batch normalization as in PyTorch: the moving variance is the mean of unbiased variances.

    In training, y = gamma (x - mean) / sqrt(variance + epsilon) + beta with the mean and the
    variance of the batch, and with n values per channel

        moving_variance = momentum moving_variance + (1 - momentum) variance n / (n - 1).

    `keras.layers.BatchNormalization` leaves out the factor n / (n - 1). It matters where n is
    small: small maps, small batches, vectors. With `synchronized=True`, which TensorFlow alone has,
    the mean, the variance and n are those of the batches of all replicas together.

    Args:
        axis: int. The axis of the channels.
        momentum: float. Weight of the old moving statistics; PyTorch's `momentum` is one minus it.
        epsilon: float. Added to the variance.
        **kwargs: As for `keras.layers.BatchNormalization`. `renorm` isn't available.

    Input shape: (..., channels), float.
    Output shape: The same.

    Example:
    >>> norm = BatchNormalization(momentum=0.0)
    >>> x = ops.convert_to_tensor([[1.0], [3.0]])
    >>> ops.convert_to_numpy(norm(x, training=True)).round(2).ravel().tolist()
    [-1.0, 1.0]
    >>> norm.get_weights()[3].tolist()
    [2.0]
    """

    def __init__(
        self, axis: int = -1, momentum: float = 0.9, epsilon: float = 1e-5, **kwargs: Any
    ) -> None:
        if kwargs.get("renorm"):
            raise ValueError("This layer has no `renorm`. Received: renorm=True")
        super().__init__(axis=axis, momentum=momentum, epsilon=epsilon, **kwargs)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalize the inputs.

        Args:
            inputs: Tensor (..., channels).
            training: bool. Whether to use the statistics of the batch and to update the moving
                ones.
            mask: Tensor or None. A mask isn't available in training.
        """
        if not (training and self.trainable):
            return super().call(inputs, training=training, mask=mask)
        if mask is not None:
            raise ValueError("This layer takes no mask in training. Received: mask")
        x = to_float32(inputs)
        axes = [axis for axis in range(len(x.shape)) if axis != self.axis % len(x.shape)]
        mean, variance = ops.moments(x, axes=axes, synchronized=self.synchronized)
        count = ops.cast(ops.size(x), x.dtype) / x.shape[self.axis]
        if self.synchronized:
            count = sum_over_replicas(count)
        unbiased = variance * count / ops.maximum(count - 1, 1)
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, unbiased)):
            old = ops.cast(moving, x.dtype)
            moving.assign(old * self.momentum + value * (1 - self.momentum))
        outputs = ops.batch_normalization(
            x,
            mean,
            variance,
            axis=self.axis,
            offset=None if self.beta is None else ops.cast(self.beta, x.dtype),
            scale=None if self.gamma is None else ops.cast(self.gamma, x.dtype),
            epsilon=self.epsilon,
        )
        return ops.cast(outputs, self.compute_dtype)
