"""Keras's own checks of every head, and what each promises beyond them."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_paca.segmentation import (
    FCNHead,
    MaskTransformerHead,
    PaCaSegmentationHead,
    SemanticFPNHead,
    UPerHead,
)
from keras_paca.segmentation.heads import ConvNormReLU
from keras_paca.segmentation.segmenter import ResizeToImage
from tests.layers.run import run_layer_test
from tests.marks import slow_but_on_torch

MAPS = [(2, 9, 8, 3), (2, 5, 4, 4), (2, 3, 2, 5), (2, 2, 1, 6)]
CASES = {  # class, arguments, output shape, trainable weights
    "paca": (PaCaSegmentationHead, {"channels": 4}, ((2, 9, 8, 7),) * 2, 7 * 3 + 2 * 4 + 4),
    "upernet": (
        UPerHead,
        {"channels": 4, "pool_scales": (1, 2, 3)},
        (2, 9, 8, 7),
        (3 + 1 + 3 + 3 + 1) * 3 + 2,
    ),
    "fpn": (
        SemanticFPNHead,
        {"channels": 4, "pyramid_channels": 6},
        (2, 9, 8, 7),
        8 * 2 + 7 * 3 + 2,
    ),
    "fcn": (FCNHead, {"channels": 4}, (2, 3, 2, 7), 5),
    "mask_transformer": (MaskTransformerHead, {"channels": 4}, (2, 9, 8, 7), 2 + 1 + 2 * 16 + 6),
}


def maps_of(name):
    """Return the shapes of the maps that a head takes."""
    return [MAPS[0], (2, 9, 8, 2)] if name == "mask_transformer" else MAPS


@pytest.mark.parametrize("name", CASES)
def test_run_layer_test(name):
    cls, options, shape, trainable = CASES[name]
    run_layer_test(
        cls,
        {"num_classes": 7, **options},
        maps_of(name),
        shape,
        trainable,
        run_training_check=False,  # Keras's takes one input; segmenters train in their tests
        run_mixed_precision_check=False,  # logits are float32 on purpose; tested below
    )


def test_run_layer_test_unit_and_resize():
    unit = {"filters": 5, "kernel_size": 3}
    run_layer_test(ConvNormReLU, unit, (2, 7, 5, 4), (2, 7, 5, 5), 3)
    run_layer_test(
        ResizeToImage,
        {},
        {"logits_shape": (2, 3, 2, 4), "images_shape": (2, 9, 7, 3)},
        (2, 9, 7, 4),
        0,
        run_training_check=False,
    )


@pytest.mark.parametrize(
    "policy", ["mixed_float16", pytest.param("mixed_bfloat16", marks=slow_but_on_torch)]
)
@pytest.mark.parametrize(
    "name",
    [
        *("paca", "mask_transformer"),
        *(pytest.param(name, marks=slow_but_on_torch) for name in ("upernet", "fpn", "fcn")),
    ],
)
def test_mixed_precision(name, policy, images):
    cls, options, _, _ = CASES[name]
    head = cls(7, **options, dtype=policy)
    # a fused head has no batch norms that would bring large maps back into float16's range
    scale = 1 / 255 if options.get("fused") else 1.0
    maps = [scale * images(*shape) for shape in maps_of(name)]
    for y in keras.tree.flatten(head(maps, training=True)):
        assert keras.backend.standardize_dtype(y.dtype) == "float32"
        assert np.isfinite(ops.convert_to_numpy(y)).all()


@pytest.mark.parametrize("name", CASES)
def test_bad_arguments(name):
    with pytest.raises(ValueError, match="positive integers"):
        CASES[name][0](0)


@pytest.mark.parametrize("cls", [PaCaSegmentationHead, UPerHead])
def test_another_number_of_levels(cls, images):
    with pytest.raises(ValueError, match="list of 4 maps"):
        cls(7, channels=4)([images(*shape) for shape in MAPS[:3]])


def test_clusters_of_the_head_are_over_patches(images):
    """With one class the head attends to one cluster: each patch gets the same value."""
    head = PaCaSegmentationHead(1, channels=4)
    logits, _ = head([images(*shape) / 255 for shape in MAPS])
    logits = ops.convert_to_numpy(logits)
    np.testing.assert_allclose(logits, logits[:, :1, :1] + 0 * logits, atol=1e-6)
