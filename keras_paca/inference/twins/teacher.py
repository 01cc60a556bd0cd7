"""The teacher whose 1 x 1 convolutions hold what they can of the batch norms before them."""

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
    """`ConvMixerUnit` whose inner norm is a scale; the projection's bias holds the centre.

    The outer norm stays, because a padded convolution comes after it. Where none does,
    `norm_outputs` is `False`, and the projections that come after hold it.

    Args:
        kernel_size: int. Side of the depthwise convolution's kernel, odd.
        norm_outputs: bool. Whether there is the outer norm.
        **kwargs: As for `keras.layers.Layer`.
    """

    changes: ClassVar = {"norm1": None}

    def __init__(self, kernel_size: int, norm_outputs: bool = True, **kwargs: Any) -> None:
        super().__init__(kernel_size, **kwargs)
        if not norm_outputs:
            self.norm2 = None

    def build(self, input_shape: tuple) -> None:
        """Build the unit."""
        super().build(input_shape)
        self.scale = self.add_weight(name="scale", shape=input_shape[-1:], initializer="ones")

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Transform the map `inputs` (b, h, w, c)."""
        x = inputs + ops.gelu(self.depthwise(inputs)) * self.scale
        x = ops.gelu(self.pointwise(x))
        return x if self.norm2 is None else self.norm2(x, training=training)

    def fold(self, source: teacher.ConvMixerUnit) -> None:
        """Take over the weights of the layer."""
        copy_weights(self.depthwise, source.depthwise)
        scale, centre = affine_of(source.norm1)
        self.scale.assign(scale)
        fold_projection(self.pointwise, source.pointwise, Affine(centre=centre))
        if self.norm2 is not None:
            copy_weights(self.norm2, source.norm2)


@register_twin(layers.ConvMixerTeacher)
class ConvMixerTeacher(Twin, layers.ConvMixerTeacher):
    """`keras_paca.layers.ConvMixerTeacher` with fewer norms.

    Its last projections have no bias, which the softmax over patches drops.
    """

    changes: ClassVar = {
        "top_down_unit*": {"norm_outputs": False},
        "projection*": {"use_bias": False},
    }

    def fold(self, source: layers.ConvMixerTeacher) -> None:
        """Take over the weights of the layer."""
        parts, source_parts = (
            [*each.units, *each.transitions, *each.top_down_units] for each in (self, source)
        )
        for part, source_part in zip(parts, source_parts, strict=True):
            copy_weights(part, source_part)
        # The norm that ends the top-down path of each stage; none ends the deepest. A bilinear
        # resize between the norm and the projection changes no sum of weights.
        ends = [*(affine_of(unit.norm2) for unit in source.top_down_units), UNCHANGED]
        for lateral, other, end in zip(self.laterals, source.laterals, ends[1:], strict=True):
            fold_projection(lateral.pointwise, other.pointwise, end)
            copy_weights(lateral.norm, other.norm)
        triples = zip(self.projections, source.projections, self._clustered(ends), strict=True)
        for projection, other, end in triples:
            fold_projection(projection, other, end)
