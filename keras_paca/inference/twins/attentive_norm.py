"""Attentive batch normalization without batch norms."""

from typing import ClassVar

from keras_paca import layers
from keras_paca.forms import register_twin
from keras_paca.inference.folding import affine_of, fold_projection, to_float64
from keras_paca.inference.twin import Twin


@register_twin(layers.AttentiveBatchNormalization)
class AttentiveBatchNormalization(Twin, layers.AttentiveBatchNormalization):
    """`keras_paca.layers.AttentiveBatchNormalization` without batch norms: y = gamma' x + beta'.

    The K scales and offsets include the moving statistics, gamma' = lambda G / std and
    beta' = lambda (B - G mean / std), and the linear layers of the attention their norms.

    Example:
    >>> import keras, keras_paca
    >>> norm = layers.AttentiveBatchNormalization(mixtures=5)
    >>> model = keras.Sequential([keras.Input((4, 4, 8)), norm])
    >>> model.count_params(), keras_paca.fuse(model).count_params()
    (156, 125)
    """

    changes: ClassVar = {
        "norm": None,
        "hidden_norm": None,
        "attention_norm": None,
        "hidden": {"use_bias": True},
        "attention": {"use_bias": True},
    }

    def fold(self, source: layers.AttentiveBatchNormalization) -> None:
        """Compute the weights from those of the layer."""
        if self.hidden_dense is not None:
            fold_projection(
                self.hidden_dense, source.hidden_dense, after=affine_of(source.hidden_norm)
            )
        fold_projection(
            self.attention_dense, source.attention_dense, after=affine_of(source.attention_norm)
        )
        scale, offset = affine_of(source.norm)
        scales, offsets = to_float64(source.scales), to_float64(source.offsets)
        self.scales.assign(scales * scale)
        self.offsets.assign(offsets + scales * offset)
