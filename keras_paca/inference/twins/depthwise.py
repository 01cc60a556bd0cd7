"""The depthwise convolution whose kernel includes the shortcut."""

from typing import Any

from keras_paca import layers
from keras_paca.forms import register_twin
from keras_paca.inference.folding import to_float64
from keras_paca.inference.twin import Twin
from keras_paca.ops.depthwise import identity_kernel


@register_twin(layers.DepthwiseConv2D)
class DepthwiseConv2D(Twin, layers.DepthwiseConv2D):
    """`keras_paca.layers.DepthwiseConv2D` whose shortcut is a 1 in the middle of the kernel.

    Example:
    >>> import keras, keras_paca
    >>> layer = layers.DepthwiseConv2D(3, shortcut=True)
    >>> model = keras.Sequential([keras.Input((4, 4, 1)), layer])
    >>> difference = keras_paca.fuse(model).get_weights()[0] - model.get_weights()[0]
    >>> abs(difference[:, :, 0, 0].round(4)).tolist()
    [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """

    def call(self, inputs: Any) -> Any:
        """Convolve the map `inputs` (b, h, w, c)."""
        return self.convolve(inputs, shortcut=False)

    def fold(self, source: layers.DepthwiseConv2D) -> None:
        """Compute the weights from those of the layer."""
        shortcut = identity_kernel(self.kernel_size) if self.shortcut else 0
        self.kernel.assign(to_float64(source.kernel) + shortcut)
        if self.bias is not None:
            self.bias.assign(to_float64(source.bias))
