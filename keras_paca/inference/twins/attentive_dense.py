"""The layers of DenseNet with attentive normalization, and transitions that pool first."""

from typing import Any

from keras.ops import relu

from keras_paca import layers
from keras_paca.forms import register_twin
from keras_paca.inference.twin import Twin


@register_twin(layers.AttentiveDenseLayer)
class AttentiveDenseLayer(Twin, layers.AttentiveDenseLayer):
    """`keras_paca.layers.AttentiveDenseLayer` with the twin of its attentive normalization.

    Its batch norm comes before a ReLU and stays.

    Example:
    >>> import keras, keras_paca
    >>> layer = layers.AttentiveDenseLayer(growth_rate=4, mixtures=5)
    >>> model = keras.Sequential([keras.Input((4, 4, 8)), layer])
    >>> keras_paca.fuse(model).count_params() < model.count_params()
    True
    """


@register_twin(layers.DenseTransition)
class DenseTransition(Twin, layers.DenseTransition):
    """`keras_paca.layers.DenseTransition` that projects after the mean: a quarter of the products.

    Both are linear, so that their order makes no difference.

    Example:
    >>> import keras, keras_paca
    >>> model = keras.Sequential([keras.Input((8, 8, 4)), layers.DenseTransition(2)])
    >>> fused, x = keras_paca.fuse(model), keras.random.normal((1, 8, 8, 4))
    >>> bool(keras.ops.max(keras.ops.abs(fused(x) - model(x))) < 1e-5)
    True
    """

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Halve the map `inputs` (b, h, w, c)."""
        return self.conv(self._pool(relu(self.norm(inputs, training=training))))
