"""The segmentation heads whose convolutions and projections include their batch norms."""

from typing import Any, ClassVar

import keras

from keras_paca.forms import register_twin
from keras_paca.inference.folding import affine_of, copy_weights, fold_projection, to_float64
from keras_paca.inference.twin import Twin
from keras_paca.segmentation import heads


@register_twin(heads.ConvNormReLU)
class ConvNormReLU(Twin, heads.ConvNormReLU):
    """`ConvNormReLU` whose convolution has a bias and includes the norm.

    Example:
    >>> import keras_paca
    >>> model = keras.Sequential([keras.Input((8, 8, 3)), heads.ConvNormReLU(4, 3)])
    >>> model.count_params(), keras_paca.fuse(model).count_params()
    (124, 112)
    """

    changes: ClassVar = {"conv": {"use_bias": True}, "norm": None}

    def fold(self, source: heads.ConvNormReLU) -> None:
        """Compute the weights from those of the layer."""
        fold_projection(self.conv, source.conv, after=affine_of(source.norm))


@register_twin(heads.PaCaSegmentationHead)
class PaCaSegmentationHead(Twin, heads.PaCaSegmentationHead):
    """`PaCaSegmentationHead` whose projections include their batch norms.

    Example:
    >>> import keras_paca
    >>> levels = [keras.Input((side, side, 8)) for side in (16, 8, 4, 2)]
    >>> model = keras.Model(levels, heads.PaCaSegmentationHead(3, channels=8)(levels))
    >>> model.count_params(), keras_paca.fuse(model).count_params()
    (1702, 1470)
    """

    changes: ClassVar = {"key_norm": None, "value_norm": None}

    def fold(self, source: heads.PaCaSegmentationHead) -> None:
        """Compute the weights from those of the head."""
        for part, source_part in zip(_plain_parts(self), _plain_parts(source), strict=True):
            copy_weights(part, source_part)
        fold_projection(self.key_dense, source.key_dense, after=affine_of(source.key_norm))
        fold_projection(self.value_dense, source.value_dense, after=affine_of(source.value_norm))


def _plain_parts(head: Any) -> list[keras.layers.Layer]:
    """Return the layers of a head without the projections of its keys and values."""
    convs = [*head.laterals, head.query_conv, head.cluster_conv, head.output_conv]
    return [*convs, head.cluster_projection, head.classify]


@register_twin(heads.MaskTransformerHead)
class MaskTransformerHead(Twin, heads.MaskTransformerHead):
    """`MaskTransformerHead` whose last projections include the scale and offset of the norm.

    Example:
    >>> import keras_paca
    >>> maps = keras.Input((4, 4, 8))
    >>> model = keras.Model(maps, heads.MaskTransformerHead(3)(maps))
    >>> model.count_params(), keras_paca.fuse(model).count_params()
    (1990, 1894)
    """

    changes: ClassVar = {
        "norm": {"center": False, "scale": False},
        "patch_projection": {"use_bias": True},
        "class_projection": {"use_bias": True},
    }

    def fold(self, source: heads.MaskTransformerHead) -> None:
        """Compute the weights from those of the head."""
        self.class_embeddings.assign(to_float64(source.class_embeddings))
        for part, source_part in zip(
            [self.input_projection, *self.blocks, self.mask_norm],
            [source.input_projection, *source.blocks, source.mask_norm],
            strict=True,
        ):
            copy_weights(part, source_part)
        before = affine_of(source.norm)
        fold_projection(self.patch_projection, source.patch_projection, before)
        fold_projection(self.class_projection, source.class_projection, before)


# These change nothing themselves; the convolutions inside them do.


@register_twin(heads.UPerHead)
class UPerHead(Twin, heads.UPerHead):
    """`UPerHead` whose convolutions include their batch norms.

    Example:
    >>> import keras_paca
    >>> levels = [keras.Input((side, side, 8)) for side in (16, 8, 4, 2)]
    >>> model = keras.Model(levels, heads.UPerHead(3, channels=8)(levels))
    >>> model.count_params(), keras_paca.fuse(model).count_params()
    (7771, 7483)
    """


@register_twin(heads.SemanticFPNHead)
class SemanticFPNHead(Twin, heads.SemanticFPNHead):
    """`SemanticFPNHead` whose convolutions include their batch norms.

    Example:
    >>> import keras_paca
    >>> levels = [keras.Input((side, side, 8)) for side in (16, 8, 4, 2)]
    >>> head = heads.SemanticFPNHead(3, channels=8, pyramid_channels=8)
    >>> model = keras.Model(levels, head(levels))
    >>> model.count_params(), keras_paca.fuse(model).count_params()
    (6907, 6739)
    """


@register_twin(heads.FCNHead)
class FCNHead(Twin, heads.FCNHead):
    """`FCNHead` whose convolution includes its batch norm.

    Example:
    >>> import keras_paca
    >>> levels = [keras.Input((side, side, 8)) for side in (16, 8, 4, 2)]
    >>> model = keras.Model(levels, heads.FCNHead(3, channels=8)(levels))
    >>> model.count_params(), keras_paca.fuse(model).count_params()
    (635, 611)
    """
