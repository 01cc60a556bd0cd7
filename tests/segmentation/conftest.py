"""Small segmenters."""

import keras
import pytest

from keras_paca import segmentation
from keras_paca.segmentation import Segmenter
from keras_paca.segmentation.heads import FCNHead, PaCaSegmentationHead


@pytest.fixture
def segmenter(small):
    """Return a function that builds a small segmenter of three classes."""

    def build(head="paca", num_classes=3, dtype=None, input_shape=None, **options):
        keras.utils.set_random_seed(1)
        backbone = small(
            include_top=False, drop_path_rate=0.2, dtype=dtype, input_shape=input_shape
        )
        if head == "mask_transformer":
            head = segmentation.MaskTransformerHead(
                num_classes, channels=8, dtype=dtype, name="decode_head"
            )
        elif head in ("paca", "upernet", "fpn"):
            part = {"paca": PaCaSegmentationHead, "upernet": segmentation.UPerHead}.get(
                head, segmentation.SemanticFPNHead
            )
            auxiliary = (
                FCNHead(num_classes, 8, name="auxiliary_head") if head == "upernet" else None
            )
            head = part(num_classes, channels=8, dtype=dtype, name="decode_head")
            options = {"auxiliary_head": auxiliary, **options}
        return Segmenter(backbone, head, num_classes, **options)

    return build
