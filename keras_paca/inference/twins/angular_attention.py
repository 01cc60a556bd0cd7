"""Linear angular attention without its auxiliary, whose projections include what is around them."""

from typing import ClassVar

from keras_paca import layers
from keras_paca.forms import register_twin
from keras_paca.inference.folding import UNCHANGED, Affine, copy_weights, fold_projection
from keras_paca.inference.twin import Twin

CHANGES = {
    "auxiliary_attention": None,
    "query": {"use_bias": True},  # what was before it may have an offset
    "key": {"use_bias": True},
    "value": {"use_bias": True},
}


@register_twin(layers.LinearAngularAttention)
class LinearAngularAttention(Twin, layers.LinearAngularAttention):
    """`keras_paca.layers.LinearAngularAttention` without the auxiliary.

    The projections can include the operations before and after the layer.

    Example:
    >>> import keras, keras_paca
    >>> layer = layers.LinearAngularAttention(2)
    >>> fused = keras_paca.fuse(keras.Sequential([keras.Input((9, 8)), layer]))
    >>> layer.auxiliary, fused.layers[0].auxiliary
    (True, False)
    """

    changes: ClassVar = CHANGES

    def fold(
        self,
        source: layers.LinearAngularAttention,
        before: Affine = UNCHANGED,
        after: Affine = UNCHANGED,
    ) -> None:
        """Compute the weights from those of the layer and the operations around it.

        Args:
            source: LinearAngularAttention. The layer.
            before: Affine. The operation on the inputs.
            after: Affine. The operation on the outputs.
        """
        for name in ("query_dense", "key_dense", "value_dense"):
            fold_projection(getattr(self, name), getattr(source, name), before)
        copy_weights(self.local, source.local)
        fold_projection(self.output_dense, source.output_dense, after=after)


@register_twin(layers.AngularSelfAttention)
class AngularSelfAttention(LinearAngularAttention, layers.AngularSelfAttention):
    """`keras_paca.layers.AngularSelfAttention` without the auxiliary.

    Example:
    >>> import keras, keras_paca
    >>> x = keras.Input((9, 8))
    >>> model = keras.Model(x, layers.AngularSelfAttention(2, name="attention")(x, x))
    >>> keras_paca.fuse(model).get_layer("attention").auxiliary
    False
    """
