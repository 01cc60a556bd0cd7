"""The teacher whose 1 x 1 convolutions include most of the batch norms before them."""

from typing import Any, ClassVar

from keras_paca import layers, ops
from keras_paca.forms import register_twin
from keras_paca.inference.folding import (
    UNCHANGED,
    Affine,
    affine_of,
    copy_weights,
    fold_projection,
)
from keras_paca.inference.twin import Twin
from keras_paca.layers import teacher


@register_twin(teacher.ConvMixerUnit)
class ConvMixerUnit(Twin, teacher.ConvMixerUnit):
    """`ConvMixerUnit` whose inner norm is a scale; the bias of the projection includes the offset.

    The outer norm stays if a convolution with padding comes after it. Otherwise, `norm_outputs` is
    `False`, and the projections that come after it include it.

    Args:
        kernel_size: int. Side of the depthwise convolution's kernel, odd.
        norm_outputs: bool. Whether the unit has the outer norm.
        **kwargs: As for `keras.layers.Layer`.

    Example:
    >>> import keras, keras_paca
    >>> model = keras.Sequential([keras.Input((4, 4, 8)), teacher.ConvMixerUnit(3)])
    >>> model.count_params(), keras_paca.fuse(model).count_params()
    (216, 192)
    """

    changes: ClassVar = {"norm1": None}

    def __init__(self, kernel_size: int, norm_outputs: bool = True, **kwargs: Any) -> None:
        super().__init__(kernel_size, **kwargs)
        self.norm_outputs = norm_outputs
        if not norm_outputs:
            self.norm2 = None

    def build(self, input_shape: tuple) -> None:
        """Build the sub-layers and the scale."""
        super().build(input_shape)
        self.scale = self.add_weight(name="scale", shape=input_shape[-1:], initializer="ones")

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Apply the unit to the map `inputs` (b, h, w, c)."""
        x = inputs + ops.gelu(self.depthwise(inputs)) * self.scale
        x = ops.gelu(self.pointwise(x))
        return x if self.norm2 is None else self.norm2(x, training=training)

    def fold(self, source: teacher.ConvMixerUnit) -> None:
        """Compute the weights from those of the layer."""
        copy_weights(self.depthwise, source.depthwise)
        scale, offset = affine_of(source.norm1)
        self.scale.assign(scale)
        fold_projection(self.pointwise, source.pointwise, Affine(offset=offset))
        if self.norm2 is not None:
            copy_weights(self.norm2, source.norm2)


@register_twin(layers.ConvMixerTeacher)
class ConvMixerTeacher(Twin, layers.ConvMixerTeacher):
    """`keras_paca.layers.ConvMixerTeacher` with fewer norms.

    Its last projections have no bias, because it cancels in the softmax over patches.

    Example:
    >>> import keras, keras_paca
    >>> x = keras.Input((8, 8, 4))
    >>> model = keras.Model(x, layers.ConvMixerTeacher((4, 8), depths=(1, 1), clusters=(3, 2))(x))
    >>> model.count_params(), keras_paca.fuse(model).count_params()
    (1453, 1384)
    """

    changes: ClassVar = {
        "top_down_unit*": {"norm_outputs": False},
        "projection*": {"use_bias": False},
    }

    def fold(self, source: layers.ConvMixerTeacher) -> None:
        """Compute the weights from those of the layer."""
        parts, source_parts = (
            [*each.units, *each.transitions, *each.top_down_units] for each in (self, source)
        )
        for part, source_part in zip(parts, source_parts, strict=True):
            copy_weights(part, source_part)
        # The norm at the end of each stage's top-down path; the deepest stage has none. It commutes
        # with the bilinear resize before the next projection, whose weights sum to 1.
        ends = [*(affine_of(unit.norm2) for unit in source.top_down_units), UNCHANGED]
        for lateral, other, end in zip(self.laterals, source.laterals, ends[1:], strict=True):
            fold_projection(lateral.pointwise, other.pointwise, end)
            copy_weights(lateral.norm, other.norm)
        triples = zip(self.projections, source.projections, self._clustered(ends), strict=True)
        for projection, other, end in triples:
            fold_projection(projection, other, end)
