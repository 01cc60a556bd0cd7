"""Attention whose projections include the scales, offsets and biases around them."""

from typing import ClassVar

from keras_paca import layers
from keras_paca.forms import register_twin
from keras_paca.inference.folding import (
    UNCHANGED,
    Affine,
    affine_of,
    copy_weights,
    fold_projection,
    folded,
    to_float64,
)
from keras_paca.inference.twin import Twin


@register_twin(layers.PatchToClusterAttention)
class PatchToClusterAttention(Twin, layers.PatchToClusterAttention):
    """`keras_paca.layers.PatchToClusterAttention` with fewer weights.

    The projections of the keys and values include the scale and offset of the clusters' norm. They
    have no bias: that of the keys cancels in the softmax, unless the keys are normalized, and the
    output projection includes that of the values.

    Example:
    >>> import keras, keras_paca
    >>> model = keras.Sequential([keras.Input((4, 4, 8)), layers.PatchToClusterAttention(2)])
    >>> model.count_params(), keras_paca.fuse(model).count_params()
    (288, 272)
    """

    changes: ClassVar = {
        "cluster_norm": {"center": False, "scale": False},
        "query": {"use_bias": True},  # what was before it may have an offset
        "key": {"use_bias": False},
        "value": {"use_bias": False},
    }

    def build(self, inputs_shape: tuple, assignment_shape: tuple | None = None) -> None:
        """Build the sub-layers."""
        if self.qk_norm:
            self.make.changes["key"] = {"use_bias": True}
        super().build(inputs_shape, assignment_shape)

    def fold(
        self,
        source: layers.PatchToClusterAttention,
        before: Affine = UNCHANGED,
        after: Affine = UNCHANGED,
    ) -> None:
        """Compute the weights from those of the layer and the operations around it.

        Args:
            source: PatchToClusterAttention. The layer.
            before: Affine. The operation on the patches. With clusters, which are computed from the
                patches, there must be none.
            after: Affine. The operation on the outputs.
        """
        to_source = before if self.clusters is None else affine_of(source.cluster_norm_layer)
        if self.cluster_embedding is not None:
            self.cluster_embedding.assign(to_float64(source.cluster_embedding))
        fold_projection(self.query_dense, source.query_dense, before)
        fold_projection(self.key_dense, source.key_dense, to_source)
        fold_projection(self.value_dense, source.value_dense, to_source)
        if self.qk_norm:
            copy_weights(self.query_norm, source.query_norm)
            copy_weights(self.key_norm, source.key_norm)
        # The attention weights sum to 1, so the bias of the values reaches the output unchanged.
        _, bias = folded(source.value_dense, to_source)
        fold_projection(self.output_dense, source.output_dense, Affine(offset=bias), after)
