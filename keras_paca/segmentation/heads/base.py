"""What all segmentation heads share: their arguments, the maps they take, their convolutions."""

from typing import Any, ClassVar

import keras
from keras import ops

from keras_paca.backbones.pyramid import LEVELS, pyramid_levels
from keras_paca.layers.base import BaseLayer
from keras_paca.layers.batch_norm import BatchNormalization


def head_initializer() -> keras.initializers.Initializer:
    """Create the initializer of the last projections, a normal distribution N(0, 0.01^2).

    Returns:
        A `keras.initializers.RandomNormal`.

    Example:
    >>> head_initializer().stddev
    0.01
    """
    return keras.initializers.RandomNormal(stddev=0.01)


@keras.saving.register_keras_serializable(package="keras_paca")
class ConvNormReLU(BaseLayer):
    """A convolution, a batch normalisation and a ReLU.

        y = ReLU(BatchNorm(Conv(x))), where the convolution has no bias

    Args:
        filters: int. Channels of the output.
        kernel_size: int. Side of the convolution kernel, odd. The padding keeps the size of the
            map.
        **kwargs: Arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Input shape: (batch, height, width, channels).
    Output shape: (batch, height, width, filters).

    Example:
    >>> tuple(ConvNormReLU(filters=4, kernel_size=3)(ops.zeros((1, 8, 6, 3))).shape)
    (1, 8, 6, 4)
    """

    def __init__(self, filters: int, kernel_size: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters, self.kernel_size = filters, kernel_size
        self.conv = self.make(
            keras.layers.Conv2D,
            "conv",
            filters,
            kernel_size,
            padding="same",
            use_bias=False,
            data_format="channels_last",
            kernel_initializer="he_normal",
        )
        self.norm = self.make(BatchNormalization, "norm")

    def build(self, input_shape: tuple) -> None:
        """Build the convolution and the norm.

        Args:
            input_shape: tuple. (batch, height, width, channels).
        """
        self.conv.build(input_shape)
        if self.norm is not None:
            self.norm.build(self.conv.compute_output_shape(input_shape))

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Apply the convolution, the norm and the ReLU.

        Args:
            inputs: Tensor of shape (batch, height, width, channels).
            training: bool. Whether the norm uses the statistics of the batch.

        Returns:
            Tensor of shape (batch, height, width, filters).
        """
        x = self.conv(inputs)
        return ops.relu(x if self.norm is None else self.norm(x, training=training))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return the shape of the output.

        Args:
            input_shape: tuple. (batch, height, width, channels).
        """
        return (*input_shape[:3], self.filters)


class SegmentationHead(BaseLayer):
    """Base class of the segmentation heads: their arguments, the dropout, the last projection.

    Subclasses turn the levels of a backbone into a map with `channels` channels, and end with a
    spatial dropout, which drops whole channels, and a 1 x 1 projection to the classes. A subclass
    that ends otherwise sets `has_projection = False`, and one that takes other maps than the levels
    P2 to P5 sets `needed_levels` and overrides `maps_of`.

    Args:
        num_classes: int. Number of classes.
        channels: int. Channels inside the head.
        dropout: float. Rate of the dropout before the last projection, in [0, 1).
        **kwargs: Arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Raises:
        ValueError: If `num_classes` or `channels` is less than 1.

    Example:
    >>> import keras_paca
    >>> from keras_paca.segmentation import FCNHead, SegmentationHead, Segmenter
    >>> head = FCNHead(num_classes=3, channels=8)
    >>> isinstance(head, SegmentationHead)
    True
    >>> backbone = keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, include_top=False)
    >>> Segmenter(backbone, head, num_classes=3).decode_head is head
    True
    """

    has_projection: ClassVar[bool] = True
    needed_levels: ClassVar[tuple[str, ...]] = LEVELS

    def __init__(
        self,
        num_classes: int,
        channels: int,
        dropout: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if num_classes < 1 or (channels is not None and channels < 1):
            raise ValueError(
                "`num_classes` and `channels` must be positive integers. "
                f"Received: num_classes={num_classes}, channels={channels}"
            )
        self.num_classes, self.channels, self.dropout = num_classes, channels, dropout
        if self.has_projection:
            self.dropout_layer = self.make(
                keras.layers.SpatialDropout2D, "dropout", dropout, data_format="channels_last"
            )
            self.classify = self._projection(num_classes, "classify")

    def maps_of(self, backbone: keras.Model) -> list[keras.KerasTensor]:
        """Return the maps of a backbone that the head takes, by default the levels P2 to P5.

        Args:
            backbone: keras.Model. Functional model with `pyramid_outputs`.

        Raises:
            ValueError: If the backbone doesn't have them.
        """
        return pyramid_levels(backbone, self.needed_levels)

    def _conv(self, name: str, kernel_size: int = 1) -> ConvNormReLU:
        return self.make(ConvNormReLU, name, self.channels, kernel_size)

    def _projection(self, units: int, name: str) -> keras.layers.Dense:
        """Return a 1 x 1 convolution to logits, which are float32 at least."""
        return self.make(
            keras.layers.Dense,
            name,
            units,
            kernel_initializer=head_initializer(),
            dtype=self.dtype_policy.variable_dtype,
        )

    def _classify(self, x: Any, training: bool | None) -> Any:
        return self.classify(self.dropout_layer(x, training=training))

    def _levels_needed(self, shapes: Any, count: int) -> None:
        if not isinstance(shapes, (list, tuple)) or len(shapes) != count:
            raise ValueError(
                f"{type(self).__name__} must be called on a list of {count} maps, the finest "
                f"first. Received: shapes={shapes}"
            )
