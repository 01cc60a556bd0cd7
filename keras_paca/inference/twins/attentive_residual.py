"""The residual blocks with attentive normalization, made of twins."""

from keras_paca import layers
from keras_paca.forms import register_twin
from keras_paca.inference.twin import Twin


@register_twin(layers.AttentiveBottleneck)
class AttentiveBottleneck(Twin, layers.AttentiveBottleneck):
    """`keras_paca.layers.AttentiveBottleneck` whose batch norms are part of the convolutions.

    Example:
    >>> import keras, keras_paca
    >>> layer = layers.AttentiveBottleneck(filters=4, mixtures=5)
    >>> model = keras.Sequential([keras.Input((4, 4, 8)), layer])
    >>> keras_paca.fuse(model).count_params() < model.count_params()
    True
    """


@register_twin(layers.AttentiveInvertedResidual)
class AttentiveInvertedResidual(Twin, layers.AttentiveInvertedResidual):
    """`keras_paca.layers.AttentiveInvertedResidual` whose batch norms are part of the convolutions.

    Example:
    >>> import keras, keras_paca
    >>> layer = layers.AttentiveInvertedResidual(filters=8, mixtures=5)
    >>> model = keras.Sequential([keras.Input((4, 4, 8)), layer])
    >>> keras_paca.fuse(model).count_params() < model.count_params()
    True
    """
