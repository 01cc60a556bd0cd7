"""The blocks of RapidNet, whose last convolutions include the layer scales."""

from keras_paca import layers
from keras_paca.forms import register_twin
from keras_paca.inference.folding import UNCHANGED, Affine, copy_weights, to_float64
from keras_paca.inference.twin import Twin


@register_twin(layers.InvertedResidual)
class InvertedResidual(Twin, layers.InvertedResidual):
    """`keras_paca.layers.InvertedResidual` whose last convolution includes the layer scale.

    Example:
    >>> import keras, keras_paca
    >>> model = keras.Sequential([keras.Input((4, 4, 8)), layers.InvertedResidual()])
    >>> model.count_params(), keras_paca.fuse(model).count_params()
    (1168, 872)
    """

    def build(self, input_shape: tuple) -> None:
        """Build the convolutions."""
        layer_scale, self.layer_scale = self.layer_scale, None
        super().build(input_shape)
        self.layer_scale = layer_scale

    def fold(self, source: layers.InvertedResidual) -> None:
        """Compute the weights from those of the layer."""
        copy_weights(self.expand, source.expand)
        copy_weights(self.depthwise, source.depthwise)
        self.project.fold(source.project, after=Affine(to_float64(source.scale, 1.0)))


@register_twin(layers.LargeKernelFFN)
class LargeKernelFFN(Twin, layers.LargeKernelFFN):
    """`keras_paca.layers.LargeKernelFFN` whose convolutions include the norms.

    Example:
    >>> import keras, keras_paca
    >>> model = keras.Sequential([keras.Input((4, 4, 8)), layers.LargeKernelFFN()])
    >>> model.count_params(), keras_paca.fuse(model).count_params()
    (1136, 952)
    """

    def fold(self, source: layers.LargeKernelFFN, after: Affine = UNCHANGED) -> None:
        """Compute the weights from those of the layer and the operation after it.

        Args:
            source: LargeKernelFFN. The layer.
            after: Affine. The operation on the outputs.
        """
        copy_weights(self.depthwise, source.depthwise)
        copy_weights(self.expand, source.expand)
        self.project.fold(source.project, after=after)


@register_twin(layers.MultiLevelDilatedConv)
class MultiLevelDilatedConv(Twin, layers.MultiLevelDilatedConv):
    """`keras_paca.layers.MultiLevelDilatedConv` without norms and with a shortcut in the kernel.

    Example:
    >>> import keras, keras_paca
    >>> model = keras.Sequential([keras.Input((4, 4, 8)), layers.MultiLevelDilatedConv()])
    >>> model.count_params(), keras_paca.fuse(model).count_params()
    (1840, 1712)
    """

    def fold(self, source: layers.MultiLevelDilatedConv, after: Affine = UNCHANGED) -> None:
        """Compute the weights from those of the layer and the operation after it.

        Args:
            source: MultiLevelDilatedConv. The layer.
            after: Affine. The operation on the outputs.
        """
        parts = ([x.position, x.reduce, *x.levels] for x in (self, source))
        for part, source_part in zip(*parts, strict=True):
            copy_weights(part, source_part)
        self.project.fold(source.project, after=after)


@register_twin(layers.MLDCBlock)
class MLDCBlock(Twin, layers.MLDCBlock):
    """`keras_paca.layers.MLDCBlock` whose last convolutions include the layer scales.

    Example:
    >>> import keras, keras_paca
    >>> model = keras.Sequential([keras.Input((4, 4, 8)), layers.MLDCBlock()])
    >>> model.count_params(), keras_paca.fuse(model).count_params()
    (2992, 2664)
    """

    def build(self, input_shape: tuple) -> None:
        """Build the two branches."""
        layer_scale, self.layer_scale = self.layer_scale, None
        super().build(input_shape)
        self.layer_scale = layer_scale

    def fold(self, source: layers.MLDCBlock) -> None:
        """Compute the weights from those of the layer."""
        for branch, other, scale in (
            (self.mixer, source.mixer, source.scale1),
            (self.ffn, source.ffn, source.scale2),
        ):
            branch.fold(other, after=Affine(to_float64(scale, 1.0)))
