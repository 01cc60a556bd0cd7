"""The embedding of patches whose projection includes the normalisation of the images."""

import numpy as np

from keras_paca import layers
from keras_paca.forms import register_twin
from keras_paca.inference.folding import to_float64
from keras_paca.inference.twin import NormalisingTwin


@register_twin(layers.PatchEmbedding)
class PatchEmbedding(NormalisingTwin, layers.PatchEmbedding):
    """`keras_paca.layers.PatchEmbedding` for images that aren't normalised yet.

    Its kernel and its bias include the normalisation (x - mean) / deviation. This is exact, because
    there is no padding.

    Args:
        *args: As for `keras_paca.layers.PatchEmbedding`.
        mean: Sequence of float. Mean of each channel, or `None`.
        deviation: Sequence of float. Standard deviation of each channel, none of them 0, or `None`.
        **kwargs: As for `keras_paca.layers.PatchEmbedding`.

    Example:
    >>> import keras, keras_paca
    >>> model = keras.Sequential([keras.Input((32, 32, 3)), layers.PatchEmbedding(8, 16, (2, 2))])
    >>> fused, x = keras_paca.fuse(model), keras.random.normal((1, 32, 32, 3))
    >>> bool(keras.ops.max(keras.ops.abs(fused(x) - model(x))) < 1e-4)
    True
    """

    def fold(self, source: layers.PatchEmbedding) -> None:
        """Compute the weights from those of the layer and the normalisation before it."""
        kernel, bias = to_float64(source.kernel), to_float64(source.bias)
        if self.deviation is not None:
            kernel = kernel / np.array(self.deviation)[:, None]
        if self.mean is not None:
            bias = bias - np.einsum("yxcf,c->f", kernel, np.array(self.mean))
        self.kernel.assign(kernel)
        self.bias.assign(bias)
        self.position_embedding.assign(to_float64(source.position_embedding))

    def weights_for_normalised(self) -> list[np.ndarray]:
        """Return the weights that this layer has without a mean and a deviation."""
        kernel, bias = to_float64(self.kernel), to_float64(self.bias)
        if self.mean is not None:
            bias = bias + np.einsum("yxcf,c->f", kernel, np.array(self.mean))
        if self.deviation is not None:
            kernel = kernel * np.array(self.deviation)[:, None]
        changed = {id(self.kernel): kernel, id(self.bias): bias}
        return [
            changed.get(id(weight), array)
            for weight, array in zip(self.weights, self.get_weights(), strict=True)
        ]
