"""The block whose projections include its layer scales and the scales and offsets of its norms."""

from typing import Any

from keras_paca import layers
from keras_paca.forms import register_twin
from keras_paca.inference.folding import (
    UNCHANGED,
    Affine,
    affine_of,
    copy_weights,
    to_float64,
)
from keras_paca.inference.twin import Twin, without_affine


@register_twin(layers.PaCaBlock)
class PaCaBlock(Twin, layers.PaCaBlock):
    """`keras_paca.layers.PaCaBlock` whose projections include the norms' scales and layer scales.

    The norms after the branches include g1 and g2; without these norms, the last projections do.
    The first projections include the scale and offset of the norms before the branches, but
    `norm1_before` keeps them if clusters are computed from its outputs.

    Example:
    >>> import keras, keras_paca
    >>> model = keras.Sequential([keras.Input((4, 4, 8)), layers.PaCaBlock(num_heads=2)])
    >>> model.count_params(), keras_paca.fuse(model).count_params()
    (1192, 1144)
    """

    def build(
        self,
        inputs_shape: tuple,
        assignment_shape: tuple | None = None,
        like_shape: tuple | None = None,
    ) -> None:
        """Build the sub-layers."""
        without_affine(self.norm2_before)
        if self.clustering is None and assignment_shape is None:
            without_affine(self.norm1_before)
        layer_scale, self.layer_scale = self.layer_scale, None
        super().build(inputs_shape, assignment_shape, like_shape)
        self.layer_scale = layer_scale

    def fold(self, source: layers.PaCaBlock) -> None:
        """Compute the weights from those of the layer."""
        if self.position_embedding is not None:
            self.position_embedding.assign(to_float64(source.position_embedding))
        if self.clustering is not None:
            copy_weights(self.clustering, source.clustering)
        before = affine_of(source.norm1_before)
        if self.norm1_before is not None and self.norm1_before.scale:
            copy_weights(self.norm1_before, source.norm1_before)
            before = UNCHANGED
        after = _fold_scale(self.norm1_after, source.norm1_after, source.scale1)
        self.attention.fold(source.attention, before, after)
        after = _fold_scale(self.norm2_after, source.norm2_after, source.scale2)
        self.mlp.fold(source.mlp, affine_of(source.norm2_before), after)


def _fold_scale(norm: Any, source: Any, scale: Any) -> Affine:
    """Fold the scale of a branch into its norm, or return it if there is no norm."""
    scale = to_float64(scale, 1.0)
    if norm is None:
        return Affine(scale)
    norm.gamma.assign(to_float64(source.gamma) * scale)
    norm.beta.assign(to_float64(source.beta) * scale)
    return UNCHANGED
