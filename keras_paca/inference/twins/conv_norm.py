"""Convolutions that include their batch norms, and the stems made of them."""

from typing import Any, ClassVar

import numpy as np
from keras import ops

from keras_paca import layers
from keras_paca.forms import register_twin
from keras_paca.inference.folding import (
    UNCHANGED,
    Affine,
    affine_of,
    copy_weights,
    fold_projection,
    to_float64,
)
from keras_paca.inference.twin import NormalisingTwin, Twin


@register_twin(layers.ConvNorm)
class ConvNorm(Twin, layers.ConvNorm):
    """`keras_paca.layers.ConvNorm` whose convolution has a bias and includes the norm.

    Example:
    >>> import keras, keras_paca
    >>> model = keras.Sequential([keras.Input((8, 8, 3)), layers.ConvNorm(4, 3)])
    >>> model.count_params(), keras_paca.fuse(model).count_params()
    (128, 112)
    """

    changes: ClassVar = {"conv": {"use_bias": True}, "norm": None}

    def fold(
        self, source: layers.ConvNorm, before: Affine = UNCHANGED, after: Affine = UNCHANGED
    ) -> None:
        """Compute the weights from those of the layer and the operations around it.

        Args:
            source: ConvNorm. The layer.
            before: Affine. The operation on the inputs. A kernel of 3 x 3 can't include an offset.
            after: Affine. The operation on the outputs, of a layer without GELU.
        """
        fold_projection(self.conv, source.conv, before, affine_of(source.norm).then(after))


@register_twin(layers.DepthwiseNorm)
class DepthwiseNorm(Twin, layers.DepthwiseNorm):
    """`keras_paca.layers.DepthwiseNorm` whose convolution has a bias and includes the norm.

    Example:
    >>> import keras, keras_paca
    >>> layer = layers.DepthwiseNorm(3, use_bias=False)
    >>> model = keras.Sequential([keras.Input((8, 8, 4)), layer])
    >>> model.count_params(), keras_paca.fuse(model).count_params()
    (52, 40)
    """

    changes: ClassVar = {"conv": {"use_bias": True}, "norm": None}

    def fold(self, source: layers.DepthwiseNorm) -> None:
        """Compute the weights from those of the layer."""
        scale, offset = affine_of(source.norm)
        self.conv.kernel.assign(to_float64(source.conv.kernel) * scale[:, None])  # (k, k, c, 1)
        self.conv.bias.assign(to_float64(source.conv.bias) * scale + offset)


class StemTwin(NormalisingTwin):
    """`Twin` of a stem whose first kernel includes the deviation of the images.

    The mean is subtracted before the convolution, because the borders are padded after that.

    Example:
    >>> from keras_paca import forms
    >>> issubclass(forms.twin_of(layers.PlainStem), StemTwin)
    True
    """

    @property
    def first(self) -> ConvNorm:
        """The first convolution."""
        raise NotImplementedError

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Embed the image `inputs` (b, h, w, c)."""
        if self.mean is not None:
            inputs = inputs - ops.convert_to_tensor(self.mean, self.compute_dtype)
        return super().call(inputs, training=training)

    def fold_first(self, source: layers.ConvNorm) -> None:
        """Compute the weights of the first convolution.

        Args:
            source: ConvNorm. That of the layer.
        """
        scale = UNCHANGED if self.deviation is None else Affine(1 / np.array(self.deviation))
        self.first.fold(source, before=scale)

    def weights_for_normalised(self) -> list[np.ndarray]:
        """Return the weights that this layer has without a mean and a deviation."""
        arrays = self.get_weights()
        if self.deviation is not None:
            kernel = next(i for i, w in enumerate(self.weights) if w is self.first.conv.kernel)
            arrays[kernel] = arrays[kernel] * np.float32(self.deviation)[:, None]
        return arrays


@register_twin(layers.ConvStem)
class ConvStem(StemTwin, layers.ConvStem):
    """`keras_paca.layers.ConvStem` whose first kernel includes the deviation of the images.

    Args:
        filters: int. Number of channels of the output, even.
        mean: Sequence of float. Mean of each channel of the images, or `None` for 0.
        deviation: Sequence of float. Standard deviation of each channel, or `None` for 1.
        **kwargs: As for `keras.layers.Layer`.

    Example:
    >>> import keras, keras_paca
    >>> model = keras.Sequential([keras.Input((32, 32, 3)), layers.ConvStem(8)])
    >>> fused, x = keras_paca.fuse(model), keras.random.normal((1, 32, 32, 3))
    >>> bool(keras.ops.max(keras.ops.abs(fused(x) - model(x))) < 1e-4)
    True
    """

    @property
    def first(self) -> ConvNorm:
        """The first convolution."""
        return self.conv1

    def fold(self, source: layers.ConvStem) -> None:
        """Compute the weights from those of the layer."""
        self.fold_first(source.conv1)
        copy_weights(self.conv2, source.conv2)


@register_twin(layers.PlainStem)
class PlainStem(StemTwin, layers.PlainStem):
    """`keras_paca.layers.PlainStem` whose kernel includes the norm and the images' deviation.

    Args:
        filters: int. Number of channels of the output.
        mean: Sequence of float. Mean of each channel of the images, or `None` for 0.
        deviation: Sequence of float. Standard deviation of each channel, or `None` for 1.
        **kwargs: As for `keras_paca.layers.PlainStem`.

    Example:
    >>> import keras, keras_paca
    >>> model = keras.Sequential([keras.Input((32, 32, 3)), layers.PlainStem(8)])
    >>> fused, x = keras_paca.fuse(model), keras.random.normal((1, 32, 32, 3))
    >>> bool(keras.ops.max(keras.ops.abs(fused(x) - model(x))) < 1e-4)
    True
    """

    @property
    def first(self) -> ConvNorm:
        """The convolution."""
        return self.conv

    def fold(self, source: layers.PlainStem) -> None:
        """Compute the weights from those of the layer."""
        self.fold_first(source.conv)
