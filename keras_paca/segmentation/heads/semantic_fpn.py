"""The Semantic FPN head: a feature pyramid whose levels are upsampled and added."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

import keras

from keras_paca.arguments import check_choice
from keras_paca.backbones.pyramid import merge_top_down
from keras_paca.ops import double, double_like, resize_like, resize_nearest
from keras_paca.segmentation.heads.base import ConvNormReLU, SegmentationHead


@keras.saving.register_keras_serializable(package="keras_paca")
class SemanticFPNHead(SegmentationHead):
    """The Semantic FPN head: a feature pyramid whose levels are upsampled and added.

    With the levels P2 to P5, the feature pyramid is

        M5 = conv1x1(P5), M_i = conv1x1(P_i) + upsample(M_{i+1}), F_i = conv3x3(M_i).

    F_i reaches the size of F_2 through i - 2 convolutions with batch norm and ReLU, each of which
    is followed by a bilinear upsampling. F_2 has one such convolution and no upsampling. The sum
    of the four is projected to the classes.

    Args:
        num_classes: int. Number of classes.
        channels: int. Channels of the convolutions after the feature pyramid.
        dropout: float. Rate of the dropout before the last projection, in [0, 1).
        pyramid_channels: int. Channels of the feature pyramid.
        interpolation: str. Upsampling in the feature pyramid. With "nearest", as in the official
            code, the upsamplings after it double the map, and the last result is resized to the
            finest level. With "bilinear", they resize the map to the next finer level, which
            differs for levels of odd sizes. Models that were saved before there was this option
            have "bilinear".
        **kwargs: Arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Input shape: list of maps (batch, height, width, any), the finest first.
    Output shape: (batch, height, width, num_classes), logits of the size of the finest map.

    Example:
    >>> import numpy as np
    >>> from keras_paca.segmentation import SemanticFPNHead
    >>> levels = [np.zeros((1, side, side, 8)) for side in (16, 8, 4, 2)]
    >>> head = SemanticFPNHead(num_classes=3, channels=8, pyramid_channels=8)
    >>> tuple(head(levels).shape)
    (1, 16, 16, 3)

    Raises:
        ValueError: If `interpolation` is neither "nearest" nor "bilinear".

    Source: Kirillov et al., "Panoptic Feature Pyramid Networks", CVPR 2019; `FPN` and `FPNHead` of
    mmsegmentation.
    """

    def __init__(
        self,
        num_classes: int,
        channels: int = 128,
        dropout: float = 0.1,
        pyramid_channels: int = 256,
        interpolation: str = "nearest",
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, channels, dropout, **kwargs)
        check_choice("interpolation", interpolation, ("nearest", "bilinear"))
        self.pyramid_channels, self.interpolation = pyramid_channels, interpolation

    @classmethod
    def from_config(cls, config: dict) -> "SemanticFPNHead":
        """Create a head from a configuration, which may be older than `interpolation`."""
        return super().from_config({"interpolation": "bilinear", **config})

    def _pyramid_conv(self, name: str, kernel_size: int) -> keras.layers.Conv2D:
        return self.make(
            keras.layers.Conv2D,
            name,
            self.pyramid_channels,
            kernel_size,
            padding="same",
            data_format="channels_last",
        )

    def paths(self) -> list[list[ConvNormReLU]]:
        """Return the convolutions after the pyramid, those of each level in a list."""
        ups = iter(self.ups)
        return [list(islice(ups, max(i, 1))) for i in range(len(self.smooths))]

    def build(self, input_shape: Sequence[tuple]) -> None:
        """Build the pyramid and the convolutions that upsample each level.

        Args:
            input_shape: list of tuple. Shapes (batch, height, width, any), the finest level first.
        """
        levels = range(len(input_shape))
        self.laterals = [self._pyramid_conv(f"lateral{i + 1}", 1) for i in levels]
        self.smooths = [self._pyramid_conv(f"fpn{i + 1}", 3) for i in levels]
        self.ups = [  # not one list per level: Keras 3.13 saves nothing of lists in lists
            self._conv(f"level{i + 1}_conv{step + 1}", 3)
            for i in levels
            for step in range(max(i, 1))
        ]
        for lateral, smooth, path, shape in zip(
            self.laterals, self.smooths, self.paths(), input_shape, strict=True
        ):
            lateral.build(shape)
            smooth.build((*shape[:3], self.pyramid_channels))
            for step, conv in enumerate(path):
                channels = self.channels if step else self.pyramid_channels
                conv.build((None, None, None, channels))
        self.classify.build((*input_shape[0][:3], self.channels))

    def call(self, inputs: Sequence[Any], training: bool | None = None) -> Any:
        """Compute the logits.

        Args:
            inputs: list of Tensor. Maps (batch, height, width, any), the finest first.
            training: bool. Whether dropout is applied and norms use the statistics of the batch.

        Returns:
            Logits (batch, height, width, num_classes).
        """
        total = None
        for i, (x, path) in enumerate(zip(self.pyramid(inputs), self.paths(), strict=True)):
            for step, conv in enumerate(path):
                x = conv(x, training=training)
                if i:  # The finest level keeps its size.
                    x = self._upsample(x, inputs[: i - step])
            total = x if total is None else total + x
        return self._classify(total, training)

    def pyramid(self, inputs: Sequence[Any]) -> list[Any]:
        """Compute the feature pyramid.

        Args:
            inputs: list of Tensor. Maps (batch, height, width, any), the finest first.

        Returns:
            list of Tensor. Maps (batch, height, width, pyramid_channels).
        """
        resize = resize_nearest if self.interpolation == "nearest" else resize_like
        return merge_top_down(inputs, self.laterals, self.smooths, resize)

    def _upsample(self, x: Any, finer: Sequence[Any]) -> Any:
        """Upsample a map once, where `finer` are the levels that are finer than it."""
        if self.interpolation == "bilinear":
            return resize_like(x, finer[-1])
        return double_like(x, finer[0]) if len(finer) == 1 else double(x)

    def compute_output_shape(self, input_shape: Sequence[tuple]) -> tuple:
        """Return the shape of the logits.

        Args:
            input_shape: list of tuple. Shapes (batch, height, width, any), the finest level first.
        """
        return (*input_shape[0][:3], self.num_classes)
