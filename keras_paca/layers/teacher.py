"""The external clustering teacher: a light ConvMixer pyramid that computes the assignments."""

import math
from collections.abc import Sequence
from itertools import islice
from typing import Any

import keras
import numpy as np
from keras.ops import convert_to_tensor, shape

from keras_paca import ops
from keras_paca.layers.base import BaseLayer
from keras_paca.layers.batch_norm import BatchNormalization
from keras_paca.layers.clustering import assignment_spec, softmax_over_patches
from keras_paca.layers.depthwise import DepthwiseConv2D
from keras_paca.layers.embedding import pad_borders, padded_shape
from keras_paca.layers.initializers import conv3x3, pointwise
from keras_paca.layers.policies import logits_policy


class ConvMixerUnit(BaseLayer):
    """One unit of a ConvMixer: y = BN(GELU(W (x + BN(GELU(DWConv_kxk(x)))))).

    Args:
        kernel_size: int. Side of the depthwise convolution's kernel, odd.
        **kwargs: As for `keras.layers.Layer`.

    Input shape: (batch, height, width, channels), float.
    Output shape: The same.

    Example:
    >>> tuple(ConvMixerUnit(3)(keras.ops.ones((1, 5, 7, 4))).shape)
    (1, 5, 7, 4)
    """

    def __init__(self, kernel_size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kernel_size = kernel_size
        self.depthwise = self.make(DepthwiseConv2D, "depthwise", kernel_size)
        self.norm1 = self.make(BatchNormalization, "norm1")
        self.norm2 = self.make(BatchNormalization, "norm2")

    def build(self, input_shape: tuple) -> None:
        """Build the sub-layers."""
        self.pointwise = self.make(pointwise, "pointwise", input_shape[-1])
        for layer in (self.depthwise, self.norm1, self.pointwise, self.norm2):
            if layer is not None:
                layer.build(input_shape)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Apply the layer to the map `inputs` (b, h, w, c)."""
        x = inputs + self.norm1(ops.gelu(self.depthwise(inputs)), training=training)
        return self.norm2(ops.gelu(self.pointwise(x)), training=training)


class BlurTransition(BaseLayer):
    """Blur and halve a map between two stages: y = BN(GELU(Conv3x3(blur(x)))), with stride 2.

    The kernel of the blur is [1 2 1; 2 4 2; 1 2 1] / 16.

    Args:
        filters: int. Number of channels of the output.
        **kwargs: As for `keras.layers.Layer`.

    Input shape: (batch, height, width, channels), float.
    Output shape: (batch, ceil(height / 2), ceil(width / 2), filters).

    Example:
    >>> tuple(BlurTransition(8)(keras.ops.ones((1, 5, 8, 4))).shape)
    (1, 3, 4, 8)
    """

    def __init__(self, filters: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.conv = self.make(conv3x3, "conv", filters, strides=2)
        self.norm = self.make(BatchNormalization, "norm")

    def build(self, input_shape: tuple) -> None:
        """Build the convolution and the norm."""
        taps = np.outer([1.0, 2.0, 1.0], [1.0, 2.0, 1.0]) / 16
        self.blur = np.repeat(taps[:, :, None, None], input_shape[-1], axis=2)  # (3, 3, c, 1)
        self.conv.build(padded_shape(input_shape))
        self.norm.build((*input_shape[:-1], self.conv.filters))

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Apply the layer to the map `inputs` (b, h, w, c)."""
        blurred = ops.depthwise_conv2d(inputs, convert_to_tensor(self.blur, inputs.dtype))
        x = ops.gelu(self.conv(pad_borders(blurred)))
        return self.norm(x, training=training)

    def count_products(self, input_shape: tuple) -> int:
        """Return the number of multiply-accumulates of the blur."""
        return 9 * math.prod(input_shape)


class Lateral(BaseLayer):
    """Project a deeper map on the top-down path: y = BN(GELU(W x)).

    Args:
        filters: int. Number of channels of the output.
        **kwargs: As for `keras.layers.Layer`.

    Input shape: (batch, height, width, channels), float.
    Output shape: (batch, height, width, filters).

    Example:
    >>> tuple(Lateral(8)(keras.ops.ones((1, 5, 7, 4))).shape)
    (1, 5, 7, 8)
    """

    def __init__(self, filters: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.pointwise = self.make(pointwise, "pointwise", filters)
        self.norm = self.make(BatchNormalization, "norm")

    def build(self, input_shape: tuple) -> None:
        """Build the projection and the norm."""
        self.pointwise.build(input_shape)
        self.norm.build((*input_shape[:-1], self.pointwise.units))

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Apply the layer to the map `inputs` (b, h, w, c)."""
        return self.norm(ops.gelu(self.pointwise(inputs)), training=training)


@keras.saving.register_keras_serializable(package="keras_paca")
class ConvMixerTeacher(BaseLayer):
    """Compute the cluster assignments of all stages from the stem's map, beside the backbone.

    Bottom-up, stage i has `depths[i]` ConvMixer units x -> BN(GELU(W (x + BN(GELU(DWConv(x)))))).
    A blur and a strided convolution lead to the next stage. Top-down, the deeper map is resized
    bilinearly, projected, added to the stage's own map and passed through one more unit. A
    projection of the result and a softmax over patches give the assignment.

    Args:
        hidden_dims: Sequence of int. Channels per stage. The first is that of the input.
        depths: Sequence of int. Units per stage.
        clusters: Sequence of int. Clusters per stage. A stage with 0 has no assignment.
        kernel_size: int. Side of the kernels of the units' depthwise convolutions, odd.
        **kwargs: As for `keras.layers.Layer`.

    Input shape: The stem's map (batch, height, width, hidden_dims[0]), float.

    Output: The pair (assignments, features). There is one assignment (batch, patches, clusters) for
    each stage that has clusters, float32 or wider, and one bottom-up map (batch, height, width,
    channels) for each stage. Each stage has half the sides of the one before, rounded up.

    Raises:
        ValueError: If the arguments don't have one entry per stage, or the input doesn't have
            `hidden_dims[0]` channels.

    Source: PaCa-ViT (Grainger et al., CVPR 2023), external clustering teacher.

    Example:
    >>> teacher = ConvMixerTeacher(hidden_dims=(4, 8), depths=(1, 1), clusters=(3, 2))
    >>> assignments, features = teacher(keras.ops.ones((1, 6, 5, 4)))
    >>> [tuple(x.shape) for x in (*assignments, *features)]
    [(1, 30, 3), (1, 9, 2), (1, 6, 5, 4), (1, 3, 3, 8)]
    """

    def __init__(
        self,
        hidden_dims: Sequence[int],
        depths: Sequence[int],
        clusters: Sequence[int],
        kernel_size: int = 7,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not len(hidden_dims) == len(depths) == len(clusters):
            raise ValueError(
                "`hidden_dims`, `depths` and `clusters` must have one entry per stage each. "
                f"Received: hidden_dims={hidden_dims}, depths={depths}, clusters={clusters}"
            )
        self.hidden_dims = tuple(hidden_dims)
        self.depths = tuple(depths)
        self.clusters = tuple(clusters)
        self.kernel_size = kernel_size

        stages = range(len(self.depths))
        self.units = [  # one list for all stages, as Keras 3.13 saves no layers in nested lists
            self.make(ConvMixerUnit, f"stage{i + 1}_unit{j + 1}", kernel_size)
            for i in stages
            for j in range(self.depths[i])
        ]
        self.transitions = [
            self.make(BlurTransition, f"transition{i + 1}", self.hidden_dims[i + 1])
            for i in stages[:-1]
        ]
        self.laterals = [
            self.make(Lateral, f"lateral{i + 1}", self.hidden_dims[i]) for i in stages[:-1]
        ]
        self.top_down_units = [
            self.make(ConvMixerUnit, f"top_down_unit{i + 1}", kernel_size) for i in stages[:-1]
        ]
        dtype = logits_policy(self.dtype_policy)
        self.projections = [
            self.make(pointwise, f"projection{i + 1}", self.clusters[i], dtype=dtype)
            for i in stages
            if self.clusters[i]
        ]

    def _units_per_stage(self) -> list[list[keras.layers.Layer]]:
        units = iter(self.units)
        return [list(islice(units, depth)) for depth in self.depths]

    def _map_shapes(self, input_shape: tuple) -> list[tuple]:
        """Return the shape of each stage's map."""
        batch, height, width, _ = input_shape
        shapes = []
        for channels in self.hidden_dims:
            shapes.append((batch, height, width, channels))
            height, width = ops.halve(height), ops.halve(width)
        return shapes

    def build(self, input_shape: tuple) -> None:
        """Build the sub-layers of every stage."""
        if input_shape[-1] != self.hidden_dims[0]:
            raise ValueError(
                f"The input must have hidden_dims[0]={self.hidden_dims[0]} channels. "
                f"Received: inputs of shape {input_shape}"
            )
        shapes = self._map_shapes(input_shape)
        for units, map_shape in zip(self._units_per_stage(), shapes, strict=True):
            for unit in units:
                unit.build(map_shape)
        for i, transition in enumerate(self.transitions):
            transition.build(shapes[i])
            self.laterals[i].build((*shapes[i][:-1], self.hidden_dims[i + 1]))
            self.top_down_units[i].build(shapes[i])
        for projection, map_shape in zip(self.projections, self._clustered(shapes), strict=True):
            projection.build(map_shape)

    def _clustered(self, per_stage: Sequence[Any]) -> list[Any]:
        """Return the items of the stages that have clusters."""
        return [x for x, count in zip(per_stage, self.clusters, strict=True) if count]

    def call(self, inputs: Any, training: bool = False) -> tuple[list, list]:
        """Return the assignments and the bottom-up maps of the stem's map `inputs`."""
        features, x = [], inputs
        for i, units in enumerate(self._units_per_stage()):
            for unit in units:
                x = unit(x, training=training)
            features.append(x)
            if i < len(self.transitions):
                x = self.transitions[i](x, training=training)

        top_down = [features[-1]]  # from the deepest stage to the first
        for i in reversed(range(len(self.transitions))):
            x = ops.resize_bilinear(top_down[-1], shape(features[i])[1:3])
            x = features[i] + self.laterals[i](x, training=training)
            top_down.append(self.top_down_units[i](x, training=training))

        assignments = [
            softmax_over_patches(projection(x))
            for projection, x in zip(self.projections, self._clustered(top_down[::-1]), strict=True)
        ]
        return assignments, features

    def compute_output_shape(self, input_shape: tuple) -> tuple[list, list]:
        """Return the shapes of the assignments and of the maps."""
        shapes = self._map_shapes(input_shape)
        pairs = zip(self._clustered(shapes), self._clustered(self.clusters), strict=True)
        return [(s[0], ops.count_patches(s), count) for s, count in pairs], shapes

    def compute_output_spec(self, inputs: Any, training: bool = False) -> tuple[list, list]:
        """Return the symbolic assignments, float32 under a mixed policy, and maps."""
        shapes = self._map_shapes(inputs.shape)
        pairs = zip(self._clustered(shapes), self._clustered(self.clusters), strict=True)
        assignments = [assignment_spec(s, count, self.dtype_policy) for s, count in pairs]
        return assignments, [keras.KerasTensor(s, dtype=self.compute_dtype) for s in shapes]
