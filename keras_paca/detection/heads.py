"""The heads of a detector, which predict classes, boxes and masks from pooled regions."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_paca.layers.attentive_norm import AttentiveGroupNormalization
from keras_paca.layers.base import BaseLayer
from keras_paca.layers.initializers import conv3x3


def _normal(stddev: float) -> keras.initializers.Initializer:
    return keras.initializers.RandomNormal(stddev=stddev)


class BoxPredictor(BaseLayer):
    """Base class of box heads: class logits and box deltas from a vector per region.

    A subclass creates the layers before that and then calls `make_outputs`. It defines
    `build_hidden` and `compute_hidden`.

    Args:
        num_classes: int. Number of classes, without the background.
        units: int. Length of the vectors.
        **kwargs: Arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Example:
    >>> from keras_paca.detection import BoxHead
    >>> issubclass(BoxHead, BoxPredictor)
    True
    """

    def __init__(self, num_classes: int, units: int = 1024, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes, self.units = num_classes, units

    def make_outputs(self) -> None:
        """Create the layers that compute the logits and the deltas."""
        num_classes = self.num_classes
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

    def build_hidden(self, input_shape: tuple) -> None:
        """Build the layers before the outputs.

        Args:
            input_shape: tuple. (batch, regions, bins, bins, channels).
        """
        raise NotImplementedError

    def compute_hidden(self, inputs: Any) -> Any:
        """Return a vector per region.

        Args:
            inputs: Tensor of shape (batch, regions, bins, bins, channels).

        Returns:
            Tensor (batch, regions, units).
        """
        raise NotImplementedError

    def build(self, input_shape: tuple) -> None:
        """Build all layers.

        Args:
            input_shape: tuple. (batch, regions, bins, bins, channels).
        """
        self.build_hidden(input_shape)
        for layer in (self.classify, self.deltas):
            layer.build((None, None, self.units))

    def call(self, inputs: Any) -> tuple[Any, Any]:
        """Predict the classes and the boxes of regions.

        Args:
            inputs: Tensor of shape (batch, regions, bins, bins, channels).

        Returns:
            Class logits (batch, regions, num_classes + 1), the background last, and deltas (batch,
            regions, num_classes, 4).
        """
        x = self.compute_hidden(inputs)
        batch, count = ops.shape(inputs)[0], inputs.shape[1]
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


def flatten_regions(inputs: Any) -> Any:
    """Return the features of regions as vectors, in the order of the official weights.

    Args:
        inputs: Tensor of shape (batch, regions, bins, bins, channels).

    Returns:
        Tensor (batch, regions, channels * bins * bins), the channels first.

    Example:
    >>> tuple(flatten_regions(ops.zeros((1, 5, 7, 7, 4))).shape)
    (1, 5, 196)
    """
    x = ops.transpose(inputs, (0, 1, 4, 2, 3))  # (b, n, c, h, w)
    return ops.reshape(x, (ops.shape(x)[0], x.shape[1], math.prod(inputs.shape[2:])))


@keras.saving.register_keras_serializable(package="keras_paca")
class BoxHead(BoxPredictor):
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
        super().__init__(num_classes, units, **kwargs)
        self.hidden1 = self.make(keras.layers.Dense, "hidden1", units, activation="relu")
        self.hidden2 = self.make(keras.layers.Dense, "hidden2", units, activation="relu")
        self.make_outputs()

    def build_hidden(self, input_shape: tuple) -> None:
        """Build the two hidden layers."""
        self.hidden1.build((None, None, math.prod(input_shape[2:])))
        self.hidden2.build((None, None, self.units))

    def compute_hidden(self, inputs: Any) -> Any:
        """Return a vector per region."""
        return self.hidden2(self.hidden1(flatten_regions(inputs)))


@keras.saving.register_keras_serializable(package="keras_paca")
class AttentiveBoxHead(BoxPredictor):
    """Predict classes and boxes by convolutions with attentive group normalization.

    The layers are 3 x 3 convolutions without biases, each followed by attentive group
    normalization and ReLU, and one hidden layer with ReLU on the flattened result, from which the
    logits and the deltas are computed as in `BoxHead`.

    Args:
        num_classes: int. Number of classes, without the background.
        units: int. Units of the hidden layer.
        channels: int. Channels of the convolutions, divisible by `groups`.
        mixtures: Sequence of int. For each convolution, K, the affine transformations that the
            attentive normalization mixes.
        groups: int. Groups of channels that are normalized together.
        **kwargs: Arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Input shape: (batch, regions, bins, bins, any).
    Output shape: logits (batch, regions, num_classes + 1), whose last class is the background, and
    deltas (batch, regions, num_classes, 4), both float32 or wider.

    Raises:
        ValueError: If `channels` isn't divisible by `groups`.

    Example:
    >>> import numpy as np
    >>> from keras_paca.detection import AttentiveBoxHead
    >>> head = AttentiveBoxHead(num_classes=2, units=8, channels=8, mixtures=(5, 5), groups=4)
    >>> logits, deltas = head(np.zeros((1, 5, 7, 7, 4)))
    >>> tuple(logits.shape), tuple(deltas.shape)
    ((1, 5, 3), (1, 5, 2, 4))

    Source: Li, Sun and Wu, "Attentive Normalization", ECCV 2020.
    """

    def __init__(
        self,
        num_classes: int,
        units: int = 1024,
        channels: int = 256,
        mixtures: Sequence[int] = (10, 10, 20, 20),
        groups: int = 32,
        **kwargs: Any,
    ) -> None:
        if channels % groups:
            raise ValueError(
                f"`channels` must be divisible by the {groups} groups of the attentive "
                f"normalization. Received: channels={channels}"
            )
        super().__init__(num_classes, units, **kwargs)
        self.channels, self.mixtures, self.groups = channels, tuple(mixtures), groups
        self.convs = [
            self.make(conv3x3, f"conv{i}", channels, use_bias=False)
            for i in range(1, len(self.mixtures) + 1)
        ]
        self.norms = [
            self.make(AttentiveGroupNormalization, f"norm{i}", count, groups)
            for i, count in enumerate(self.mixtures, start=1)
        ]
        self.hidden1 = self.make(keras.layers.Dense, "hidden1", units, activation="relu")
        self.make_outputs()

    def build_hidden(self, input_shape: tuple) -> None:
        """Build the convolutions, their norms and the hidden layer."""
        _, _, *bins, channels = input_shape
        for conv, norm in zip(self.convs, self.norms, strict=True):
            conv.build((None, *bins, channels))
            channels = self.channels
            norm.build((None, *bins, channels))
        self.hidden1.build((None, None, math.prod(bins) * channels))

    def convolve(self, inputs: Any) -> Any:
        """Return the features after the convolutions.

        Args:
            inputs: Tensor of shape (batch, regions, bins, bins, any).

        Returns:
            Tensor (batch, regions, bins, bins, channels).
        """
        _, count, *bins, channels = inputs.shape
        x = ops.reshape(inputs, (-1, *bins, channels))
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = ops.relu(norm(conv(x)))
        return ops.reshape(x, (-1, count, *bins, x.shape[-1]))

    def compute_hidden(self, inputs: Any) -> Any:
        """Return a vector per region."""
        return self.hidden1(flatten_regions(self.convolve(inputs)))


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
