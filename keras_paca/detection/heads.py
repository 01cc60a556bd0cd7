"""The heads of a detector, which predict classes, boxes and masks from pooled regions."""

import math
from typing import Any

import keras
from keras import ops

from keras_paca.layers.base import BaseLayer


def _normal(stddev: float) -> keras.initializers.Initializer:
    return keras.initializers.RandomNormal(stddev=stddev)


@keras.saving.register_keras_serializable(package="keras_paca")
class BoxHead(BaseLayer):
    """Predict class logits and, for each class, box deltas from the features of regions.

    With x the flattened features of a region,

        h = ReLU(W2 ReLU(W1 x + b1) + b2), logits = W3 h + b3, deltas = W4 h + b4.

    Args:
        num_classes: int. Number of classes, without the background.
        units: int. Units of each of the two hidden layers.
        **kwargs: Arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Input shape: (batch, regions, bins, bins, channels).
    Output shape: logits (batch, regions, num_classes + 1), whose last class is the background, and
    deltas (batch, regions, num_classes, 4), both float32 or wider.

    Example:
    >>> import numpy as np
    >>> from keras_paca.detection import BoxHead
    >>> logits, deltas = BoxHead(num_classes=2, units=8)(np.zeros((1, 5, 7, 7, 4)))
    >>> tuple(logits.shape), tuple(deltas.shape)
    ((1, 5, 3), (1, 5, 2, 4))

    Source: Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017.
    """

    def __init__(self, num_classes: int, units: int = 1024, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes, self.units = num_classes, units
        self.hidden1 = self.make(keras.layers.Dense, "hidden1", units, activation="relu")
        self.hidden2 = self.make(keras.layers.Dense, "hidden2", units, activation="relu")
        exact = self.dtype_policy.variable_dtype
        self.classify = self.make(
            keras.layers.Dense,
            "classify",
            num_classes + 1,
            kernel_initializer=_normal(0.01),
            dtype=exact,
        )
        self.deltas = self.make(
            keras.layers.Dense,
            "deltas",
            4 * num_classes,
            kernel_initializer=_normal(0.001),
            dtype=exact,
        )

    def build(self, input_shape: tuple) -> None:
        """Build the four layers.

        Args:
            input_shape: tuple. (batch, regions, bins, bins, channels).
        """
        *_, height, width, channels = input_shape
        self.hidden1.build((None, None, height * width * channels))
        for layer in (self.hidden2, self.classify, self.deltas):
            layer.build((None, None, self.units))

    def call(self, inputs: Any) -> tuple[Any, Any]:
        """Predict the classes and the boxes of regions.

        Args:
            inputs: Tensor of shape (batch, regions, bins, bins, channels).

        Returns:
            Class logits (batch, regions, num_classes + 1), the background last, and deltas (batch,
            regions, num_classes, 4).
        """
        batch, count = ops.shape(inputs)[0], inputs.shape[1]
        # The official weights expect the order (b, n, c, h, w).
        x = ops.transpose(inputs, (0, 1, 4, 2, 3))
        x = ops.reshape(x, (batch, count, math.prod(inputs.shape[2:])))
        x = self.hidden2(self.hidden1(x))
        deltas = ops.reshape(self.deltas(x), (batch, count, self.num_classes, 4))
        return self.classify(x), deltas

    def compute_output_shape(self, input_shape: tuple) -> tuple[tuple, tuple]:
        """Return the shapes of the logits and the deltas.

        Args:
            input_shape: tuple. (batch, regions, bins, bins, channels).
        """
        start = tuple(input_shape[:2])
        return (*start, self.num_classes + 1), (*start, self.num_classes, 4)

    def compute_output_spec(self, inputs: Any) -> tuple:
        """Return the shapes and types of the logits and the deltas.

        Args:
            inputs: KerasTensor of shape (batch, regions, bins, bins, channels).
        """
        shapes = self.compute_output_shape(inputs.shape)
        return tuple(keras.KerasTensor(shape, self.variable_dtype) for shape in shapes)


@keras.saving.register_keras_serializable(package="keras_paca")
class MaskHead(BaseLayer):
    """Predict one mask per class from the features of regions.

    The layers are `depth` 3 x 3 convolutions with ReLU, a transposed convolution with ReLU that
    doubles the height and the width, and a 1 x 1 convolution to the classes.

    Args:
        num_classes: int. Number of classes, without the background.
        channels: int. Channels of the convolutions.
        depth: int. Number of 3 x 3 convolutions.
        **kwargs: Arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Input shape: (batch, regions, bins, bins, channels).
    Output shape: logits (batch, regions, 2 * bins, 2 * bins, num_classes), float32 or wider.

    Example:
    >>> import numpy as np
    >>> from keras_paca.detection import MaskHead
    >>> logits = MaskHead(num_classes=2, channels=8, depth=1)(np.zeros((1, 5, 14, 14, 4)))
    >>> tuple(logits.shape)
    (1, 5, 28, 28, 2)

    Source: He et al., "Mask R-CNN", ICCV 2017.
    """

    def __init__(
        self, num_classes: int, channels: int = 256, depth: int = 4, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.num_classes, self.channels, self.depth = num_classes, channels, depth
        common = {"data_format": "channels_last", "kernel_initializer": "he_normal"}
        self.convs = [
            self.make(
                keras.layers.Conv2D,
                f"conv{i + 1}",
                channels,
                3,
                padding="same",
                activation="relu",
                **common,
            )
            for i in range(depth)
        ]
        self.upsample = self.make(
            keras.layers.Conv2DTranspose,
            "upsample",
            channels,
            2,
            strides=2,
            activation="relu",
            **common,
        )
        self.classify = self.make(
            keras.layers.Dense,
            "classify",
            num_classes,
            kernel_initializer="he_normal",
            dtype=self.dtype_policy.variable_dtype,
        )

    def build(self, input_shape: tuple) -> None:
        """Build the convolutions.

        Args:
            input_shape: tuple. (batch, regions, bins, bins, channels).
        """
        shape = (None, *input_shape[2:])
        for conv in self.convs:
            conv.build(shape)
            shape = (*shape[:3], self.channels)
        self.upsample.build(shape)
        self.classify.build(shape)

    def call(self, inputs: Any) -> Any:
        """Predict the masks of regions.

        Args:
            inputs: Tensor of shape (batch, regions, bins, bins, channels).

        Returns:
            Mask logits (batch, regions, 2 * bins, 2 * bins, num_classes).
        """
        count, bins, channels = inputs.shape[1], inputs.shape[2], inputs.shape[4]
        x = ops.reshape(inputs, (-1, bins, bins, channels))  # (b n, bins, bins, c)
        for conv in self.convs:
            x = conv(x)
        x = self.classify(self.upsample(x))
        return ops.reshape(x, (-1, count, 2 * bins, 2 * bins, self.num_classes))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return the shape of the mask logits.

        Args:
            input_shape: tuple. (batch, regions, bins, bins, channels).
        """
        batch, count, height, width, _ = input_shape
        return (batch, count, 2 * height, 2 * width, self.num_classes)

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        """Return the shape and type of the mask logits.

        Args:
            inputs: KerasTensor of shape (batch, regions, bins, bins, channels).
        """
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), self.variable_dtype)
