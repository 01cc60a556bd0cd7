"""The feed-forward network whose projections include the operations before and after it."""

from keras_paca import layers
from keras_paca.forms import register_twin
from keras_paca.inference.folding import UNCHANGED, Affine, copy_weights, fold_projection
from keras_paca.inference.twin import Twin


@register_twin(layers.ConvMLP)
class ConvMLP(Twin, layers.ConvMLP):
    """`keras_paca.layers.ConvMLP` whose convolution includes the shortcut.

    Example:
    >>> import keras, keras_paca
    >>> model = keras.Sequential([keras.Input((4, 4, 8)), layers.ConvMLP()])
    >>> fused, x = keras_paca.fuse(model), keras.random.normal((1, 4, 4, 8))
    >>> bool(keras.ops.max(keras.ops.abs(fused(x) - model(x))) < 1e-4)
    True
    """

    def fold(
        self, source: layers.ConvMLP, before: Affine = UNCHANGED, after: Affine = UNCHANGED
    ) -> None:
        """Compute the weights from those of the layer and the operations around it.

        Args:
            source: ConvMLP. The layer.
            before: Affine. The operation on the inputs.
            after: Affine. The operation on the outputs.
        """
        fold_projection(self.expand_dense, source.expand_dense, before=before)
        if self.depthwise is not None:
            copy_weights(self.depthwise, source.depthwise)
        fold_projection(self.project_dense, source.project_dense, after=after)
