"""The feed-forward network whose projections hold what stands before and after it."""

from keras_paca import layers
from keras_paca.forms import register_twin
from keras_paca.inference.folding import UNCHANGED, Affine, copy_weights, fold_projection
from keras_paca.inference.twin import Twin


@register_twin(layers.ConvMLP)
class ConvMLP(Twin, layers.ConvMLP):
    """`keras_paca.layers.ConvMLP`: the convolution's kernel holds the shortcut."""

    def fold(
        self, source: layers.ConvMLP, before: Affine = UNCHANGED, after: Affine = UNCHANGED
    ) -> None:
        """Take over the weights of the layer, with what stands before and after it.

        Args:
            source: ConvMLP. The layer.
            before: Affine. What is done to its inputs.
            after: Affine. What is done to its outputs.
        """
        fold_projection(self.expand_dense, source.expand_dense, before=before)
        if self.depthwise is not None:
            copy_weights(self.depthwise, source.depthwise)
        fold_projection(self.project_dense, source.project_dense, after=after)
