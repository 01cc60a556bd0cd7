"""Feed-forward networks whose first projection includes the norm's scale and offset."""

from typing import ClassVar

from keras_paca import layers
from keras_paca.forms import register_twin
from keras_paca.inference.folding import UNCHANGED, Affine, affine_of, fold_projection
from keras_paca.inference.twin import Twin


@register_twin(layers.MLP)
class MLP(Twin, layers.MLP):
    """`keras_paca.layers.MLP` whose first projection includes the operation before it.

    Example:
    >>> import keras, keras_paca
    >>> model = keras.Sequential([keras.Input((4,)), layers.MLP(8, 4)])
    >>> keras_paca.fuse(model).count_params() == model.count_params()
    True
    """

    def fold(self, source: layers.MLP, before: Affine = UNCHANGED) -> None:
        """Compute the weights from those of the layer and the operation before it.

        Args:
            source: MLP. The layer.
            before: Affine. The operation on the inputs.
        """
        fold_projection(self.expand_dense, source.expand_dense, before=before)
        fold_projection(self.project_dense, source.project_dense)


@register_twin(layers.ResidualMLP)
class ResidualMLP(Twin, layers.ResidualMLP):
    """`keras_paca.layers.ResidualMLP` whose norm has neither a scale nor an offset.

    Example:
    >>> import keras, keras_paca
    >>> model = keras.Sequential([keras.Input((4, 4, 8)), layers.ResidualMLP()])
    >>> model.count_params(), keras_paca.fuse(model).count_params()
    (92, 76)
    """

    changes: ClassVar = {"norm": {"center": False, "scale": False}}

    def fold(self, source: layers.ResidualMLP) -> None:
        """Compute the weights from those of the layer."""
        self.mlp.fold(source.mlp, affine_of(source.norm))
