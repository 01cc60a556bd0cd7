"""The external clustering teacher: a light ConvMixer pyramid that makes the assignments."""

import math
from collections.abc import Sequence
from itertools import islice
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_paca.layers.activation import gelu
from keras_paca.layers.clustering import assignment_spec, softmax_over_patches
from keras_paca.layers.composite import Composite
from keras_paca.layers.depthwise import DepthwiseConv2D, depthwise_conv2d
from keras_paca.layers.embedding import downsample_conv, pad_borders, padded_shape
from keras_paca.layers.folding import UNCHANGED, Affine, affine_of, fold_projection, take_weights
from keras_paca.layers.initializers import pointwise
from keras_paca.layers.maps import count_patches, halve, resize_bilinear
from keras_paca.layers.nested import NestedLayer
from keras_paca.layers.softmax import logits_policy


class ConvMixerUnit(Composite):
    """y = BN(GELU(W (x + BN(GELU(DWConv_kxk(x)))))).

    Fused, the inner norm is a scale, whose centre W's bias holds. The outer one stays: a padded
    convolution comes after it. Where none does, `norm_outputs` is off, and the projections hold it.
    """

    def __init__(
        self, kernel_size: int, fused: bool = False, norm_outputs: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.fused = fused
        self.depthwise = DepthwiseConv2D(kernel_size, name="depthwise", dtype=self.dtype_policy)
        self.norm1 = None if fused else _batch_norm("norm1", self.dtype_policy)
        self.norm2 = _batch_norm("norm2", self.dtype_policy) if norm_outputs else None

    def build(self, input_shape: tuple) -> None:
        """Build the unit."""
        self.pointwise = pointwise(input_shape[-1], **self.inner("pointwise"))
        for layer in (self.depthwise, self.norm1, self.pointwise, self.norm2):
            if layer is not None:
                layer.build(input_shape)
        if self.fused:
            self.scale = self.add_weight(name="scale", shape=input_shape[-1:], initializer="ones")

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Transform the map `inputs` (b, h, w, c)."""
        y = gelu(self.depthwise(inputs))
        x = inputs + (y * self.scale if self.fused else self.norm1(y, training=training))
        x = gelu(self.pointwise(x))
        return x if self.norm2 is None else self.norm2(x, training=training)

    def fold(self, source: "ConvMixerUnit") -> None:
        """Take the weights of an unfused unit."""
        take_weights(self.depthwise, source.depthwise)
        scale, centre = affine_of(source.norm1)
        self.scale.assign(scale)
        fold_projection(self.pointwise, source.pointwise, Affine(centre=centre))
        if self.norm2 is not None:
            take_weights(self.norm2, source.norm2)


class BlurTransition(NestedLayer):
    """y = BN(GELU(Conv3x3, stride 2 (blur(x)))), the blur being [1 2 1; 2 4 2; 1 2 1] / 16."""

    def __init__(self, filters: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conv = downsample_conv(filters, dtype=self.dtype_policy, name="conv")
        self.norm = _batch_norm("norm", self.dtype_policy)

    def build(self, input_shape: tuple) -> None:
        """Build the transition."""
        taps = np.outer([1.0, 2.0, 1.0], [1.0, 2.0, 1.0]) / 16
        self.blur = np.repeat(taps[:, :, None, None], input_shape[-1], axis=2)  # (3, 3, c, 1)
        self.conv.build(padded_shape(input_shape))
        self.norm.build((*input_shape[:-1], self.conv.filters))

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Transform the map `inputs` (b, h, w, c)."""
        blurred = depthwise_conv2d(inputs, ops.convert_to_tensor(self.blur, inputs.dtype))
        x = gelu(self.conv(pad_borders(blurred)))
        return self.norm(x, training=training)

    def count_products(self, input_shape: tuple) -> int:
        """Return the multiply-accumulates of the blur."""
        return 9 * math.prod(input_shape)


class Lateral(Composite):
    """y = BN(GELU(W x))."""

    def __init__(self, filters: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pointwise = pointwise(filters, **self.inner("pointwise"))
        self.norm = _batch_norm("norm", self.dtype_policy)

    def build(self, input_shape: tuple) -> None:
        """Build the projection."""
        self.pointwise.build(input_shape)
        self.norm.build((*input_shape[:-1], self.pointwise.units))

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Transform the map `inputs` (b, h, w, c)."""
        return self.norm(gelu(self.pointwise(inputs)), training=training)


def _batch_norm(name: str, dtype: Any) -> keras.layers.Layer:
    """Return PyTorch's batch norm: its momentum 0.1 is Keras's 0.9."""
    return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name, dtype=dtype)


@keras.saving.register_keras_serializable(package="keras_paca")
class ConvMixerTeacher(Composite):
    """Make all stages' cluster assignments from the stem's map, beside the backbone.

    Bottom-up, stage i is `depths[i]` ConvMixer units x -> BN(GELU(W (x + BN(GELU(DWConv(x))))));
    a blur and a strided convolution lead to the next stage. Top-down, the deeper map is resized
    bilinearly, projected, added to the stage's own and passed through one more unit. A projection
    of that and a softmax over patches give the assignment.

    Args:
        hidden_dims: channels per stage; the first equals the input's.
        depths: units per stage.
        clusters: clusters per stage; a stage with 0 has no assignment.
        kernel_size: side of the units' depthwise convolutions, odd.
        fused: whether the teacher has the form for inference that `keras_paca.fuse` makes: its
            1 x 1 convolutions hold what they can of the batch norms before them, and the last have
            no bias, which the softmax over patches drops.

    Input shape: the stem's map (batch, height, width, hidden_dims[0]), float.

    Output: the pair (assignments, features): one assignment (batch, patches, clusters) per stage
    that has clusters, float32 or wider, and one bottom-up map (batch, height, width, channels)
    per stage, each stage's side half the one before, rounded up.

    Raises:
        ValueError: if the arguments don't have one entry per stage, or the input other channels.

    Source: PaCa-ViT (Grainger et al., CVPR 2023), external clustering teacher.
    """

    def __init__(
        self,
        hidden_dims: Sequence[int],
        depths: Sequence[int],
        clusters: Sequence[int],
        kernel_size: int = 7,
        fused: bool = False,
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
        self.fused = fused

        dtype, stages = self.dtype_policy, range(len(self.depths))
        self.units = [  # not one list per stage: Keras 3.13 saves nothing of lists in lists
            self._unit(f"stage{i + 1}_unit{j + 1}") for i in stages for j in range(self.depths[i])
        ]
        self.transitions = [
            BlurTransition(self.hidden_dims[i + 1], dtype=dtype, name=f"transition{i + 1}")
            for i in stages[:-1]
        ]
        self.laterals = [
            Lateral(self.hidden_dims[i], **self.inner(f"lateral{i + 1}")) for i in stages[:-1]
        ]
        self.top_down_units = [
            self._unit(f"top_down_unit{i + 1}", norm_outputs=not fused) for i in stages[:-1]
        ]
        self.projections = [
            pointwise(
                self.clusters[i],
                use_bias=not fused,
                **self.inner(f"projection{i + 1}", logits_policy(dtype)),
            )
            for i in stages
            if self.clusters[i]
        ]

    def _unit(self, name: str, norm_outputs: bool = True) -> keras.layers.Layer:
        return ConvMixerUnit(self.kernel_size, self.fused, norm_outputs, **self.inner(name))

    def _units_per_stage(self) -> list[list[keras.layers.Layer]]:
        units = iter(self.units)
        return [list(islice(units, depth)) for depth in self.depths]

    def _map_shapes(self, input_shape: tuple) -> list[tuple]:
        """Return the shape of each stage's map."""
        batch, height, width, _ = input_shape
        shapes = []
        for channels in self.hidden_dims:
            shapes.append((batch, height, width, channels))
            height, width = halve(height), halve(width)
        return shapes

    def build(self, input_shape: tuple) -> None:
        """Build every stage."""
        if input_shape[-1] != self.hidden_dims[0]:
            raise ValueError(
                f"The input must have hidden_dims[0]={self.hidden_dims[0]} channels. "
                f"Received: inputs of shape {input_shape}"
            )
        shapes = self._map_shapes(input_shape)
        for units, shape in zip(self._units_per_stage(), shapes, strict=True):
            for unit in units:
                unit.build(shape)
        for i, transition in enumerate(self.transitions):
            transition.build(shapes[i])
            self.laterals[i].build((*shapes[i][:-1], self.hidden_dims[i + 1]))
            self.top_down_units[i].build(shapes[i])
        clustered = [shape for shape, count in zip(shapes, self.clusters, strict=True) if count]
        for projection, shape in zip(self.projections, clustered, strict=True):
            projection.build(shape)

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
            x = resize_bilinear(top_down[-1], ops.shape(features[i])[1:3])
            x = features[i] + self.laterals[i](x, training=training)
            top_down.append(self.top_down_units[i](x, training=training))

        clustered = [x for x, count in zip(top_down[::-1], self.clusters, strict=True) if count]
        assignments = [
            softmax_over_patches(projection(x))
            for projection, x in zip(self.projections, clustered, strict=True)
        ]
        return assignments, features

    def fold(self, source: "ConvMixerTeacher") -> None:
        """Take the weights of an unfused teacher."""
        mine, theirs = (
            [*teacher.units, *teacher.transitions, *teacher.top_down_units]
            for teacher in (self, source)
        )
        for layer, of in zip(mine, theirs, strict=True):
            take_weights(layer, of)
        # what ends the top-down path of each stage; a resize between changes no mean of patches
        ends = [*(affine_of(unit.norm2) for unit in source.top_down_units), UNCHANGED]
        for lateral, of, end in zip(self.laterals, source.laterals, ends[1:], strict=True):
            fold_projection(lateral.pointwise, of.pointwise, end)
            take_weights(lateral.norm, of.norm)
        clustered = [end for end, count in zip(ends, self.clusters, strict=True) if count]
        for layer, of, end in zip(self.projections, source.projections, clustered, strict=True):
            fold_projection(layer, of, end)

    def compute_output_shape(self, input_shape: tuple) -> tuple[list, list]:
        """Return the shapes of the assignments and of the maps."""
        shapes = self._map_shapes(input_shape)
        assignments = [
            (shape[0], count_patches(shape), count)
            for shape, count in zip(shapes, self.clusters, strict=True)
            if count
        ]
        return assignments, shapes

    def compute_output_spec(self, inputs: Any, training: bool = False) -> tuple[list, list]:
        """Return the symbolic assignments, float32 under a mixed policy, and maps."""
        shapes = self._map_shapes(inputs.shape)
        assignments = [
            assignment_spec(shape, count, self.compute_dtype)
            for shape, count in zip(shapes, self.clusters, strict=True)
            if count
        ]
        return assignments, [keras.KerasTensor(s, dtype=self.compute_dtype) for s in shapes]

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        return {
            **super().get_config(),
            "hidden_dims": self.hidden_dims,
            "depths": self.depths,
            "clusters": self.clusters,
            "kernel_size": self.kernel_size,
            "fused": self.fused,
        }
