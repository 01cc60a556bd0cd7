"""The heads on the regions of a detector: classes and boxes, and masks."""

import math
from typing import Any

import keras
from keras import ops

from keras_paca.layers.composite import Composite


def _normal(stddev: float) -> keras.initializers.Initializer:
    return keras.initializers.RandomNormal(stddev=stddev)


@keras.saving.register_keras_serializable(package="keras_paca")
class BoxHead(Composite):
    """Two hidden layers, then class logits and, for each class, deltas of the box.

    Args:
        num_classes: number of classes, without the background.
        units: units of the hidden layers.

    Input shape: (batch, regions, bins, bins, channels).
    Output shape: logits (batch, regions, num_classes + 1), the background last, and deltas
    (batch, regions, num_classes, 4), float32.

    Source: Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017.
    """

    def __init__(self, num_classes: int, units: int = 1024, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes, self.units = num_classes, units
        self.hidden1 = keras.layers.Dense(units, activation="relu", **self.inner("hidden1"))
        self.hidden2 = keras.layers.Dense(units, activation="relu", **self.inner("hidden2"))
        exact = self.dtype_policy.variable_dtype
        self.classify = keras.layers.Dense(
            num_classes + 1, kernel_initializer=_normal(0.01), **self.inner("classify", exact)
        )
        self.deltas = keras.layers.Dense(
            4 * num_classes, kernel_initializer=_normal(0.001), **self.inner("deltas", exact)
        )

    def build(self, input_shape: tuple) -> None:
        """Build the four layers."""
        *_, height, width, channels = input_shape
        self.hidden1.build((None, None, height * width * channels))
        for layer in (self.hidden2, self.classify, self.deltas):
            layer.build((None, None, self.units))

    def call(self, inputs: Any) -> tuple[Any, Any]:
        """Return class logits and deltas."""
        batch, count = ops.shape(inputs)[0], inputs.shape[1]
        x = ops.transpose(inputs, (0, 1, 4, 2, 3))  # (b, n, c, h, w), as the official weights lie
        x = ops.reshape(x, (batch, count, math.prod(inputs.shape[2:])))
        x = self.hidden2(self.hidden1(x))
        deltas = ops.reshape(self.deltas(x), (batch, count, self.num_classes, 4))
        return self.classify(x), deltas

    def compute_output_shape(self, input_shape: tuple) -> tuple[tuple, tuple]:
        """Return the shapes of the logits and the deltas."""
        start = tuple(input_shape[:2])
        return (*start, self.num_classes + 1), (*start, self.num_classes, 4)

    def compute_output_spec(self, inputs: Any) -> tuple:
        """Return the outputs' shapes and types."""
        shapes = self.compute_output_shape(inputs.shape)
        return tuple(keras.KerasTensor(shape, self.variable_dtype) for shape in shapes)

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "num_classes": self.num_classes, "units": self.units}


@keras.saving.register_keras_serializable(package="keras_paca")
class MaskHead(Composite):
    """Convolutions, a doubling and a mask per class.

    Args:
        num_classes: number of classes.
        channels: channels of the convolutions.
        depth: number of convolutions.

    Input shape: (batch, regions, bins, bins, channels).
    Output shape: logits (batch, regions, 2 bins, 2 bins, num_classes), float32.

    Source: He et al., "Mask R-CNN", ICCV 2017.
    """

    def __init__(
        self, num_classes: int, channels: int = 256, depth: int = 4, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.num_classes, self.channels, self.depth = num_classes, channels, depth
        common = {"data_format": "channels_last", "kernel_initializer": "he_normal"}
        self.convs = [
            keras.layers.Conv2D(
                channels,
                3,
                padding="same",
                activation="relu",
                dtype=self.dtype_policy,
                name=f"conv{i + 1}",
                **common,
            )
            for i in range(depth)
        ]
        self.upsample = keras.layers.Conv2DTranspose(
            channels,
            2,
            strides=2,
            activation="relu",
            dtype=self.dtype_policy,
            name="upsample",
            **common,
        )
        self.classify = keras.layers.Dense(
            num_classes,
            kernel_initializer="he_normal",
            **self.inner("classify", self.dtype_policy.variable_dtype),
        )

    def build(self, input_shape: tuple) -> None:
        """Build the convolutions."""
        shape = (None, *input_shape[2:])
        for conv in self.convs:
            conv.build(shape)
            shape = (*shape[:3], self.channels)
        self.upsample.build(shape)
        self.classify.build(shape)

    def call(self, inputs: Any) -> Any:
        """Return the mask logits."""
        count, bins, channels = inputs.shape[1], inputs.shape[2], inputs.shape[4]
        x = ops.reshape(inputs, (-1, bins, bins, channels))  # (b n, bins, bins, c)
        for conv in self.convs:
            x = conv(x)
        x = self.classify(self.upsample(x))
        return ops.reshape(x, (-1, count, 2 * bins, 2 * bins, self.num_classes))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return the shape of the logits."""
        batch, count, height, width, _ = input_shape
        return (batch, count, 2 * height, 2 * width, self.num_classes)

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        """Return the output's shape and type."""
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), self.variable_dtype)

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "channels": self.channels,
            "depth": self.depth,
        }
