"""The mask transformer of Segmenter: patches and one embedding per class attend to one another."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from keras_paca import layers
from keras_paca.arguments import check_positive, check_rate, check_ratio
from keras_paca.layers.initializers import linear, linear_initializer
from keras_paca.layers.policies import exact_dtype
from keras_paca.ops import flatten_map, to_float32, unflatten_patches
from keras_paca.segmentation.heads.base import SegmentationHead

EPSILON = 1e-5  # of the layer norms
HEAD_CHANNELS = 64  # of an attention head, unless `num_heads` says otherwise


@keras.saving.register_keras_serializable(package="keras_paca")
class MaskTransformerHead(SegmentationHead):
    """The mask transformer of Segmenter: patches and one embedding per class attend to one another.

    Let x be the maps, concatenated and projected to `channels` channels, and c the learned
    embedding of each class. After the transformer layers,

        x, c = LayerNorm(layers(x, c)), y = LayerNorm_classes(x Wx / |x Wx| . c Wc / |c Wc|),

    so that the logits of a patch are the normalised cosines between it and each class.

    Args:
        num_classes: int. Number of classes.
        channels: int. Channels inside the head. By default those of the first map.
        dropout: float. Rate of dropout after the projections of the transformer layers, in [0, 1).
        num_layers: int. Number of transformer layers.
        num_heads: int. Number of attention heads. It must divide the channels. By default the
            largest such number with 64 channels per head or more, at least 1.
        mlp_ratio: float. Width of the hidden layers of the feed-forward networks, as a multiple of
            the channels.
        drop_path_rate: float. Rate at which the residual branches of the last layer are dropped.
            The rates grow linearly from 0 in the first layer.
        attention_dropout: float. Rate of dropout on the attention weights.
        **kwargs: Arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Input shape: one map (batch, height, width, any) or a list of maps of the same size. In a
    `Segmenter`, they are the `grid_maps` of the backbone, such as the process tokens of a `ViTTM`,
    or the coarsest level of a backbone without them.
    Output shape: (batch, height, width, num_classes), logits.

    Raises:
        ValueError: If an argument is out of its range, or if the maps differ in size.

    Example:
    >>> import numpy as np
    >>> from keras_paca.segmentation import MaskTransformerHead
    >>> head = MaskTransformerHead(num_classes=3, channels=8)
    >>> tuple(head([np.zeros((1, 4, 4, 16))]).shape)
    (1, 4, 4, 3)

    Source: Strudel et al., "Segmenter: Transformer for Semantic Segmentation", ICCV 2021;
    `SegmenterMaskTransformerHead` of mmsegmentation.
    """

    has_projection: ClassVar[bool] = False
    needed_levels: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        num_classes: int,
        channels: int | None = None,
        dropout: float = 0.0,
        num_layers: int = 2,
        num_heads: int | None = None,
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.1,
        attention_dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, channels, dropout, **kwargs)
        check_rate("dropout", dropout)
        check_rate("drop_path_rate", drop_path_rate)
        check_rate("attention_dropout", attention_dropout)
        self.num_layers = check_positive("num_layers", num_layers)
        self.num_heads = None if num_heads is None else check_positive("num_heads", num_heads)
        self.mlp_ratio = check_ratio("mlp_ratio", mlp_ratio, channels)
        self.drop_path_rate = drop_path_rate
        self.attention_dropout = attention_dropout

    def maps_of(self, backbone: keras.Model) -> list[keras.KerasTensor]:
        """Return the `grid_maps` of a backbone, or its coarsest level if it has none.

        Args:
            backbone: keras.Model. Functional model with `pyramid_outputs`.

        Raises:
            ValueError: If the backbone has neither.
        """
        maps = getattr(backbone, "grid_maps", None)
        return super().maps_of(backbone)[-1:] if maps is None else list(maps)

    def build(self, input_shape: Sequence[Any]) -> None:
        """Build the projections, the embeddings of the classes and the transformer layers.

        Args:
            input_shape: list of tuple. Shapes (batch, height, width, any) of the maps.
        """
        shapes = input_shape if isinstance(input_shape[0], (list, tuple)) else [input_shape]
        if len({tuple(shape[1:3]) for shape in shapes}) > 1:
            raise ValueError(
                f"{type(self).__name__} takes maps of the same height and width. "
                f"Received: shapes={shapes}"
            )
        batch, height, width, channels = shapes[0]
        channels = self.channels or channels
        check_ratio("mlp_ratio", self.mlp_ratio, channels)
        num_heads = self.num_heads or _default_heads(channels)
        count = None if None in (height, width) else height * width
        total = sum(shape[-1] for shape in shapes)
        tokens = (batch, None if count is None else count + self.num_classes, channels)
        exact = exact_dtype(self.dtype_policy)

        def projection(name: str, shape: tuple, **options: Any) -> keras.layers.Layer:
            layer = self.make(linear, name, channels, **options)
            layer.build(shape)
            return layer

        self.input_projection = projection("input_projection", (batch, count, total))
        self.class_embeddings = self.add_weight(
            name="class_embeddings",
            shape=(self.num_classes, channels),
            initializer=linear_initializer(),
        )
        rates = np.linspace(0.0, self.drop_path_rate, self.num_layers).tolist()
        self.blocks = [
            self.make(
                layers.PaCaBlock,
                f"layer{i + 1}",
                num_heads,
                mlp_ratio=self.mlp_ratio,
                drop_path_rate=rate,
                attention_dropout=self.attention_dropout,
                dropout=self.dropout,
                dwconv_in_mlp=False,
                epsilon=EPSILON,
                attention_initial="joint_glorot",
            )
            for i, rate in enumerate(rates)
        ]
        for block in self.blocks:
            block.build((*tokens[:2], 1, channels))  # a map of one column
        norm = keras.layers.LayerNormalization
        self.norm = self.make(norm, "norm", epsilon=EPSILON)
        self.norm.build(tokens)
        self.patch_projection = projection("patch_projection", tokens, use_bias=False)
        self.class_projection = projection("class_projection", tokens, use_bias=False)
        self.mask_norm = self.make(norm, "mask_norm", epsilon=EPSILON, dtype=exact)
        self.mask_norm.build((batch, count, self.num_classes))

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Compute the logits.

        Args:
            inputs: Tensor, or list of Tensor. Maps (batch, height, width, any) of the same size.
            training: bool. Whether branches are dropped and dropout is applied.

        Returns:
            Logits (batch, height, width, num_classes), float32 at least.
        """
        maps = inputs if isinstance(inputs, (list, tuple)) else [inputs]
        patches = flatten_map(ops.concatenate(maps, axis=-1))
        patches = self.input_projection(patches)  # (b, n, c)
        classes = ops.cast(self.class_embeddings, patches.dtype)[None]
        classes = classes + ops.zeros_like(patches[:, :1])  # (b, m, c)
        x = ops.concatenate([patches, classes], axis=1)[:, :, None]
        for block in self.blocks:
            x = block(x, training=bool(training))
        x = self.norm(x)[:, :, 0]
        patches = self.patch_projection(x[:, : -self.num_classes])
        # TensorFlow doesn't know the length of the end of a tensor of unknown length.
        classes = ops.reshape(x[:, -self.num_classes :], (-1, self.num_classes, x.shape[-1]))
        classes = self.class_projection(classes)
        cosines = ops.matmul(_unit(patches), ops.transpose(_unit(classes), (0, 2, 1)))
        return unflatten_patches(self.mask_norm(cosines), like=maps[0])  # (b, h, w, m)

    def compute_output_shape(self, input_shape: Sequence[Any]) -> tuple:
        """Return the shape of the logits.

        Args:
            input_shape: list of tuple. Shapes (batch, height, width, any) of the maps.
        """
        first = input_shape[0] if isinstance(input_shape[0], (list, tuple)) else input_shape
        return (*first[:3], self.num_classes)

    def compute_output_spec(self, inputs: Any, training: bool | None = None) -> keras.KerasTensor:
        """Return the symbolic logits."""
        shape = keras.tree.map_structure(lambda x: x.shape, inputs)
        return keras.KerasTensor(
            self.compute_output_shape(shape), dtype=exact_dtype(self.dtype_policy)
        )

    def count_products(self, input_shape: Sequence[Any]) -> int:
        """Count the multiply-accumulates between patches and classes; layers count their own.

        Args:
            input_shape: list of tuple. Shapes (batch, height, width, any) of the maps.

        Returns:
            int. Number of multiply-accumulate operations.
        """
        first = input_shape[0] if isinstance(input_shape[0], (list, tuple)) else input_shape
        channels = self.channels or first[-1]
        return math.prod(first[:3]) * self.num_classes * channels


def _default_heads(channels: int) -> int:
    """Return the largest number of heads that divides the channels into 64 each or more."""
    most = max(channels // HEAD_CHANNELS, 1)
    return next(count for count in range(most, 0, -1) if channels % count == 0)


def _unit(x: Any) -> Any:
    """Return vectors divided by their lengths, in float32 at least."""
    x = to_float32(x)
    squares = ops.sum(x * x, axis=-1, keepdims=True)
    return x * ops.rsqrt(ops.maximum(squares, 1e-24))
