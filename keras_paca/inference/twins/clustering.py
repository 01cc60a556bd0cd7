"""Clustering without the bias that cancels in the softmax."""

from typing import ClassVar

from keras_paca import layers
from keras_paca.forms import register_twin
from keras_paca.inference.folding import copy_weights, fold_projection
from keras_paca.inference.twin import Twin


@register_twin(layers.MLPClustering)
class MLPClustering(Twin, layers.MLPClustering):
    """`keras_paca.layers.MLPClustering` without b2, which is the same for all patches.

    Example:
    >>> import keras, keras_paca
    >>> model = keras.Sequential([keras.Input((4, 4, 8)), layers.MLPClustering(3)])
    >>> model.count_params(), keras_paca.fuse(model).count_params()
    (387, 384)
    """

    changes: ClassVar = {"projection": {"use_bias": False}}

    def fold(self, source: layers.MLPClustering) -> None:
        """Compute the weights from those of the layer."""
        copy_weights(self.hidden_dense, source.hidden_dense)
        fold_projection(self.projection, source.projection)
